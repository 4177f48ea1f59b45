"""Slots of new items: chance decides what they show, and the probability of it is written down.

Chance decides each slot once: with probability epsilon it shows a new item, drawn evenly and without replacement from
the user's new items that are not in the list anyway, and the items from there on move down by one place. With s slots
above a place and m of them showing a new item, the place shows item (place - m) of the list; m is binomial. So the
probability of each item at each place is known exactly, as estimators by inverse propensity need it.

Source of such logging: A. Strehl, J. Langford, L. Li, S. Kakade 2010, Learning from Logged Implicit Exploration Data.
"""

from __future__ import annotations

from math import comb

import numpy as np
from numpy.typing import NDArray

from mmrec_lib.reranking.config import ExplorationConfig
from mmrec_lib.reranking.facts import NO_ITEM, Candidates, ItemFacts, RerankedLists

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FACTORS = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
_SHIFTS = (np.uint64(30), np.uint64(27), np.uint64(31))


def explore(
    lists: RerankedLists, pool: Candidates, items: ItemFacts, seeds: NDArray[np.uint64], config: ExplorationConfig
) -> RerankedLists:
    """Lists with new items in some slots, and the probability of what each place shows.

    A slot is used where the list reaches it and a new item is left for it.

    Args:
        lists: Lists [n, k] that nothing of chance is in.
        pool: Items that users may be shown; the new ones among them are drawn from.
        items: Facts of the items; none of a group of near-duplicates that the list shows is drawn.
        seeds: [n] uint64.
        config: Slots and epsilon.
    """
    num_users, k = lists.indices.shape
    counts = (lists.indices >= 0).sum(axis=1)
    new_items, new_scores, num_new = _drawable(lists, pool, items)
    slots = np.array([slot - 1 for slot in config.slots if slot <= k], np.int64)
    # The first slots of a user are used, as many as there are new items.
    is_used = (slots[None, :] < counts[:, None]) & (np.arange(slots.size)[None, :] < num_new[:, None])
    shows_new = is_used & (_uniform(seeds, 2 * np.arange(slots.size)) < config.epsilon)
    indices, scores = lists.indices.copy(), lists.scores.copy()
    _shuffle_first(new_items, new_scores, num_new, seeds, slots.size)

    place_shows_new = np.zeros((num_users, k), np.bool_)
    place_shows_new[:, slots] = shows_new
    num_above: NDArray[np.int64] = np.cumsum(place_shows_new, axis=1) - place_shows_new
    source = np.arange(k)[None, :] - num_above
    np.copyto(indices, np.take_along_axis(lists.indices, source, axis=1))
    np.copyto(scores, np.take_along_axis(lists.scores, source, axis=1))
    rows, columns = np.nonzero(shows_new)
    indices[rows, slots[columns]] = new_items[rows, columns]
    scores[rows, slots[columns]] = new_scores[rows, columns]

    num_slots_above = np.zeros((num_users, k), np.int64)
    num_slots_above[:, slots] = is_used
    is_slot = num_slots_above.astype(np.bool_)
    num_slots_above = np.cumsum(num_slots_above, axis=1) - is_slot
    moved = _binomial(slots.size, config.epsilon)[num_slots_above, num_above]
    # A place beyond the end of the list is filled only when enough slots above it show a new item.
    propensity = np.where(is_slot, (1 - config.epsilon) * moved, moved)
    propensity[rows, slots[columns]] = config.epsilon / num_new[rows]
    propensity[indices < 0] = 0.0
    return RerankedLists(indices=indices, scores=scores, propensity=propensity.astype(np.float32))


def _drawable(
    lists: RerankedLists, pool: Candidates, items: ItemFacts
) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.int64]]:
    """New items of each user that are not in the list, nor like one of it, nor like a better one of them."""
    num_users, num_items = len(pool), items.num_items
    # Each user's items as numbers: a group of near-duplicates is one, as is an item without any.
    unit = np.where(items.duplicate_group >= 0, num_items + items.duplicate_group, np.arange(num_items))
    rows, columns = np.nonzero((pool.indices >= 0) & items.is_new[pool.indices])
    keys = rows * (2 * num_items) + unit[pool.indices[rows, columns]]
    first = np.sort(np.unique(keys, return_index=True)[1])
    listed_rows, listed_places = np.nonzero(lists.indices >= 0)
    listed = listed_rows * (2 * num_items) + unit[lists.indices[listed_rows, listed_places]]
    kept = first[~np.isin(keys[first], listed)]
    rows, columns = rows[kept], columns[kept]
    num_new = np.bincount(rows, minlength=num_users)
    place = np.arange(rows.size) - np.repeat(np.cumsum(num_new) - num_new, num_new)
    width = int(num_new.max(initial=0))
    indices = np.full((num_users, width), NO_ITEM, np.int32)
    scores = np.full((num_users, width), -np.inf, np.float32)
    indices[rows, place] = pool.indices[rows, columns]
    scores[rows, place] = pool.scores[rows, columns]
    return indices, scores, num_new


def _shuffle_first(
    indices: NDArray[np.int32],
    scores: NDArray[np.float32],
    counts: NDArray[np.int64],
    seeds: NDArray[np.uint64],
    num_places: int,
) -> None:
    """Draw the first places evenly from each row's items, without replacement (Fisher and Yates)."""
    users = np.arange(len(counts))
    for place in range(min(num_places, indices.shape[1])):
        uniform = _uniform(seeds, np.array([2 * place + 1]))[:, 0]
        left = np.maximum(counts - place, 1)
        other = np.minimum(place + (uniform * left).astype(np.int64), indices.shape[1] - 1)
        for array in (indices, scores):
            drawn = array[users, other]
            array[users, other] = array[:, place]
            array[:, place] = drawn


def _uniform(seeds: NDArray[np.uint64], counters: NDArray[np.integer]) -> NDArray[np.float64]:
    """[n, counters] numbers from 0 to 1, a function of seed and counter (SplitMix64; Steele, Lea, Flood 2014)."""
    with np.errstate(over="ignore"):
        state = _mixed(seeds)[:, None] + (counters.astype(np.uint64)[None, :] + np.uint64(1)) * _GOLDEN
        return np.asarray((_mixed(state) >> np.uint64(11)) * 2.0**-53, dtype=np.float64)


def _mixed(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    with np.errstate(over="ignore"):
        state = (state ^ (state >> _SHIFTS[0])) * _FACTORS[0]
        state = (state ^ (state >> _SHIFTS[1])) * _FACTORS[1]
        return np.asarray(state ^ (state >> _SHIFTS[2]), dtype=np.uint64)


def _binomial(num_slots: int, epsilon: float) -> NDArray[np.float64]:
    """[num_slots + 1, num_slots + 1] probability that of the first s slots m show a new item."""
    table = np.zeros((num_slots + 1, num_slots + 1))
    for s in range(num_slots + 1):
        for m in range(s + 1):
            table[s, m] = comb(s, m) * epsilon**m * (1 - epsilon) ** (s - m)
    return table
