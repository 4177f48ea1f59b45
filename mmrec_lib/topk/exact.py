"""Exact top-k by blocked matrix products: memory is bounded by the block sizes, never by users times items."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mmrec_lib.errors import ModelError
from mmrec_lib.topk.selection import TopItems, empty_top, merge_block

USER_BLOCK = 1024
ITEM_BLOCK = 8192


@dataclass(frozen=True)
class _Excluded:
    """Excluded (row, item) pairs of a user block, ordered by item so that an item block is one slice of them."""

    rows: NDArray[np.intp]
    items: NDArray[np.intp]

    @staticmethod
    def of(seen: sparse.csr_matrix, start: int, stop: int) -> _Excluded:
        first, last = seen.indptr[start], seen.indptr[stop]
        items = seen.indices[first:last].astype(np.intp)
        rows = np.repeat(np.arange(stop - start), np.diff(seen.indptr[start : stop + 1]))
        order = np.argsort(items, kind="stable")
        return _Excluded(rows=rows[order], items=items[order])

    def mask(self, scores: NDArray[np.float32], first_column: int) -> None:
        """Set the pairs that fall into a block of item columns to -inf."""
        low, high = np.searchsorted(self.items, (first_column, first_column + scores.shape[1]))
        scores[self.rows[low:high], self.items[low:high] - first_column] = -np.inf


def exact_top(
    user_vectors: NDArray[np.float32],
    item_vectors: NDArray[np.float32],
    k: int,
    *,
    seen: sparse.csr_matrix | None = None,
    unavailable: NDArray[np.bool_] | None = None,
    user_block: int = USER_BLOCK,
    item_block: int = ITEM_BLOCK,
) -> TopItems:
    """The k items with the largest dot product for each user, by score descending, then item index.

    Args:
        user_vectors: [num_users, dim] float32.
        item_vectors: [num_items, dim] float32.
        k: Length of the lists.
        seen: [num_users, num_items]; every stored entry is an item that must not be listed for that user.
        unavailable: [num_items] True for items that nobody must get.
        user_block: Users multiplied at once.
        item_block: Items multiplied at once; a block of scores takes 4 * user_block * item_block bytes.

    Returns:
        Lists [num_users, k]; index -1 and score -inf where a user has fewer than k candidates.

    Raises:
        ModelError: When shapes do not fit, k is below 1 or a vector is not finite.

    Example:
        The user saw item 0, which would be the best.

        >>> user = np.array([[1, 0]], dtype=np.float32)
        >>> items = np.array([[3, 0], [1, 5], [2, 0]], dtype=np.float32)
        >>> exact_top(user, items, k=2, seen=sparse.csr_matrix([[1, 0, 0]])).indices.tolist()
        [[2, 1]]
    """
    users, items = _checked(user_vectors, "user vectors"), _checked(item_vectors, "item vectors")
    num_users, num_items = users.shape[0], items.shape[0]
    if users.shape[1] != items.shape[1]:
        raise ModelError(f"top-k: user and item vectors need one length, got {users.shape[1]} and {items.shape[1]}")
    if seen is not None and seen.shape != (num_users, num_items):
        raise ModelError(f"top-k: seen items must have shape {(num_users, num_items)}, got {seen.shape}")
    if unavailable is not None and unavailable.shape != (num_items,):
        raise ModelError(f"top-k: the unavailable mask must have shape {(num_items,)}, got {unavailable.shape}")

    lists = empty_top(num_users, k)
    for start in range(0, num_users, user_block):
        stop = min(start + user_block, num_users)
        excluded = _Excluded.of(seen, start, stop) if seen is not None else None
        top = empty_top(stop - start, k)
        for first in range(0, num_items, item_block):
            last = min(first + item_block, num_items)
            scores = users[start:stop] @ items[first:last].T
            if unavailable is not None:
                scores[:, unavailable[first:last]] = -np.inf
            if excluded is not None:
                excluded.mask(scores, first)
            top = merge_block(top, scores, first)
        lists.indices[start:stop] = top.indices
        lists.scores[start:stop] = top.scores
    return lists


def nearest(
    item_vectors: NDArray[np.float32],
    k: int,
    *,
    unavailable: NDArray[np.bool_] | None = None,
    user_block: int = USER_BLOCK,
    item_block: int = ITEM_BLOCK,
) -> TopItems:
    """The k most similar other items of each item, by cosine, most similar first.

    Args:
        item_vectors: [num_items, dim] float32. An all-zero vector is like nothing: its own list is empty and it is in
            no other list.
        k: Length of the lists.
        unavailable: [num_items] True for items that must not be a neighbour; they still get a list of their own.
        user_block: Items whose lists are made at once.
        item_block: Candidates compared at once.

    Returns:
        Lists [num_items, k]; index -1 and score -inf where there are fewer neighbours.

    Raises:
        ModelError: When k is below 1, a shape does not fit or a vector is not finite.

    Example:
        Cosines: length does not matter, and an item is not its own neighbour.

        >>> items = np.array([[1, 0], [9, 0], [0, 1]], dtype=np.float32)
        >>> nearest(items, k=1).indices.tolist()
        [[1], [0], [0]]
    """
    items = _checked(item_vectors, "item vectors")
    lengths = np.linalg.norm(items, axis=1)
    is_zero = lengths == 0
    unit = items / np.where(is_zero, 1.0, lengths).astype(np.float32)[:, None]
    num_items = items.shape[0]
    itself = sparse.csr_matrix(
        (np.ones(num_items, dtype=np.bool_), np.arange(num_items), np.arange(num_items + 1)),
        shape=(num_items, num_items),
    )
    hidden = is_zero if unavailable is None else is_zero | unavailable
    top = exact_top(unit, unit, k, seen=itself, unavailable=hidden, user_block=user_block, item_block=item_block)
    top.indices[is_zero] = -1
    top.scores[is_zero] = -np.inf
    # Rounding may lift a cosine a little above 1.
    np.clip(top.scores, None, 1.0, out=top.scores)
    return top


def _checked(vectors: NDArray[np.float32], subject: str) -> NDArray[np.float32]:
    """Contiguous float32 [n, dim], after the checks."""
    if vectors.ndim != 2:
        raise ModelError(f"{subject}: a matrix [n, dim] is needed, got shape {vectors.shape}")
    if not np.isfinite(vectors).all():
        bad = int(np.flatnonzero(~np.isfinite(vectors).all(axis=1))[0])
        raise ModelError(f"{subject}: every number must be finite, but row {bad} has NaN or infinity")
    return np.ascontiguousarray(vectors, dtype=np.float32)
