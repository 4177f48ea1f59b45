"""The items of a run as lists by item need them, on disk for every worker."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.feather
from numpy.typing import NDArray
from scipy import sparse

from mmrec_lib.reranking.facts import unit_rows
from mmrec_lib.showing.attributes import one_array
from mmrec_lib.showing.labels import positions

Flags = NDArray[np.bool_]
Ints = NDArray[np.int64]
_ITEMS, _CATEGORIES, _CONTENT, _MARGINS = "items.arrow", "categories.npz", "content-{}.npy", "margins-{}.npy"
_ABOUT = "about.json"
_PAIRS_AT_ONCE = 16_384


@dataclass(frozen=True)
class Margins:
    """Counts of single items beside those of pairs.

    Attributes:
        num_left: [I] cases in which the item is the first of a pair, or alone.
        num_right: [I] cases in which it is the second.
        total: All cases.
    """

    num_left: Ints
    num_right: Ints
    total: int


@dataclass(frozen=True)
class ListingItems:
    """Items by position.

    Attributes:
        item_ids: [I] sorted.
        is_listed: [I] True for items that may be shown to somebody.
        categories: [I, G] csr, an entry for each category of an item.
        contents: [I, d] float16 each, rows of length 1, or of zeros where an item lacks the content; none where
            nothing is compared.
        margins: Counts of the items by list type.
    """

    item_ids: pa.Array
    is_listed: Flags
    categories: sparse.csr_matrix
    contents: tuple[NDArray[np.float16], ...]
    margins: Mapping[str, Margins]

    def positions(self, item_ids: pa.Array) -> Ints:
        """[n] position of each id; -1 for items that are not there any more."""
        return positions(item_ids, self.item_ids)

    def are_substitutes(self, left: Ints, right: Ints, least_cosine: float) -> Flags:
        """[n] True for pairs that share a category and whose content vectors, side by side, have at least a cosine."""
        found = np.zeros(len(left), dtype=np.bool_)
        for start in range(0, len(left), _PAIRS_AT_ONCE):
            rows = slice(start, start + _PAIRS_AT_ONCE)
            common = self.categories[left[rows]].multiply(self.categories[right[rows]]).sum(axis=1)
            at = start + np.flatnonzero(np.asarray(common).ravel())
            found[at] = self._cosines(left[at], right[at]) >= least_cosine
        return found

    def _cosines(self, left: Ints, right: Ints) -> NDArray[np.float64]:
        products, squares = np.zeros(len(left)), np.zeros((2, len(left)))
        for content in self.contents:
            one, other = content[left].astype(np.float32), content[right].astype(np.float32)
            products += np.einsum("nd,nd->n", one, other)
            squares += [one.any(axis=1), other.any(axis=1)]
        return np.asarray(products / np.sqrt(np.maximum(squares[0] * squares[1], 1.0)), dtype=np.float64)

    def save(self, folder: Path) -> None:
        """Write the items to a folder, without pickles."""
        table = pa.table({"item_id": self.item_ids, "is_listed": self.is_listed})
        pyarrow.feather.write_feather(table, str(folder / _ITEMS), compression="uncompressed")
        sparse.save_npz(folder / _CATEGORIES, self.categories)
        for number, content in enumerate(self.contents):
            np.save(folder / _CONTENT.format(number), content)
        for name, margins in self.margins.items():
            np.save(folder / _MARGINS.format(name), np.stack([margins.num_left, margins.num_right]))
        totals = {name: margins.total for name, margins in self.margins.items()}
        about = {"num_contents": len(self.contents), "totals": totals}
        (folder / _ABOUT).write_text(json.dumps(about), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> ListingItems:
        """Read the items of a folder; contents are mapped, not read."""
        about = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
        table = pyarrow.feather.read_table(str(folder / _ITEMS))
        contents = (np.load(folder / _CONTENT.format(n), mmap_mode="r") for n in range(about["num_contents"]))
        margins = {name: np.load(folder / _MARGINS.format(name)) for name in about["totals"]}
        return cls(
            item_ids=one_array(table["item_id"]),
            is_listed=table["is_listed"].to_numpy().astype(np.bool_),
            categories=sparse.csr_matrix(sparse.load_npz(folder / _CATEGORIES)),
            contents=tuple(contents),
            margins={name: Margins(left, right, about["totals"][name]) for name, (left, right) in margins.items()},
        )


def compared_contents(matrices: Iterable[object]) -> tuple[NDArray[np.float16], ...]:
    """The dense ones among content matrices, with rows of length 1, in half precision."""
    return tuple(unit_rows(matrix).astype(np.float16) for matrix in matrices if isinstance(matrix, np.ndarray))
