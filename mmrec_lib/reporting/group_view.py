"""Groups of users and items as charts: how well the ranker serves each, and the gap between the best and the worst."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mmrec_lib.evaluation.groups import GAP_METRICS
from mmrec_lib.evaluation.rows import MetricRow
from mmrec_lib.reporting.charts import RANKER, IntervalChart, metric_chart
from mmrec_lib.reporting.view import label

HISTORY = "history"
_OF_HISTORY = {"warm": "with history", "cold": "without history"}


def groups_of(rows: Sequence[MetricRow], gap: MetricRow) -> dict[str, MetricRow]:
    """Rows of the groups that a gap lies between, by name, the best first.

    Args:
        rows: Rows of any models and segments.
        gap: A row of the metric `ndcg_gap` or `recall_gap`.
    """
    key = (gap.model, gap.metric.removesuffix("_gap"), gap.k)
    own = [row for row in rows if (row.model, row.metric, row.k) == key]
    if gap.segment == HISTORY:
        found = {_OF_HISTORY[row.segment]: row for row in own if row.segment in _OF_HISTORY}
    else:
        prefix = f"{gap.segment}:"
        found = {row.segment.removeprefix(prefix): row for row in own if row.segment.startswith(prefix)}
    return dict(sorted(found.items(), key=lambda entry: -entry[1].value))


def ranker_gaps(rows: Sequence[MetricRow]) -> list[MetricRow]:
    """Gaps of the ranker by nDCG at the smallest cut-off, the widest first."""
    gaps = [row for row in rows if (row.model, row.metric) == (RANKER, GAP_METRICS[0])]
    return sorted(gaps, key=lambda row: -row.value)


def group_charts(rows: Sequence[MetricRow]) -> list[IntervalChart]:
    """A chart a grouping, the widest gap first; its note tells the gap."""
    charts = []
    for gap in ranker_gaps(rows):
        groups = groups_of(rows, gap)
        if not groups:
            continue
        chart = metric_chart(
            [replace(row, model=f"{label(name)} ({row.num_users:,})") for name, row in groups.items()],
            label(gap.segment.removeprefix("user_")),
            {},
        )
        interval = "" if gap.ci_low is None or gap.ci_high is None else f" ({gap.ci_low:.3f} to {gap.ci_high:.3f})"
        charts.append(replace(chart, note=f"gap {gap.value:.3f}{interval}"))
    return charts
