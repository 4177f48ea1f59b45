"""Ids and their positions: the only way from one to the other, so that a missing id never becomes a number."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pandas as pd

from mmrec_lib.errors import ModelError

_NUM_NAMED = 3


class IdIndex:
    """Positions of ids in a fixed order.

    An id that is not there has no position: ask `known` first and leave it out, or let `positions` raise. There is no
    value that stands for "not found", because a later cast or index would take it for another id.
    """

    def __init__(self, ids: Sequence[str] | npt.NDArray[np.str_], subject: str) -> None:
        """Index ids by their order.

        Args:
            ids: [n] distinct ids.
            subject: What they are, for messages, such as `items of the catalogue`.

        Raises:
            ModelError: When an id stands twice.
        """
        self._index = pd.Index(np.asarray(ids, dtype=np.object_))
        self._subject = subject
        if not self._index.is_unique:
            twice = self._index[self._index.duplicated()][0]
            raise ModelError(f"{subject}: every id must stand once, but {twice!r} stands twice")

    def __len__(self) -> int:
        return len(self._index)

    def known(self, wanted: Sequence[str] | npt.NDArray[np.generic]) -> npt.NDArray[np.bool_]:
        """[n] whether each id has a position."""
        is_known: npt.NDArray[np.bool_] = self._find(wanted) >= 0
        return is_known

    def positions(self, wanted: Sequence[str] | npt.NDArray[np.generic]) -> npt.NDArray[np.int64]:
        """[n] the position of each id.

        Raises:
            ModelError: When an id has none.
        """
        at = self._find(wanted)
        missing = np.flatnonzero(at < 0)
        if len(missing):
            names = ", ".join(repr(str(wanted[place])[:80]) for place in missing[:_NUM_NAMED])
            more = ", ..." if len(missing) > _NUM_NAMED else ""
            raise ModelError(
                f"{self._subject}: {len(missing)} of {len(at)} ids are not among them ({names}{more}); "
                "leave out what is not known (IdIndex.known) before asking for positions"
            )
        return at

    def _find(self, wanted: Sequence[str] | npt.NDArray[np.generic]) -> npt.NDArray[np.int64]:
        return self._index.get_indexer(pd.Index(np.asarray(wanted, dtype=np.object_))).astype(np.int64)


class Mapped:
    """Positions in one list of ids for every position in another, where there is one.

    Attributes:
        known: [n] whether the id at a position of the first list is in the second one.
    """

    def __init__(self, ids: Sequence[str] | npt.NDArray[np.str_], into: IdIndex) -> None:
        """Map the positions of `ids` to those of `into`."""
        self.known = into.known(ids)
        self._targets = into.positions(np.asarray(ids, dtype=np.object_)[self.known])

    @cached_property
    def _place(self) -> npt.NDArray[np.int64]:
        return np.cumsum(self.known, dtype=np.int64) - 1

    def of(self, positions: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
        """The same ids' positions in the other list, in the shape of `positions`.

        Raises:
            ModelError: When one of them is not in it, or is no position.
        """
        is_place = not positions.size or (positions.min() >= 0 and positions.max() < len(self.known))
        if not is_place or not self.known[positions].all():
            raise ModelError("positions: an id that is only in one of both lists has no position in the other")
        targets: npt.NDArray[np.int64] = self._targets[self._place[positions]]
        return targets
