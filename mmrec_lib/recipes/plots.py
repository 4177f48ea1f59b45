"""Plots of a training as images, for the experiment tracker."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Plot

from mmrec_lib.recipes.evaluate import RECIPE, Figure
from mmrec_lib.recipes.train import Curves

_MOST_NUMBERS = 12


def plot_curves(curves: Curves, title: str, path: Path) -> None:
    """Losses and the validation score by epoch, the chosen epoch marked, as PNG."""
    plot = Plot(figsize=(7, 3.5), layout="constrained")
    FigureCanvasAgg(plot)
    losses, scores = plot.subplots(1, 2)
    epochs = range(1, len(curves.train_loss) + 1)
    losses.plot(epochs, curves.train_loss, marker="o", label="train")
    losses.plot(epochs, curves.valid_loss, marker="o", label="validation")
    losses.set_title(f"{title}: loss")
    losses.legend(frameon=False)
    scores.plot(epochs, curves.valid_score, marker="o", color="tab:green")
    scores.set_title("validation, score")
    for axes in (losses, scores):
        axes.axvline(curves.best_epoch, color="grey", linestyle=":")
        axes.set_xlabel("epoch")
        axes.set_xticks(list(epochs))
    plot.savefig(path, dpi=120)


def plot_confusion(figures: Sequence[Figure], title: str, path: Path) -> None:
    """Confusion matrix, or of a tagger, which has none, precision and recall by label, as PNG."""
    own = [figure for figure in figures if figure.model == RECIPE]
    cells = [figure for figure in own if figure.metric == "confusion"]
    plot = Plot(figsize=(6, 5), layout="constrained")
    FigureCanvasAgg(plot)
    axes = plot.add_subplot()
    labels = list(dict.fromkeys(figure.label for figure in own if figure.metric == "f1" and figure.label))
    if not cells:
        for number, metric in enumerate(("precision", "recall")):
            values = {figure.label: figure.value for figure in own if figure.metric == metric}
            axes.bar(np.arange(len(labels)) + 0.4 * number, [values[label] for label in labels], 0.4, label=metric)
        axes.set_xticks(np.arange(len(labels)) + 0.2, labels)
        axes.legend(frameon=False)
    else:
        place = {label: number for number, label in enumerate(labels)}
        counts = np.zeros((len(labels), len(labels)))
        for cell in cells:
            counts[place[cell.label], place[cell.predicted]] = cell.value
        axes.imshow(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1), cmap="Blues", vmin=0, vmax=1)
        for (row, column), count in np.ndenumerate(counts):
            if len(labels) <= _MOST_NUMBERS:
                axes.text(column, row, f"{count:.0f}", ha="center", va="center")
        axes.set_xticks(range(len(labels)), labels, rotation=45, ha="right")
        axes.set_yticks(range(len(labels)), labels)
        axes.set_xlabel("predicted")
        axes.set_ylabel("right")
    axes.set_title(f"{title}, test")
    plot.savefig(path, dpi=120)
