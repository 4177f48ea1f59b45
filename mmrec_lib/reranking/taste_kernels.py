"""Compiled kernels of calibrated lists: what an item adds to the fit of a list's categories to the history's.

Shape suffixes: N users, I items, P patterns (sets of categories).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from mmrec_lib.topk.compiling import compiled


class Tastes(NamedTuple):
    """Shares of categories in histories and items.

    Attributes:
        starts: [N + 1] int64 where the categories of a user start.
        categories: int32 categories of users' histories.
        shares: float64 their shares; a user's add up to 1.
        patterns: [I] int32 set of categories that an item has.
        pattern_starts: [P + 1] int64.
        pattern_categories: int32 categories of a set.
        pattern_shares: float64 share of each; a set's add up to 1.
        num_categories: Number of categories.
        smoothing: Share of the history's distribution mixed into the list's.
    """

    starts: Any
    categories: Any
    shares: Any
    patterns: Any
    pattern_starts: Any
    pattern_categories: Any
    pattern_shares: Any
    num_categories: int
    smoothing: float


class UserTaste(NamedTuple):
    """One user's calibration.

    Attributes:
        slots: Position of each category among those of the user, or -1.
        mass: By position: what the list holds of it.
        wanted: By position: share in the history.
        logs: By position: logarithm of the share in the list with one item more, without that item's part.
        kept: Patterns of the candidates.
        local: Position of each pattern in `kept`, or -1.
        gains: By position: what an item of that pattern adds.
    """

    slots: Any
    mass: Any
    wanted: Any
    logs: Any
    kept: Any
    local: Any
    gains: Any


@compiled
def start_taste(taste: Any, tastes: Any, user: int, items: Any, count: int) -> Any:
    """Note a user's categories and the candidates' patterns; returns the numbers of both and the entropy's negative."""
    first = tastes.starts[user]
    num_wanted = tastes.starts[user + 1] - first
    information = 0.0
    for n in range(num_wanted):
        share = tastes.shares[first + n]
        taste.slots[tastes.categories[first + n]] = n
        taste.wanted[n], taste.mass[n] = share, 0.0
        information += share * math.log(share)
    num_kept = 0
    for n in range(count):
        pattern = tastes.patterns[items[n]]
        if taste.local[pattern] < 0:
            taste.local[pattern] = num_kept
            taste.kept[num_kept] = pattern
            num_kept += 1
    return num_wanted, num_kept, information


@compiled
def end_taste(taste: Any, tastes: Any, user: int, num_kept: int) -> None:
    """Make the arrays ready for the next user."""
    for n in range(tastes.starts[user], tastes.starts[user + 1]):
        taste.slots[tastes.categories[n]] = -1
    for n in range(num_kept):
        taste.local[taste.kept[n]] = -1


@compiled
def taste_gains(
    taste: Any, tastes: Any, num_wanted: int, num_kept: int, information: float, total: float, weight: float
) -> None:
    """Negative weighted Kullback-Leibler divergence of the list with one item of each pattern more."""
    alpha = tastes.smoothing
    fits = 0.0
    for n in range(num_wanted):
        taste.logs[n] = math.log((1 - alpha) * taste.mass[n] / (total + 1) + alpha * taste.wanted[n])
        fits += taste.wanted[n] * taste.logs[n]
    for n in range(num_kept):
        pattern = taste.kept[n]
        start, end = tastes.pattern_starts[pattern], tastes.pattern_starts[pattern + 1]
        fit = fits
        if start == end:
            # Items without a category leave the list's distribution as it is.
            fit = 0.0
            for m in range(num_wanted):
                share = taste.mass[m] / total if total > 0 else 0.0
                fit += taste.wanted[m] * math.log((1 - alpha) * share + alpha * taste.wanted[m])
        for at in range(start, end):
            slot = taste.slots[tastes.pattern_categories[at]]
            if slot >= 0:
                share = (taste.mass[slot] + tastes.pattern_shares[at]) / (total + 1)
                fit += taste.wanted[slot] * (
                    math.log((1 - alpha) * share + alpha * taste.wanted[slot]) - taste.logs[slot]
                )
        taste.gains[n] = -weight * (information - fit) if num_wanted > 0 else 0.0


@compiled
def add_taste(taste: Any, tastes: Any, item: int) -> float:
    """Add an item to the list's categories; returns its mass, 0 without a category."""
    pattern = tastes.patterns[item]
    start, end = tastes.pattern_starts[pattern], tastes.pattern_starts[pattern + 1]
    for at in range(start, end):
        slot = taste.slots[tastes.pattern_categories[at]]
        if slot >= 0:
            taste.mass[slot] += tastes.pattern_shares[at]
    return 1.0 if end > start else 0.0
