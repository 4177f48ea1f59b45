"""Full-ranking metrics by user, from score blocks or from ranked lists.

All of them are binary and look at the first k items of a ranking over the whole catalogue. A user's masked items
(score -inf) are never ranked. Callers leave out users without a relevant item; for them every value here is 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mmrec_lib.errors import ModelError
from mmrec_lib.topk.selection import select_top

METRICS = ("ndcg", "recall", "precision", "map", "f1", "mrr", "hit_rate")


def rank_metrics(
    scores: NDArray[np.float32], relevant: sparse.csr_matrix, ks: Sequence[int] = (10, 20)
) -> dict[str, NDArray[np.float64]]:
    """Metrics of each user, from the scores of a block of users over all items.

    Args:
        scores: [n, num_items] float32; -inf marks an item that must not be ranked. Equal scores rank by item index.
        relevant: [n, num_items]; every stored entry is a relevant item, whatever its value.
        ks: Cut-offs.

    Returns:
        `{"ndcg@10": [n] float64, …}` for each metric of METRICS and each cut-off; see `list_metrics`.

    Raises:
        ModelError: When shapes do not fit or a score is NaN or +inf.
    """
    return list_metrics(select_top(scores, max(ks)).indices, relevant, ks)


def list_metrics(
    top: NDArray[np.int32], relevant: sparse.csr_matrix, ks: Sequence[int] = (10, 20)
) -> dict[str, NDArray[np.float64]]:
    """Metrics of each user, from ranked lists.

    With rel_i = 1 where the item at rank i is relevant, R the number of the user's relevant items:

    - `ndcg@k`: sum_i rel_i / log2(i + 1), over the same sum of an ideal list with min(k, R) relevant items on top.
    - `recall@k`: hits / R.
    - `precision@k`: hits / k.
    - `map@k`: average precision, sum_i rel_i · precision@i / min(k, R); its mean over users is MAP@k.
    - `f1@k`: 2 hits / (k + R), the harmonic mean of precision and recall.
    - `mrr@k`: 1 / rank of the first hit, 0 without one; its mean over users is MRR@k.
    - `hit_rate@k`: 1 with a hit, else 0.

    Sources: K. Järvelin, J. Kekäläinen 2002, Cumulated Gain-Based Evaluation of IR Techniques (nDCG); C. D. Manning,
    P. Raghavan, H. Schütze 2008, Introduction to Information Retrieval, chapter 8 (precision, recall, F1, MAP); E. M.
    Voorhees 1999, The TREC-8 Question Answering Track Report (MRR); M. Deshpande, G. Karypis 2004, Item-Based Top-N
    Recommendation Algorithms (hit rate).

    Args:
        top: [n, at least max(ks)] item indices, best first, -1 where a list ends early.
        relevant: [n, num_items]; every stored entry is a relevant item, whatever its value.
        ks: Cut-offs.

    Returns:
        `{"ndcg@10": [n] float64, …}`; 0 for users without a relevant item.

    Raises:
        ModelError: When the lists are shorter than a cut-off, or the numbers of users differ.

    Example:
        Items 7 and 4 are relevant; item 7 is on rank 2, item 4 is not listed.

        >>> relevant = sparse.csr_matrix(([1, 1], ([0, 0], [4, 7])), shape=(1, 10))
        >>> values = list_metrics(np.array([[1, 7]], dtype=np.int32), relevant, ks=(2,))
        >>> [round(float(values[f"{metric}@2"][0]), 3) for metric in METRICS]
        [0.387, 0.5, 0.5, 0.25, 0.5, 0.5, 1.0]
    """
    if not ks or min(ks) < 1 or max(ks) > top.shape[1]:
        raise ModelError(f"metrics: cut-offs must lie between 1 and the list length {top.shape[1]}, got {list(ks)}")
    if top.shape[0] != relevant.shape[0]:
        raise ModelError(
            f"metrics: lists and relevant items need the same users, got {top.shape[0]} and {relevant.shape[0]}"
        )
    return hit_metrics(hit_lists(top[:, : max(ks)], relevant), np.diff(relevant.indptr), ks)


def hit_metrics(
    hits_NK: NDArray[np.bool_], num_relevant_N: NDArray[np.integer], ks: Sequence[int]
) -> dict[str, NDArray[np.float64]]:
    """Metrics of each user, from where the hits of a list are; see `list_metrics`.

    Args:
        hits_NK: [n, max(ks)] True where the item at this rank is relevant.
        num_relevant_N: [n] relevant items of each user, also those that are in no list.
        ks: Cut-offs.
    """
    safe_N = np.maximum(num_relevant_N, 1)

    ranks_K = np.arange(1, max(ks) + 1)
    discounts_K = 1.0 / np.log2(ranks_K + 1)
    hits_so_far_NK = np.cumsum(hits_NK, axis=1)
    gain_so_far_NK = np.cumsum(hits_NK * discounts_K, axis=1)
    precision_sum_NK = np.cumsum(hits_NK * hits_so_far_NK / ranks_K, axis=1)
    ideal_K = np.cumsum(discounts_K)

    values: dict[str, NDArray[np.float64]] = {}
    for k in ks:
        reachable_N = np.minimum(safe_N, k)
        values[f"ndcg@{k}"] = gain_so_far_NK[:, k - 1] / ideal_K[reachable_N - 1]
        values[f"recall@{k}"] = hits_so_far_NK[:, k - 1] / safe_N
        values[f"precision@{k}"] = hits_so_far_NK[:, k - 1] / float(k)
        values[f"map@{k}"] = precision_sum_NK[:, k - 1] / reachable_N
        values[f"f1@{k}"] = 2.0 * hits_so_far_NK[:, k - 1] / (k + num_relevant_N)
        values[f"mrr@{k}"] = (hits_NK[:, :k] / ranks_K[:k]).max(axis=1)
        values[f"hit_rate@{k}"] = (hits_so_far_NK[:, k - 1] > 0).astype(np.float64)
    return values


def hit_lists(top: NDArray[np.int32], relevant: sparse.csr_matrix) -> NDArray[np.bool_]:
    """[n, k] True where the listed item is one of the user's relevant items; `top` as in `list_metrics`."""
    num_items = relevant.shape[1]
    rows = np.repeat(np.arange(relevant.shape[0], dtype=np.int64), np.diff(relevant.indptr))
    # The end marker is larger than every pair, so that a place found by bisection always holds one.
    wanted = np.append(np.sort(rows * num_items + relevant.indices), relevant.shape[0] * num_items)
    listed_NK = np.arange(top.shape[0], dtype=np.int64)[:, None] * num_items + top
    # -1 would name the last item of the user before.
    hits_NK: NDArray[np.bool_] = (wanted[np.searchsorted(wanted, listed_NK)] == listed_NK) & (top >= 0)
    return hits_NK
