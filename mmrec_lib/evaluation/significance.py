"""Confidence intervals of averages over users, and tests of paired differences.

Sources: B. Efron 1979, Bootstrap Methods: Another Look at the Jackknife (percentile bootstrap); R. A. Fisher 1935, The
Design of Experiments (randomisation of signs); M. D. Smucker, J. Allan, B. Carterette 2007, A Comparison of Statistical
Significance Tests for Information Retrieval Evaluation; S. Holm 1979, A Simple Sequentially Rejective Multiple Test
Procedure.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

# Above this many users the bootstrap distribution of a mean is normal for all purposes, and drawing it only costs time.
NORMAL_ABOVE = 50_000
CONFIDENCE = 0.95
_NORMAL_QUANTILE = 1.959963984540054
_CHUNK_NUMBERS = 4_000_000


def mean_intervals(
    values_NM: NDArray[np.float64], num_bootstrap: int, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Ends of the 95 % confidence interval of each column's mean over users.

    To compare two models, give the column of their differences by user: the interval is then the paired one.

    Args:
        values_NM: [num_users, num_columns], at least one user.
        num_bootstrap: Resamples.
        seed: Same seed, same intervals.

    Returns:
        (low, high), each [num_columns] float64.
    """
    num_users = values_NM.shape[0]
    if num_users > NORMAL_ABOVE:
        mean_M = values_NM.mean(axis=0)
        half_M = _NORMAL_QUANTILE * values_NM.std(axis=0, ddof=1) / np.sqrt(num_users)
        return mean_M - half_M, mean_M + half_M
    means_BM = np.concatenate([counts @ values_NM for counts in _resamples(num_users, num_bootstrap, seed)]) / num_users
    tail = (1 - CONFIDENCE) / 2
    low_M, high_M = np.quantile(means_BM, [tail, 1 - tail], axis=0)
    return low_M, high_M


def _resamples(num_users: int, num_bootstrap: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """Number of times each user was drawn in each resample, [chunk, num_users], in chunks of bounded memory."""
    rng = np.random.default_rng(seed)
    chunk = max(1, _CHUNK_NUMBERS // num_users)
    for start in range(0, num_bootstrap, chunk):
        size = min(chunk, num_bootstrap - start)
        drawn = rng.integers(0, num_users, (size, num_users)) + num_users * np.arange(size)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=size * num_users)
        yield counts.reshape(size, num_users).astype(np.float64)


def sign_flip_p_values(differences_NM: NDArray[np.float64], num_flips: int, seed: int) -> NDArray[np.float64]:
    """Two-sided p-values of paired differences: how often random signs give a mean that is as far from zero.

    If two models were exchangeable, each user's difference could as well have the other sign. All signs are tried
    where they are at most `num_flips`, so that few users give an exact value; above `NORMAL_ABOVE` users the mean
    is normal.

    Args:
        differences_NM: [num_users, num_columns], at least one user.
        num_flips: Draws of signs; no p-value is below 1 / (num_flips + 1).
        seed: Same seed, same values.

    Returns:
        [num_columns] float64, above 0.

    Example:
        Of the eight ways to set three signs, two are as far from zero as three wins are.

        >>> sign_flip_p_values(np.array([[0.5], [0.25], [0.75]]), 1000, seed=0).tolist()
        [0.25]
    """
    num_users, num_columns = differences_NM.shape
    if num_users > NORMAL_ABOVE:
        # Under the hypothesis the sum of randomly signed differences has this variance.
        spread_M = np.sqrt(np.square(differences_NM).sum(axis=0))
        distance_M = np.abs(differences_NM.sum(axis=0)) / np.where(spread_M > 0, spread_M, 1.0)
        normal_M: NDArray[np.float64] = 2 * ndtr(-distance_M)
        return normal_M
    # Sums are exact up to rounding, which must not break ties.
    least_M = np.abs(differences_NM.sum(axis=0)) - 1e-12 * np.abs(differences_NM).sum(axis=0)
    counts_M, num_signs = np.zeros(num_columns, dtype=np.float64), 0
    for signs in _signs(num_users, num_flips, seed):
        counts_M += (np.abs(signs @ differences_NM) >= least_M).sum(axis=0)
        num_signs += len(signs)
    if num_users <= _exact_users(num_flips):
        return counts_M / num_signs
    # The signs as they came are one more draw.
    counts_M += 1
    return counts_M / (num_signs + 1)


def holm_adjusted(p_values: NDArray[np.float64]) -> NDArray[np.float64]:
    """P-values of several comparisons, made larger so that any of them is falsely significant as rarely as one alone.

    Args:
        p_values: [n]

    Returns:
        [n] at most 1, in the same order.

    Example:
        >>> holm_adjusted(np.array([0.01, 0.04, 0.03])).tolist()
        [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values, kind="stable")
    scaled = p_values[order] * np.arange(len(p_values), 0, -1)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return adjusted


def weighted_mean_values(values: NDArray[np.float64], weights: NDArray[Any]) -> NDArray[np.float64]:
    """Values whose plain mean is the weighted mean, and whose resampled means spread as the resampled weighted ones do.

    These are the linear terms of a ratio of means, mean + weight / mean weight · (value - mean): intervals and paired
    differences of weighted means, and of means over some of the users, come from them as from any other values.

    Source: F. R. Hampel 1974, The Influence Curve and its Role in Robust Estimation.

    Args:
        values: [n]
        weights: [n] at least 0, not all of them 0 (but for n = 0).

    Returns:
        [n]

    Example:
        >>> float(weighted_mean_values(np.array([0.0, 1.0]), np.array([1, 3])).mean())
        0.75
    """
    if not values.size:
        return values
    shares = weights / weights.mean()
    mean = float((shares * values).mean())
    linear: NDArray[np.float64] = mean + shares * (values - mean)
    return linear


def _exact_users(num_flips: int) -> int:
    """Users up to which all signs are tried."""
    return int(np.log2(num_flips))


def _signs(num_users: int, num_flips: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """Signs of users, [chunk, num_users] of -1 and 1, in chunks of bounded memory: all of them for few users."""
    if num_users <= _exact_users(num_flips):
        bits = np.arange(2**num_users)[:, None] >> np.arange(num_users)
        yield (2 * (bits & 1) - 1).astype(np.float64)
        return
    rng = np.random.default_rng(seed)
    chunk = max(1, _CHUNK_NUMBERS // num_users)
    for start in range(0, num_flips, chunk):
        size = min(chunk, num_flips - start)
        yield (2 * rng.integers(0, 2, (size, num_users), dtype=np.int8) - 1).astype(np.float64)
