"""Metrics of probabilities and ratings agree with scikit-learn, and refuse what is none."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, mean_absolute_error, roc_auc_score, root_mean_squared_error
from sklearn.metrics import log_loss as sklearn_log_loss

from mmrec_lib.errors import ModelError
from mmrec_lib.evaluation.predictions import (
    brier_score,
    calibration_error,
    log_loss,
    mae,
    pooled_auc,
    reliability_curve,
    rmse,
)


@pytest.fixture
def clicks() -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn with their probabilities."""
    rng = np.random.default_rng(3)
    probabilities = rng.beta(1, 4, 20_000)
    return (rng.random(20_000) < probabilities).astype(float), probabilities


def test_scores_of_probabilities_agree_with_scikit_learn(clicks: tuple[np.ndarray, np.ndarray]) -> None:
    labels, probabilities = clicks
    assert log_loss(labels, probabilities) == pytest.approx(sklearn_log_loss(labels, probabilities))
    assert brier_score(labels, probabilities) == pytest.approx(brier_score_loss(labels, probabilities))
    coarse = probabilities.round(1)
    assert pooled_auc(labels, coarse) == pytest.approx(roc_auc_score(labels, coarse))


def test_errors_of_ratings_agree_with_scikit_learn() -> None:
    rng = np.random.default_rng(4)
    ratings, predictions = rng.integers(1, 6, 500), rng.normal(3, 1, 500)
    assert rmse(ratings, predictions) == pytest.approx(root_mean_squared_error(ratings, predictions))
    assert mae(ratings, predictions) == pytest.approx(mean_absolute_error(ratings, predictions))


def test_bins_of_equal_mass_agree_with_scikit_learn(clicks: tuple[np.ndarray, np.ndarray]) -> None:
    curve = reliability_curve(*clicks, num_bins=10)
    observed, predicted = calibration_curve(*clicks, n_bins=10, strategy="quantile")
    np.testing.assert_allclose(curve.observed, observed, atol=2e-3)
    np.testing.assert_allclose(curve.predicted, predicted, atol=2e-3)
    assert curve.counts.tolist() == [2000] * 10


def test_calibrated_predictions_have_a_small_error_and_overconfident_ones_a_large_one(
    clicks: tuple[np.ndarray, np.ndarray],
) -> None:
    labels, probabilities = clicks
    assert calibration_error(labels, probabilities) < 0.01
    assert calibration_error(labels, np.minimum(2 * probabilities, 1)) == pytest.approx(0.2, abs=0.02)


def test_one_prediction_for_all_is_one_bin_in_any_order() -> None:
    curve = reliability_curve([0, 1, 1, 0, 1], [0.5] * 5, num_bins=3)
    assert (curve.predicted.tolist(), curve.observed.tolist(), curve.counts.tolist()) == ([0.5], [0.6], [5])


def test_a_certain_prediction_that_is_wrong_costs_all_and_one_that_is_right_nothing() -> None:
    assert log_loss([1, 0], [1.0, 0.0]) == 0.0
    assert log_loss([1], [0.0]) == np.inf


@pytest.mark.parametrize(
    ("metric", "targets", "predictions", "message"),
    [
        (log_loss, [0, 1], [0.5], "one is needed for each"),
        (rmse, [], [], "at least one"),
        (brier_score, [0.5], [0.5], "0 or 1, got 0.5"),
        (log_loss, [1], [1.5], "between 0 and 1, got 1.5"),
        (mae, [1.0], [float("nan")], "finite"),
        (pooled_auc, [1, 1], [0.1, 0.2], "both 0 and 1"),
    ],
)
def test_what_is_no_prediction_is_refused(
    metric: Callable[..., float], targets: list[float], predictions: list[float], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        metric(targets, predictions)


def test_less_than_one_bin_is_refused() -> None:
    with pytest.raises(ModelError, match="at least one bin"):
        reliability_curve([1], [0.5], num_bins=0)
