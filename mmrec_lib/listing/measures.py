"""Measures over counts: association, order, growth and shares, each of them steady where counts are few."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaincinv, xlogy

Floats = NDArray[np.float64]
_LOWER = 0.05


def log_likelihood_ratio(both: ArrayLike, left: ArrayLike, right: ArrayLike, total: float) -> Floats:
    """Log-likelihood ratio of two events that occur together more often than chance explains; else 0.

    Dunning (1993), "Accurate Methods for the Statistics of Surprise and Coincidence". It is distributed as chi squared
    with one degree of freedom where the events are independent, also for counts that are too few for Pearson's test.

    Args:
        both: [n] cases with both events.
        left: [n] cases with the first.
        right: [n] cases with the second.
        total: All cases.

    Example:
        Together in 3 of 100 cases, and never apart; then as often as chance has it.

        >>> log_likelihood_ratio([3, 1], [3, 10], [3, 10], 100).round(2).tolist()
        [26.95, 0.0]
    """
    both, left, right = (np.asarray(counts, dtype=np.float64) for counts in (both, left, right))
    cells = (both, left - both, right - both, total - left - right + both)
    margins = (left, total - left, right, total - right)
    ratio = 2 * (sum(xlogy(c, c) for c in cells) - sum(xlogy(m, m) for m in margins) + xlogy(total, total))
    return np.where(both * total > left * right, np.maximum(ratio, 0.0), 0.0)


def order_statistic(forward: ArrayLike, backward: ArrayLike) -> Floats:
    """Statistic of an order that occurs more often than its reverse; 0 where it does not.

    McNemar (1947), "Note on the sampling error of the difference between correlated proportions or percentages".

    Args:
        forward: [n] cases in this order.
        backward: [n] cases in the other.

    Example:
        >>> order_statistic([9, 2], [0, 4]).tolist()
        [9.0, 0.0]
    """
    forward, backward = np.asarray(forward, dtype=np.float64), np.asarray(backward, dtype=np.float64)
    ahead = np.maximum(forward - backward, 0.0)
    return np.asarray(np.square(ahead) / np.maximum(forward + backward, 1.0), dtype=np.float64)


def growth_bound(count: ArrayLike, expected: ArrayLike, prior: float) -> Floats:
    """Growth of counts against what was expected that is exceeded with 95 % probability, after a gamma prior of mean 1.

    DuMouchel (1999), "Bayesian Data Mining in Large Frequency Tables, with an Application to the FDA Spontaneous
    Reporting System": counts are Poisson around growth times expectation.

    Args:
        count: [n] counts.
        expected: [n] counts that are expected where nothing grows; the mean of what is believed is above 1 where there
            are more.
        prior: Strength of the prior, in expected counts.

    Example:
        Ten times the expectation, of many and of few.

        >>> growth_bound([100, 2], [10, 0.2], prior=5).round(2).tolist()
        [5.92, 0.63]
    """
    shape = prior + np.asarray(count, dtype=np.float64)
    return np.asarray(gammaincinv(shape, _LOWER) / (prior + np.asarray(expected)), dtype=np.float64)


def shrunk_share(count: ArrayLike, total: float, share: ArrayLike, prior: float) -> Floats:
    """Share of cases, drawn towards another share by as many cases as `prior`.

    Args:
        count: [n] cases of each kind.
        total: All cases.
        share: [n] shares that it is drawn towards.
        prior: Cases that these stand for; above 0 where `total` is 0.

    Example:
        >>> shrunk_share([3, 0], 5, [0.1, 0.2], prior=5).tolist()
        [0.35, 0.1]
    """
    return (np.asarray(count, dtype=np.float64) + prior * np.asarray(share, dtype=np.float64)) / (total + prior)
