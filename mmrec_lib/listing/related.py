"""Lists of an item: complements, and what continues it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mmrec_lib.listing.config import (
    BOUGHT_TOGETHER,
    CONTINUE_WITH,
    BoughtTogetherConfig,
    ContinueWithConfig,
    ListsConfig,
)
from mmrec_lib.listing.items import Ints, ListingItems, Margins
from mmrec_lib.listing.measures import log_likelihood_ratio, order_statistic
from mmrec_lib.listing.selection import NO_SUPPORT, Entries, select_lists
from mmrec_lib.showing.attributes import one_array

DECLARED = 1.0
"""Score of what the catalogue itself says to be next; shares of users are less."""


@dataclass(frozen=True)
class Pairs:
    """Counted pairs of items.

    Attributes:
        left: [n] positions of the items that the lists belong to.
        right: [n] positions of the items that may be listed.
        num: [n] cases of each pair; `NO_SUPPORT` where the catalogue itself names the pair.
        num_reversed: [n] cases in the other order, where there is one.
    """

    left: Ints
    right: Ints
    num: Ints
    num_reversed: Ints

    def where(self, is_kept: NDArray[np.bool_]) -> Pairs:
        """The pairs that a mask [n] keeps."""
        return Pairs(self.left[is_kept], self.right[is_kept], self.num[is_kept], self.num_reversed[is_kept])


def related_lists(pairs: pa.Table, items: ListingItems, config: ListsConfig) -> list[pa.RecordBatch]:
    """Lists of some items, rows of `selection.LISTS`.

    Items that may not be shown are left out before selection, so that lists stay full.

    Args:
        pairs: list_type, item_id, related_item_id, num_pairs (null for a pair that the catalogue names), num_reversed;
            all pairs of each item.
        items: The catalogue.
        config: Settings.
    """
    scorers: dict[str, Callable[[Pairs], Entries]] = {}
    if (bought := config.bought_together) is not None:
        scorers[BOUGHT_TOGETHER] = lambda counted: complements(counted, items, bought)
    if (following := config.continue_with) is not None:
        scorers[CONTINUE_WITH] = lambda counted: successors(counted, items.margins[CONTINUE_WITH], following)
    left, right = (items.positions(one_array(pairs[name])) for name in ("item_id", "related_item_id"))
    num, num_reversed = (
        one_array(pairs[name]).fill_null(NO_SUPPORT).to_numpy(zero_copy_only=False).astype(np.int64)
        for name in ("num_pairs", "num_reversed")
    )
    counted = Pairs(left, right, num, num_reversed)
    may_be_listed = (left >= 0) & (right >= 0) & (left != right) & items.is_listed[right]
    types = one_array(pairs["list_type"]).to_numpy(zero_copy_only=False)
    return [
        select_lists(
            name, score(counted.where(may_be_listed & (types == name))), items.item_ids, items.item_ids, config.k
        )
        for name, score in scorers.items()
    ]


def complements(pairs: Pairs, items: ListingItems, config: BoughtTogetherConfig) -> Entries:
    """Pairs that share baskets significantly often and are no substitutes, scored by their log-likelihood ratio."""
    ratio = _association(pairs, items.margins[BOUGHT_TOGETHER])
    is_kept = (pairs.num >= config.min_support) & (ratio >= config.min_llr) & (ratio > 0)
    if config.substitute_similarity is not None:
        at = np.flatnonzero(is_kept)
        is_kept[at] = ~items.are_substitutes(pairs.left[at], pairs.right[at], config.substitute_similarity)
    return Entries(pairs.left, pairs.right, ratio, pairs.num).where(is_kept)


def successors(pairs: Pairs, margins: Margins, config: ContinueWithConfig) -> Entries:
    """Items that the catalogue names as next, then those that follow significantly often and in this order.

    The score is the share of users who took the second item right after the first, with `config.prior` users more who
    did not. A pair that is both named and counted is named.
    """
    is_named = pairs.num == NO_SUPPORT
    named = Entries(pairs.left, pairs.right, np.full(len(pairs.left), DECLARED), pairs.num).where(is_named)
    # A pair that is named twice, by series and graph, is one entry.
    keys, first = np.unique(named.owners * len(margins.num_left) + named.items, return_index=True)
    once = np.zeros(len(named.owners), dtype=np.bool_)
    once[first] = True
    counted = pairs.where(~is_named)
    ratio = _association(counted, margins)
    is_kept = (counted.num >= config.min_support) & (ratio >= config.min_llr) & (ratio > 0)
    is_kept &= order_statistic(counted.num, counted.num_reversed) >= config.min_order
    is_kept &= ~np.isin(counted.left * len(margins.num_left) + counted.right, keys)
    shares = counted.num / (margins.num_left[counted.left] + config.prior)
    found = Entries(counted.left, counted.right, shares, counted.num).where(is_kept)
    return Entries.joined(named.where(once), found)


def next_parts(series: pa.Array, parts: NDArray[np.float64]) -> tuple[Ints, Ints]:
    """Items and the items with the next number of the same series; several items may share a number.

    Args:
        series: [I] name of each item's series, or null.
        parts: [I] number in it; NaN for none.

    Example:
        Part 2 is missing, so that part 3 follows part 1.

        >>> left, right = next_parts(pa.array(["s", "s", None, "s"]), np.array([3.0, 1.0, 1.0, np.nan]))
        >>> left.tolist(), right.tolist()
        ([1], [0])
    """
    codes = series.dictionary_encode().indices.fill_null(-1).to_numpy(zero_copy_only=False)
    known = np.flatnonzero((codes >= 0) & np.isfinite(parts))
    order = known[np.lexsort((parts[known], codes[known]))]
    steps, step_of = np.unique(np.stack([codes[order], parts[order]]), axis=1, return_inverse=True)
    step_of = step_of.ravel()
    has_next = np.append(steps[0, 1:] == steps[0, :-1], False)
    first, size = np.unique(step_of, return_index=True, return_counts=True)[1:]
    # Every item of a step is followed by all items of the next one.
    left = np.flatnonzero(has_next[step_of])
    num_next = size[step_of[left] + 1]
    within = np.arange(num_next.sum()) - np.repeat(np.cumsum(num_next) - num_next, num_next)
    return np.repeat(order[left], num_next), order[np.repeat(first[step_of[left] + 1], num_next) + within]


def _association(pairs: Pairs, margins: Margins) -> NDArray[np.float64]:
    return log_likelihood_ratio(
        pairs.num, margins.num_left[pairs.left], margins.num_right[pairs.right], float(margins.total)
    )
