"""Metrics of predicted probabilities and ratings, over pairs of a user and an item.

Shape suffixes: N predictions, B bins.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import xlogy

from mmrec_lib.errors import ModelError
from mmrec_lib.evaluation.auc import midranks

Doubles = npt.NDArray[np.float64]
_LEAST_PROBABILITY = 1e-12


def log_loss(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> float:
    """Mean negative log-likelihood of binary labels, in nats; infinite where a certain prediction is wrong.

    Source: I. J. Good 1952, Rational Decisions.

    Args:
        labels: [N] 0 or 1.
        probabilities: [N] predicted probability of 1.

    Raises:
        ModelError: When lengths differ, nothing is given, or a value is none of these.

    Example:
        >>> round(log_loss([1, 0], [0.5, 0.5]), 3)
        0.693
    """
    labels_N, probabilities_N = _binary(labels, probabilities)
    with np.errstate(divide="ignore"):
        return float(-(xlogy(labels_N, probabilities_N) + xlogy(1 - labels_N, 1 - probabilities_N)).mean())


def log_losses(labels: Doubles, probabilities: Doubles) -> Doubles:
    """[N] negative log-likelihood of each label, in nats; of a share the expected one of draws with that probability.

    Probabilities count as no nearer to 0 and 1 than a rounding, so that one certain and wrong prediction does not hide
    how good the others are; see `log_loss` for the strict mean.

    Args:
        labels: [N] from 0 to 1.
        probabilities: [N] predicted probability of 1.

    Example:
        >>> log_losses(np.array([1.0, 0.5]), np.array([0.5, 0.5])).round(3).tolist()
        [0.693, 0.693]
    """
    kept: Doubles = np.clip(probabilities, _LEAST_PROBABILITY, 1 - _LEAST_PROBABILITY)
    losses: Doubles = np.negative(xlogy(labels, kept) + xlogy(1 - labels, 1 - kept))
    return losses


def brier_score(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> float:
    """Mean squared distance of probabilities and binary labels; arguments and errors as of `log_loss`.

    Source: G. W. Brier 1950, Verification of Forecasts Expressed in Terms of Probability.

    Example:
        >>> brier_score([1, 0], [0.5, 0.0])
        0.125
    """
    labels_N, probabilities_N = _binary(labels, probabilities)
    return float(np.square(probabilities_N - labels_N).mean())


def pooled_auc(labels: npt.ArrayLike, scores: npt.ArrayLike) -> float:
    """Area under the ROC curve over all pairs of predictions, ties counted half; see `auc` for the one by user.

    Args:
        labels: [N] 0 or 1, both at least once.
        scores: [N] finite.

    Raises:
        ModelError: When lengths differ, a value is none of these, or a label is missing.

    Example:
        >>> pooled_auc([0, 1, 1], [0.2, 0.2, 0.9])
        0.75
    """
    labels_N, scores_N = _paired(labels, scores)
    _check_labels(labels_N)
    num_positive = labels_N.sum()
    num_pairs = num_positive * (len(labels_N) - num_positive)
    if num_pairs == 0:
        raise ModelError("auc: labels must hold both 0 and 1, else there is no pair to order")
    ranks_N = midranks(scores_N)
    return float((ranks_N[labels_N == 1].sum() - num_positive * (num_positive + 1) / 2) / num_pairs)


@dataclass(frozen=True)
class ReliabilityCurve:
    """Observed against predicted probability by bins of equal mass: on the diagonal where predictions are calibrated.

    Attributes:
        predicted: [B] mean predicted probability, ascending.
        observed: [B] share of labels that are 1.
        counts: [B] predictions of the bin.
    """

    predicted: Doubles
    observed: Doubles
    counts: npt.NDArray[np.int64]

    @property
    def error(self) -> float:
        """Expected calibration error: mean distance of observed and predicted, by predictions."""
        return float(self.counts @ np.abs(self.observed - self.predicted) / self.counts.sum())


def reliability_curve(labels: npt.ArrayLike, probabilities: npt.ArrayLike, num_bins: int = 10) -> ReliabilityCurve:
    """Predictions in bins of equal mass, ascending; equal predictions share a bin, so that there may be fewer bins.

    Source: A. Niculescu-Mizil, R. Caruana 2005, Predicting Good Probabilities with Supervised Learning; bins of equal
    mass: K. Nguyen, B. O'Connor 2015, Posterior Calibration and Exploratory Analysis for Natural Language Processing
    Models.

    Args:
        labels: [N] 0 or 1.
        probabilities: [N] predicted probability of 1.
        num_bins: Bins, at most.

    Raises:
        ModelError: As `log_loss`, and for less than one bin.

    Example:
        >>> curve = reliability_curve([0, 1, 1, 1], [0.25, 0.25, 0.75, 0.75], num_bins=2)
        >>> curve.predicted.tolist(), curve.observed.tolist(), curve.counts.tolist()
        ([0.25, 0.75], [0.5, 1.0], [2, 2])
    """
    labels_N, probabilities_N = _binary(labels, probabilities)
    if num_bins < 1:
        raise ModelError(f"calibration: at least one bin is needed, got {num_bins}")
    # The middle of tied ranks decides, so that no order of the input does.
    middle_N = (midranks(probabilities_N) - 0.5) / len(probabilities_N)
    counts_B, labels_B, sums_B = (
        np.bincount((middle_N * num_bins).astype(np.int64), weights=weights, minlength=num_bins)
        for weights in (None, labels_N, probabilities_N)
    )
    filled = counts_B > 0
    counts = counts_B[filled].astype(np.int64)
    return ReliabilityCurve(sums_B[filled] / counts, labels_B[filled] / counts, counts)


def calibration_error(labels: npt.ArrayLike, probabilities: npt.ArrayLike, num_bins: int = 10) -> float:
    """Expected calibration error over bins of equal mass, 0 where predictions are calibrated; see `reliability_curve`.

    Source: M. Pakdaman Naeini, G. F. Cooper, M. Hauskrecht 2015, Obtaining Well Calibrated Probabilities Using Bayesian
    Binning.

    Example:
        >>> calibration_error([0, 1, 1, 1], [0.25, 0.25, 0.75, 0.75], num_bins=2)
        0.25
    """
    return reliability_curve(labels, probabilities, num_bins).error


def rmse(ratings: npt.ArrayLike, predictions: npt.ArrayLike) -> float:
    """Root of the mean squared error of predicted ratings, in their unit.

    Source: J. L. Herlocker et al. 2004, Evaluating Collaborative Filtering Recommender Systems.

    Raises:
        ModelError: When lengths differ, nothing is given or a value is not finite.

    Example:
        >>> rmse([3, 5], [3, 3])
        1.4142135623730951
    """
    ratings_N, predictions_N = _paired(ratings, predictions)
    return float(np.sqrt(np.square(predictions_N - ratings_N).mean()))


def mae(ratings: npt.ArrayLike, predictions: npt.ArrayLike) -> float:
    """Mean absolute error of predicted ratings, in their unit; source and errors as of `rmse`.

    Example:
        >>> mae([3, 5], [3, 3])
        1.0
    """
    ratings_N, predictions_N = _paired(ratings, predictions)
    return float(np.abs(predictions_N - ratings_N).mean())


def _paired(targets: npt.ArrayLike, predictions: npt.ArrayLike) -> tuple[Doubles, Doubles]:
    targets_N, predictions_N = (np.asarray(values, dtype=np.float64) for values in (targets, predictions))
    if targets_N.ndim != 1 or targets_N.shape != predictions_N.shape or not targets_N.size:
        raise ModelError(
            f"predictions: one is needed for each of at least one target, got {predictions_N.shape} for "
            f"{targets_N.shape}"
        )
    if not (np.isfinite(targets_N).all() and np.isfinite(predictions_N).all()):
        raise ModelError("predictions: targets and predictions must be finite, got NaN or an infinite number")
    return targets_N, predictions_N


def _binary(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> tuple[Doubles, Doubles]:
    labels_N, probabilities_N = _paired(labels, probabilities)
    _check_labels(labels_N)
    if probabilities_N.min() < 0 or probabilities_N.max() > 1:
        raise ModelError(
            f"probabilities: each must lie between 0 and 1, got {probabilities_N.min():g} to {probabilities_N.max():g}"
        )
    return labels_N, probabilities_N


def _check_labels(labels_N: Doubles) -> None:
    if not np.isin(labels_N, (0, 1)).all():
        raise ModelError(f"labels: each must be 0 or 1, got {labels_N[~np.isin(labels_N, (0, 1))][0]:g}")
