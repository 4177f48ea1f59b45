"""Approximate search: filters hold, scores are exact, and recall is measured."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from mmrec_lib.errors import ModelError
from mmrec_lib.topk.approximate import ApproximateConfig, ApproximateIndex, IndexKind, build_index, recall
from mmrec_lib.topk.exact import search
from mmrec_lib.topk.items import PreparedItems, prepare_items

NUM_USERS, NUM_ITEMS, DIM, K = 40, 2_000, 13, 10
KINDS: tuple[IndexKind, ...] = ("ivf", "hnsw", "pq")


@pytest.fixture(scope="module")
def users() -> np.ndarray:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((NUM_USERS, DIM)).astype(np.float32)
    vectors[3] = 0
    return vectors


@pytest.fixture(scope="module")
def items() -> PreparedItems:
    pytest.importorskip("faiss")
    rng = np.random.default_rng(1)
    vectors = rng.standard_normal((NUM_ITEMS, DIM)).astype(np.float32)
    allowed = rng.random((2, NUM_ITEMS)) < 0.5
    allowed[1] = False
    allowed[1, :25] = True
    return prepare_items(vectors, unavailable=rng.random(NUM_ITEMS) < 0.1, allowed=allowed)


def filters(seed: int) -> tuple[sparse.csr_matrix, np.ndarray]:
    rng = np.random.default_rng(seed)
    seen = rng.random((NUM_USERS, NUM_ITEMS)) < 0.01
    seen[0] = True
    seen[0, :4] = False
    return sparse.csr_matrix(seen), rng.integers(-1, 2, NUM_USERS)


@pytest.mark.parametrize("kind", KINDS)
def test_filters_hold_and_scores_are_those_of_exact_search(
    items: PreparedItems, users: np.ndarray, kind: IndexKind
) -> None:
    seen, groups = filters(2)
    index = build_index(items, kind, ApproximateConfig(effort=16))
    found = index.search(items, users, K, seen=seen, group_of_user=groups)
    exact = search(items, users, K, seen=seen, group_of_user=groups)
    assert recall(found.indices, exact.indices) > 0.8
    whole = search(items, users, NUM_ITEMS, seen=seen, group_of_user=groups)
    for row in range(NUM_USERS):
        scores = dict(zip(whole.indices[row].tolist(), whole.scores[row].tolist(), strict=True))
        listed = [(item, score) for item, score in zip(found.indices[row], found.scores[row], strict=True) if item >= 0]
        assert all(scores[int(item)] == score for item, score in listed), "allowed, not seen, and exactly scored"
        assert listed == sorted(listed, key=lambda entry: (-entry[1], entry[0]))
        assert len(listed) == (exact.indices[row] >= 0).sum(), "no list is shorter than it must be"
    # The fourth user is like nothing, the first has seen almost all, the second group may get few items.
    for row in (0, 3, *np.flatnonzero(groups == 1)):
        assert found.indices[row].tolist() == exact.indices[row].tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_full_effort_finds_the_exact_lists(items: PreparedItems, users: np.ndarray, kind: IndexKind) -> None:
    config = ApproximateConfig(effort=NUM_ITEMS, over_fetch=NUM_ITEMS / K)
    found = build_index(items, kind, config).search(items, users, K)
    exact = search(items, users, K)
    if kind == "hnsw":  # a graph need not be connected
        assert recall(found.indices, exact.indices) > 0.99
    else:
        assert found.indices.tolist() == exact.indices.tolist() and found.scores.tolist() == exact.scores.tolist()


def test_a_graph_finds_items_of_different_lengths(items: PreparedItems, users: np.ndarray) -> None:
    lengths = np.random.default_rng(3).lognormal(0, 1, (NUM_ITEMS, 1)).astype(np.float32)
    varied = prepare_items(items.vectors * lengths)
    found = build_index(varied, "hnsw", ApproximateConfig(effort=64)).search(varied, users, K)
    assert recall(found.indices, search(varied, users, K).indices) > 0.9


@pytest.mark.parametrize("kind", KINDS)
def test_an_index_is_the_same_each_time_and_from_its_files(
    items: PreparedItems, users: np.ndarray, kind: IndexKind, tmp_path: Path
) -> None:
    config = ApproximateConfig(effort=3, over_fetch=1.5)
    first, second = (build_index(items, kind, config) for _ in range(2))
    first.save(tmp_path / "index")
    lists = [index.search(items, users, K) for index in (first, second, ApproximateIndex.load(tmp_path / "index"))]
    assert lists[0].indices.tolist() == lists[1].indices.tolist() == lists[2].indices.tolist()


def test_too_few_items_and_a_missing_library_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("faiss")
    few = prepare_items(np.ones((255, 2), np.float32))
    with pytest.raises(ModelError, match="at least 256 items that may be listed, got 255"):
        build_index(few, "ivf", ApproximateConfig())
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ModelError, match=r"Install `mmrec\[search\]`"):
        build_index(few, "ivf", ApproximateConfig())


def test_recall_counts_items_wherever_they_stand() -> None:
    exact = np.array([[1, 2, 3], [4, -1, -1]], np.int32)
    assert recall(exact[:, ::-1].copy(), exact) == 1
    assert recall(np.array([[3, 9, 8], [-1, -1, -1]], np.int32), exact) == 0.25
    assert recall(exact, np.full((2, 3), -1, np.int32)) == 1
