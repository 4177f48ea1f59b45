"""Compiled kernels of filters: items that users must not get, by place."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from mmrec_lib.topk.compiling import compiled
from mmrec_lib.topk.int8_kernels import PANEL_ITEMS


class Filters(NamedTuple):
    """Items that users must not get.

    Attributes:
        seen: Places of seen items, ascending for each user from `start` to `end`; `next` moves along them.
        start: By user.
        next: By user.
        end: By user.
        words: [num_groups, num_words] bits of allowed places.
        groups: By user: a row of words, or -1.
    """

    seen: Any
    start: Any
    next: Any
    end: Any
    words: Any
    groups: Any


@compiled
def sort_values(values: Any, start: int, end: int) -> None:
    """Sort a part of an array in place (Shell's sort, with Knuth's gaps); it compiles faster than np.sort."""
    gap = 1
    while gap < (end - start) // 3:
        gap = 3 * gap + 1
    while gap > 0:
        for n in range(start + gap, end):
            value, at = values[n], n
            while at >= start + gap and values[at - gap] > value:
                values[at] = values[at - gap]
                at -= gap
            values[at] = value
        gap //= 3


@compiled
def list_equal_scores(users: Any, k: int, place_of_item: Any, filters: Any, indices: Any, scores: Any) -> None:
    """Lists of users whose vector is zero: every score is 0, so the first items that they may get."""
    for user in users:
        group, listed = filters.groups[user], 0
        seen = filters.seen[filters.start[user] : filters.end[user]]
        for item in range(place_of_item.size):
            place = place_of_item[item]
            if place < 0:
                continue
            if group >= 0:
                word = filters.words[group, place // PANEL_ITEMS]
                if (word >> np.uint64(place % PANEL_ITEMS)) & np.uint64(1) == 0:
                    continue
            at = np.searchsorted(seen, place)
            if at < seen.size and seen[at] == place:
                continue
            indices[user, listed], scores[user, listed] = item, 0.0
            listed += 1
            if listed == k:
                break


@compiled
def sort_rows(values: Any, starts: Any, ends: Any) -> None:
    """Sort each row of ragged rows in place."""
    for row in range(starts.size):
        sort_values(values, starts[row], ends[row])
