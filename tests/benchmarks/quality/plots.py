"""Plots of the summary: contenders with intervals against the bars, what an ablation costs, and missing modalities."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np

from tests.benchmarks.quality.summary import NO_CONTENT, RANKER, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS = {
    "ranker": "#2a6f97",
    "baseline": "#9aa5b1",
    "ablation": "#c1666b",
    "missing": "#61a5c2",
    "alignment": "#5b8c5a",
    "robustness": "#8d7b68",
}


@dataclass(frozen=True)
class Headline:
    """A figure that a protocol is read by, with what a careful implementation reaches and what is wanted."""

    protocol: str
    fit: str
    segment: str
    metric: str
    bar: float | None = None
    moonshot: float | None = None

    def of(self, rows: Sequence[Row], *groups: str) -> list[Row]:
        """Its rows of some groups."""
        wanted = (self.protocol, self.fit, self.segment, self.metric)
        return [
            row for row in rows if (row.protocol, row.fit, row.segment, row.metric) == wanted and row.group in groups
        ]

    @property
    def title(self) -> str:
        """Name for people."""
        return f"{self.protocol} {self.fit} {self.segment} {self.metric}"


HEADLINES = (
    Headline("P1", "fit2", "all", "ndcg@10", 0.496, 0.505),
    Headline("P1", "fit2", "all", "recall@10", 0.233, 0.238),
    Headline("P2", "fit1", "all", "ndcg@10", 0.340, 0.360),
    Headline("P2", "fit1", "warm", "ndcg@10", 0.189, 0.23),
    Headline("P2", "fit1", "cold", "ndcg@10", 0.452, 0.46),
    Headline("P2", "fit2", "all", "ndcg@10", 0.380, 0.400),
    Headline("P2", "fit2", "warm", "ndcg@10", 0.240, 0.26),
    Headline("P2", "fit2", "cold", "ndcg@10", 0.553, 0.57),
    Headline("P3", "fit2", "all", "ndcg@10", 0.467, 0.480),
    Headline("P3", "fit2", "new_items", "recall@20", 0.345, 0.380),
    Headline("P3", "fit2", "new_items_in_all", "recall@20", 0.12),
    Headline("P4", "fit1", "all", "recall@20", 0.445, 0.465),
    Headline("P4", "fit1", "all", "ndcg@20", 0.315, 0.335),
    Headline("P4-new", "fit2", "new_items", "recall@20", 0.63, 0.66),
)
"""Figures and their bars, by protocol."""


def plot_all(rows: Sequence[Row], out: Path) -> list[Path]:
    """Write all plots that the rows allow; returns their paths."""
    mpl.use("Agg")
    paths = []
    for protocol in dict.fromkeys(row.protocol for row in rows):
        headlines = [headline for headline in HEADLINES if headline.protocol == protocol]
        for name, groups, draw in (
            ("models", ("ranker", "baseline"), _bars),
            ("ablation", ("ablation",), partial(_differences, "ablation", "what was left out helps")),
            ("alignment", ("alignment",), partial(_differences, "alignment", "a joint space costs")),
            ("robustness", ("robustness",), partial(_differences, "robustness", "what went wrong costs")),
            ("missing", ("missing",), _missing),
        ):
            shown = [headline for headline in headlines if headline.of(rows, *groups)]
            if shown:
                paths.append(out / f"{protocol}-{name}.png")
                _figure(rows, shown, draw, paths[-1])
    return paths


def _figure(
    rows: Sequence[Row],
    headlines: Sequence[Headline],
    draw: Callable[[Axes, Sequence[Row], Headline], None],
    path: Path,
) -> None:
    import matplotlib.pyplot as plt

    height = 1.2 + 0.24 * max(len({row.contender for row in headline.of(rows, *_COLOURS)}) for headline in headlines)
    figure, axes = plt.subplots(
        1, len(headlines), figsize=(1.5 + 4.2 * len(headlines), height), layout="constrained", squeeze=False
    )
    for axis, headline in zip(axes[0], headlines, strict=True):
        draw(axis, rows, headline)
        axis.set_title(headline.title, fontsize=9)
        axis.tick_params(labelsize=8)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _bars(axis: Axes, rows: Sequence[Row], headline: Headline) -> None:
    shown = sorted(headline.of(rows, "ranker", "baseline"), key=lambda row: row.mean)
    means = np.array([row.mean for row in shown])
    errors = np.abs(np.array([[row.low, row.high] for row in shown]).T - means)
    axis.barh(
        [row.contender for row in shown], means, xerr=errors, color=[_COLOURS[row.group] for row in shown], capsize=2
    )
    for value, name, style in ((headline.bar, "bar", "--"), (headline.moonshot, "moonshot", ":")):
        if value is not None:
            axis.axvline(value, color="black", linestyle=style, linewidth=1, label=f"{name} {value:.3f}")
    if headline.bar is not None:
        axis.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=2, frameon=False)


def _differences(group: str, meaning: str, axis: Axes, rows: Sequence[Row], headline: Headline) -> None:
    compared = [
        row
        for row in headline.of(rows, group, "baseline")
        if row.difference is not None and (row.group == group or row.contender == NO_CONTENT)
    ]
    shown = sorted(compared, key=lambda row: row.difference)
    differences = np.array([row.difference for row in shown])
    errors = np.abs(np.array([[row.difference_low, row.difference_high] for row in shown]).T - differences)
    axis.errorbar(differences, [row.contender for row in shown], xerr=errors, fmt="o", color=_COLOURS[group])
    axis.axvline(0, color="black", linewidth=1)
    axis.set_xlabel(f"ranker minus variant: above 0, {meaning}", fontsize=8)


def _missing(axis: Axes, rows: Sequence[Row], headline: Headline) -> None:
    ranker = next(iter(headline.of(rows, "ranker")), None)
    points = [(0, ranker)] if ranker else []
    points += [(int(row.contender.removeprefix("missing_")), row) for row in headline.of(rows, "missing")]
    points.sort(key=lambda point: point[0])
    means = np.array([row.mean for _, row in points])
    errors = np.abs(np.array([[row.low, row.high] for _, row in points]).T - means)
    axis.errorbar(
        [share for share, _ in points], means, yerr=errors, marker="o", color=_COLOURS["missing"], label=RANKER
    )
    for row in headline.of(rows, "baseline"):
        if row.contender == NO_CONTENT:
            axis.axhline(row.mean, color="black", linestyle="--", linewidth=1, label="no content")
    axis.set_xlabel("% of texts and images missing", fontsize=8)
    axis.legend(fontsize=7)
