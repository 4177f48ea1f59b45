"""Charts put numbers where they belong."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmrec_lib.evaluation import MetricRow
from mmrec_lib.reporting.charts import difference_chart, metric_chart, share_strips, source_colors


@settings(max_examples=100, deadline=None)
@given(
    values=st.lists(st.tuples(st.floats(-1, 1), st.floats(0, 0.5), st.floats(0, 0.5)), min_size=1, max_size=6),
)
def test_differences_keep_their_order_and_their_side_of_zero(values: list[tuple[float, float, float]]) -> None:
    rows = [
        MetricRow(f"m{n}", "all", "ndcg", 10, 0.1, 0.0, 0.2, diff, diff - below, diff + above, 5)
        for n, (diff, below, above) in enumerate(values)
    ]
    chart = difference_chart(rows, "All", {})
    assert chart is not None
    zero = next(tick.at for tick in chart.ticks if tick.label == "0")
    assert [row.at for row in chart.rows] == sorted(row.at for row in chart.rows)
    for row in chart.rows:
        assert 0 <= row.low <= row.at <= row.high <= 100
        if row.verdict == "better":
            assert row.low >= zero - 0.01
        if row.verdict == "worse":
            assert row.high <= zero + 0.01


def test_the_best_model_stands_first_and_the_ranker_is_marked() -> None:
    rows = [MetricRow("ease", "all", "ndcg", 10, 0.5, 0.4, 0.6), MetricRow("ranker", "all", "ndcg", 10, 0.3, 0.2, 0.4)]
    chart = metric_chart(rows, "All", {"ease": "EASE"})
    assert [(row.label, row.is_ranker) for row in chart.rows] == [("EASE", False), ("ranker", True)]
    assert chart.rows[0].at == pytest.approx(0.5 / 0.6 * 100, abs=0.01)


def test_nothing_compared_is_no_chart() -> None:
    assert difference_chart([MetricRow("ranker", "all", "ndcg", 10, 0.3)], "All", {}) is None


def test_strips_fill_the_width_and_mark_what_takes_away() -> None:
    shares = {"b": 3.0, "a": -1.0, "none": 0.0, "residual": 1.0}
    strips = share_strips(shares, source_colors([shares]), {})
    assert sum(strip.width for strip in strips) == pytest.approx(100)
    assert [(strip.source, strip.is_negative) for strip in strips] == [("b", False), ("a", True), ("residual", False)]
    assert strips[-1].color == 0
