"""Plots for the experiment tracker are images, whatever the intervals are."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from mmrec_lib.evaluation import MetricRow
from mmrec_lib.reporting.plots import plot_losses


@pytest.mark.parametrize(("low", "high"), [(0.05, 0.2), (0.12, 0.2), (0.0, 0.08), (None, None)])
def test_losses_are_drawn_also_where_an_interval_lies_beside_the_mean(
    low: float | None, high: float | None, tmp_path: Path
) -> None:
    rows = [
        MetricRow("ranker", "all", "ndcg", 10, 0.4),
        MetricRow("without_source:a", "all", "ndcg", 10, 0.3, diff=0.1, diff_low=low, diff_high=high),
    ]
    with Image.open(plot_losses(rows, "ndcg", 10, tmp_path / "losses.png")) as image:
        assert image.size[0] > 400
