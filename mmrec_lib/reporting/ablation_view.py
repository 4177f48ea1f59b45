"""The ablation and the decision on the second stage for people: gains by each part of the ranker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from mmrec_lib.evaluation.rows import WITHOUT_MODALITY, WITHOUT_SOURCE, MetricRow
from mmrec_lib.evaluation.segments import SEGMENTS
from mmrec_lib.reporting.charts import RANKER, IntervalChart, difference_chart
from mmrec_lib.reporting.data import SecondStageFigures
from mmrec_lib.reporting.metric_view import Cell, difference_cell, metric_name
from mmrec_lib.reporting.view import label

_METRIC = "ndcg"
_PARTS = ((WITHOUT_SOURCE, "Without a source"), (WITHOUT_MODALITY, "Without a modality"))


@dataclass(frozen=True)
class AblationView:
    """Losses without each part.

    Attributes:
        metric: Metric and cut-off.
        charts: Of all users: sources and modalities, what is missed most first.
        segments: Titles of the columns of the table.
        lines: Part and loss in each segment.
    """

    metric: str
    charts: Sequence[IntervalChart]
    segments: Sequence[str]
    lines: Sequence[tuple[str, Sequence[Cell]]]


def part_name(model: str) -> str:
    """The part that a model of an ablation lacks: `source ials` of `without_source:ials`."""
    kind, _, name = model.removeprefix("without_").partition(":")
    return label(f"{kind} {name}")


def ablation_view(rows: Sequence[MetricRow]) -> AblationView | None:
    """Charts and table by nDCG at the smallest cut-off; None without rows."""
    own = [row for row in rows if row.metric == _METRIC and row.model != RANKER]
    if not own:
        return None
    k = min(row.k for row in own)
    own = [row for row in own if row.k == k]
    of_all = sorted((row for row in own if row.segment == SEGMENTS[0].name), key=lambda row: -(row.diff or 0.0))
    charts = []
    for prefix, title in _PARTS:
        some = [row for row in of_all if row.model.startswith(prefix)]
        chart = difference_chart(some, title, {row.model: label(row.model.removeprefix(prefix)) for row in some})
        if chart is not None:
            charts.append(replace(chart, rows=list(reversed(chart.rows))))
    present = {row.segment for row in own}
    segments = [segment for segment in SEGMENTS if segment.name in present]
    by_key = {(row.model, row.segment): row for row in own}
    return AblationView(
        metric=metric_name(f"{_METRIC}@{k}"),
        charts=charts,
        segments=[segment.title for segment in segments],
        lines=[
            (part_name(row.model), [difference_cell(by_key.get((row.model, segment.name))) for segment in segments])
            for row in of_all
        ],
    )


def second_stage_chart(figures: SecondStageFigures | None) -> IntervalChart | None:
    """The gain of the second stage over the first stage's order; None where it was not judged."""
    if figures is None or figures.gain is None:
        return None
    intervals = {
        "held_out": (figures.gain, figures.low, figures.high),
        "valid": (figures.valid_gain, figures.valid_gain, figures.valid_gain),
    }
    rows = [
        MetricRow(name, "all", _METRIC, 10, 0.0, diff=diff, diff_low=low, diff_high=high, num_users=figures.num_users)
        for name, (diff, low, high) in intervals.items()
    ]
    names = {"held_out": "held-out windows and validation", "valid": "validation alone (no interval)"}
    return difference_chart(rows, "Second stage minus first stage", names)
