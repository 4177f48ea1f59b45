"""From runs to rows: means and spread over seeds, intervals over users, paired differences corrected for their number.

A user counts once: values of several seeds are averaged by user before users are resampled. P-values are those of the
paired t-test (Urbano et al. 2019, Statistical Significance Testing in Information Retrieval), corrected by Holm 1979, A
Simple Sequentially Rejective Multiple Test Procedure, over the contenders of one group.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from mmrec_lib.evaluation.significance import holm_adjusted, mean_intervals
from tests.benchmarks.quality.runs import RunResult

NUM_BOOTSTRAP = 1_000
RANKER, NO_CONTENT = "ranker", "ranker_no_content"


@dataclass(frozen=True)
class Row:
    """One metric of one contender; differences are ranker minus contender.

    Attributes:
        mean: Mean over seeds of the mean over users.
        deviation: Standard deviation over seeds; 0 with one.
        low: Lower end of the 95 % interval over users.
        high: Upper end of it.
        difference: Ranker minus contender, paired by user, on the seeds that both have.
        p_value: Of the difference.
        p_holm: The same, corrected for all contenders of the group.
        is_best_baseline: Whether no baseline has a higher mean, the ranker without content aside.
    """

    protocol: str
    fit: str
    segment: str
    metric: str
    contender: str
    group: str
    num_seeds: int
    num_users: int
    mean: float
    deviation: float
    low: float
    high: float
    difference: float | None = None
    difference_low: float | None = None
    difference_high: float | None = None
    p_value: float | None = None
    p_holm: float | None = None
    is_best_baseline: bool = False


Runs = Mapping[str, Mapping[int, RunResult]]
"""Finished runs of one protocol by contender and seed."""


def summarise(protocol: str, runs: Runs, groups: Mapping[str, str], is_random: bool) -> list[Row]:
    """Rows of one protocol.

    Args:
        protocol: Its name.
        runs: By contender and seed; contenders that were left out have no values.
        groups: Group of each contender.
        is_random: Whether its split depends on the seed; otherwise all seeds of a contender pair with all of another.
    """
    found: list[Row] = []
    for fit, segment, metric in _columns(runs):
        values = {
            name: {
                seed: (of["users"], of[metric])
                for seed, result in by_seed.items()
                if (of := result.values.get(fit, {}).get(segment)) is not None
            }
            for name, by_seed in runs.items()
        }
        rows = [
            _row((protocol, fit, segment, metric), name, groups[name], by_seed, values.get(RANKER, {}), is_random)
            for name, by_seed in values.items()
            if by_seed
        ]
        found += _marked(_corrected(rows))
    return found


def _columns(runs: Runs) -> list[tuple[str, str, str]]:
    """Fits, segments and metrics that any run has, in their order."""
    return list(
        dict.fromkeys(
            (fit, segment, metric)
            for by_seed in runs.values()
            for result in by_seed.values()
            for fit, segments in result.values.items()
            for segment, of in segments.items()
            for metric in of
            if metric != "users"
        )
    )


BySeed = Mapping[int, tuple[np.ndarray, np.ndarray]]


def _row(
    column: tuple[str, str, str, str], name: str, group: str, by_seed: BySeed, ranker: BySeed, is_random: bool
) -> Row:
    protocol, fit, segment, metric = column
    means = [float(values.mean()) for _, values in by_seed.values()]
    users, pooled = pool(by_seed.values())
    (low,), (high,) = mean_intervals(pooled[:, None], NUM_BOOTSTRAP, 0)
    row = Row(
        protocol, fit, segment, metric, name, group, len(by_seed), len(users),
        float(np.mean(means)), float(np.std(means)), float(low), float(high),
    )  # fmt: skip
    common = sorted(set(by_seed) & set(ranker)) if is_random else []
    if name == RANKER or not ranker or (is_random and not common):
        return row
    (own_users, own), (their_users, theirs) = (pool(of[seed] for seed in common or of) for of in (by_seed, ranker))
    both, at_own, at_theirs = np.intersect1d(own_users, their_users, return_indices=True)
    differences = theirs[at_theirs] - own[at_own]
    (low,), (high,) = mean_intervals(differences[:, None], NUM_BOOTSTRAP, 0)
    return replace(
        row,
        difference=float(differences.mean()),
        difference_low=float(low),
        difference_high=float(high),
        p_value=p_value(differences) if len(both) > 1 else None,
    )


def pool(parts: Iterable[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Positions of all users, and each user's mean over the parts that hold the user."""
    users, values = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    counts = np.bincount(users)
    present = np.flatnonzero(counts)
    return present, np.bincount(users, weights=values)[present] / counts[present]


def p_value(differences: np.ndarray) -> float:
    """Two-sided p-value of the paired t-test; 1 where all differences are equal to 0."""
    if not np.ptp(differences):
        return 0.0 if differences[0] else 1.0
    return float(stats.ttest_1samp(differences, 0.0).pvalue)


def _corrected(rows: list[Row]) -> list[Row]:
    by_name: dict[str, Row] = {row.contender: row for row in rows}
    for group in {row.group for row in rows}:
        tested = [row for row in rows if row.group == group and row.p_value is not None]
        p_values = np.array([row.p_value for row in tested], dtype=np.float64)
        for row, adjusted in zip(tested, holm_adjusted(p_values).tolist(), strict=True):
            by_name[row.contender] = replace(row, p_holm=adjusted)
    return list(by_name.values())


def _marked(rows: list[Row]) -> list[Row]:
    baselines = [row for row in rows if row.group == "baseline" and row.contender != NO_CONTENT]
    best = max((row.mean for row in baselines), default=None)
    return [replace(row, is_best_baseline=row in baselines and row.mean == best) for row in rows]
