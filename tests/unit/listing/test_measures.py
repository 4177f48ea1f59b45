"""Measures over counts, against values that are known or follow from the definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mmrec_lib.listing.measures import growth_bound, log_likelihood_ratio, order_statistic, shrunk_share

CELLS = st.tuples(*[st.integers(0, 50)] * 4).filter(lambda cells: sum(cells) > 0)


def test_the_published_example_of_the_log_likelihood_ratio() -> None:
    """Dunning (1993), table 5, "the swiss": 110, 2442, 111 and 29114 give 270.72."""
    found = log_likelihood_ratio([110], [110 + 2442], [110 + 111], 110 + 2442 + 111 + 29114)
    assert found.round(2).tolist() == [270.72]


@given(CELLS)
def test_the_log_likelihood_ratio_is_the_g_statistic_where_items_attract(cells: tuple[int, ...]) -> None:
    both, left_only, right_only, neither = cells
    left, right, total = both + left_only, both + right_only, sum(cells)
    found = float(log_likelihood_ratio(both, left, right, total))
    if both * total <= left * right:
        assert found == 0.0
    else:
        table = [[both, left_only], [right_only, neither]]
        known = stats.chi2_contingency(table, correction=False, lambda_="log-likelihood").statistic
        assert found == pytest.approx(known, abs=1e-8)


def test_few_cases_in_common_say_less_than_many_of_the_same_share() -> None:
    few, many = log_likelihood_ratio([2, 20], [4, 40], [4, 40], 1000)
    assert 0 < few < many


def test_only_the_more_frequent_order_has_a_statistic() -> None:
    assert order_statistic([4, 0, 0, 5], [0, 4, 0, 5]).tolist() == [4.0, 0.0, 0.0, 0.0]


@given(st.integers(0, 200), st.floats(0, 200), st.floats(0.5, 50))
def test_the_bound_is_that_of_a_gamma_posterior(count: int, expected: float, prior: float) -> None:
    posterior = stats.gamma(prior + count, scale=1 / (prior + expected))
    assert float(growth_bound(count, expected, prior)) == pytest.approx(posterior.ppf(0.05))


def test_a_share_without_cases_is_the_one_it_is_drawn_towards() -> None:
    assert shrunk_share([0, 0], 0, [0.25, 0.5], prior=10).tolist() == [0.25, 0.5]
    assert shrunk_share([900], 1000, [0.1], prior=10)[0] == pytest.approx(0.892, abs=1e-3)


def test_shares_stay_shares() -> None:
    shares = shrunk_share(np.array([3, 2, 0]), 5, np.array([0.1, 0.2, 0.7]), prior=4)
    assert shares.sum() == pytest.approx(1.0)
