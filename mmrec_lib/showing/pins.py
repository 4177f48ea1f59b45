"""Pinned items at their places in finished lists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from mmrec_lib.errors import ShowingError
from mmrec_lib.showing.item_rules import NO_GROUP, ItemRules, Pin, UserLimits

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class PinnedLists:
    """Lists with their pins.

    Attributes:
        indices: [n, k] int32, -1 padded at the end.
        scores: [n, k] float32, -inf where padded, never increasing: a pinned item has the score of the next item below
            it that is not pinned, else of the one above; 0 in a list of nothing but pins.
        is_pinned: [n, k] True for items that a rule put at their place.
    """

    indices: npt.NDArray[np.int32]
    scores: npt.NDArray[np.float32]
    is_pinned: Flags


def check_positions(pins: Sequence[Pin], k: int) -> None:
    """Refuse pins beyond the end of lists, which nobody would see.

    Args:
        pins: The pins.
        k: Length of the lists.

    Raises:
        ShowingError: When a position is above k.
    """
    if beyond := [pin for pin in pins if pin.position > k]:
        raise ShowingError(
            f"rule `{beyond[0].rule}`: positions of 1 to {k} (scoring.k) are needed, but an item is pinned at "
            f"{beyond[0].position}."
        )


def place_pins(
    indices: npt.NDArray[np.int32],
    scores: npt.NDArray[np.float32],
    limits: UserLimits,
    rules: ItemRules,
    k: int,
    *,
    hidden: sparse.csr_matrix | None = None,
) -> PinnedLists:
    """Put pinned items at their places; the others keep their order around them.

    A pin is passed over for users who may not get the item: it is not listed, not allowed to their group, blocked or
    hidden. Where a list is too short for a position the item closes it: lists have no gaps.

    Args:
        indices: [n, c] lists, best first, -1 padded at the end.
        scores: [n, c] their scores, -inf where padded.
        limits: Limits of the users.
        rules: The rules.
        k: Length of the lists that come out.
        hidden: [n, I] entries for more items that a user must not get, such as seen ones.

    Raises:
        ShowingError: When shapes do not fit.
    """
    num_users = len(limits)
    if indices.shape != scores.shape or indices.ndim != 2 or len(indices) != num_users:
        raise ShowingError(
            f"pins: lists and scores of {num_users} users need one shape [n, c], got {indices.shape} and {scores.shape}"
        )
    kept_out = _kept_out([pin.item for pin in rules.pins], limits, hidden)
    pinned = np.full((num_users, k), -1, dtype=np.int32)
    is_taken = np.zeros(indices.shape, dtype=np.bool_)
    for place, pin in enumerate(rules.pins):
        if pin.position > k:
            continue
        applies = _may_get(pin.item, limits, rules) & ~kept_out[:, place]
        if pin.segment is not None:
            applies &= limits.in_segment[pin.segment]
        pinned[applies, pin.position - 1] = pin.item
        is_taken |= applies[:, None] & (indices == pin.item)
    return _merged(indices, scores, pinned, is_taken)


def _may_get(item: int, limits: UserLimits, rules: ItemRules) -> Flags:
    """[n] True for users who may get an item, as far as rules for many say."""
    may = np.full(len(limits), bool(rules.is_listed[item]))
    if rules.allowed is not None:
        in_group = limits.group_of_user != NO_GROUP
        may[in_group] &= rules.allowed[limits.group_of_user[in_group], item]
    return may


def _kept_out(items: Sequence[int], limits: UserLimits, hidden: sparse.csr_matrix | None) -> Flags:
    """[n, items] True where a user must not get an item; one pass over the entries for all items."""
    distinct, place = np.unique(np.array(items, dtype=np.int64), return_inverse=True)
    found = np.zeros((len(limits), len(distinct)), dtype=np.bool_)
    for matrix in (limits.blocked, hidden):
        if matrix is not None:
            at = np.flatnonzero(np.isin(matrix.indices, distinct) & (matrix.data != 0))
            rows = np.searchsorted(matrix.indptr, at, side="right") - 1
            found[rows, np.searchsorted(distinct, matrix.indices[at])] = True
    return found[:, place]


def _merged(
    indices: npt.NDArray[np.int32], scores: npt.NDArray[np.float32], pinned: npt.NDArray[np.int32], is_taken: Flags
) -> PinnedLists:
    num_users = len(pinned)
    # The others, in order, without gaps, and as many places more as a list may need.
    order = np.argsort((indices < 0) | is_taken, axis=1, kind="stable")
    others = np.take_along_axis(np.where(is_taken, -1, indices), order, axis=1)
    values = np.take_along_axis(np.where(is_taken, -np.inf, scores), order, axis=1)
    others = np.concatenate([others, np.full((num_users, 1), -1, others.dtype)], axis=1)
    values = np.concatenate([values, np.full((num_users, 1), -np.inf, values.dtype)], axis=1)
    is_free = pinned < 0
    at = np.minimum(np.cumsum(is_free, axis=1) - 1, others.shape[1] - 1)
    merged = np.where(is_free, np.take_along_axis(others, np.maximum(at, 0), axis=1), pinned)
    value = np.where(is_free, np.take_along_axis(values, np.maximum(at, 0), axis=1), np.nan)
    closed = np.argsort(merged < 0, axis=1, kind="stable")
    merged, value, is_free = (np.take_along_axis(array, closed, axis=1) for array in (merged, value, is_free))
    is_pinned = ~is_free
    return PinnedLists(merged.astype(np.int32), _filled(value, merged >= 0).astype(np.float32), is_pinned)


def _filled(value: npt.NDArray[np.floating], is_filled: Flags) -> npt.NDArray[np.floating]:
    """Values with those of the next place below instead of NaN, else of the next above, else 0."""
    k = value.shape[1]
    places = np.arange(k)
    below = np.where(is_filled & ~np.isnan(value), places, k)
    below = np.minimum.accumulate(below[:, ::-1], axis=1)[:, ::-1]
    value = np.where(np.isnan(value) & (below < k), np.take_along_axis(value, np.minimum(below, k - 1), axis=1), value)
    above = np.maximum.accumulate(np.where(np.isnan(value), -1, places), axis=1)
    return np.where(above < 0, 0.0, np.take_along_axis(value, np.maximum(above, 0), axis=1))
