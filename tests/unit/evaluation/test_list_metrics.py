"""Metrics of lists agree with hand-made values and with a naive reading of their definitions."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from scipy import sparse

from mmrec_lib.errors import ModelError
from mmrec_lib.evaluation import (
    ListFacts,
    MetricRow,
    average_popularity,
    catalogue_coverage,
    gini,
    intra_list_diversity,
    list_effects,
    list_metrics,
    miscalibration,
    novelty,
    popularity_percentile,
    serendipity,
)

NUM_USERS, NUM_ITEMS, LENGTH = 7, 25, 8


def case(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Lists, vectors, categories, history and popularity."""
    rng = np.random.default_rng(seed)
    top = np.argsort(rng.random((NUM_USERS, NUM_ITEMS)), axis=1)[:, :LENGTH].astype(np.int32)
    top[np.arange(LENGTH)[None, :] >= rng.integers(0, LENGTH + 1, NUM_USERS)[:, None]] = -1
    vectors = rng.normal(size=(NUM_ITEMS, 3))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[rng.random(NUM_ITEMS) < 0.2] = 0
    categories = rng.random((NUM_ITEMS, 4)) < 0.3
    history = rng.integers(1, 4, (NUM_USERS, NUM_ITEMS)) * (rng.random((NUM_USERS, NUM_ITEMS)) < 0.15)
    history[0] = 0
    return top, vectors.astype(np.float32), categories, history.astype(np.float64), rng.integers(0, 9, NUM_ITEMS)


def same(value: float, expected: list[float] | float | None) -> bool:
    """Equal, or both not defined."""
    if expected is None:
        return math.isnan(value)
    return value == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("seed", range(50))
@pytest.mark.parametrize("k", [1, 5, LENGTH])
def test_metrics_equal_their_naive_definitions(seed: int, k: int) -> None:
    top, vectors, categories, history, popularity = case(seed)
    diversity, surprise = intra_list_diversity(top, vectors, k), novelty(top, popularity.astype(float), k)
    divergence = miscalibration(top, sparse.csr_matrix(categories), sparse.csr_matrix(history), k)
    shares = categories / np.maximum(categories.sum(axis=1, keepdims=True), 1)
    for user in range(NUM_USERS):
        listed = [item for item in top[user, :k].tolist() if item >= 0]
        known = [item for item in listed if vectors[item].any()]
        pairs = [1 - float(vectors[i] @ vectors[j]) for i, j in combinations(known, 2)]
        assert same(diversity[user], sum(pairs) / len(pairs) if pairs else None)
        bits = [-math.log2((popularity[i] + 1) / (popularity.sum() + NUM_ITEMS)) for i in listed]
        assert same(surprise[user], sum(bits) / len(bits) if bits else None)
        p, q = history[user] @ shares, sum((shares[i] for i in listed), np.zeros(4))
        expected = None
        if p.sum() > 0 and q.sum() > 0:
            p, q = p / p.sum(), q / q.sum()
            expected = sum(a * math.log(a / (0.99 * b + 0.01 * a)) for a, b in zip(p, q, strict=True) if a > 0)
        assert same(divergence[user], expected)
    counts = np.bincount(top[:, :k][top[:, :k] >= 0], minlength=NUM_ITEMS)
    assert catalogue_coverage(top, NUM_ITEMS, k) == np.count_nonzero(counts) / NUM_ITEMS
    differences = np.abs(counts[:, None] - counts[None, :]).sum()
    # Half the relative mean absolute difference.
    expected_gini = differences / (2 * NUM_ITEMS * counts.sum()) if counts.sum() else 0.0
    assert gini(top, NUM_ITEMS, k) == pytest.approx(expected_gini)


