"""Popularity with exponential decay, and departures of user groups from it; both serve users without history."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from mmrec_lib.models.config import RankerSettings
from mmrec_lib.models.data import Attributes, Doubles, FitData, Floats
from mmrec_lib.models.sources.groups import Group, find_groups, membership

SECONDS_PER_DAY = 86_400.0
# Added to every item's decayed count, as a share of the mean: how far apart rare items may lie on the log scale.
_SMOOTHING = 0.1


def decay(data: FitData, half_life_days: float | None) -> Doubles:
    """Weight of each stored interaction, 1 at the latest time and half of it a half-life before.

    Unknown times (0) count as the earliest known one. The latest time stands for now, not the cut: a common factor
    changes no ranking.
    """
    times = data.interactions.times.data
    known = times > 0
    if half_life_days is None or not known.any():
        return np.ones(len(times))
    age = times.max() - np.where(known, times, times[known].min())
    faded: Doubles = np.exp2(-age / (half_life_days * SECONDS_PER_DAY))
    return faded


def decayed_counts(data: FitData, half_life_days: float | None) -> Doubles:
    """[I] decayed number of users who acted on each item."""
    weights = decay(data, half_life_days)
    counts: Doubles = np.bincount(data.interactions.weights.indices, weights, len(data.item_ids)).astype(np.float64)
    return counts


def half_life_candidates(data: FitData) -> list[float | None]:
    """No decay, and the time span of the data halved again and again, in days."""
    times = data.interactions.times.data
    known = times[times > 0]
    span = float(known.max() - known.min()) / SECONDS_PER_DAY if len(known) else 0.0
    if span <= 0:
        return [None]
    return [None, *(span / 2.0**power for power in range(1, 10))]


@dataclass(frozen=True)
class PopularityModel:
    """Log popularity and groups' log-ratios, both in deviations of log popularity.

    Attributes:
        log_popularity: [I] float32, mean 0 and deviation 1 over items with interactions.
        log_ratios: [I, groups] float32, shrunken log of a group's share of an item over everybody's.
        groups: The groups.
    """

    log_popularity: Floats
    log_ratios: Floats
    groups: tuple[Group, ...]

    @classmethod
    def fit(cls, data: FitData, settings: RankerSettings) -> PopularityModel:
        """Count, decay, shrink."""
        chosen = settings.popularity
        counts_I = decayed_counts(data, chosen.half_life_days)
        warm_I = data.interactions.item_counts() > 0
        smooth = _SMOOTHING * float(counts_I[warm_I].mean()) if warm_I.any() else 1.0
        log_I = np.log(counts_I + max(smooth, 1e-12))
        centre = float(log_I[warm_I].mean()) if warm_I.any() else 0.0
        spread = max(float(log_I[warm_I].std()), 1e-6) if warm_I.any() else 1.0

        has_history = np.diff(data.interactions.weights.indptr) > 0
        groups = find_groups(data.user_attributes, has_history, settings.min_group_users, settings.max_groups)
        members_UG = membership(groups, data.user_attributes, len(has_history))
        faded = sparse.csr_matrix(
            (decay(data, chosen.half_life_days), data.interactions.weights.indices, data.interactions.weights.indptr),
            shape=data.interactions.shape,
        )
        counts_IG = np.asarray(faded.T @ members_UG.astype(np.float64))
        # Observed over expected counts with the same pseudo-count: the posterior mean under a Gamma prior around 1.
        expected_IG = np.outer(counts_I / max(float(counts_I.sum()), 1e-12), counts_IG.sum(axis=0))
        ratios_IG = np.log((counts_IG + chosen.group_shrinkage) / (expected_IG + chosen.group_shrinkage))
        return cls(((log_I - centre) / spread).astype(np.float32), (ratios_IG / spread).astype(np.float32), groups)

    def codes(self, attributes: Attributes, num_users: int) -> Floats:
        """[n, groups] which groups each user belongs to."""
        return membership(self.groups, attributes, num_users)
