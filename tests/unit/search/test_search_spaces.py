"""Nearest vectors and support answers: the threshold follows from the store, and far means nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from mmrec_lib.search.config import SearchConfig, SupportConfig
from mmrec_lib.search.fusion import Candidates, fuse
from mmrec_lib.search.spaces import VectorSpace
from mmrec_lib.search.support import AnswerIndex


def test_an_item_is_as_near_as_its_best_vector_and_listed_once() -> None:
    vectors = np.array([[1, 0], [0, 1], [0.6, 0.8], [0, 0]], np.float32)
    space = VectorSpace.of(vectors, np.array([0, 0, 1, 1]), ["title", "description", "title", "description"], 0.0)
    assert len(space.vectors) == 3, "what has no length is like nothing"
    top = space.find(np.array([[0, 2]], np.float32), 2)
    assert top.indices.tolist() == [[0, 1]]
    assert top.scores[0] == pytest.approx([1.0, 0.8])


def test_the_threshold_is_what_belongs_together_in_the_store() -> None:
    rng = np.random.default_rng(0)
    titles = rng.standard_normal((200, 16)).astype(np.float32)
    near = titles + 0.3 * rng.standard_normal((200, 16)).astype(np.float32)
    space = VectorSpace.of(np.vstack([titles, near]), np.tile(np.arange(200), 2), ["title"] * 200 + ["d"] * 200, 0.05)
    own = np.einsum("nd,nd->n", titles, near) / np.linalg.norm(titles, axis=1) / np.linalg.norm(near, axis=1)
    assert space.least_cosine == pytest.approx(np.quantile(own, 0.05), abs=1e-6)
    far = space.find(-titles[:1] + 0 * near[:1], 5)
    assert (far.scores[far.indices >= 0] >= space.least_cosine).all()


def test_an_empty_list_of_candidates_makes_an_empty_list() -> None:
    fused = fuse({}, {}, "rrf", 60)
    assert (len(fused.items), len(fused.scores)) == (0, 0)
    none = Candidates(np.zeros(0, np.int64), np.zeros(0))
    assert len(fuse({"words": none}, {"words": 1.0}, "weighted", 60).items) == 0


def test_no_list_is_worth_more_than_its_weight() -> None:
    rng = np.random.default_rng(1)
    found = {name: Candidates(rng.permutation(50)[:20], np.sort(rng.random(20))[::-1]) for name in ("words", "text")}
    for fusion in ("rrf", "weighted"):
        fused = fuse(found, {"words": 1.0, "text": 0.5}, fusion, 60)  # type: ignore[arg-type]
        assert fused.scores.max() <= 1.5 + 1e-12
        assert fused.shares["text"].max() <= 0.5 + 1e-12
        assert list(fused.scores) == sorted(fused.scores, reverse=True)


def questions(number: int = 40, dim: int = 32) -> np.ndarray:
    return np.random.default_rng(2).standard_normal((number, dim)).astype(np.float32)


def test_a_question_in_other_words_is_answered_and_one_about_something_else_is_not(tmp_path: Path) -> None:
    own = questions()
    index = AnswerIndex.of(pa.array([f"a{number}" for number in range(len(own))]), own)
    index.save(tmp_path)
    index = AnswerIndex.load(tmp_path)
    rng = np.random.default_rng(3)
    asked = own + 0.3 * rng.standard_normal(own.shape).astype(np.float32)
    found = index.answer(asked, SupportConfig())
    assert [one[0].answer for one in found] == list(range(len(own)))
    assert all(one[0].confidence > 0.9 for one in found)
    others = rng.standard_normal((20, 32)).astype(np.float32)
    assert index.answer(others, SupportConfig(least_confidence=1.0, least_cosine=0.6)) == [[]] * 20


def test_a_question_that_stands_twice_does_not_raise_the_bar() -> None:
    own = questions()
    one = AnswerIndex.of(pa.array([str(n) for n in range(40)]), own)
    twice = AnswerIndex.of(pa.array([str(n) for n in range(80)]), np.vstack([own, own]))
    np.testing.assert_allclose(one.nearest, twice.nearest, atol=1e-6)


def test_one_answer_alone_is_held_to_the_least_cosine() -> None:
    index = AnswerIndex.of(pa.array(["a"]), np.array([[1, 0]], np.float32))
    (near,), far = index.answer(np.array([[0.9, 0.1], [0.1, 0.9]], np.float32), SupportConfig())
    assert near.confidence == 1.0
    assert far == []


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"word_fields": {"name": 1.0}}, "title, description"),
        ({"vector_fields": ["audio"]}, "title, description"),
        ({"weights": {"words": -1}}, "at least 0"),
        ({"word_fields": {"title": -1}}, "at least 0"),
        ({"photo_looks": []}, "at least 1 item"),
        ({"photo_looks": [1.0, 0.9]}, "greater than or equal to 1"),
        ({"photo_looks": [1.0, 5]}, "less than or equal to 2"),
        ({"photo_looks": [1.2, 1.0, 1.2]}, "different factors"),
        ({"photo_looks": ["wide"]}, "valid number"),
    ],
)
def test_settings_that_cannot_be_are_refused(given: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        SearchConfig.model_validate(given)
