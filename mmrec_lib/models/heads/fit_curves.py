"""Fitting curves to outcomes.

Shape letters: P pairs of a user and an item, F features, B bins.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from scipy.optimize import isotonic_regression
from scipy.special import expit, logit

from mmrec_lib.models.data import Bools, Doubles
from mmrec_lib.models.heads.curves import CONSTANT, ISOTONIC, LOGISTIC, NUM_SCORES, PLATT, SCORE_FEATURES, Curve, Form

_PENALTY = 1.0
_MAX_STEPS = 50
_TOLERANCE = 1e-9
_NUM_BINS = 100
_LEAST_RATE = 1e-9


def fit_curves(features_PF: Doubles, labels_P: Doubles, weights_P: Doubles) -> dict[Form, Curve]:
    """Fit a curve of each form by weighted maximum likelihood, the base rate first.

    Sources: J. Platt 1999, Probabilistic Outputs for Support Vector Machines; B. Zadrozny, C. Elkan 2002, Transforming
    Classifier Scores into Accurate Multiclass Probability Estimates (isotonic); L. Papke, J. Wooldridge 1996,
    Econometric Methods for Fractional Response Variables (labels between 0 and 1).

    Args:
        features_PF: See `curves.FEATURES`.
        labels_P: 0 or 1, or a share between them.
        weights_P: How much each counts, above 0.
    """
    low, high = features_PF.min(axis=0), features_PF.max(axis=0)
    none, no_slope = np.zeros(0), np.zeros(features_PF.shape[1])
    constant = Curve(CONSTANT, _log_odds(base_rate(labels_P, weights_P)), no_slope, low, high, none, none)
    varies = high > low
    own_score = varies.copy()
    own_score[SCORE_FEATURES:] = False
    platt = replace(constant, form=PLATT, **_logistic(features_PF, labels_P, weights_P, own_score))
    # Over the score alone more score never means less probability; without that slope it is fitted again.
    while (falling := platt.coefficients[:NUM_SCORES] < 0).any():
        own_score[:NUM_SCORES] &= ~falling
        platt = replace(platt, **_logistic(features_PF, labels_P, weights_P, own_score))
    knots, steps = _steps(platt.log_odds(features_PF), labels_P, weights_P)
    isotonic = replace(platt, form=ISOTONIC, knots=knots, steps=steps)
    logistic = replace(constant, form=LOGISTIC, **_logistic(features_PF, labels_P, weights_P, varies))
    return {curve.form: curve for curve in (constant, platt, isotonic, logistic)}


def base_rate(labels_P: Doubles, weights_P: Doubles) -> float:
    """Weighted mean of labels."""
    return float(weights_P @ labels_P / weights_P.sum())


def _log_odds(rate: float) -> float:
    return float(logit(np.clip(rate, _LEAST_RATE, 1 - _LEAST_RATE)))


def _logistic(features_PF: Doubles, labels_P: Doubles, weights_P: Doubles, used: Bools) -> dict[str, Any]:
    """Intercept and coefficients by Newton's method, with a ridge penalty on standardised features."""
    columns = np.flatnonzero(used)
    chosen = features_PF[:, columns]
    total = weights_P.sum()
    mean = weights_P @ chosen / total
    scale = np.sqrt(weights_P @ np.square(chosen - mean) / total)
    x_PK = np.hstack([np.ones((len(chosen), 1)), (chosen - mean) / scale])
    penalty = np.full(x_PK.shape[1], _PENALTY)
    penalty[0] = _LEAST_RATE
    beta = np.zeros(x_PK.shape[1])
    beta[0] = _log_odds(base_rate(labels_P, weights_P))
    value = _objective(x_PK, labels_P, weights_P, beta, penalty)
    for _ in range(_MAX_STEPS):
        probabilities = expit(x_PK @ beta)
        gradient = x_PK.T @ (weights_P * (probabilities - labels_P)) + penalty * beta
        curvature = weights_P * probabilities * (1 - probabilities)
        step = np.linalg.solve(x_PK.T @ (x_PK * curvature[:, None]) + np.diag(penalty), gradient)
        # Halved until it does not lose: Newton's whole step may overshoot where outcomes are rare.
        size = 1.0
        while (new := _objective(x_PK, labels_P, weights_P, beta - size * step, penalty)) > value and size > _TOLERANCE:
            size /= 2
        beta, gain, value = beta - size * step, value - new, new
        if gain <= _TOLERANCE * max(1.0, abs(value)):
            break
    coefficients = np.zeros(features_PF.shape[1])
    coefficients[columns] = beta[1:] / scale
    return {"intercept": float(beta[0] - coefficients[columns] @ mean), "coefficients": coefficients}


def _objective(x_PK: Doubles, labels_P: Doubles, weights_P: Doubles, beta: Doubles, penalty: Doubles) -> float:
    log_odds = x_PK @ beta
    return float(weights_P @ (np.logaddexp(0, log_odds) - labels_P * log_odds) + penalty @ np.square(beta) / 2)


def _steps(log_odds_P: Doubles, labels_P: Doubles, weights_P: Doubles) -> tuple[Doubles, Doubles]:
    """Centres and rising probabilities of bins of about equal weight, each drawn to the base rate by one observation.

    So no bin says 0 or 1, which a single exception would make infinitely wrong.
    """
    order = np.argsort(log_odds_P, kind="stable")
    ordered = log_odds_P[order]
    # Equal log-odds share a bin, so that no order of the input decides.
    _, first, group = np.unique(ordered, return_index=True, return_inverse=True)
    before = np.concatenate([[0.0], np.cumsum(weights_P[order])])
    place = (before[first] / before[-1] * _NUM_BINS).astype(np.int64)[group]
    _, bins = np.unique(place, return_inverse=True)
    own = weights_P[order]
    weight_B = np.bincount(bins, own)
    rate = base_rate(labels_P, weights_P)
    rates_B = (np.bincount(bins, own * labels_P[order]) + rate) / (weight_B + 1)
    centres_B = np.bincount(bins, own * ordered) / weight_B
    return centres_B, np.asarray(isotonic_regression(rates_B, weights=weight_B + 1).x)
