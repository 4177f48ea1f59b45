"""A scorer moves candidates by the weight that validation gives it, which is 0 for one that knows nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from mmrec_lib.errors import ModelError
from mmrec_lib.models.data import Floats, Histories
from mmrec_lib.models.ranker.fit import fit_ranker
from mmrec_lib.models.ranker.pyfunc_file import LEFT_OUT, require_no_scorer
from mmrec_lib.models.ranker.ranker import FittedRanker
from mmrec_lib.models.ranker.scorer import ScoredRanker, in_scorer_order
from mmrec_lib.models.ranker.scorer_weight import ScorerWeight
from mmrec_lib.models.tuning.choose_scorer import WEIGHTS, choose_scorer
from mmrec_lib.topk.selection import NO_ITEM, TopItems
from tests.unit.models.checkerboard import SETTINGS
from tests.unit.models.circle import NUM_ITEMS, Circle, circle

UNTRIED = ScorerWeight("judge", "r1", num_candidates=12)


@dataclass(frozen=True)
class Given:
    """Values by a function of the latest item and the candidate."""

    value: Callable[[npt.NDArray[Any], npt.NDArray[Any]], npt.NDArray[Any]]

    def values(self, histories: Histories, items: npt.NDArray[np.integer]) -> Floats:
        assert histories.times is not None
        latest = [
            histories.weights.indices[s:e][int(np.argmax(histories.times.data[s:e]))]
            for s, e in zip(histories.weights.indptr, histories.weights.indptr[1:], strict=False)
        ]
        values = self.value(np.array(latest)[:, None], items).astype(np.float32)
        return np.where(items == NO_ITEM, np.nan, values).astype(np.float32)


NEXT = Given(lambda latest, item: (item - latest) % NUM_ITEMS == 1)
NOISE = Given(lambda latest, item: np.sin(1_000.0 * latest + 37.0 * item))
SILENT = Given(lambda latest, item: np.zeros(item.shape))


@pytest.fixture(scope="module")
def store() -> Circle:
    return circle()


@pytest.fixture(scope="module")
def ranker(store: Circle) -> FittedRanker:
    return fit_ranker(store.train, SETTINGS)


def chosen(store: Circle, ranker: FittedRanker, scorer: Given, max_users: int = 1_000) -> ScorerWeight:
    return choose_scorer(ranker, store.train, store.rest, scorer, UNTRIED, max_users=max_users, seed=0)


def test_one_that_knows_what_comes_next_gets_weight_and_brings_it_to_lists(store: Circle, ranker: FittedRanker) -> None:
    weight = chosen(store, ranker, NEXT)
    assert weight.is_used and weight.weight in WEIGHTS
    assert 0 < weight.low < weight.gain < weight.high
    assert weight.seconds >= 0 and weight.num_users == 120
    assert "has weight" in str(weight) and "a thousand lists" in str(weight)
    judged = ScoredRanker(replace(ranker, scorer=weight), NEXT)
    assert first_hits(judged.score, store) > first_hits(ranker.score, store) + 0.2


def test_one_that_guesses_or_tells_nothing_apart_gets_none(store: Circle, ranker: FittedRanker) -> None:
    guessing = chosen(store, ranker, NOISE)
    assert not guessing.is_used and guessing.low <= 0 and not guessing.reason
    assert "the order stands" in str(guessing)
    silent = chosen(store, ranker, SILENT)
    assert not silent.is_used and "no candidates of a user apart" in silent.reason
    few = choose_scorer(ranker, store.train, store.train.interactions, NEXT, UNTRIED, max_users=1_000, seed=0)
    assert not few.is_used and "0 users can be judged by, 20 are needed" in few.reason


def test_a_sample_of_users_decides_where_there_are_many(store: Circle, ranker: FittedRanker) -> None:
    assert chosen(store, ranker, NEXT, max_users=50).num_users == 50


def test_scores_stay_and_only_judged_candidates_move() -> None:
    top = TopItems(
        np.array([[4, 7, 2, 9, 5], [1, 3, NO_ITEM, NO_ITEM, NO_ITEM]], np.int32),
        np.array([[5.0, 4.0, 3.0, 2.0, 1.0], [2.0, 1.0, -np.inf, -np.inf, -np.inf]], np.float32),
    )
    values = np.array([[0.0, np.nan, 9.0], [0.0, 9.0, np.nan]], np.float32)
    moved = in_scorer_order(top, values, replace(UNTRIED, weight=2.0))
    assert moved.indices.tolist() == [[2, 7, 4, 9, 5], [3, 1, NO_ITEM, NO_ITEM, NO_ITEM]]
    assert moved.scores is top.scores
    unmoved = in_scorer_order(top, values, UNTRIED)
    assert unmoved.indices.tolist() == top.indices.tolist()


def test_the_weight_is_kept_with_the_model_and_a_served_one_says_that_it_cannot_ask(
    ranker: FittedRanker, tmp_path: Path
) -> None:
    weight = replace(UNTRIED, weight=0.5, gain=0.01, low=0.002, high=0.02, num_users=99, seconds=3.5)
    replace(ranker, scorer=weight).save(tmp_path / "with")
    ranker.save(tmp_path / "without")
    loaded = FittedRanker.load(tmp_path / "with")
    assert loaded.scorer == weight
    with pytest.raises(ModelError, match=r"scorer judge, which a served model does not have.*left_out"):
        require_no_scorer(loaded, None)
    require_no_scorer(loaded, LEFT_OUT)
    require_no_scorer(replace(loaded, scorer=UNTRIED), None)
    assert FittedRanker.load(tmp_path / "without").scorer is None
    assert "scorer" not in (tmp_path / "without" / "model.json").read_text(encoding="utf-8")


def first_hits(score: Callable[[Histories], Floats], store: Circle) -> float:
    """Share of users whose next item is first."""
    scores, seen = score(store.train.histories()), store.train.interactions.weights
    scores[np.repeat(np.arange(len(scores)), np.diff(seen.indptr)), seen.indices] = -np.inf
    return float((scores.argmax(axis=1) == store.rest.weights.indices).mean())
