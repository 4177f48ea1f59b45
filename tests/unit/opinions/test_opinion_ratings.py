from __future__ import annotations

import json

import numpy as np
import pytest

from mmrec_lib.opinions.config import OpinionConfig
from mmrec_lib.opinions.model import OpinionModel, Review, fit_opinions, fit_revision, part_of
from mmrec_lib.opinions.ratings import TEST, _choice, fit_ratings, measure
from tests.unit.opinions.planted import planted_reviews


def test_planted_sentiments_are_found_on_held_out_reviews(model: OpinionModel) -> None:
    found = model.metrics
    assert found["accuracy"] >= 0.9 > found["majority.accuracy"]
    assert found["macro_f1"] >= 0.9 > found["majority.macro_f1"]
    assert found["mae"] < 0.6 < found["mean_rating.mae"]
    assert found["spearman"] > 0.8
    assert found["num_test"] > 30


def test_ratings_without_a_pattern_are_not_found(config: OpinionConfig) -> None:
    reviews = planted_reviews()
    shuffled = np.random.default_rng(1).permutation([review.rating or 0.0 for review in reviews])
    texts, parts = [review.text for review in reviews], [part_of(review) for review in reviews]
    found = fit_ratings(texts, shuffled, parts, config).metrics
    assert found["accuracy"] < found["majority.accuracy"] + 0.1
    assert abs(found["spearman"]) < 0.4


def test_held_out_ratings_do_not_reach_the_model(config: OpinionConfig) -> None:
    reviews = planted_reviews()
    texts, parts = [review.text for review in reviews], [part_of(review) for review in reviews]
    ratings = np.array([review.rating for review in reviews], np.float64)
    poisoned = np.where(np.array(parts) == TEST, 6.0 - ratings, ratings)
    honest, other = fit_ratings(texts, ratings, parts, config), fit_ratings(texts, poisoned, parts, config)
    assert honest.model is not None and other.model is not None
    assert np.array_equal(honest.model.weight_FC, other.model.weight_FC)
    assert other.metrics["accuracy"] < 0.5 < honest.metrics["accuracy"]


def test_equal_words_are_never_on_both_sides() -> None:
    parts = {part_of(Review("the same words", "en", float(stars))) for stars in range(1, 6)}
    assert len(parts) == 1
    assert part_of(Review("the same words", "en", None)) == "unrated"


@pytest.mark.parametrize(("number", "reason"), [(30, "50 rated reviews are needed, there are 30"), (0, "there are 0")])
def test_too_few_ratings_give_a_reason_and_no_model(config: OpinionConfig, number: int, reason: str) -> None:
    fitted = fit_opinions(planted_reviews(number), config)
    assert fitted.ratings is None
    assert fitted.no_ratings is not None and reason in fitted.no_ratings


def test_a_missing_sentiment_gives_a_reason_and_no_model(config: OpinionConfig) -> None:
    only_good = [review for review in planted_reviews() if (review.rating or 0) >= 4]
    fitted = fit_opinions(only_good, config)
    assert fitted.ratings is None
    assert fitted.no_ratings is not None and "negative ratings are needed, there are 0" in fitted.no_ratings


def test_the_lexicon_stays_unless_validation_is_sure_that_it_harms() -> None:
    even, worse = np.array([1.0, 2.0, 3.0, 4.0]), np.array([2.1, 3.0, 3.9, 5.0])
    assert _choice({(False, 1.0): even, (True, 1.0): even + np.array([2.0, -1.0, -1.0, 0.2])}) == (True, 1.0)
    assert _choice({(False, 1.0): even, (True, 1.0): worse}) == (False, 1.0)
    assert _choice({(False, 1.0): worse, (False, 3.0): even, (True, 1.0): worse, (True, 3.0): even}) == (True, 3.0)


def test_measures_of_a_known_case() -> None:
    ratings, predicted = np.array([1.0, 3.0, 5.0, 5.0]), np.array([2.0, 3.0, 4.0, 5.0])
    found = measure(ratings, predicted, np.array([0, 1, 1, 2]), OpinionConfig())
    assert found["accuracy"] == 0.75
    assert found["macro_f1"] == pytest.approx((1 + 2 / 3 + 2 / 3) / 3)
    assert found["mae"] == 0.5
    assert found["rmse"] == pytest.approx(np.sqrt(0.5))


def test_a_saved_model_judges_the_same(model: OpinionModel, config: OpinionConfig) -> None:
    document, arrays = model.to_saved()
    again = OpinionModel.of_saved(document, arrays)
    texts = [review.text for review in planted_reviews(40, seed=5)]
    assert model.ratings is not None and again.ratings is not None
    assert np.array_equal(model.ratings.judge(texts, config).ratings, again.ratings.judge(texts, config).ratings)
    assert again.aspects == model.aspects and again.metrics == model.metrics
    assert json.loads(document)["aspects"] == list(model.aspects)


def test_a_fit_is_known_by_its_reviews_in_any_order_and_its_settings(config: OpinionConfig) -> None:
    reviews = planted_reviews(60)
    revision = fit_revision(reviews, config)
    assert fit_revision(reviews[::-1], config) == revision
    assert fit_revision(reviews[1:], config) != revision
    assert fit_revision(reviews, config.model_copy(update={"seed": 1})) != revision
    assert fit_revision(reviews, config.model_copy(update={"refit_share": 0.5})) == revision


def test_a_fit_does_not_depend_on_the_order_of_reviews(model: OpinionModel, config: OpinionConfig) -> None:
    again = fit_opinions(planted_reviews()[::-1], config)
    assert again.to_saved() == model.to_saved()
