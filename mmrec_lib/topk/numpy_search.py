"""Exact search in plain numpy, for inputs too small to load compiled kernels for.

A product in float32 screens the items; those that its rounding leaves in doubt are decided by exact scores.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mmrec_lib.topk.items import NO_GROUP, PreparedItems, UserBatch
from mmrec_lib.topk.scores import NO_KEY, exact_scores, lists_of_keys, order_keys, pad_dimensions
from mmrec_lib.topk.selection import TopItems, empty_top

USER_BLOCK = 1024
ITEM_BLOCK = 8192


def search_with_numpy(
    items: PreparedItems, users: UserBatch, *, user_block: int = USER_BLOCK, item_block: int = ITEM_BLOCK
) -> TopItems:
    """Lists of all users; see `exact_top`."""
    lists = empty_top(len(users), users.k)
    for start in range(0, len(users), user_block):
        rows = slice(start, min(start + user_block, len(users)))
        top = _search_block(items, users, rows, item_block)
        lists.indices[rows], lists.scores[rows] = top.indices, top.scores
    return lists


def _search_block(items: PreparedItems, users: UserBatch, rows: slice, item_block: int) -> TopItems:
    vectors, groups, k = users.vectors[rows], users.groups[rows], users.k
    exact_users = pad_dimensions(vectors)
    seen = users.seen[rows] if users.seen is not None else None
    top = empty_top(len(vectors), k)
    for first in range(0, items.num_items, item_block):
        last = min(first + item_block, items.num_items)
        scores = vectors @ items.vectors[first:last].T
        scores[:, ~items.is_listed[first:last]] = -np.inf
        if items.allowed is not None and (groups != NO_GROUP).any():
            forbidden = ~items.allowed[groups, first:last] & (groups != NO_GROUP)[:, None]
            scores[forbidden] = -np.inf
        if seen is not None:
            owners = np.repeat(np.arange(len(vectors)), np.diff(seen.indptr))
            inside = (seen.indices >= first) & (seen.indices < last)
            scores[owners[inside], seen.indices[inside] - first] = -np.inf
        errors = screening_errors(vectors.shape[1], users.norms[rows], items.largest_norm)
        lowest = lowest_candidates(scores, top.scores[:, -1], errors, k)
        chosen_rows, chosen = np.nonzero((scores >= lowest[:, None]) & (scores > -np.inf))
        if chosen.size:
            found = exact_scores(exact_users, items.padded, chosen_rows, chosen + first)
            top = _merge(top, chosen_rows, order_keys(found, (chosen + first).astype(np.int32)))
    return top


def screening_errors(dim: int, norms: NDArray[np.float64], largest: float) -> NDArray[np.float64]:
    """Bounds [n] of the difference between a float32 product in any order of summation and the exact score."""
    rounding = (dim + 8) * 2.0**-23
    # The last term is for numbers below the smallest normal float32.
    return norms * largest * rounding + (dim + 8) * 2.0**-148


def lowest_candidates(
    scores: NDArray[np.float32], listed: NDArray[np.float32], errors: NDArray[np.float64], k: int
) -> NDArray[np.float32]:
    """The lowest screened score [n] that can belong to an item of the list."""
    known = listed.astype(np.float64)
    if scores.shape[1] >= k:
        place = scores.shape[1] - k
        known = np.maximum(known, np.partition(scores, place, axis=1)[:, place].astype(np.float64) - errors)
    return np.nextafter((known - errors).astype(np.float32), np.float32(-np.inf))


def _merge(top: TopItems, rows: NDArray[np.intp], keys: NDArray[np.uint64]) -> TopItems:
    """Lists after candidates were offered; rows ascend."""
    num_found = np.bincount(rows, minlength=top.indices.shape[0])
    place = np.arange(rows.size) - np.repeat(np.cumsum(num_found) - num_found, num_found)
    pool = np.full((top.indices.shape[0], top.k + int(num_found.max())), NO_KEY, dtype=np.uint64)
    pool[:, : top.k] = order_keys(top.scores, top.indices)
    pool[rows, top.k + place] = keys
    return lists_of_keys(pool, top.k)
