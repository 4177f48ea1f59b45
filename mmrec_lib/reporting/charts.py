"""Numbers as places on an axis: charts are drawn by the page's style sheet, so that they follow its theme and print."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mmrec_lib.evaluation.rows import MetricRow

RANKER = "ranker"
RESIDUAL = "residual"
NUM_COLORS = 8
# Ticks are written with three places: a shorter axis would repeat them.
SHORTEST_AXIS = 0.004


@dataclass(frozen=True)
class Tick:
    """A line of the axis: where, in percent of its length, and its label."""

    at: float
    label: str


@dataclass(frozen=True)
class Interval:
    """A point with its interval; `at`, `low` and `high` in percent of the axis."""

    label: str
    text: str
    detail: str
    at: float
    low: float
    high: float
    is_ranker: bool = False
    verdict: str = ""


@dataclass(frozen=True)
class IntervalChart:
    """Points with intervals on one axis."""

    title: str
    note: str
    ticks: Sequence[Tick]
    rows: Sequence[Interval]


@dataclass(frozen=True)
class Strip:
    """A part of a stacked strip: its source, width in percent, colour number and words."""

    source: str
    width: float
    color: int
    is_negative: bool
    text: str


def metric_chart(rows: Sequence[MetricRow], title: str, names: Mapping[str, str]) -> IntervalChart:
    """One metric on one segment, models from best to worst.

    Args:
        rows: One row a model, at least one.
        title: Of the chart.
        names: Models' names for people.
    """
    highest = max(row.ci_high if row.ci_high is not None else row.value for row in rows)
    ticks, top = _axis(0.0, max(highest, SHORTEST_AXIS))
    scale = 100.0 / (top - 0.0)
    best_first = sorted(rows, key=lambda row: (-row.value, row.model != RANKER, row.model))
    return IntervalChart(
        title=title,
        note=f"{rows[0].num_users:,} users",
        ticks=[Tick(tick * scale, _short(tick)) for tick in ticks],
        rows=[
            Interval(
                label=names.get(row.model, row.model),
                text=f"{row.value:.3f}",
                detail=_interval_text(row.ci_low, row.ci_high),
                at=_percent(row.value * scale),
                low=_percent((row.ci_low if row.ci_low is not None else row.value) * scale),
                high=_percent((row.ci_high if row.ci_high is not None else row.value) * scale),
                is_ranker=row.model == RANKER,
            )
            for row in best_first
        ],
    )


def difference_chart(rows: Sequence[MetricRow], title: str, names: Mapping[str, str]) -> IntervalChart | None:
    """Ranker minus each baseline with its paired interval, on an axis with zero; None where nothing is compared."""
    compared = [row for row in rows if row.diff is not None and row.diff_low is not None and row.diff_high is not None]
    if not compared:
        return None
    low = min(0.0, *(row.diff_low or 0.0 for row in compared))
    high = max(0.0, *(row.diff_high or 0.0 for row in compared))
    ticks, top = _axis(low, max(high, low + SHORTEST_AXIS))
    bottom = ticks[0]
    scale = 100.0 / (top - bottom)
    return IntervalChart(
        title=title,
        note=f"{compared[0].num_users:,} users",
        ticks=[Tick((tick - bottom) * scale, _short(tick)) for tick in ticks],
        rows=[
            Interval(
                label=names.get(row.model, row.model),
                text=f"{row.diff:+.3f}",
                detail=_interval_text(row.diff_low, row.diff_high),
                at=_percent(((row.diff or 0.0) - bottom) * scale),
                low=_percent(((row.diff_low or 0.0) - bottom) * scale),
                high=_percent(((row.diff_high or 0.0) - bottom) * scale),
                verdict=verdict(row),
            )
            for row in sorted(compared, key=lambda row: row.diff or 0.0)
        ],
    )


def verdict(row: MetricRow) -> str:
    """`better`, `worse` or `open`: where the interval of the difference lies."""
    if row.diff_low is None or row.diff_high is None:
        return ""
    if row.diff_low > 0:
        return "better"
    return "worse" if row.diff_high < 0 else "open"


def share_strips(shares: Mapping[str, float], colors: Mapping[str, int], names: Mapping[str, str]) -> list[Strip]:
    """Each source's share of a score as a part of a strip, as wide as the share is large; zero shares are left out."""
    finite = {source: value for source, value in shares.items() if math.isfinite(value) and value != 0}
    total = sum(abs(value) for value in finite.values())
    return [
        Strip(
            source=names.get(source, source),
            width=100.0 * abs(value) / total,
            color=colors.get(source, 0),
            is_negative=value < 0,
            text=f"{names.get(source, source)} {value:+.2f}",
        )
        # What is grey stands last.
        for source, value in sorted(finite.items(), key=lambda pair: (not colors.get(pair[0]), colors.get(pair[0], 0)))
    ]


def source_colors(all_shares: Sequence[Mapping[str, float]]) -> dict[str, int]:
    """Colour number of each source, the weightiest first; the residual is 0, grey."""
    weight: dict[str, float] = {}
    for shares in all_shares:
        for source, value in shares.items():
            weight[source] = weight.get(source, 0.0) + (abs(value) if math.isfinite(value) else 0.0)
    ordered = sorted((source for source in weight if source != RESIDUAL), key=lambda source: (-weight[source], source))
    colors = {source: place % (NUM_COLORS - 1) + 1 for place, source in enumerate(ordered)}
    if RESIDUAL in weight:
        colors[RESIDUAL] = 0
    return colors


def _axis(low: float, high: float) -> tuple[list[float], float]:
    """About five round ticks that enclose low and high; the last one is the end of the axis."""
    rough = (high - low) / 4
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * factor for factor in (1, 2, 2.5, 5, 10) if size * factor >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = [round(place * step, 12) for place in range(first, last + 1)]
    return ticks, ticks[-1]


def _percent(value: float) -> float:
    return round(min(100.0, max(0.0, value)), 2)


def _short(value: float) -> str:
    text = f"{value:.3f}".rstrip("0").rstrip(".")
    return "0" if text in ("", "-0") else text


def _interval_text(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{low:.3f} to {high:.3f}"
