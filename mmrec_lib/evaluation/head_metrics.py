"""Metrics of heads: predicted probabilities and quantities against what followed, as rows of `model_metric`.

Shape letters: P pairs of a user and a listed item, n users.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mmrec_lib.evaluation.predictions import calibration_error, log_losses, pooled_auc, reliability_curve, rmse
from mmrec_lib.evaluation.rows import MetricRow
from mmrec_lib.evaluation.significance import mean_intervals, weighted_mean_values

Doubles = NDArray[np.float64]
HEAD = "head:"
"""Segments of heads are this and the name of the outcome."""
BASE_RATE = "base_rate"
"""Model of the rows that a head is compared with: the mean of what it learned from, for every pair."""
PREDICTED, OBSERVED = "reliability_predicted", "reliability_observed"
"""Metrics of the reliability curve; their k is the number of the bin, from 1."""


def is_head(row: MetricRow) -> bool:
    """True for rows of heads."""
    return row.segment.startswith(HEAD)


def reliability_curves(rows: Iterable[MetricRow]) -> dict[str, list[tuple[float, float]]]:
    """Predicted and observed share of each bin, by the name of the outcome."""
    shares: dict[str, dict[str, dict[int, float]]] = {}
    for row in rows:
        if row.metric in (PREDICTED, OBSERVED):
            by_metric = shares.setdefault(row.segment.removeprefix(HEAD), {PREDICTED: {}, OBSERVED: {}})
            by_metric[row.metric][row.k] = row.value
    return {
        name: [(by_metric[PREDICTED][at], by_metric[OBSERVED][at]) for at in sorted(by_metric[PREDICTED])]
        for name, by_metric in shares.items()
    }


def outcome_rows(
    name: str,
    users: NDArray[np.integer],
    labels: Doubles,
    predictions: Doubles,
    rate: float,
    *,
    num_bootstrap: int = 1000,
    seed: int = 0,
) -> list[MetricRow]:
    """Log loss, Brier score, calibration error and pooled AUC of a head, those of the base rate, and the reliability.

    Args:
        name: Outcome.
        users: [P] user of each pair.
        labels: [P] 1 where the outcome followed, else 0.
        predictions: [P] probabilities.
        rate: The base rate, from other data.
        num_bootstrap: Resamples of users.
        seed: Same seed, same intervals.

    Returns:
        No rows without a pair.
    """
    if not len(labels):
        return []
    by_pair = {"log_loss": log_losses, "brier": _squares}
    rows = _compared(name, users, labels, predictions, rate, by_pair, num_bootstrap, seed)
    add = _Adder(HEAD + name, rows)
    add("ranker", "calibration_error", calibration_error(labels, predictions))
    add(BASE_RATE, "calibration_error", calibration_error(labels, np.full(len(labels), rate)))
    if 0 < labels.sum() < len(labels):
        add("ranker", "auc", pooled_auc(labels, predictions))
    curve = reliability_curve(labels, predictions)
    for metric, shares in ((PREDICTED, curve.predicted), (OBSERVED, curve.observed)):
        for at, share in enumerate(shares.tolist(), start=1):
            add("ranker", metric, share, at)
    return rows


def quantity_rows(
    name: str,
    users: NDArray[np.integer],
    values: Doubles,
    predictions: Doubles,
    mean: float,
    *,
    num_bootstrap: int = 1000,
    seed: int = 0,
) -> list[MetricRow]:
    """RMSE and MAE of a head and of the mean, in the unit of the quantity.

    Args:
        name: Quantity.
        users: [P] user of each pair whose event happened.
        values: [P] the quantity.
        predictions: [P] what was expected.
        mean: The mean, from other data.
        num_bootstrap: Resamples of users.
        seed: Same seed, same intervals.

    Returns:
        No rows without a pair.
    """
    if not len(values):
        return []
    rows = _compared(name, users, values, predictions, mean, {"mae": _distances}, num_bootstrap, seed)
    add = _Adder(HEAD + name, rows)
    add("ranker", "rmse", rmse(values, predictions))
    add(BASE_RATE, "rmse", rmse(values, np.full(len(values), mean)))
    return rows


class _Adder:
    """Adds rows without intervals, of as many users as the first ones are of."""

    def __init__(self, segment: str, rows: list[MetricRow]) -> None:
        self._segment, self._rows, self._num_users = segment, rows, rows[0].num_users

    def __call__(self, model: str, metric: str, value: float, k: int = 0) -> None:
        self._rows.append(MetricRow(model, self._segment, metric, k, value, num_users=self._num_users))


def _compared(
    name: str,
    users: NDArray[np.integer],
    targets: Doubles,
    predictions: Doubles,
    constant: float,
    by_pair: Mapping[str, Callable[[Doubles, Doubles], Doubles]],
    num_bootstrap: int,
    seed: int,
) -> list[MetricRow]:
    """Means over pairs of the ranker's and the constant's losses, with intervals over users."""
    _, user = np.unique(users, return_inverse=True)
    num_pairs = np.bincount(user)
    columns = []
    for loss in by_pair.values():
        own, other = loss(targets, predictions), loss(targets, np.full(len(targets), constant))
        for values in (own, other, own - other):
            columns.append(weighted_mean_values(np.bincount(user, values) / num_pairs, num_pairs))
    values_NM = np.stack(columns, axis=1)
    low, high = mean_intervals(values_NM, num_bootstrap, zlib.crc32(f"{seed}:{HEAD}{name}".encode()))
    ends = np.stack([values_NM.mean(axis=0), low, high], axis=1).tolist()
    rows = []
    for at, metric in enumerate(by_pair):
        (own_ends, other_ends, diff_ends), num_users = ends[3 * at : 3 * at + 3], len(num_pairs)
        value, ci_low, ci_high = own_ends
        of_head = MetricRow("ranker", HEAD + name, metric, 0, value, ci_low, ci_high, num_users=num_users)
        value, ci_low, ci_high = other_ends
        diff, diff_low, diff_high = diff_ends
        rows.append(of_head)
        rows.append(replace(of_head, model=BASE_RATE, value=value, ci_low=ci_low, ci_high=ci_high))
        rows[-1] = replace(rows[-1], diff=diff, diff_low=diff_low, diff_high=diff_high)
    return rows


def _squares(labels: Doubles, probabilities: Doubles) -> Doubles:
    return np.square(labels - probabilities)


def _distances(values: Doubles, predictions: Doubles) -> Doubles:
    return np.abs(values - predictions)
