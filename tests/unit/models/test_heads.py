"""Heads on outcomes whose probabilities are known, because they were drawn with them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit

from mmrec_lib.errors import ModelError
from mmrec_lib.evaluation.predictions import calibration_error, log_loss
from mmrec_lib.models.data import FitData, Interactions
from mmrec_lib.models.heads.curves import FEATURES, ISOTONIC, LOGISTIC, PLATT
from mmrec_lib.models.heads.fit_curves import fit_curves
from mmrec_lib.models.heads.heads import Heads
from mmrec_lib.models.heads.outcomes import PairValues, event_of
from mmrec_lib.models.heads_settings import HeadsSettings
from mmrec_lib.models.ranker.fit import fit_ranker
from mmrec_lib.models.ranker.listed import listed_blocks
from mmrec_lib.models.ranker.probabilities import (
    Candidates,
    Places,
    by_worth,
    final_places,
    head_values,
    idle_days,
    place_features,
)
from mmrec_lib.models.ranker.ranker import FittedRanker
from mmrec_lib.models.tuning.choose_heads import choose_heads, told
from mmrec_lib.topk.selection import NO_ITEM, TopItems
from tests.unit.models.checkerboard import SETTINGS, checkerboard
from tests.unit.models.given_heads import head_of

NUM_PAIRS = 20_000
HEADS = HeadsSettings(num_candidates=30, num_folds=3)


def features_of(scores: np.ndarray, has_history: np.ndarray | None = None) -> np.ndarray:
    """Features of pairs of which the score alone differs."""
    known = np.ones(len(scores), np.bool_) if has_history is None else has_history
    features = np.zeros((len(scores), len(FEATURES)))
    features[:, 0], features[:, 1], features[:, 2] = np.where(known, scores, 0), np.where(known, 0, scores), known
    return features


def test_a_logistic_of_the_score_is_recovered() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(size=NUM_PAIRS)
    truth = expit(-2 + 1.5 * scores)
    labels = (rng.random(NUM_PAIRS) < truth).astype(np.float64)
    curves = fit_curves(features_of(scores), labels, np.ones(NUM_PAIRS))
    for form in (PLATT, LOGISTIC):
        assert curves[form].intercept == pytest.approx(-2, abs=0.1)
        assert curves[form].coefficients[0] == pytest.approx(1.5, abs=0.1)
        assert np.abs(curves[form](features_of(scores)) - truth).max() < 0.02


def test_a_miscalibrated_score_becomes_calibrated_stepwise() -> None:
    """Probabilities that no logistic of the score has: three levels."""
    rng = np.random.default_rng(1)
    scores = rng.uniform(-3, 3, NUM_PAIRS)
    truth = np.select([scores < -1, scores < 2], [0.02, 0.1], 0.7)
    labels = (rng.random(NUM_PAIRS) < truth).astype(np.float64)
    half = NUM_PAIRS // 2
    curves = fit_curves(features_of(scores[:half]), labels[:half], np.ones(half))
    new, told_labels = features_of(scores[half:]), labels[half:]
    assert calibration_error(told_labels, expit(scores[half:])) > 0.2
    assert calibration_error(told_labels, curves[ISOTONIC](new)) < 0.015
    assert log_loss(told_labels, curves[ISOTONIC](new)) < log_loss(told_labels, curves[PLATT](new)) - 0.01


def test_weights_count_as_repeated_pairs() -> None:
    rng = np.random.default_rng(2)
    features = features_of(rng.normal(size=300))
    labels = (rng.random(300) < 0.3).astype(np.float64)
    weights = rng.integers(1, 4, 300)
    weighted = fit_curves(features, labels, weights.astype(np.float64))
    repeated = fit_curves(np.repeat(features, weights, axis=0), np.repeat(labels, weights), np.ones(int(weights.sum())))
    for form, curve in weighted.items():
        assert curve(features) == pytest.approx(repeated[form](features), abs=1e-6)


@pytest.mark.parametrize("form", [PLATT, ISOTONIC])
def test_forms_over_the_score_rise_with_it_even_where_outcomes_fall(form: str) -> None:
    rng = np.random.default_rng(3)
    scores, known = rng.normal(size=4_000), rng.random(4_000) < 0.5
    labels = (rng.random(4_000) < expit(np.where(known, 1, -1) * scores)).astype(np.float64)
    curve = fit_curves(features_of(scores, known), labels, np.ones(4_000))[form]
    grid = np.linspace(-5, 5, 200)
    rising, flat = curve(features_of(grid)), curve(features_of(grid, np.zeros(200, np.bool_)))
    assert (np.diff(rising) >= 0).all()
    assert rising[-1] > rising[0] + 0.5
    assert np.ptp(flat) == 0, "outcomes that fall with the score have no slope"


@pytest.mark.parametrize("labels", [np.zeros(50), np.ones(50), np.arange(50) % 2.0, np.linspace(0, 1, 50)])
@pytest.mark.parametrize("scores", [np.zeros(50), np.linspace(-1e6, 1e6, 50)])
def test_probabilities_are_numbers_between_0_and_1_whatever_comes(labels: np.ndarray, scores: np.ndarray) -> None:
    for curve in fit_curves(features_of(scores), labels, np.ones(50)).values():
        found = curve(features_of(np.array([-1e30, 0.0, 1e30])))
        assert np.isfinite(found).all()
        assert found.min() >= 0
        assert found.max() <= 1


def test_values_of_pairs_are_found_and_absent_ones_are_not_zero() -> None:
    values = PairValues.of(10, np.array([2, 0]), np.array([3, 9]), [0.0, 4.0])
    found = values.at(np.array([0, 2, 2, 1]), np.array([9, 3, 4, 9]))
    assert found[:2].tolist() == [4.0, 0.0]
    assert np.isnan(found[2:]).all()
    assert np.isnan(PairValues.of(10, np.zeros(0, int), np.zeros(0, int), []).at(np.array([1]), np.array([1]))).all()


@pytest.mark.parametrize(("name", "event"), [("view", None), ("rating>=4", None), ("rating:value", "rating")])
def test_a_quantity_names_its_event(name: str, event: str | None) -> None:
    assert event_of(name) == event


@pytest.fixture(scope="module")
def ranker() -> FittedRanker:
    return fit_ranker(checkerboard().train, SETTINGS)


def drawn_outcomes(ranker: FittedRanker, data: FitData, intercept: float, slope: float) -> PairValues:
    """Outcomes of listed items, drawn by a logistic of their scores."""
    rng = np.random.default_rng(4)
    blocks = list(listed_blocks(ranker, data, np.arange(data.interactions.shape[0]), HEADS.num_candidates))
    users, items = (np.concatenate([getattr(block, name) for block in blocks]) for name in ("users", "items"))
    scores = np.concatenate([block.features[:, :2].sum(axis=1) for block in blocks])
    own = rng.random(len(users)) < expit(intercept + slope * scores)
    return PairValues.of(data.interactions.shape[1], users[own], items[own], np.ones(int(own.sum())))


def test_a_head_is_kept_where_the_score_tells_and_dropped_where_it_does_not(ranker: FittedRanker) -> None:
    data = checkerboard().train
    outcomes = {
        "told": drawn_outcomes(ranker, data, -2.0, 2.0),
        "chance": drawn_outcomes(ranker, data, -1.5, 0.0),
        "rare": PairValues.of(40, np.array([0]), np.array([1]), [1.0]),
    }
    heads = choose_heads(ranker, data, outcomes, HEADS, seed=0)
    assert [head.name for head in heads.kept] == ["told"]
    assert set(heads.dropped) == {"chance", "rare"}
    assert "against the base rate" in heads.dropped["chance"]
    assert "min_events is 20" in heads.dropped["rare"]
    assert heads.kept[0].gain_low > 0
    assert "told (" in told(heads)
    assert "dropped: chance (log loss" in told(heads)


def test_quantities_are_expected_where_their_event_happens(ranker: FittedRanker) -> None:
    """Ratings that are high where the score is high."""
    data = checkerboard().train
    happened = drawn_outcomes(ranker, data, 5.0, 0.0)
    features = ranker.project(data.histories())
    scores = (features.vectors @ ranker.item_vectors().T)[happened.users, happened.keys % 40]
    values = np.clip(np.round(3 + 2 * scores / scores.std()), 1, 5)
    rated = replace(happened, values=values)
    heads = choose_heads(ranker, data, {"rating": happened, "rating:value": rated}, HEADS, seed=0)
    (head,) = heads.quantities
    assert (head.name, head.low, head.high) == ("rating:value", 1.0, 5.0)
    assert head.base_rate == pytest.approx(values.mean(), abs=0.3)
    found = head_values(replace(ranker, heads=heads), features, Places.of_fit(ranker.candidates(features, 5)))
    assert (found["rating:value"] >= 1).all()
    assert (found["rating:value"] <= 5).all()


@pytest.mark.parametrize("num_users", [1, 2])
def test_one_user_and_one_item_end_in_a_reason(num_users: int) -> None:
    data = FitData(np.array(["a", "b"]), Interactions.from_rows(np.arange(num_users), [0] * num_users, (num_users, 2)))
    small = fit_ranker(data, SETTINGS.model_copy(update={"fusion": {"ials": 1.0}, "dim": 1}))
    outcome = PairValues.of(2, np.arange(num_users), np.ones(num_users, int), np.ones(num_users))
    heads = choose_heads(small, data, {"view": outcome}, HeadsSettings(min_events=2), seed=0)
    assert heads.kept == ()
    assert list(heads.dropped) == ["view"]


def test_a_sample_of_users_and_pairs_gives_about_the_same_head(ranker: FittedRanker) -> None:
    data = checkerboard().train
    outcome = {"told": drawn_outcomes(ranker, data, -2.0, 2.0)}
    (whole,) = choose_heads(ranker, data, outcome, HEADS, seed=0).kept
    small = HEADS.model_copy(update={"max_users": 40, "max_rows": 700})
    (part,) = choose_heads(ranker, data, outcome, small, seed=0).kept
    assert part.base_rate == pytest.approx(whole.base_rate, rel=0.25)


def test_worths_add_up_and_a_quantity_counts_where_its_event_happens() -> None:
    heads = Heads((head_of("view", 0.5), replace(head_of("view:share", 0.5), high=2.0)), {"buy": "few"}, 10)
    values = {head.name: head(features_of(np.zeros(3))) for head in heads.kept}
    assert values["view:share"].tolist() == [1.0, 1.0, 1.0]
    assert heads.expected_worth(values, {"view": 4.0, "view:share": 6.0, "buy": 9.0}) == pytest.approx([5.0] * 3)
    assert heads.expected_worth(values, {"buy": 9.0}) is None
    assert heads.missing({"buy": 9.0, "view": 1.0}) == {"buy": "few"}
    with pytest.raises(ModelError, match="sale must be an outcome"):
        heads.missing({"sale": 1.0})


def test_expected_worth_orders_candidates_and_their_scores_stay_in_order(ranker: FittedRanker) -> None:
    """A worth below 0 turns the order around; the last candidates are beyond what heads learned from."""
    data = checkerboard().train
    users = ranker.project(data.histories().rows(np.arange(4)))
    top = ranker.candidates(users, 8)
    places = Places.of_fit(top)
    with_heads = replace(ranker, heads=Heads((head_of("view", 0.1, slope=1.0),), {}, 5))
    turned = by_worth(with_heads, users, Candidates(top, places), {"view": -1.0})
    assert turned.top.indices[:, :5].tolist() == top.indices[:, 4::-1].tolist()
    assert turned.top.indices[:, 5:].tolist() == top.indices[:, 5:].tolist()
    assert turned.top.scores is top.scores
    assert turned.places.ranks[0].tolist() == [5, 4, 3, 2, 1, 6, 7, 8]
    assert by_worth(with_heads, users, Candidates(top, places), {}).top is top


def test_items_of_final_lists_keep_the_place_that_the_ranker_gave_them(ranker: FittedRanker) -> None:
    """The list of the first user is turned around and has an item that was no candidate."""
    users = ranker.project(checkerboard().train.histories().rows(np.arange(2)))
    top = ranker.candidates(users, 4)
    places = Places.of_fit(top)
    other = ranker.candidates(users, 6).indices[0, 5]
    final = np.array([[top.indices[0, 2], other, top.indices[0, 0]], [*top.indices[1, :2], NO_ITEM]], np.int32)
    found = final_places(Candidates(top, places), final, final, users, ranker.item_vectors())
    assert found.ranks[0].tolist() == [3, 5, 1]
    assert found.ranks[1, :2].tolist() == [1, 2]
    assert found.is_filled.tolist() == [[True] * 3, [True, True, False]]
    assert found.scores[0, [0, 2]].tolist() == top.scores[0, [2, 0]].tolist()
    assert found.scores[0, 1] == pytest.approx(ranker.candidates(users, 6).scores[0, 5], abs=1e-5)


def test_heads_travel_with_the_model(ranker: FittedRanker, tmp_path: Path) -> None:
    data = checkerboard().train
    heads = choose_heads(ranker, data, {"told": drawn_outcomes(ranker, data, -2.0, 2.0)}, HEADS, seed=0)
    with_heads = replace(ranker, heads=replace(heads, dropped={"buy": "few"}))
    with_heads.save(tmp_path)
    loaded = FittedRanker.load(tmp_path)
    assert loaded.heads is not None
    assert loaded.heads.dropped == {"buy": "few"}
    users = ranker.project(data.histories())
    places = Places.of_fit(ranker.candidates(users, 5))
    assert (
        head_values(loaded, users, places)["told"].tolist() == head_values(with_heads, users, places)["told"].tolist()
    )


def test_features_of_a_user_do_not_depend_on_who_else_is_asked_for(ranker: FittedRanker) -> None:
    data = checkerboard().train
    (head,) = choose_heads(ranker, data, {"told": drawn_outcomes(ranker, data, -2.0, 2.0)}, HEADS, seed=0).kept
    users = ranker.project(data.histories())
    whole = head(place_features(ranker, users, Places.of_fit(ranker.candidates(users, 5)))).reshape(-1, 5)
    part = users.rows(slice(7, 8))
    alone = head(
        place_features(
            ranker, part, Places.of_fit(TopItems(*(x[7:8] for x in vars(ranker.candidates(users, 5)).values())))
        )
    )
    assert alone.tolist() == whole[7].tolist()


def test_items_that_came_later_and_users_without_times_have_features(ranker: FittedRanker) -> None:
    data = checkerboard().train
    histories = data.histories().rows(np.array([0, 59]))
    users = ranker.project(replace(histories, times=None))
    places = Places(
        in_fit=np.array([[NO_ITEM, 3], [NO_ITEM, NO_ITEM]]),
        scores=np.array([[1.0, 0.5], [0.2, 0.0]], np.float32),
        ranks=np.array([[1, 2], [1, 2]]),
        is_filled=np.array([[True, True], [True, False]]),
    )
    found = place_features(replace(ranker, heads=Heads((), {}, 5, typical_idle_days=3.0, latest_ts=1.0)), users, places)
    by_name = dict(zip(FEATURES, found.T.tolist(), strict=True))
    assert by_name["is_new_item"] == [1.0, 0.0, 1.0]
    assert by_name["has_history"] == [1.0, 1.0, 0.0]
    assert by_name["log_idle_days"] == pytest.approx([np.log(4), np.log(4), 0.0])
    assert by_name["score_without_history"] == pytest.approx([0, 0, 0.2])
    assert np.isfinite(found).all()


def test_idle_time_counts_from_the_latest_event_of_the_fit() -> None:
    day = 86_400.0
    shape = (3, 2)
    data = FitData(np.array(["a", "b"]), Interactions.from_rows([0, 0, 1], [0, 1, 0], shape, None, [day, 3 * day, 0.0]))
    assert idle_days(data.histories(), 5 * day, 7.0).tolist() == [2.0, 7.0, 0.0]
    assert idle_days(data.histories(), 0.0, 7.0).tolist() == [0.0, 0.0, 0.0]
