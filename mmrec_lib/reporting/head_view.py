"""Heads as the report shows them: a reliability curve and a line of figures each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mmrec_lib.evaluation.head_metrics import BASE_RATE, HEAD, is_head, reliability_curves
from mmrec_lib.evaluation.rows import MetricRow

RANKER = "ranker"
FIGURES = (
    ("log_loss", "log loss"),
    ("brier", "Brier score"),
    ("calibration_error", "calibration error"),
    ("auc", "AUC"),
    ("rmse", "RMSE"),
    ("mae", "MAE"),
)
_SIZE = 100.0


@dataclass(frozen=True)
class HeadView:
    """One head.

    Attributes:
        name: Its outcome.
        figures: Name and value of each metric; with that of the base rate, where it has one.
        points: Predicted and observed share of each bin, in percent of the width and of the height from below.
        scale: Probability at the ends of both axes, for people; empty without points.
    """

    name: str
    figures: Sequence[tuple[str, str]]
    points: Sequence[tuple[float, float]]
    scale: str


def head_views(rows: Sequence[MetricRow]) -> list[HeadView]:
    """The heads of a fit, by name; none where it has no heads."""
    own = [row for row in rows if is_head(row)]
    curves = reliability_curves(own)
    names = dict.fromkeys(row.segment.removeprefix(HEAD) for row in own)
    return [_view(name, [row for row in own if row.segment == HEAD + name], curves.get(name, ())) for name in names]


def _view(name: str, rows: Sequence[MetricRow], curve: Sequence[tuple[float, float]]) -> HeadView:
    values = {(row.model, row.metric): row.value for row in rows}
    figures = []
    for metric, title in FIGURES:
        if (RANKER, metric) in values:
            other = values.get((BASE_RATE, metric))
            figures.append((title, f"{values[RANKER, metric]:.4f}" + ("" if other is None else f" ({other:.4f})")))
    top = max((share for point in curve for share in point), default=0.0)
    if top <= 0:
        return HeadView(name, figures, (), "")
    points = [(_SIZE * predicted / top, _SIZE * observed / top) for predicted, observed in curve]
    return HeadView(name, figures, points, f"0 to {_rounded(top)}")


def _rounded(share: float) -> str:
    digits = max(0, 1 - math.floor(math.log10(share)))
    return f"{share:.{digits}f}"
