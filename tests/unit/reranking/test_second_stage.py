"""The second stage orders the candidates; what it gives is checked."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import sparse

from mmrec_lib.errors import ModelError
from mmrec_lib.reranking.config import RerankingConfig
from mmrec_lib.reranking.facts import Candidates, ItemFacts, UserFacts
from mmrec_lib.reranking.rerank import build_reranker
from mmrec_lib.reranking.second_stage import ContentSimilarity, rescored


def test_content_similarity_equals_its_definition() -> None:
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(40, 6)).astype(np.float32)
    vectors[::7] = 0
    items = ItemFacts.of(40, vectors=vectors)
    indices = np.argsort(rng.random((9, 40)), axis=1)[:, :12].astype(np.int32)
    scores = -np.sort(-rng.normal(size=(9, 12)).astype(np.float32), axis=1)
    indices[2, 5:], scores[2, 5:] = -1, -np.inf
    history = rng.integers(0, 3, (9, 40)) * (rng.random((9, 40)) < 0.2)
    history[4] = 0
    users = UserFacts(sparse.csr_matrix(history.astype(np.float32)), np.zeros(9, np.uint64))
    found = ContentSimilarity(0.3).scores(Candidates(indices, scores), items, users)
    assert items.vectors is not None
    for user in range(9):
        profile = history[user] @ items.vectors.astype(np.float64)
        is_item = indices[user] >= 0
        mine = scores[user][is_item]
        cosines = items.vectors[indices[user][is_item]] @ profile / (np.linalg.norm(profile) or 1)
        expected = 0.7 * (mine - mine[-1]) / (mine[0] - mine[-1]) + 0.3 * cosines
        assert found[user][is_item] == pytest.approx(expected, abs=1e-5)


def test_a_list_is_ordered_by_the_second_stage() -> None:
    items = ItemFacts.of(3, vectors=np.array([[1, 0], [0, 1], [0, 1]], np.float32))
    candidates = Candidates(np.array([[0, 1]], np.int32), np.array([[1.0, 0.9]], np.float32))
    users = UserFacts(sparse.csr_matrix(np.array([[0, 0, 1.0]], np.float32)), np.zeros(1, np.uint64))
    reranker = build_reranker(RerankingConfig.model_validate({"second_stage": {"weight": 0.8}}))
    assert reranker is not None
    assert reranker(candidates, items, users, 3).indices.tolist() == [[1, 0, -1]]


class Reversed:
    def scores(self, candidates: Candidates, items: ItemFacts, users: UserFacts) -> NDArray[np.float32]:
        scores = np.tile(np.arange(candidates.indices.shape[1], dtype=np.float32), (len(candidates), 1))
        scores[:, 1] = -np.inf
        return scores


def test_a_model_of_ones_own_takes_the_place_and_may_leave_items_out() -> None:
    reranker = build_reranker(RerankingConfig(), second_stage=Reversed())
    assert reranker is not None
    candidates = Candidates(np.array([[5, 4, 3, -1]], np.int32), np.array([[3, 2, 1, -np.inf]], np.float32))
    users = UserFacts(sparse.csr_matrix((1, 6), dtype=np.float32), np.zeros(1, np.uint64))
    lists = reranker(candidates, ItemFacts.of(6), users, 3)
    assert lists.indices.tolist() == [[3, 5, -1]]
    assert lists.scores.tolist() == [[2, 0, -np.inf]]


@pytest.mark.parametrize("wrong", [np.array([[np.nan]]), np.array([[np.inf]]), np.zeros((1, 2))])
def test_scores_that_are_none_are_refused(wrong: np.ndarray) -> None:
    with pytest.raises(ModelError, match="second stage"):
        rescored(Candidates(np.array([[0]], np.int32), np.array([[1]], np.float32)), wrong.astype(np.float32))
