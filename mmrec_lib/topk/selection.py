"""Exact selection of the k best columns of score blocks, ties broken by column, in plain numpy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmrec_lib.errors import ModelError

NO_ITEM = -1

# Groups per wanted item in the bound below: more groups make the bound tighter and the grouping dearer.
_GROUPS_PER_ITEM = 4


@dataclass(frozen=True)
class TopItems:
    """The best items of a block of users, best first.

    Attributes:
        indices: [n, k] int32 item indices; NO_ITEM (-1) where a user has fewer than k candidates.
        scores: [n, k] float32 scores; -inf beside NO_ITEM.
    """

    indices: NDArray[np.int32]
    scores: NDArray[np.float32]

    @property
    def k(self) -> int:
        """Length of each list."""
        return int(self.indices.shape[1])


def empty_top(num_rows: int, k: int) -> TopItems:
    """Lists of `num_rows` users that hold no item yet."""
    if k < 1:
        raise ModelError(f"top-k: k must be at least 1, got {k}")
    return TopItems(
        indices=np.full((num_rows, k), NO_ITEM, dtype=np.int32),
        scores=np.full((num_rows, k), -np.inf, dtype=np.float32),
    )


def select_top(scores: NDArray[np.float32], k: int) -> TopItems:
    """The k best columns of each row, by score descending, then column ascending.

    Args:
        scores: [n, num_items] scores; -inf marks an item that must not be listed.
        k: Length of the lists.

    Raises:
        ModelError: When k is below 1 or a score is NaN or +inf.

    Example:
        The masked item is not listed, and of equal scores the earlier column comes first.

        >>> top = select_top(np.array([[0.5, 0.9, -np.inf, 0.5]], dtype=np.float32), k=4)
        >>> top.indices.tolist()
        [[1, 0, 3, -1]]
    """
    if np.isnan(scores).any() or np.isposinf(scores).any():
        raise ModelError("scores: each must be finite, or -inf for a masked item; got NaN or +inf; check the vectors")
    return merge_block(empty_top(scores.shape[0], k), scores, first_column=0)


def merge_block(top: TopItems, scores: NDArray[np.float32], first_column: int) -> TopItems:
    """Lists after one more block of items was offered; blocks come in ascending order of columns.

    A row's current k-th score is a threshold that few scores of later blocks exceed, so that after the first block
    nearly all work is one comparison a score. In the first block the threshold is bounded from below instead: the
    k-th largest of disjoint groups' maxima cannot exceed the k-th largest score.

    Args:
        top: Lists so far.
        scores: [n, block] scores of items first_column .. first_column + block - 1; -inf marks a masked item.
        first_column: Item index of the block's first column.
    """
    k = top.k
    # Later columns lose ties against listed ones, so only scores strictly above the k-th can enter.
    lowest_N1 = np.nextafter(top.scores[:, -1:], np.float32(np.inf))
    if bool(np.isneginf(top.scores[:, -1]).any()):
        lowest_N1 = np.maximum(lowest_N1, _group_bound(scores, k))
    rows, columns = np.nonzero(scores >= lowest_N1)
    if rows.size == 0:
        return top
    num_found = np.bincount(rows, minlength=scores.shape[0])
    place = np.arange(rows.size) - np.repeat(np.cumsum(num_found) - num_found, num_found)

    touched = np.flatnonzero(num_found)
    width = int(num_found.max())
    row_of = np.zeros(scores.shape[0], dtype=np.intp)
    row_of[touched] = np.arange(touched.size)
    pool_scores = np.full((touched.size, k + width), -np.inf, dtype=np.float32)
    pool_indices = np.full((touched.size, k + width), NO_ITEM, dtype=np.int32)
    pool_scores[:, :k] = top.scores[touched]
    pool_indices[:, :k] = top.indices[touched]
    pool_scores[row_of[rows], k + place] = scores[rows, columns]
    pool_indices[row_of[rows], k + place] = columns + first_column

    # Listed items and then the block's columns stand in ascending order within equal scores: a stable sort keeps that.
    order = np.argsort(-pool_scores, axis=1, kind="stable")[:, :k]
    indices, best = top.indices.copy(), top.scores.copy()
    indices[touched] = np.take_along_axis(pool_indices, order, axis=1)
    best[touched] = np.take_along_axis(pool_scores, order, axis=1)
    return TopItems(indices=indices, scores=best)


def _group_bound(scores: NDArray[np.float32], k: int) -> NDArray[np.float32]:
    """A lower bound [n, 1] of each row's k-th largest score: the k-th largest maximum of disjoint groups of columns."""
    num_groups = _GROUPS_PER_ITEM * k
    group_size = scores.shape[1] // num_groups
    if group_size < 2:
        return np.full((scores.shape[0], 1), -np.inf, dtype=np.float32)
    # Columns of a group lie num_groups apart, so that the maximum runs along contiguous memory.
    grouped = scores[:, : group_size * num_groups].reshape(scores.shape[0], group_size, num_groups)
    maxima = grouped.max(axis=1)
    return np.partition(maxima, num_groups - k, axis=1)[:, num_groups - k : num_groups - k + 1]
