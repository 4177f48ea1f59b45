"""Candidates of users in words: a text of what a person turned to beside each item's document, judged by a scorer.

Shape letters: n users, C candidates, I items.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.feather

from mmrec_lib.models.data import Floats, Histories
from mmrec_lib.models.ids import IdIndex
from mmrec_lib.topk.selection import NO_ITEM

BETWEEN_ITEMS = "; "
"""What stands between the items of a profile text."""
# Users whose last values are kept: the same lists are often asked for again in an evaluation.
_MAX_KEPT = 20_000


class PairScorer(Protocol):
    """Anything that judges pairs of a profile text and an item's document."""

    def scores(self, pairs: Sequence[tuple[str, str]], /) -> npt.NDArray[np.float64]:
        """[n] one number a pair, higher is better."""
        ...


@dataclass(frozen=True)
class ItemTexts:
    """Texts of a catalogue.

    Attributes:
        titles: [I] short text of each item, for profiles; None where it has none.
        documents: [I] whole text of each item; None where it has none.
    """

    titles: npt.NDArray[np.object_]
    documents: npt.NDArray[np.object_]

    def of_items(self, item_ids: npt.NDArray[np.str_], wanted: npt.NDArray[np.str_]) -> ItemTexts:
        """Texts in the order of other ids; None for those that are not among `item_ids`."""
        index = IdIndex(item_ids, "items with texts")
        known = index.known(wanted)
        at = index.positions(wanted[known])
        columns = []
        for values in (self.titles, self.documents):
            column = np.full(len(wanted), None, dtype=np.object_)
            column[known] = values[at]
            columns.append(column)
        return ItemTexts(*columns)

    def save(self, file: Path) -> None:
        """Write the texts into a file."""
        columns = {name: pa.array(getattr(self, name), pa.string()) for name in ("titles", "documents")}
        pyarrow.feather.write_feather(pa.table(columns), str(file))

    @classmethod
    def load(cls, file: Path) -> ItemTexts:
        """Read what `save` wrote."""
        table = pyarrow.feather.read_table(str(file))
        return cls(*(np.array(table[name].to_pylist(), dtype=np.object_) for name in ("titles", "documents")))

    def digest(self) -> str:
        """Hash of all texts."""
        digest = hashlib.sha256()
        for values in (self.titles, self.documents):
            for value in values:
                digest.update(b"\0" if value is None else f"\1{len(value)}:{value}".encode("utf-8", "replace"))
        return digest.hexdigest()


@dataclass(frozen=True)
class TextScorer:
    """Judges candidates in words; what it is told of a user is the history that it is handed, and nothing else.

    Attributes:
        scorer: Judges pairs.
        texts: Texts of the catalogue.
        num_history: Items of a history that make a profile text.
    """

    scorer: PairScorer
    texts: ItemTexts
    num_history: int
    _kept: OrderedDict[bytes, Floats] = field(default_factory=OrderedDict, repr=False, compare=False)

    def values(self, histories: Histories, items: npt.NDArray[np.integer]) -> Floats:
        """[n, C] float32 value of each candidate; NaN where there is none, or user or item have no words.

        The candidates of a user are judged together and apart from other users', so that a user's values are the same
        to the last bit whoever else is asked for.

        Args:
            histories: n users over the catalogue.
            items: [n, C] positions in the catalogue; NO_ITEM where there is none.
        """
        values = np.full(items.shape, np.nan, dtype=np.float32)
        for row, own in enumerate(items):
            history = self._history(histories, row)
            pairs = {place: pair for place, item in enumerate(own) if (pair := self._pair(history, int(item)))}
            if pairs:
                values[row, list(pairs)] = self._judged(list(pairs.values()))
        return values

    def _history(self, histories: Histories, row: int) -> list[tuple[int, str]]:
        """Items that make a profile text and their titles, one more than are told, so that one may be left out.

        Those that weigh most come first, of equal ones the latest.
        """
        own = slice(histories.weights.indptr[row], histories.weights.indptr[row + 1])
        items, weights = histories.weights.indices[own], histories.weights.data[own]
        times = np.zeros(len(items)) if histories.times is None else histories.times.data[own]
        ordered = items[np.lexsort((items, -times, -weights))]
        return [(int(one), title) for one in ordered if (title := self.texts.titles[one])][: self.num_history + 1]

    def _pair(self, history: list[tuple[int, str]], item: int) -> tuple[str, str] | None:
        """Profile text without the judged item, and its document; None where one has no words."""
        document = None if item == NO_ITEM else self.texts.documents[item]
        words = [title for one, title in history if one != item][: self.num_history]
        return (BETWEEN_ITEMS.join(words), document) if document and words else None

    def _judged(self, pairs: list[tuple[str, str]]) -> Floats:
        key = hashlib.sha256("\0".join(part for pair in pairs for part in pair).encode("utf-8", "replace")).digest()
        if key not in self._kept:
            self._kept[key] = self.scorer.scores(pairs).astype(np.float32)
            if len(self._kept) > _MAX_KEPT:
                self._kept.popitem(last=False)
        return self._kept[key]
