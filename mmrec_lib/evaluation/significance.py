"""Confidence intervals of averages over users, by the percentile bootstrap.

Source: B. Efron 1979, Bootstrap Methods: Another Look at the Jackknife.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

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
