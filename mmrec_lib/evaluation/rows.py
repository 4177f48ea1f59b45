"""From values by user to the rows of metrics that tables and reports hold."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from mmrec_lib.evaluation.segments import UserValues
from mmrec_lib.evaluation.significance import holm_adjusted, mean_intervals, sign_flip_p_values

ABLATION = "ablation"
"""Fit of the rows of an ablation: a name of its own, so that nothing that compares fits meets them."""
WITHOUT_SOURCE, WITHOUT_MODALITY = "without_source:", "without_modality:"
"""Models of an ablation begin with one of them; the name of the part that they lack follows."""


@dataclass(frozen=True)
class MetricRow:
    """One metric of one model on one segment; the metric columns of the table `model_metric`.

    Attributes:
        model: ranker, or the name of a baseline; on lists those of `effects`; of an ablation see `WITHOUT_SOURCE`.
        segment: See `segments.SEGMENTS` and `requests.REQUESTS`; `lists` for effects of rules and re-ranking.
        metric: See `metrics.METRICS` and `auc`, `rankings.POPULARITY_METRICS`, `segments.METRICS_OF_LISTS`; on lists
            `effects.LIST_METRICS`.
        k: Cut-off; 0 for metrics of the whole ranking (auc, gauc).
        value: Mean over users; for coverage the share of the candidate items.
        ci_low: Lower end of the 95 % interval; None for coverage and gini, which are no means over users.
        ci_high: Upper end of it.
        diff: Ranker minus this model, paired by user; None for the ranker itself and for coverage and gini.
        diff_low: Lower end of the 95 % interval of the difference.
        diff_high: Upper end of it.
        num_users: Users averaged.
        p_value: Of the difference, two-sided, by random signs; see `significance.sign_flip_p_values`.
        p_adjusted: The same after Holm's correction for all models that the ranker is compared with by this metric on
            this segment.
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
    p_value: float | None = None
    p_adjusted: float | None = None

    @property
    def name(self) -> str:
        """Metric and cut-off, such as `ndcg@10`; the metric alone where it has no cut-off."""
        return f"{self.metric}@{self.k}" if self.k else self.metric


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
    pairs = [(model, name) for model in part.values for name in names]
    others = [(model, name) for model, name in pairs if model != reference] if reference in part.values else []
    columns = [part.values[model][name] for model, name in pairs]
    columns += [part.values[reference][name] - part.values[model][name] for model, name in others]
    values_NM = np.stack(columns, axis=1)
    low_M, high_M = mean_intervals(values_NM, num_bootstrap, seed)
    triples = np.stack([values_NM.mean(axis=0), low_M, high_M], axis=1).tolist()
    differences = dict(zip(others, triples[len(pairs) :], strict=True))
    tests = _tests(others, values_NM[:, len(pairs) :], num_bootstrap, seed)

    num_users = int(part.users.size)
    rows: list[MetricRow] = []
    for (model, name), (value, low, high) in zip(pairs, triples, strict=False):
        diff, diff_low, diff_high = differences.get((model, name), (None, None, None))
        p_value, p_adjusted = tests.get((model, name), (None, None))
        rows.append(
            MetricRow(
                model=model,
                segment=part.segment.name,
                metric=metric_of(name),
                k=cut_off_of(name),
                value=value,
                ci_low=low,
                ci_high=high,
                diff=diff,
                diff_low=diff_low,
                diff_high=diff_high,
                num_users=num_users,
                p_value=p_value,
                p_adjusted=p_adjusted,
            )
        )
    for model, shares in part.of_lists.items():
        for name, share in shares.items():
            segment, metric, k = part.segment.name, metric_of(name), cut_off_of(name)
            rows.append(MetricRow(model, segment, metric, k, share, num_users=num_users))
    return rows


def _tests(
    pairs: Sequence[tuple[str, str]], differences_NM: NDArray[np.float64], num_flips: int, seed: int
) -> dict[tuple[str, str], tuple[float, float]]:
    """P-value and adjusted p-value of the difference to each model by each metric; one correction a metric."""
    if not pairs:
        return {}
    p_values = sign_flip_p_values(differences_NM, num_flips, seed)
    adjusted = np.empty_like(p_values)
    metrics = np.array([name for _, name in pairs])
    for name in set(metrics.tolist()):
        adjusted[metrics == name] = holm_adjusted(p_values[metrics == name])
    return dict(zip(pairs, zip(p_values.tolist(), adjusted.tolist(), strict=True), strict=True))


def metric_of(name: str) -> str:
    """The metric of a name such as `ndcg@10` or `auc`."""
    return name.partition("@")[0]


def cut_off_of(name: str) -> int:
    """The cut-off of a name such as `ndcg@10`; 0 where it has none."""
    return int(name.partition("@")[2] or 0)


def flat_metrics(rows: Sequence[MetricRow], model: str = "ranker") -> dict[str, float]:
    """A model's values by name: `ndcg@10` for all users, `warm:ndcg@10` and so on for the other segments."""
    return {
        row.name if row.segment == "all" else f"{row.segment}:{row.name}": row.value
        for row in rows
        if row.model == model
    }
