"""From values by user to the rows of metrics that tables and reports hold."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from mmrec_lib.evaluation.segments import UserValues
from mmrec_lib.evaluation.significance import mean_intervals


@dataclass(frozen=True)
class MetricRow:
    """One metric of one model on one segment; the metric columns of the table `model_metric`.

    Attributes:
        model: ranker, or the name of a baseline; on lists those of `effects`.
        segment: See `segments.SEGMENTS`; `lists` for effects of rules and re-ranking.
        metric: ndcg, recall, precision, map or coverage; on lists see `effects.LIST_METRICS`.
        k: Cut-off.
        value: Mean over users; for coverage the share of the candidate items.
        ci_low: Lower end of the 95 % interval; None for coverage, which is no mean over users.
        ci_high: Upper end of it.
        diff: Ranker minus this model, paired by user; None for the ranker itself and for coverage.
        diff_low: Lower end of the 95 % interval of the difference.
        diff_high: Upper end of it.
        num_users: Users averaged.
    """

    model: str
    segment: str
    metric: str
    k: int
    value: float
    ci_low: float | None = None
    ci_high: float | None = None
    diff: float | None = None
    diff_low: float | None = None
    diff_high: float | None = None
    num_users: int = 0

    @property
    def name(self) -> str:
        """Metric and cut-off, such as `ndcg@10`."""
        return f"{self.metric}@{self.k}"


METRIC_FIELDS = tuple(field.name for field in fields(MetricRow))
"""Columns of a metric row, in order."""


def summarise(
    parts: Iterable[UserValues], *, num_bootstrap: int = 1000, seed: int = 0, reference: str = "ranker"
) -> list[MetricRow]:
    """Rows with means, intervals and paired differences of `reference` minus each other model.

    Args:
        parts: Values by user of each segment; segments without a user give no rows.
        num_bootstrap: Resamples of users.
        seed: Same seed, same intervals.
        reference: The model that the others are compared with; without it there are no differences.
    """
    rows: list[MetricRow] = []
    for part in parts:
        if part.users.size:
            # Each segment draws on its own, so that a segment more or less leaves the others' intervals as they were.
            part_seed = zlib.crc32(f"{seed}:{part.segment.name}".encode())
            rows.extend(_segment_rows(part, num_bootstrap, part_seed, reference))
    return rows


def _segment_rows(part: UserValues, num_bootstrap: int, seed: int, reference: str) -> list[MetricRow]:
    names = list(next(iter(part.values.values())))
    models = list(part.values)
    values_NM = np.stack([part.values[model][name] for model in models for name in names], axis=1)
    low_M, high_M = mean_intervals(values_NM, num_bootstrap, seed)
    differences: dict[tuple[str, str], tuple[float, float, float]] = {}
    if reference in part.values:
        others = [(model, name) for model in models if model != reference for name in names]
        if others:
            diffs_ND = np.stack([part.values[reference][name] - part.values[model][name] for model, name in others], 1)
            differences = dict(zip(others, _with_means(diffs_ND, num_bootstrap, seed), strict=True))

    num_users = int(part.users.size)
    rows: list[MetricRow] = []
    column = 0
    for model in models:
        for name in names:
            metric, k = name.split("@")
            diff, diff_low, diff_high = differences.get((model, name), (None, None, None))
            rows.append(
                MetricRow(
                    model=model,
                    segment=part.segment.name,
                    metric=metric,
                    k=int(k),
                    value=float(values_NM[:, column].mean()),
                    ci_low=float(low_M[column]),
                    ci_high=float(high_M[column]),
                    diff=diff,
                    diff_low=diff_low,
                    diff_high=diff_high,
                    num_users=num_users,
                )
            )
            column += 1
        for name, share in part.coverage[model].items():
            metric, k = name.split("@")
            rows.append(MetricRow(model, part.segment.name, metric, int(k), share, num_users=num_users))
    return rows


def _with_means(values_NM: NDArray[np.float64], num_bootstrap: int, seed: int) -> list[tuple[float, float, float]]:
    low_M, high_M = mean_intervals(values_NM, num_bootstrap, seed)
    triples = zip(values_NM.mean(axis=0), low_M, high_M, strict=True)
    return [(float(mean), float(low), float(high)) for mean, low, high in triples]


def flat_metrics(rows: Sequence[MetricRow], model: str = "ranker") -> dict[str, float]:
    """A model's values by name: `ndcg@10` for all users, `warm:ndcg@10` and so on for the other segments."""
    return {
        row.name if row.segment == "all" else f"{row.segment}:{row.name}": row.value
        for row in rows
        if row.model == model
    }
