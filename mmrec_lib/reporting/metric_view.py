"""Metrics as the charts and tables of the report show them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from mmrec_lib.evaluation.effects import LISTS
from mmrec_lib.evaluation.groups import GROUP_METRICS, is_group
from mmrec_lib.evaluation.head_metrics import is_head
from mmrec_lib.evaluation.metrics import METRICS
from mmrec_lib.evaluation.rankings import POPULARITY_METRICS
from mmrec_lib.evaluation.requests import REQUESTS, WITHOUT_CONTEXT
from mmrec_lib.evaluation.rows import MetricRow
from mmrec_lib.evaluation.segments import SEGMENTS
from mmrec_lib.reporting.charts import RANKER, IntervalChart, difference_chart, metric_chart, verdict
from mmrec_lib.reporting.head_view import HeadView, head_views
from mmrec_lib.reporting.view import label

FIRST_STAGE = "first_stage"
WITHOUT_SCORER = "without_scorer"
PARTS_OF_RANKER = (FIRST_STAGE, WITHOUT_SCORER, WITHOUT_CONTEXT)
"""Models that are the ranker without a part, and no baselines."""
SHOWN_SEGMENTS = (*SEGMENTS, REQUESTS)
HEADLINES = (("ndcg", 10), ("recall", 20))
FIT_TITLES = {
    "fit1": "Fit 1: trained on train, evaluated on test",
    "fit2": "Fit 2: trained on train and valid, evaluated on test",
}
MODEL_NAMES = {
    RANKER: "Ranker",
    FIRST_STAGE: "Ranker, first stage only",
    WITHOUT_SCORER: "Ranker, without scorer",
    WITHOUT_CONTEXT: "Ranker, without context",
    "ranker_no_content": "Ranker, no content",
    "popularity": "Popularity",
    "decayed_popularity": "Popularity, recent first",
    "item_knn": "Item kNN",
    "ease": "EASE",
}
UNRANKED_METRICS = (*POPULARITY_METRICS, "gini")
METRIC_NAMES = (("ndcg", "nDCG"), ("map@", "MAP@"), ("mrr@", "MRR@"), ("f1@", "F1@"), ("gauc", "GAUC"), ("auc", "AUC"))


@dataclass(frozen=True)
class Cell:
    """A value of a metric table, its interval, and its mark: best, better, worse, open or nothing."""

    text: str
    detail: str
    mark: str


@dataclass(frozen=True)
class MetricTable:
    """One segment of one fit: a line a metric and cut-off, a column a model."""

    title: str
    caption: str
    caption_of_differences: str
    num_users: int
    models: Sequence[tuple[str, bool]]
    lines: Sequence[tuple[str, Sequence[Cell]]]
    baselines: Sequence[str]
    differences: Sequence[tuple[str, Sequence[Cell]]]


@dataclass(frozen=True)
class FitView:
    """All that is shown of one fit."""

    key: str
    title: str
    charts: Sequence[tuple[str, Sequence[IntervalChart]]]
    differences: Sequence[IntervalChart]
    tables: Sequence[MetricTable]
    heads: Sequence[HeadView]


def shown_rows(metrics: Mapping[str, Sequence[MetricRow]]) -> dict[str, list[MetricRow]]:
    """The rows that the report shows: groups by their first metric, popularity in the lists of all users only."""
    return {fit: [row for row in rows if _is_shown(row)] for fit, rows in metrics.items()}


def _is_shown(row: MetricRow) -> bool:
    if is_head(row):
        return True
    if is_group(row):
        return row.metric.removesuffix("_gap") == GROUP_METRICS[0]
    return row.metric not in UNRANKED_METRICS or row.segment in (SEGMENTS[0].name, LISTS)


def fit_views(metrics: Mapping[str, Sequence[MetricRow]]) -> list[FitView]:
    """Charts and tables of each fit, the headline fit first."""
    order = sorted(metrics, key=lambda fit: (fit != "fit2", fit != "fit1", fit))
    return [_fit_view(fit, metrics[fit]) for fit in order if metrics[fit]]


def _fit_view(fit: str, rows: Sequence[MetricRow]) -> FitView:
    present = {row.segment for row in rows}
    segments = [segment for segment in SHOWN_SEGMENTS if segment.name in present]
    charts: list[tuple[str, list[IntervalChart]]] = []
    differences: list[IntervalChart] = []
    for metric, k in HEADLINES:
        made = []
        for segment in segments:
            some = [row for row in rows if (row.segment, row.metric, row.k) == (segment.name, metric, k)]
            if some:
                made.append(metric_chart(some, segment.title, _names(some)))
                if (metric, k) == HEADLINES[0] and (chart := difference_chart(some, segment.title, _names(some))):
                    differences.append(chart)
        if made:
            charts.append((metric_name(f"{metric}@{k}"), made))
    return FitView(
        key=fit,
        title=FIT_TITLES.get(fit, fit),
        charts=charts,
        differences=differences,
        tables=[
            *(
                _metric_table(
                    segment.title,
                    [row for row in rows if row.segment == segment.name and row.metric not in UNRANKED_METRICS],
                )
                for segment in segments
                if segment is not REQUESTS
            ),
            *_requests_table([row for row in rows if row.segment == REQUESTS.name]),
            *_group_tables([row for row in rows if is_group(row)]),
            *_unranked_tables(
                "Popularity in the lists",
                [row for row in rows if row.segment == SEGMENTS[0].name and row.metric in UNRANKED_METRICS],
                "Lists of all users beside the popularity of items in training. Mean over users; below it the 95 % "
                "interval.",
                "Ranker minus baseline, paired by user, with the 95 % interval.",
            ),
            *_unranked_tables(
                "Lists as users get them",
                [row for row in rows if row.segment == LISTS],
                "The ranker's own order, that order under the rules, and the re-ranked lists. Mean over users; below "
                "it the 95 % interval.",
                "The ranker's own order minus the lists, paired by user, with the 95 % interval.",
            ),
        ],
        heads=head_views(rows),
    )


def _requests_table(rows: Sequence[MetricRow]) -> list[MetricTable]:
    """The ranker with the context of requests beside its parts; no table without a row."""
    if not rows:
        return []
    return [
        replace(
            _metric_table(REQUESTS.title, rows),
            caption="Lists for what users with history turned to within an hour on one device. Mean over the requests "
            "of a user, then over users; below it the 95 % interval. The best value of a line is bold.",
            caption_of_differences="Ranker that knows what it looks at of hour, device and last search, minus lists "
            "that are made in advance, and minus those of the first stage; paired by user, with the 95 % interval and "
            "the p-value after Holm's correction; coloured where zero lies outside.",
        )
    ]


def _group_tables(rows: Sequence[MetricRow]) -> list[MetricTable]:
    """A line a group; the gap of a grouping follows its groups."""
    if not rows:
        return []
    models = list(dict.fromkeys(row.model for row in rows))
    by_key = {(row.segment, row.model): row for row in rows}
    names = _names(rows)
    lines = []
    for segment in sorted(dict.fromkeys(row.segment for row in rows), key=_gap_last):
        cells = [by_key.get((segment, model)) for model in models]
        of_group = ":" in segment
        best = max(row.value for row in cells if row is not None) if of_group else math.nan
        title = f"{label(segment).replace(':', ': ', 1)}" if of_group else f"gap of {label(segment)}"
        lines.append((title, [_value(row, best) for row in cells]))
    return [
        MetricTable(
            title=f"Groups of users and items, {metric_name(GROUP_METRICS[0])}@{rows[0].k}",
            caption="Mean over the users of a group; of groups of items over users with a relevant item among them. A "
            "gap is the best group's value minus the worst one's. Below each the 95 % interval.",
            caption_of_differences="",
            num_users=max(row.num_users for row in rows),
            models=[(names[model], model == RANKER) for model in models],
            lines=lines,
            baselines=[],
            differences=[],
        )
    ]


def _gap_last(segment: str) -> tuple[str, bool, str]:
    grouping, colon, group = segment.partition(":")
    return grouping, not colon, group


def _unranked_tables(
    title: str, rows: Sequence[MetricRow], caption: str, caption_of_differences: str
) -> list[MetricTable]:
    """Metrics of which more is no better, so that nothing is marked; no table without a row."""
    if not rows:
        return []
    table = _metric_table(title, rows)
    return [
        replace(
            table,
            caption=caption,
            caption_of_differences=caption_of_differences,
            lines=[(name, _unmarked(cells)) for name, cells in table.lines],
            differences=[(name, _unmarked(cells)) for name, cells in table.differences],
        )
    ]


def _unmarked(cells: Sequence[Cell]) -> list[Cell]:
    return [replace(cell, mark="") for cell in cells]


def _metric_table(title: str, rows: Sequence[MetricRow]) -> MetricTable:
    present = {(row.metric, row.k) for row in rows}
    order = (*METRICS, "auc", "gauc", "coverage")
    pairs = sorted(present, key=lambda pair: (order.index(pair[0]) if pair[0] in order else len(order), pair))
    models = list(dict.fromkeys(row.model for row in rows))
    by_key = {(row.model, row.metric, row.k): row for row in rows}
    names = _names(rows)
    value_lines, difference_lines = [], []
    for metric, k in pairs:
        some = {model: by_key.get((model, metric, k)) for model in models}
        best = max(row.value for row in some.values() if row is not None)
        name = metric_name(f"{metric}@{k}" if k else metric)
        value_lines.append((name, [_value(row, best) for row in some.values()]))
        if any(row is not None and row.diff is not None for row in some.values()):
            difference_lines.append((name, [difference_cell(row) for model, row in some.items() if model != RANKER]))
    return MetricTable(
        title=title,
        caption="Mean over users; below it the 95 % interval. The best value of a line is bold.",
        caption_of_differences="Ranker minus baseline, paired by user, with the 95 % interval and the p-value after "
        "Holm's correction for all baselines; coloured where zero lies outside.",
        num_users=rows[0].num_users,
        models=[(names[model], model == RANKER) for model in models],
        lines=value_lines,
        baselines=[names[model] for model in models if model != RANKER],
        differences=difference_lines,
    )


def _value(row: MetricRow | None, best: float) -> Cell:
    if row is None:
        return Cell("", "", "")
    detail = "" if row.ci_low is None or row.ci_high is None else f"{row.ci_low:.3f} to {row.ci_high:.3f}"
    return Cell(f"{row.value:.3f}", detail, "best" if row.value == best else "")


def difference_cell(row: MetricRow | None) -> Cell:
    """The ranker minus a model, with interval and corrected p-value; empty where nothing is compared."""
    if row is None or row.diff is None or row.diff_low is None or row.diff_high is None:
        return Cell("", "", "")
    test = "" if row.p_adjusted is None else f", p {row.p_adjusted:.3f}"
    return Cell(f"{row.diff:+.3f}", f"{row.diff_low:+.3f} to {row.diff_high:+.3f}{test}", verdict(row))


def _names(rows: Iterable[MetricRow]) -> dict[str, str]:
    return {row.model: MODEL_NAMES.get(row.model, label(row.model)) for row in rows}


def metric_name(name: str) -> str:
    """`ndcg@10` as the field writes it: `nDCG@10`."""
    for written, meant in METRIC_NAMES:
        name = name.replace(written, meant)
    return label(name)
