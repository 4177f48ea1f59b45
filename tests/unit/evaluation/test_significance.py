"""Tests of paired differences have known p-values, hold their level, and are corrected for several comparisons."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import permutation_test

from mmrec_lib.evaluation.rows import summarise
from mmrec_lib.evaluation.segments import SEGMENTS, UserValues
from mmrec_lib.evaluation.significance import (
    NORMAL_ABOVE,
    holm_adjusted,
    mean_intervals,
    sign_flip_p_values,
    weighted_mean_values,
)


@pytest.mark.parametrize("num_users", [2, 5, 9])
def test_few_users_have_the_exact_p_value_of_scipy(num_users: int) -> None:
    differences = np.random.default_rng(num_users).integers(-3, 5, num_users).astype(float)
    expected = permutation_test((differences,), np.mean, permutation_type="samples", n_resamples=np.inf).pvalue
    assert sign_flip_p_values(differences[:, None], 1000, seed=0)[0] == pytest.approx(min(expected, 1.0))


def test_many_users_have_nearly_the_exact_p_value() -> None:
    differences = np.random.default_rng(1).normal(0.3, 1, 12)
    (exact,), (drawn,) = (sign_flip_p_values(differences[:, None], num, seed=0) for num in (2**12, 4000))
    assert drawn == pytest.approx(exact, abs=0.02)


def test_very_many_users_have_the_normal_p_value_that_draws_tend_to() -> None:
    differences = np.random.default_rng(2).normal(0.008, 1, (NORMAL_ABOVE + 1, 1))
    (normal,), (drawn,) = sign_flip_p_values(differences, 10, 0), sign_flip_p_values(differences[1:], 2000, 0)
    assert normal == pytest.approx(drawn, abs=0.03)
    assert sign_flip_p_values(np.zeros((NORMAL_ABOVE + 1, 1)), 10, 0).tolist() == [1.0]


def test_one_user_and_no_difference_prove_nothing() -> None:
    assert sign_flip_p_values(np.array([[5.0]]), 1000, seed=0).tolist() == [1.0]
    assert sign_flip_p_values(np.zeros((100, 1)), 1000, seed=0).tolist() == [1.0]


def test_the_level_is_held_where_nothing_differs() -> None:
    columns = np.random.default_rng(3).normal(0, 1, (30, 2000))
    share = (sign_flip_p_values(columns, 500, seed=0) <= 0.05).mean()
    assert share == pytest.approx(0.05, abs=0.015)


def test_holm_multiplies_the_smallest_most_and_keeps_the_order() -> None:
    assert holm_adjusted(np.array([0.04, 0.001, 0.5, 0.02])).tolist() == pytest.approx([0.08, 0.004, 0.5, 0.06])
    assert holm_adjusted(np.array([0.6, 0.7])).tolist() == [1.0, 1.0]
    assert holm_adjusted(np.array([0.03])).tolist() == [0.03]


def test_weighted_means_have_the_intervals_of_a_resampled_ratio() -> None:
    rng = np.random.default_rng(4)
    values, weights = rng.random(400), rng.integers(1, 20, 400)
    linear = weighted_mean_values(values, weights)
    assert linear.mean() == pytest.approx(np.average(values, weights=weights))
    (low,), (high,) = mean_intervals(linear[:, None], 2000, seed=0)
    drawn = rng.integers(0, 400, (2000, 400))
    ratios = (values[drawn] * weights[drawn]).sum(axis=1) / weights[drawn].sum(axis=1)
    assert [low, high] == pytest.approx(np.quantile(ratios, [0.025, 0.975]), abs=0.004)


def test_rows_carry_p_values_corrected_by_metric_for_the_models_that_are_compared() -> None:
    rng = np.random.default_rng(5)
    base = rng.random(40)
    values = {
        name: {"ndcg@10": base - shift * rng.random(40), "auc": base}
        for name, shift in (("ranker", 0.0), ("near", 0.02), ("far", 0.9))
    }
    part = UserValues(SEGMENTS[0], np.arange(40), values, {name: {} for name in values})
    rows = {(row.model, row.name): row for row in summarise([part], num_bootstrap=1000)}
    ranker, near, far = (rows[name, "ndcg@10"] for name in ("ranker", "near", "far"))
    assert ranker.p_value is None and ranker.p_adjusted is None
    assert far.p_value == near.p_value == pytest.approx(1 / 1001)
    assert far.p_adjusted == near.p_adjusted == pytest.approx(2 / 1001)
    assert rows["near", "auc"].p_adjusted == 1.0 and rows["near", "auc"].k == 0
