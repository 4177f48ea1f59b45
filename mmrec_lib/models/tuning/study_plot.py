"""A study as an image, for the experiment tracker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

_MOST_IMPORTANT = 15


def plot_study(values: Sequence[float], importances: Mapping[str, float], title: str, path: Path) -> Path:
    """Trials of a study in their order, and the settings that mattered most, as PNG.

    Args:
        values: The objective of each trial; the first is that of the settings that were there.
        importances: Share of each setting; empty where too little was tried to tell.
        title: Above the plot.
        path: File to write.

    Returns:
        The file.
    """
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    trials, shares = figure.subplots(1, 2)
    numbers = range(1, len(values) + 1)
    trials.scatter(numbers, values, s=12, label="trial")
    trials.plot(numbers, list(accumulate(values, max)), linewidth=1, label="best so far")
    trials.axhline(values[0], color="grey", linewidth=0.8, linestyle="--", label="chosen by itself")
    trials.set(xlabel="trial", ylabel="nDCG@10", title=title)
    trials.legend(fontsize="small", frameon=False)
    shown = sorted(importances.items(), key=lambda pair: -pair[1])[:_MOST_IMPORTANT][::-1]
    shares.barh([name for name, _ in shown], [share for _, share in shown])
    shares.set(xlabel="share", title="what mattered" if shown else "too few trials to tell what mattered")
    figure.savefig(path, dpi=120)
    return path
