"""Metrics agree with hand-made values and with a naive reading of their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.metrics import f1_score, label_ranking_average_precision_score, ndcg_score, precision_score, recall_score

from mmrec_lib.errors import ModelError
from mmrec_lib.evaluation.metrics import METRICS, list_metrics, rank_metrics


def naive(scores: np.ndarray, relevant: set[int], k: int) -> dict[str, float]:
    ranked = sorted((c for c in range(scores.size) if scores[c] > -np.inf), key=lambda c: (-scores[c], c))[:k]
    hits = [item in relevant for item in ranked]
    reach = min(k, len(relevant))
    dcg = sum(1 / math.log2(place + 2) for place, hit in enumerate(hits) if hit)
    ideal = sum(1 / math.log2(place + 2) for place in range(reach))
    precisions = [sum(hits[: place + 1]) / (place + 1) for place, hit in enumerate(hits) if hit]
    return {
        f"ndcg@{k}": dcg / ideal if reach else 0.0,
        f"recall@{k}": sum(hits) / len(relevant) if relevant else 0.0,
        f"precision@{k}": sum(hits) / k,
        f"map@{k}": sum(precisions) / reach if reach else 0.0,
        f"f1@{k}": 2 * sum(hits) / (k + len(relevant)),
        f"mrr@{k}": next((1 / (place + 1) for place, hit in enumerate(hits) if hit), 0.0),
        f"hit_rate@{k}": float(any(hits)),
    }


@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    num_items=st.integers(1, 60),
    share=st.sampled_from([0.0, 0.1, 0.6]),
    masked=st.sampled_from([0.0, 0.5]),
)
def test_metrics_equal_their_naive_definitions(seed: int, num_items: int, share: float, masked: float) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 8, (6, num_items)).astype(np.float32)
    scores[rng.random(scores.shape) < masked] = -np.inf
    relevant = rng.random(scores.shape) < share
    values = rank_metrics(scores, sparse.csr_matrix(relevant), ks=(1, 5, 10))
    assert set(values) == {f"{metric}@{k}" for metric in METRICS for k in (1, 5, 10)}
    for row in range(6):
        for k in (1, 5, 10):
            for name, expected in naive(scores[row], set(np.flatnonzero(relevant[row])), k).items():
                assert values[name][row] == pytest.approx(expected, abs=1e-12), (name, row)


def test_a_hand_made_ranking_has_the_known_values() -> None:
    # Relevant are items 0, 2 and 9; the ranking starts 0, 1, 2.
    scores = np.array([[10, 9, 8, 7, 6, 5, 4, 3, 2, 1]], np.float32)
    relevant = sparse.csr_matrix(np.isin(np.arange(10), [0, 2, 9])[None])
    values = rank_metrics(scores, relevant, ks=(3,))
    assert values["recall@3"][0] == pytest.approx(2 / 3)
    assert values["precision@3"][0] == pytest.approx(2 / 3)
    assert values["ndcg@3"][0] == pytest.approx((1 + 0.5) / (1 + 1 / math.log2(3) + 0.5))
    assert values["map@3"][0] == pytest.approx((1 + 2 / 3) / 3)


def test_a_list_that_ends_early_counts_no_hit_in_its_padding() -> None:
    relevant = sparse.csr_matrix(np.array([[0, 1], [1, 0]]))
    values = list_metrics(np.array([[0, -1], [-1, -1]], np.int32), relevant, ks=(2,))
    assert values["recall@2"].tolist() == [0.0, 0.0]


def test_cut_offs_outside_the_lists_are_refused() -> None:
    with pytest.raises(ModelError, match="cut-offs"):
        list_metrics(np.zeros((1, 5), np.int32), sparse.csr_matrix((1, 9)), ks=(10,))


def test_other_numbers_of_users_are_refused() -> None:
    with pytest.raises(ModelError, match="same users"):
        rank_metrics(np.zeros((2, 5), np.float32), sparse.csr_matrix((3, 5)), ks=(1,))


@pytest.mark.parametrize("seed", range(5))
def test_metrics_agree_with_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    num_items, k = 30, 5
    scores = rng.permuted(np.tile(np.arange(num_items, dtype=np.float32), (8, 1)), axis=1)
    relevant = rng.random(scores.shape) < 0.3
    relevant[:, 0] = True
    values = rank_metrics(scores, sparse.csr_matrix(relevant), ks=(k, num_items))
    listed = np.argsort(np.argsort(-scores, axis=1), axis=1) < k
    for row in range(8):
        # Its ideal list is cut at k as ours is.
        assert values[f"ndcg@{k}"][row] == pytest.approx(ndcg_score(relevant[[row]], scores[[row]], k=k))
        assert values[f"precision@{k}"][row] == pytest.approx(precision_score(relevant[row], listed[row]))
        assert values[f"recall@{k}"][row] == pytest.approx(recall_score(relevant[row], listed[row]))
        assert values[f"f1@{k}"][row] == pytest.approx(f1_score(relevant[row], listed[row]))
        whole = label_ranking_average_precision_score(relevant[[row]], scores[[row]])
        assert values[f"map@{num_items}"][row] == pytest.approx(whole)
        # With one relevant item the average precision is the reciprocal rank.
        best = np.where(relevant[row], scores[row], -1).argmax()
        only = np.arange(num_items) == best
        reciprocal = label_ranking_average_precision_score(only[None], scores[[row]])
        assert values[f"mrr@{num_items}"][row] == pytest.approx(reciprocal)