def test_effects_are_the_metrics_before_and_after_with_paired_differences() -> None:
    before, vectors, categories, history, popularity = case(1)
    after = case(3)[0]
    before[0], after[1] = -1, -1
    relevant = sparse.csr_matrix(np.random.default_rng(0).random((NUM_USERS, NUM_ITEMS)) < 0.1)
    facts = ListFacts(
        popularity=popularity.astype(float),
        vectors=vectors,
        categories=sparse.csr_matrix(categories),
        history=sparse.csr_matrix(history),
        relevant=relevant,
    )
    lists = {"ranker": before, "same": before, "reranked": after}
    rows = {(row.model, row.name): row for row in list_effects(lists, facts, ks=(3, 5))}
    assert len(rows) == 3 * 6 * 2
    both = ~np.isnan(novelty(before, popularity, 5)) & ~np.isnan(novelty(after, popularity, 5))
    old, new = (novelty(top, popularity, 5)[both] for top in (before, after))
    assert not both[:2].any() and 0 < both.sum() < NUM_USERS - 1
    first, second = rows["ranker", "novelty@5"], rows["reranked", "novelty@5"]
    assert (first.value, second.value) == pytest.approx((old.mean(), new.mean()))
    assert second.diff == pytest.approx((old - new).mean())
    assert second.diff_low is not None and second.diff_high is not None and second.diff is not None
    assert second.diff_low <= second.diff <= second.diff_high
    assert first.diff is None and first.num_users == second.num_users == int(both.sum())
    assert {row.segment for row in rows.values()} == {"lists"}
    assert rows["same", "novelty@5"].value == first.value and rows["same", "novelty@5"].diff == 0
    has_relevant = np.diff(relevant.indptr) > 0
    ndcg = list_metrics(after, relevant, (3,))["ndcg@3"][has_relevant].mean()
    assert rows["reranked", "ndcg@3"].value == pytest.approx(ndcg)
    gini_row = MetricRow("reranked", "lists", "gini", 5, gini(after, NUM_ITEMS, 5), num_users=NUM_USERS)
    assert rows["reranked", "gini@5"] == gini_row


def test_metrics_that_lack_facts_are_left_out() -> None:
    top = case(1)[0]
    rows = list_effects({"ranker": top}, ListFacts(popularity=np.ones(NUM_ITEMS)), ks=(2,))
    assert {row.metric for row in rows} == {"novelty", "coverage", "gini"}


def test_lists_of_other_users_or_too_short_ones_are_refused() -> None:
    facts, top = ListFacts(popularity=np.ones(NUM_ITEMS)), case(1)[0]
    with pytest.raises(ModelError, match="same users"):
        list_effects({"ranker": top, "reranked": top[1:]}, facts, ks=(2,))
    with pytest.raises(ModelError, match="cut-offs"):
        list_effects({"ranker": top}, facts, ks=(LENGTH + 1,))
    with pytest.raises(ModelError, match="cut-offs"):
        gini(top, NUM_ITEMS, 0)
    with pytest.raises(ModelError, match="at least 0"):
        novelty(top, np.full(NUM_ITEMS, -2.0), 1)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("k", [1, 5, LENGTH])
def test_popularity_of_lists_equals_its_naive_definition(seed: int, k: int) -> None:
    top, _, _, history, popularity = case(seed)
    expected = np.argsort(-popularity, kind="stable")[:LENGTH].astype(np.int32)
    mean, percentile = average_popularity(top, popularity, k), popularity_percentile(top, popularity, k)
    surprise = serendipity(top, np.tile(expected, (NUM_USERS, 1)), sparse.csr_matrix(history), k)
    for user in range(NUM_USERS):
        listed = [item for item in top[user, :k].tolist() if item >= 0]
        less = [(popularity < popularity[item]).mean() + (popularity == popularity[item]).mean() / 2 for item in listed]
        assert same(mean[user], float(np.mean(popularity[listed])) if listed else None)
        assert same(percentile[user], float(np.mean(less)) if listed else None)
        wanted = {item for item in listed if history[user, item] > 0} - set(expected[:k].tolist())
        assert surprise[user] == pytest.approx(len(wanted) / k)


def test_lists_drawn_at_random_are_of_middling_popularity_and_the_most_popular_ones_are_no_surprise() -> None:
    popularity = np.random.default_rng(0).geometric(0.2, NUM_ITEMS)
    every = np.arange(NUM_ITEMS, dtype=np.int32)[None]
    assert popularity_percentile(every, popularity, NUM_ITEMS)[0] == pytest.approx(0.5)
    popular = np.argsort(-popularity)[None, :5].astype(np.int32)
    assert serendipity(popular, popular, sparse.csr_matrix(np.ones((1, NUM_ITEMS))), 5).tolist() == [0.0]


def test_negative_popularity_is_refused() -> None:
    with pytest.raises(ModelError, match="at least 0"):
        average_popularity(np.zeros((1, 1), np.int32), np.array([-1.0]), 1)
