"""Facts are checked when they are made, and come back from files as they were."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from mmrec_lib.errors import ModelError
from mmrec_lib.reranking.config import RerankingConfig
from mmrec_lib.reranking.facts import Candidates, ItemFacts, UserFacts
from mmrec_lib.reranking.rerank import build_reranker


def test_facts_come_back_as_they_were(tmp_path: Path) -> None:
    facts = ItemFacts.of(
        3,
        vectors=np.array([[3, 4], [0, 0], [1e-30, 0]], np.float32),
        categories=sparse.csr_matrix([[1, 0], [1, 1], [0, 0]]),
        brands=np.array([0, -1, 0]),
        is_new=np.array([True, False, False]),
        duplicate_group=np.array([0, -1, 0]),
        popularity=np.array([5, 0, 1.0]),
        category_names=("a", "Zürich"),
        brand_names=("b",),
    )
    facts.save(tmp_path)
    loaded = ItemFacts.load(tmp_path)
    assert loaded.vectors is not None and loaded.vectors.tolist() == [
        [np.float32(0.6), np.float32(0.8)],
        [0, 0],
        [1, 0],
    ]
    assert loaded.categories.toarray().tolist() == facts.categories.toarray().tolist()
    for name in ("brands", "is_new", "duplicate_group", "popularity"):
        assert getattr(loaded, name).tolist() == getattr(facts, name).tolist()
        assert getattr(loaded, name).dtype == getattr(facts, name).dtype
    assert (loaded.category_names, loaded.brand_names) == (("a", "Zürich"), ("b",))
    ItemFacts.of(2).save(tmp_path)
    assert ItemFacts.load(tmp_path).vectors is None


def test_files_that_are_missing_or_hold_objects_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="does not hold"):
        ItemFacts.load(tmp_path)
    ItemFacts.of(2).save(tmp_path)
    np.savez(tmp_path / "item_facts.npz", brands=np.array([object()], dtype=object), allow_pickle=True)
    with pytest.raises(ModelError, match="does not hold"):
        ItemFacts.load(tmp_path)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"brands": np.array([0])}, "brands must have shape"),
        ({"brands": np.array([0, 1])}, "brands must lie between"),
        ({"duplicate_group": np.array([0, -2])}, "duplicate_group must lie"),
        ({"vectors": np.array([[1.0], [np.nan]], np.float32)}, "row 1"),
        ({"vectors": np.ones((3, 1), np.float32)}, "vectors must be"),
        ({"categories": sparse.csr_matrix(np.ones((2, 2)))}, "names"),
    ],
)
def test_facts_that_do_not_fit_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        ItemFacts.of(2, **wrong)


@pytest.mark.parametrize(
    ("indices", "scores", "message"),
    [
        ([[0, 1]], [[1.0]], "one shape"),
        ([[-1, 1]], [[-np.inf, 1.0]], "at the end"),
        ([[0, 1]], [[2.0, np.nan]], "finite"),
        ([[0, -1]], [[2.0, 1.0]], "-inf"),
        ([[0, 1]], [[1.0, 2.0]], "best must come first"),
    ],
)
def test_candidates_that_are_none_are_refused(indices: Any, scores: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        Candidates(np.array(indices, np.int32), np.array(scores, np.float32))


def test_a_block_that_does_not_fit_is_refused() -> None:
    reranker = build_reranker(RerankingConfig.model_validate({"duplicates": {}}))
    assert reranker is not None
    one = Candidates(np.array([[1]], np.int32), np.array([[1]], np.float32))
    users = UserFacts(sparse.csr_matrix((1, 2), dtype=np.float32), np.zeros(1, np.uint64))
    with pytest.raises(ModelError, match="k must be"):
        reranker(one, ItemFacts.of(2), users, 0)
    with pytest.raises(ModelError, match="history"):
        reranker(one, ItemFacts.of(3), users, 1)
    with pytest.raises(ModelError, match="seeds"):
        reranker(one, ItemFacts.of(2), UserFacts(users.history, np.zeros(2, np.uint64)), 1)
    two = Candidates(np.array([[2]], np.int32), np.array([[1]], np.float32))
    with pytest.raises(ModelError, match="items 0 to 1"):
        reranker(two, ItemFacts.of(2), users, 1)


def test_no_users_and_no_candidates_are_fine() -> None:
    reranker = build_reranker(
        RerankingConfig.model_validate(
            {"duplicates": {}, "exploration": {}, "second_stage": {}, "diversity": {"kind": "dpp"}}
        )
    )
    assert reranker is not None
    items = ItemFacts.of(2, vectors=np.ones((2, 2), np.float32))
    for num_users, width in ((0, 3), (2, 0)):
        empty = Candidates(np.zeros((num_users, width), np.int32), np.zeros((num_users, width), np.float32))
        users = UserFacts(sparse.csr_matrix((num_users, 2), dtype=np.float32), np.zeros(num_users, np.uint64))
        lists = reranker(empty, items, users, 4)
        assert lists.indices.tolist() == [[-1] * 4] * num_users
