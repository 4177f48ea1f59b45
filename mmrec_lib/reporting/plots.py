"""Plots as images, for the experiment tracker."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mmrec_lib.evaluation.head_metrics import reliability_curves
from mmrec_lib.evaluation.rows import MetricRow
from mmrec_lib.reporting.ablation_view import part_name
from mmrec_lib.reporting.charts import RANKER


def plot_metric(rows: Sequence[MetricRow], title: str, metric: str, k: int, path: Path) -> Path:
    """One metric of all models by segment, with 95 % intervals, as PNG.

    Args:
        rows: Metrics of one fit on one part.
        title: Above the plot.
        metric: Which metric.
        k: Its cut-off.
        path: File to write.

    Returns:
        The file.
    """
    chosen = [row for row in rows if row.metric == metric and row.k == k]
    segments = list(dict.fromkeys(row.segment for row in chosen))
    models = list(dict.fromkeys(row.model for row in chosen))
    figure = Figure(figsize=(1.5 + 1.9 * max(len(segments), 1), 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    width = 0.8 / max(len(models), 1)
    for number, model in enumerate(models):
        found = {row.segment: row for row in chosen if row.model == model}
        places = [place for place, segment in enumerate(segments) if segment in found]
        own = [found[segments[place]] for place in places]
        values = [row.value for row in own]
        low = [row.value - (row.ci_low if row.ci_low is not None else row.value) for row in own]
        high = [(row.ci_high if row.ci_high is not None else row.value) - row.value for row in own]
        at = [place + (number - (len(models) - 1) / 2) * width for place in places]
        axes.bar(at, values, width, yerr=[low, high], capsize=2, label=model.replace("_", " "))
    axes.set_xticks(range(len(segments)), [segment.replace("_", " ") for segment in segments])
    axes.set_ylabel(f"{metric}@{k}")
    axes.set_title(title)
    axes.legend(fontsize="small", frameon=False)
    figure.savefig(path, dpi=120)
    return path


def plot_reliability(rows: Sequence[MetricRow], title: str, path: Path) -> Path:
    """Reliability curve of each head, as PNG, on logarithmic scales, because outcomes are rare.

    Args:
        rows: Metrics of one fit on one part.
        title: Above the plot.
        path: File to write.

    Returns:
        The file.
    """
    figure = Figure(figsize=(6, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    lowest = 1.0
    for name, points in reliability_curves(rows).items():
        shown = [point for point in points if min(point) > 0]
        if shown:
            axes.plot(*zip(*shown, strict=True), marker="o", markersize=3, linewidth=1, label=name)
            lowest = min(lowest, *(min(point) for point in shown))
    axes.plot([lowest, 1], [lowest, 1], color="grey", linewidth=0.8, linestyle="--", label="calibrated")
    axes.set(xscale="log", yscale="log", xlabel="predicted probability", ylabel="share that followed", title=title)
    axes.legend(fontsize="small", frameon=False)
    figure.savefig(path, dpi=120)
    return path


def plot_losses(rows: Sequence[MetricRow], metric: str, k: int, path: Path) -> Path:
    """Losses of all users without each part of the ranker, with 95 % intervals, as PNG.

    Args:
        rows: Rows of an ablation.
        metric: Which metric.
        k: Its cut-off.
        path: File to write.

    Returns:
        The file.
    """
    chosen = [row for row in rows if (row.segment, row.metric, row.k) == ("all", metric, k) and row.model != RANKER]
    chosen.sort(key=lambda row: row.diff or 0.0)
    figure = Figure(figsize=(7, 1.2 + 0.35 * max(len(chosen), 1)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    lost = [row.diff or 0.0 for row in chosen]
    ends = [(row.diff_low, row.diff_high) for row in chosen]
    # A percentile interval of few skewed values may lie beside their mean.
    low = [0.0 if end is None else max(value - end, 0.0) for value, (end, _) in zip(lost, ends, strict=True)]
    high = [0.0 if end is None else max(end - value, 0.0) for value, (_, end) in zip(lost, ends, strict=True)]
    axes.errorbar(lost, range(len(chosen)), xerr=[low, high], fmt="o", capsize=2)
    axes.axvline(0.0, color="0.6", linewidth=1)
    axes.set_yticks(range(len(chosen)), [part_name(row.model) for row in chosen])
    axes.set_xlabel(f"{metric}@{k} lost without it, validation")
    figure.savefig(path, dpi=120)
    return path
