"""Exact search in plain numpy, for inputs too small to load compiled kernels for.

A product in float32 screens the items; those that its rounding leaves in doubt are decided by exact scores.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mmrec_lib.topk.items import NO_GROUP, PreparedItems, UserBatch
from mmrec_lib.topk.scores import NO_KEY, exact_scores, lists_of_keys, order_keys, pad_dimensions
from mmrec_lib.topk.selection import NO_ITEM, TopItems, empty_top

USER_BLOCK = 1024
ITEM_BLOCK = 8192
# Share of the items, the longest, that are looked at first.
_LONGEST_SHARE = 8
# Longest items that are not longer than the others by so much decide for nobody.
_LEAST_LENGTH_RATIO = 1.25
# Lengths are rounded; see `checked_vectors`.
_LENGTH_ERROR = 1e-4


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


@dataclass(frozen=True)
class _LongestItems:
    """The longest items of a catalogue.

    Attributes:
        items: Them, in the order of the catalogue.
        places: [num_longest] int32 their positions in the catalogue.
        at: [num_items] int32 position of an item among them, or -1.
        next_length: Length that no other item exceeds.
    """

    items: PreparedItems
    places: NDArray[np.int32]
    at: NDArray[np.int32]
    next_length: float


def search_longest(items: PreparedItems, users: UserBatch) -> TopItems | None:
    """Lists of a few users from the longest items alone; None where another item may belong into one of them.

    A score is at most the product of two lengths (Cauchy-Schwarz), so that a list whose last score is above that of all
    shorter items is the list of the whole catalogue. For one user it is an eighth of a pass over the catalogue.
    """
    longest = items.cache.get(_LONGEST)
    if longest is None:
        longest = items.cache[_LONGEST] = _longest_items(items)
    if not isinstance(longest, _LongestItems):
        return None
    seen = users.seen
    if seen is not None:
        owners, columns = np.repeat(np.arange(len(users)), np.diff(seen.indptr)), longest.at[seen.indices]
        rows, columns = owners[columns >= 0], columns[columns >= 0]
        indptr = np.searchsorted(rows, np.arange(len(users) + 1))
        shape = (len(users), longest.items.num_items)
        seen = sparse.csr_matrix((np.ones(len(rows), np.bool_), columns, indptr), shape=shape)
    own = UserBatch(users.vectors, users.norms, seen, users.groups, users.k)
    top = search_with_numpy(longest.items, own, item_block=longest.items.num_items)
    bounds = users.norms * longest.next_length * (1 + _LENGTH_ERROR)
    if not (top.scores[:, -1] > bounds).all():
        return None
    is_item = top.indices != NO_ITEM
    return TopItems(np.where(is_item, longest.places[top.indices], NO_ITEM).astype(np.int32), top.scores)


_LONGEST = "longest"


def _longest_items(items: PreparedItems) -> _LongestItems | str:
    """The longest items; a word where they are hardly longer than the others, or none."""
    num_longest = items.num_items // _LONGEST_SHARE
    lengths = np.sqrt(np.einsum("nd,nd->n", items.vectors, items.vectors, dtype=np.float64))
    if not num_longest:
        return "too few"
    next_length = float(np.partition(lengths, -num_longest - 1)[-num_longest - 1])
    if next_length * _LEAST_LENGTH_RATIO > items.largest_norm:
        return "alike"
    places = np.flatnonzero(lengths > next_length).astype(np.int32)
    at = np.full(items.num_items, -1, dtype=np.int32)
    at[places] = np.arange(len(places), dtype=np.int32)
    allowed = None if items.allowed is None else items.allowed[:, places]
    own = PreparedItems(items.vectors[places], items.is_listed[places], allowed, items.largest_norm)
    return _LongestItems(own, places, at, next_length)


def _search_block(items: PreparedItems, users: UserBatch, rows: slice, item_block: int) -> TopItems:
    vectors, groups, k = users.vectors[rows], users.groups[rows], users.k
    exact_users = pad_dimensions(vectors)
    seen = users.seen[rows] if users.seen is not None else None
    top = empty_top(len(vectors), k)
    zero = np.flatnonzero(users.norms[rows] == 0)
    for first in range(0, items.num_items, item_block):
        last = min(first + item_block, items.num_items)
        scores = vectors @ items.vectors[first:last].T
        if not items.are_all_listed:
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
        may_belong = (scores >= lowest[:, None]) & (scores > -np.inf)
        # Of equal items the first ones: without this each item of the catalogue would be a candidate.
        num_open = (top.indices[zero] == NO_ITEM).sum(axis=1)
        may_belong[zero] &= np.cumsum(may_belong[zero], axis=1) <= num_open[:, None]
        chosen_rows, chosen = np.nonzero(may_belong)
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
        best = scores.max(axis=1) if k == 1 else np.partition(scores, place, axis=1)[:, place]
        known = np.maximum(known, best.astype(np.float64) - errors)
    return np.nextafter((known - errors).astype(np.float32), np.float32(-np.inf))


def _merge(top: TopItems, rows: NDArray[np.intp], keys: NDArray[np.uint64]) -> TopItems:
    """Lists after candidates were offered; rows ascend."""
    num_found = np.bincount(rows, minlength=top.indices.shape[0])
    place = np.arange(rows.size) - np.repeat(np.cumsum(num_found) - num_found, num_found)
    pool = np.full((top.indices.shape[0], top.k + int(num_found.max())), NO_KEY, dtype=np.uint64)
    pool[:, : top.k] = order_keys(top.scores, top.indices)
    pool[rows, top.k + place] = keys
    return lists_of_keys(pool, top.k)
