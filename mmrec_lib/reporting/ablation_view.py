"""The ablation for people: what is lost without each source and modality."""

from __future__ import annotations

from collections.abc import Sequence

from mmrec_lib.evaluation.rows import WITHOUT_MODALITY, WITHOUT_SOURCE, MetricRow
from mmrec_lib.reporting.charts import RANKER, IntervalChart, difference_chart
from mmrec_lib.reporting.view import label

_PARTS = ((WITHOUT_SOURCE, "Without a source"), (WITHOUT_MODALITY, "Without a modality"))


def part_name(model: str) -> str:
    """The part that a model of an ablation lacks: `source ials` of `without_source:ials`."""
    kind, _, name = model.removeprefix("without_").partition(":")
    return label(f"{kind} {name}")


def ablation_charts(rows: Sequence[MetricRow], metric: str, k: int, segment: str = "all") -> list[IntervalChart]:
    """The ranker minus itself without each part, those that are missed most last; a chart for sources and modalities.

    Args:
        rows: Rows of the ablation.
        metric: Which metric.
        k: Its cut-off.
        segment: Which users.
    """
    some = [row for row in rows if (row.segment, row.metric, row.k) == (segment, metric, k) and row.model != RANKER]
    charts = []
    for prefix, title in _PARTS:
        own = [row for row in some if row.model.startswith(prefix)]
        names = {row.model: label(row.model.removeprefix(prefix)) for row in own}
        charts.append(difference_chart(own, title, names))
    return [chart for chart in charts if chart is not None]
