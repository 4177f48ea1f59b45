"""Rows of heads on labels whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest

from mmrec_lib.evaluation.groups import is_group
from mmrec_lib.evaluation.head_metrics import BASE_RATE, is_head, outcome_rows, quantity_rows, reliability_curves
from mmrec_lib.evaluation.rows import MetricRow

USERS = np.repeat(np.arange(100), 20)


def by_name(rows: list[MetricRow]) -> dict[tuple[str, str], MetricRow]:
    return {(row.model, row.metric): row for row in rows if not row.k}


def test_a_calibrated_head_beats_the_base_rate_and_lies_on_the_diagonal() -> None:
    rng = np.random.default_rng(0)
    truth = np.where(rng.random(len(USERS)) < 0.5, 0.1, 0.6)
    labels = (rng.random(len(USERS)) < truth).astype(np.float64)
    rows = outcome_rows("view", USERS, labels, truth, 0.35)
    found = by_name(rows)
    base = found[BASE_RATE, "log_loss"]
    assert found["ranker", "log_loss"].value < base.value
    assert base.diff == pytest.approx(found["ranker", "log_loss"].value - base.value)
    assert base.diff_low is not None and base.diff_high is not None
    assert base.diff_low < base.diff < base.diff_high < 0
    assert found["ranker", "brier"].value == pytest.approx(0.5 * (0.09 + 0.24), abs=0.02)
    assert found["ranker", "calibration_error"].value < 0.03
    assert found["ranker", "auc"].value > 0.75
    assert found["ranker", "log_loss"].num_users == 100
    for predicted, observed in reliability_curves(rows)["view"]:
        assert observed == pytest.approx(predicted, abs=0.05)


def test_an_overconfident_head_is_seen_in_its_calibration_error() -> None:
    labels = np.tile([1.0, 0.0], len(USERS) // 2)
    found = by_name(outcome_rows("view", USERS, labels, np.full(len(USERS), 0.9), 0.5))
    assert found["ranker", "calibration_error"].value == pytest.approx(0.4)
    assert found["ranker", "log_loss"].value > found[BASE_RATE, "log_loss"].value


def test_quantities_are_judged_in_their_unit() -> None:
    values = np.tile([1.0, 5.0], len(USERS) // 2)
    found = by_name(quantity_rows("rating:value", USERS, values, np.tile([2.0, 5.0], len(USERS) // 2), 3.0))
    assert found["ranker", "mae"].value == pytest.approx(0.5)
    assert found["ranker", "rmse"].value == pytest.approx(np.sqrt(0.5))
    assert found[BASE_RATE, "mae"].value == found[BASE_RATE, "rmse"].value == pytest.approx(2.0)
    assert found[BASE_RATE, "mae"].diff == pytest.approx(-1.5)


def test_where_nothing_or_all_happened_there_is_no_auc_and_nothing_fails() -> None:
    nothing = np.zeros(0)
    assert outcome_rows("view", nothing.astype(np.int64), nothing, nothing, 0.1) == []
    assert quantity_rows("rating:value", nothing.astype(np.int64), nothing, nothing, 3.0) == []
    found = by_name(outcome_rows("view", USERS, np.zeros(len(USERS)), np.zeros(len(USERS)), 0.1))
    assert ("ranker", "auc") not in found
    assert all(np.isfinite(row.value) for row in found.values())


def test_rows_of_heads_are_no_groups() -> None:
    (row, *_) = outcome_rows("view", USERS, np.zeros(len(USERS)), np.zeros(len(USERS)), 0.1)
    assert is_head(row)
    assert not is_group(row)
