"""Area under the ROC curve by user, over all items that a user may get.

Sources: H. B. Mann, D. R. Whitney 1947, On a Test of Whether One of Two Random Variables is Stochastically Larger than
the Other; J. A. Hanley, B. J. McNeil 1982, The Meaning and Use of the Area under a ROC Curve; H. Zhu et al. 2017,
Optimized Cost per Click in Taobao Display Advertising (GAUC).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

NO_PAIR = 0.5
"""Value of a user without a pair to order, because nothing but relevant items is left: as good as chance."""


def user_auc(scores: NDArray[np.float32], relevant: sparse.csr_matrix) -> NDArray[np.float64]:
    """Share of the pairs of a relevant and another item that a user's scores order right; ties count half.

    Args:
        scores: [n, num_items] float32; -inf marks an item that is masked.
        relevant: [n, num_items]; every stored entry is a relevant item that is not masked.

    Returns:
        [n]; `NO_PAIR` for users without such a pair.

    Example:
        Item 2 is relevant: it is above item 0 and tied with item 1.

        >>> scores = np.array([[0.1, 0.7, 0.7, -np.inf]], dtype=np.float32)
        >>> user_auc(scores, sparse.csr_matrix([[0, 0, 1, 0]])).tolist()
        [0.75]
    """
    num_masked = np.isneginf(scores).sum(axis=1)
    return auc_of_midranks(relevant_midranks(scores, relevant, num_masked), relevant, scores.shape[1] - num_masked)


def relevant_midranks(
    scores: NDArray[np.float32], relevant: sparse.csr_matrix, num_masked: NDArray[np.integer]
) -> NDArray[np.float64]:
    """Ranks of the relevant items among a user's candidates, from 1 for the lowest score; tied ones share their mean.

    Args:
        scores: [n, num_items] float32; -inf for the masked items, which are no candidates.
        relevant: [n, num_items]; every stored entry is a relevant candidate.
        num_masked: [n] number of masked items.

    Returns:
        [relevant.nnz] in the order of its stored entries.
    """
    ascending = np.sort(scores, axis=1)
    rows = np.repeat(np.arange(len(scores)), np.diff(relevant.indptr))
    wanted = scores[rows, relevant.indices]
    # Masked items stand first; a candidate that a model gave -inf too is tied with no candidate above it.
    below = np.maximum(_num_below(ascending, rows, wanted) - num_masked[rows], 0)
    up_to = _num_below(ascending, rows, np.nextafter(wanted, np.float32(np.inf))) - num_masked[rows]
    ranks: NDArray[np.float64] = (below + up_to + 1) / 2
    return ranks


def _num_below(
    ascending: NDArray[np.float32], rows: NDArray[np.intp], values: NDArray[np.float32]
) -> NDArray[np.int64]:
    """Number of a row's entries below each value, by bisection of all rows at once."""
    low, high = np.zeros(rows.size, np.int64), np.full(rows.size, ascending.shape[1], np.int64)
    while (is_open := low < high).any():
        middle = (low + high) // 2
        is_below = is_open & (ascending[rows, np.minimum(middle, ascending.shape[1] - 1)] < values)
        low, high = np.where(is_below, middle + 1, low), np.where(is_open & ~is_below, middle, high)
    return low


def midranks(values: NDArray[Any]) -> NDArray[np.float64]:
    """Ranks of values, from 1 for the lowest; equal ones share the mean of theirs.

    Args:
        values: [n] without NaN.

    Example:
        >>> midranks(np.array([5, 1, 5])).tolist()
        [2.5, 1.0, 2.5]
    """
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: NDArray[np.float64] = (np.cumsum(counts) - (counts - 1) / 2)[places]
    return ranks


def auc_of_midranks(
    ranks: NDArray[np.float64], relevant: sparse.csr_matrix, num_candidates: NDArray[np.integer]
) -> NDArray[np.float64]:
    """Area under the curve of each user, from the ranks of the relevant items by the Mann-Whitney statistic.

    Args:
        ranks: [relevant.nnz] see `relevant_midranks`.
        relevant: [n, num_items].
        num_candidates: [n] candidates, the relevant ones among them.

    Returns:
        [n]; `NO_PAIR` for users without a pair of a relevant and another candidate.
    """
    num_relevant = np.diff(relevant.indptr)
    rows = np.repeat(np.arange(len(num_relevant)), num_relevant)
    sums = np.bincount(rows, weights=ranks, minlength=len(num_relevant))
    num_pairs = num_relevant * (num_candidates - num_relevant)
    ordered = sums - num_relevant * (num_relevant + 1) / 2
    return np.where(num_pairs > 0, ordered / np.maximum(num_pairs, 1), NO_PAIR)
