"""Checks that no fit of a snapshot knows what only the parts that it is evaluated on may know.

They look at what was read, not at how it was made, and run whenever a snapshot is loaded: before each training,
evaluation and promotion.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mmrec_lib.errors import LeakageError
from mmrec_lib.features.config import (
    BY_TIME,
    BY_USER_TIME,
    COLD_ITEMS,
    COLD_USERS,
    HELD_OUT_CATEGORY,
    HELD_OUT_MARKET,
    RANDOM_BY_ITEM,
)
from mmrec_lib.features.interactions import PARTS, Cuts
from mmrec_lib.models.data import Interactions

ContentTimes = Mapping[tuple[str, str], npt.NDArray[np.float64]]
"""By fit and feature: [I] epoch seconds of the latest text in each item's content; -inf where none has a time."""
_NUM_NAMED = 3


@dataclass(frozen=True)
class LeakageCheck:
    """Checks of one snapshot.

    Attributes:
        cuts: Where its parts end.
        user_ids: [U]
        item_ids: [I]
        parts: Interactions of train, valid and test, each [U, I].
        content_times: Times of the contents.
    """

    cuts: Cuts
    user_ids: npt.NDArray[np.str_]
    item_ids: npt.NDArray[np.str_]
    parts: Mapping[str, Interactions]
    content_times: ContentTimes

    def run(self) -> None:
        """Look for leaks.

        Raises:
            LeakageError: When events lie after the cut of their part, a held-out item or user has interactions that a
                fit sees, a pair is in two parts of a random split, or a fit's content was written after its cut.
        """
        by_source = {
            BY_TIME: self._in_time,
            BY_USER_TIME: self._in_time_by_user,
            RANDOM_BY_ITEM: self._pairs_apart,
            COLD_ITEMS: self._items_apart,
            HELD_OUT_CATEGORY: self._items_apart,
            COLD_USERS: self._users_apart,
            HELD_OUT_MARKET: self._users_apart,
        }
        if (check := by_source.get(self.cuts.source)) is not None:
            check()
        self._contents_in_time()

    def _in_time(self) -> None:
        """Events of a part lie before the cut that ends it, and not before the one that opens it."""
        first = {"valid": self.cuts.before("fit1"), "test": self.cuts.before("fit2")}
        ends = {"train": self.cuts.before("fit1"), "valid": self.cuts.before("fit2"), "test": self.cuts.before("fit3")}
        for part in PARTS:
            times = self.parts[part].times.data
            if (end := ends[part]) is not None:
                self._refuse_pairs(part, times >= end.timestamp(), f"happened from its cut {end.isoformat()} on")
            if (start := first.get(part)) is not None:
                self._refuse_pairs(part, times < start.timestamp(), f"happened before its cut {start.isoformat()}")

    def _in_time_by_user(self) -> None:
        """A user's events of a part are after all of the parts before it."""
        latest = np.full(len(self.user_ids), -np.inf)
        for part in PARTS:
            times, rows = self.parts[part].times.data, self._rows(part)
            self._refuse_pairs(part, times <= latest[rows], "are not after the user's events of the parts before it")
            np.maximum.at(latest, rows, times)

    def _pairs_apart(self) -> None:
        known = np.zeros(0, dtype=np.int64)
        for part in PARTS:
            pairs = self._rows(part) * len(self.item_ids) + self.parts[part].weights.indices
            self._refuse_pairs(part, np.isin(pairs, known), "are in a part before it too")
            known = np.concatenate([known, pairs])

    def _items_apart(self) -> None:
        """Held-out items have no interaction before, and so no popularity."""
        is_known = np.zeros(len(self.item_ids), dtype=np.bool_)
        for part in PARTS:
            columns = self.parts[part].weights.indices
            self._refuse_pairs(part, is_known[columns], "are of items that a part before it knows")
            is_known[columns] = True

    def _users_apart(self) -> None:
        is_known = np.zeros(len(self.user_ids), dtype=np.bool_)
        for part in PARTS:
            rows = self._rows(part)
            self._refuse_pairs(part, is_known[rows], "are of users that a part before it knows")
            is_known[rows] = True

    def _contents_in_time(self) -> None:
        for (fit, feature), times in sorted(self.content_times.items()):
            cut = self.cuts.before(fit)
            # Of what has a time, a fit without a cut may know nothing.
            late = np.flatnonzero(times >= (-np.inf if cut is None else cut.timestamp()))
            late = late[np.isfinite(times[late])]
            if late.size:
                named = ", ".join(self.item_ids[late[:_NUM_NAMED]].tolist())
                rule = "has no cut in time" if cut is None else f"ends before {cut.isoformat()}"
                raise LeakageError(
                    f"Leakage: {fit} {rule}, but its content {feature} of {late.size:,} items holds text from after it "
                    f"(items {named}). Run assemble_snapshot with --force."
                )

    def _rows(self, part: str) -> npt.NDArray[np.intp]:
        """[nnz] user of each pair of a part."""
        return np.repeat(np.arange(len(self.user_ids)), np.diff(self.parts[part].weights.indptr))

    def _refuse_pairs(self, part: str, is_leak: npt.NDArray[np.bool_], rule: str) -> None:
        if is_leak.any():
            raise LeakageError(
                f"Leakage: {int(is_leak.sum()):,} of {is_leak.size:,} interactions of the part {part} (split "
                f"{self.cuts.source}) {rule}: {', '.join(self._named(part, is_leak))}. Run assemble_snapshot with "
                "--force."
            )

    def _named(self, part: str, is_leak: npt.NDArray[np.bool_]) -> Iterator[str]:
        rows, columns = self._rows(part), self.parts[part].weights.indices
        for at in np.flatnonzero(is_leak)[:_NUM_NAMED]:
            yield f"user {self.user_ids[rows[at]]} on item {self.item_ids[columns[at]]}"
