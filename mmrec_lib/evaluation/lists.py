"""Metrics of lists beyond accuracy: diversity, novelty, popularity, calibration by user; coverage and Gini of all.

Shape suffixes: N users, K places, I items, G categories, D dimensions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mmrec_lib.errors import ModelError
from mmrec_lib.evaluation.auc import midranks
from mmrec_lib.evaluation.metrics import hit_lists

_BLOCK = 2048


def intra_list_diversity(top: NDArray[np.int32], vectors: NDArray[np.float32], k: int) -> NDArray[np.float64]:
    """Mean of 1 - cosine over all pairs of a list's first k items, from 0 (all alike) to 2.

    Items without a vector are in no pair.

    Source: B. Smyth, P. McClave 2001, Similarity vs. Diversity; C.-N. Ziegler et al. 2005, Improving Recommendation
    Lists Through Topic Diversification (there the similarity within a list).

    Args:
        top: [n, at least k] item indices, best first, -1 where a list ends early.
        vectors: [I, d] of length 1, or all-zero where unknown.
        k: Cut-off.

    Returns:
        [n]; NaN for lists without a pair.

    Example:
        Two of three pairs are orthogonal, one is of equals.

        >>> vectors = np.array([[1, 0], [1, 0], [0, 1]], dtype=np.float32)
        >>> intra_list_diversity(np.array([[0, 1, 2]], dtype=np.int32), vectors, k=3).round(3).tolist()
        [0.667]
    """
    listed = _first(top, k)
    result = np.full(len(listed), np.nan)
    for start in range(0, len(listed), _BLOCK):
        rows = listed[start : start + _BLOCK]
        vectors_NKD = np.where((rows >= 0)[:, :, None], vectors[rows], 0).astype(np.float64)
        squares_N = np.square(vectors_NKD).sum(axis=(1, 2))
        counts_N = vectors_NKD.any(axis=2).sum(axis=1)
        # The squared length of the sum has each pair twice, and each item with itself.
        pairs_N = (np.square(vectors_NKD.sum(axis=1)).sum(axis=1) - squares_N) / 2
        num_pairs_N = counts_N * (counts_N - 1) / 2
        has_pair = num_pairs_N > 0
        result[start : start + _BLOCK][has_pair] = 1.0 - pairs_N[has_pair] / num_pairs_N[has_pair]
    return result


def novelty(top: NDArray[np.int32], popularity: NDArray[Any], k: int) -> NDArray[np.float64]:
    """Mean self-information of a list's first k items, in bits: -log2 of an item's share of all interactions.

    One is added to the interactions of each item, so that an item without any has a share too.

    Source: T. Zhou et al. 2010, Solving the Apparent Diversity-Accuracy Dilemma of Recommender Systems; S. Vargas,
    P. Castells 2011, Rank and Relevance in Novelty and Diversity Metrics for Recommender Systems.

    Args:
        top: [n, at least k] item indices, -1 where a list ends early.
        popularity: [I] number of interactions.
        k: Cut-off.

    Returns:
        [n]; NaN for empty lists.

    Example:
        Shares are 1/2, 1/4 and 1/4.

        >>> novelty(np.array([[0, 1], [2, -1]], dtype=np.int32), np.array([3.0, 1.0, 1.0]), k=2).tolist()
        [1.5, 2.0]
    """
    counts_I = _counts(popularity) + 1
    return _list_mean(_first(top, k), np.log2(counts_I.sum()) - np.log2(counts_I))


def average_popularity(top: NDArray[np.int32], popularity: NDArray[Any], k: int) -> NDArray[np.float64]:
    """Mean number of interactions of a list's first k items (ARP); arguments and result as of `novelty`.

    Source: H. Yin et al. 2012, Challenging the Long Tail Recommendation; H. Abdollahpouri, R. Burke, B. Mobasher 2019,
    Managing Popularity Bias in Recommender Systems with Personalized Re-Ranking.

    Example:
        >>> average_popularity(np.array([[0, 1], [2, -1]], dtype=np.int32), np.array([3, 1, 1]), k=2).tolist()
        [2.0, 1.0]
    """
    return _list_mean(_first(top, k), _counts(popularity))


def popularity_percentile(top: NDArray[np.int32], popularity: NDArray[Any], k: int) -> NDArray[np.float64]:
    """Mean popularity percentile of a list's first k items: the share of the catalogue that is less popular.

    Items that are as popular count half, so that lists drawn at random have 0.5 on average, and lists of the most
    popular items nearly 1. Arguments and result as of `novelty`.

    Source: O. Celma, P. Cano 2008, From Hits to Niches? or How Popular Artists Can Bias Music Recommendation and
    Discovery (popularity of lists by position in the catalogue).

    Example:
        >>> popularity_percentile(np.array([[0], [2]], dtype=np.int32), np.array([9, 1, 1, 0]), k=1).tolist()
        [0.875, 0.5]
    """
    counts_I = _counts(popularity)
    return _list_mean(_first(top, k), (midranks(counts_I) - 0.5) / max(len(counts_I), 1))


def serendipity(
    top: NDArray[np.int32], expected: NDArray[np.int32], relevant: sparse.csr_matrix, k: int
) -> NDArray[np.float64]:
    """Share of a list's first k places with an item that is relevant and not in the list that one expects.

    Source: M. Ge, C. Delgado-Battenfeld, D. Jannach 2010, Beyond Accuracy: Evaluating Recommender Systems by Coverage
    and Serendipity; T. Murakami, K. Mori, R. Orihara 2007, Metrics for Evaluating the Serendipity of Recommendation
    Lists (a primitive model makes the expected list).

    Args:
        top: [n, at least k] item indices, -1 where a list ends early.
        expected: [n, at least k] list of a primitive model, such as the most popular items.
        relevant: [n, I] every stored entry is a relevant item.
        k: Cut-off.

    Returns:
        [n].

    Example:
        Items 0 and 2 are relevant, and everybody expects item 0.

        >>> top, expected = np.array([[0, 2]], dtype=np.int32), np.array([[0, 1]], dtype=np.int32)
        >>> serendipity(top, expected, sparse.csr_matrix([[1, 0, 1]]), k=2).tolist()
        [0.5]
    """
    listed, known = _first(top, k), _first(expected, k)
    is_surprise = hit_lists(listed, relevant)
    for start in range(0, len(listed), _BLOCK):
        some = slice(start, start + _BLOCK)
        is_surprise[some] &= ~(listed[some, :, None] == known[some, None, :]).any(axis=2)
    shares: NDArray[np.float64] = is_surprise.sum(axis=1) / k
    return shares


def miscalibration(
    top: NDArray[np.int32],
    categories: sparse.csr_matrix,
    history: sparse.csr_matrix,
    k: int,
    smoothing: float = 0.01,
) -> NDArray[np.float64]:
    """Kullback-Leibler divergence of a list's categories from those of the user's history; 0 is calibrated.

    sum_g p(g) log(p(g) / q'(g)), q' = (1 - smoothing) q + smoothing p, with p the shares of categories in the history
    by weight and q those in the first k items; an item of several categories counts in equal parts for each. Items
    without a category count for nothing.

    Source: H. Steck 2018, Calibrated Recommendations.

    Args:
        top: [n, at least k] item indices, -1 where a list ends early.
        categories: [I, G] every stored entry is a category of the item.
        history: [n, I] weights.
        k: Cut-off.
        smoothing: Share of p mixed into q, above 0, so that a missing category costs a bounded amount.

    Returns:
        [n]; NaN for users whose history has no category, and for lists without one.

    Example:
        The history is half a and half b, the list is all a.

        >>> categories, history = sparse.csr_matrix([[1, 0], [0, 1]]), sparse.csr_matrix([[1.0, 1.0]])
        >>> miscalibration(np.array([[0]], dtype=np.int32), categories, history, k=1).round(3).tolist()
        [1.959]
    """
    if not 0 < smoothing < 1:
        raise ModelError(f"calibration: smoothing must lie between 0 and 1, got {smoothing:g}")
    shares = sparse.csr_matrix(categories, dtype=np.float64, copy=True)
    shares.sum_duplicates()
    lengths = np.diff(shares.indptr)
    shares.data = np.repeat(1.0 / np.maximum(lengths, 1), lengths)
    listed = _first(top, k)
    rows, places = np.nonzero(listed >= 0)
    ones = sparse.csr_matrix((np.ones(rows.size), (rows, listed[rows, places])), shape=(len(listed), shares.shape[0]))
    wanted, actual = (_with_sums_of_one(sparse.csr_matrix(m @ shares)) for m in (history.astype(np.float64), ones))
    # Only categories of the history count; the list's shares of them, zeros included, in the same order.
    at_rows = np.repeat(np.arange(wanted.shape[0]), np.diff(wanted.indptr))
    given = np.asarray(actual[at_rows, wanted.indices]).reshape(-1)
    terms = wanted.data * np.log(wanted.data / ((1 - smoothing) * given + smoothing * wanted.data))
    result = np.bincount(at_rows, weights=terms, minlength=len(listed)).astype(np.float64)
    result[(np.diff(wanted.indptr) == 0) | (np.diff(actual.indptr) == 0)] = np.nan
    return result


def exposures(top: NDArray[np.int32], num_items: int, k: int) -> NDArray[np.int64]:
    """[I] number of lists that show an item in their first k places."""
    listed = _first(top, k)
    return np.bincount(listed[listed >= 0], minlength=num_items).astype(np.int64)


def catalogue_coverage(top: NDArray[np.int32], num_items: int, k: int) -> float:
    """Share of the catalogue that stands in the first k places of at least one list.

    Source: M. Ge, C. Delgado-Battenfeld, D. Jannach 2010, Beyond Accuracy: Evaluating Recommender Systems by Coverage
    and Serendipity.

    Example:
        >>> catalogue_coverage(np.array([[0, 1], [1, -1]], dtype=np.int32), num_items=4, k=2)
        0.5
    """
    return float((exposures(top, num_items, k) > 0).mean()) if num_items else 0.0


def gini(top: NDArray[np.int32], num_items: int, k: int) -> float:
    """Gini coefficient of exposures over the catalogue: 0 where all items are shown alike, 1 - 1/I where one only is.

    With exposures e ascending: sum_i (2 i - I - 1) e_i / (I sum e). Items never shown count.

    Source: D. Fleder, K. Hosanagar 2009, Blockbuster Culture's Next Rise or Fall.

    Returns:
        0 where nothing is shown.

    Example:
        >>> gini(np.array([[0], [0]], dtype=np.int32), num_items=4, k=1)
        0.75
    """
    ascending = np.sort(exposures(top, num_items, k)).astype(np.float64)
    if ascending.sum() == 0:
        return 0.0
    weights = 2 * np.arange(1, num_items + 1) - num_items - 1
    return float(weights @ ascending / (num_items * ascending.sum()))


def _first(top: NDArray[np.int32], k: int) -> NDArray[np.int32]:
    if not 1 <= k <= top.shape[1]:
        raise ModelError(f"metrics: cut-offs must lie between 1 and the list length {top.shape[1]}, got {k}")
    return top[:, :k]


def _counts(popularity: NDArray[Any]) -> NDArray[np.float64]:
    if popularity.size and not (np.isfinite(popularity).all() and popularity.min() >= 0):
        raise ModelError("popularity: numbers of interactions must be finite and at least 0")
    return popularity.astype(np.float64)


def _list_mean(listed: NDArray[np.int32], values_I: NDArray[np.float64]) -> NDArray[np.float64]:
    is_item = listed >= 0
    counts_N = is_item.sum(axis=1)
    sums_N = np.where(is_item, values_I[listed], 0.0).sum(axis=1)
    return np.where(counts_N > 0, sums_N / np.maximum(counts_N, 1), np.nan)


def _with_sums_of_one(matrix: sparse.csr_matrix) -> sparse.csr_matrix:
    """Rows divided by their sums, without zeros."""
    matrix.eliminate_zeros()
    matrix.sort_indices()
    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    totals = np.bincount(rows, weights=matrix.data, minlength=matrix.shape[0])
    matrix.data = matrix.data / totals[rows]
    return matrix
