"""Evaluation masks, segments and pairs as its tables say."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import sparse

from mmrec_lib.errors import ModelError
from mmrec_lib.evaluation import MetricRow, evaluate, flat_metrics, rank_metrics, user_values
from mmrec_lib.evaluation.evaluate import relevant_of_some
from mmrec_lib.evaluation.significance import NORMAL_ABOVE, mean_intervals


@dataclass(frozen=True)
class Rows:
    """Histories that are only user numbers."""

    users: NDArray[np.intp]

    def rows(self, indices: NDArray[np.intp]) -> Rows:
        return Rows(self.users[indices])


@dataclass(frozen=True)
class Table:
    """A model that looks its scores up."""

    scores: NDArray[np.float32]

    def score(self, histories: Rows, /) -> NDArray[np.float32]:
        return self.scores[histories.users]


def matrix(rows: list[list[int]], num_items: int) -> sparse.csr_matrix:
    dense = np.zeros((len(rows), num_items), np.float32)
    for row, items in enumerate(rows):
        dense[row, items] = 1
    return sparse.csr_matrix(dense)


def by_name(rows: list[MetricRow]) -> dict[tuple[str, str, str], MetricRow]:
    return {(row.model, row.segment, row.name): row for row in rows}


# Five items, of which 3 and 4 are new; users 0 and 1 have history, 2 has none, 3 has nothing to find.
SEEN = matrix([[0], [1], [], [0]], 5)
RELEVANT = matrix([[1, 4], [0], [3], []], 5)
WARM = np.array([True, True, False, True])
COLD_ITEMS = np.array([False, False, False, True, True])
ASCENDING = np.tile(np.array([5, 4, 3, 2, 1], np.float32), (4, 1))


def run(**models: Table) -> dict[tuple[str, str, str], MetricRow]:
    rows = evaluate(
        models,
        Rows(np.arange(4)),
        SEEN,
        RELEVANT,
        warm_users=WARM,
        cold_items=COLD_ITEMS,
        ks=(1, 2),
        num_bootstrap=200,
    )
    return by_name(rows)


def test_seen_items_are_not_ranked_and_users_without_a_relevant_item_are_left_out() -> None:
    row = run(ranker=Table(ASCENDING))["ranker", "all", "recall@1"]
    assert row.num_users == 3
    # Item 0 is masked for user 0, so 1 comes first; user 1 finds 0; user 2 wants 3.
    assert row.value == pytest.approx((0.5 + 1 + 0) / 3)


def test_segments_average_over_their_users_and_items_only() -> None:
    rows = run(ranker=Table(ASCENDING))
    assert rows["ranker", "warm", "recall@1"].num_users == 2
    assert rows["ranker", "cold", "recall@1"].num_users == 1
    # Only new items are ranked: 3 before 4. User 0 wants 4, user 2 wants 3.
    assert rows["ranker", "cold_items", "recall@1"].value == pytest.approx(0.5)
    assert rows["ranker", "cold_items", "recall@2"].value == 1.0
    # Among all items the old ones stand before the new ones.
    assert rows["ranker", "cold_items_in_all", "recall@2"].value == 0.0
    assert rows["ranker", "cold_items_in_all", "recall@2"].num_users == 2


def test_coverage_is_the_share_of_candidates_in_any_list() -> None:
    rows = run(ranker=Table(ASCENDING))
    # First places: user 0 item 1, user 1 item 0, user 2 item 0.
    assert rows["ranker", "all", "coverage@1"].value == pytest.approx(2 / 5)
    assert rows["ranker", "all", "coverage@1"].ci_low is None
    assert rows["ranker", "cold_items", "coverage@2"].value == 1.0
    assert rows["ranker", "cold_items_in_all", "coverage@2"].value == 0.0


def test_differences_are_ranker_minus_model_and_missing_for_the_ranker() -> None:
    rows = run(ranker=Table(ASCENDING), reversed=Table(-ASCENDING))
    ranker, other = rows["ranker", "all", "recall@1"], rows["reversed", "all", "recall@1"]
    assert ranker.diff is None
    assert other.diff == pytest.approx(ranker.value - other.value)
    assert other.diff_low is not None and other.diff_high is not None
    assert other.diff_low <= other.diff <= other.diff_high


def test_a_model_that_equals_the_ranker_differs_by_exactly_nothing() -> None:
    row = run(ranker=Table(ASCENDING), twin=Table(ASCENDING))["twin", "all", "ndcg@2"]
    assert (row.diff, row.diff_low, row.diff_high) == (0.0, 0.0, 0.0)


def test_blocks_of_users_do_not_change_the_values() -> None:
    rng = np.random.default_rng(5)
    seen = sparse.csr_matrix(rng.random((37, 30)) < 0.2)
    relevant = sparse.csr_matrix(rng.random((37, 30)) < 0.1)
    table = Table(rng.random((37, 30)).astype(np.float32))
    cold = np.arange(30) > 24
    warm = np.arange(37) % 3 > 0
    whole, blocks = (
        evaluate(
            {"ranker": table},
            Rows(np.arange(37)),
            seen,
            relevant,
            warm_users=warm,
            cold_items=cold,
            num_bootstrap=100,
            block=block,
        )
        for block in (1000, 4)
    )
    assert whole == blocks


def test_values_for_all_users_equal_rank_metrics_on_masked_scores() -> None:
    rng = np.random.default_rng(6)
    seen = rng.random((20, 40)) < 0.2
    relevant = (rng.random((20, 40)) < 0.1) & ~seen
    scores = rng.random((20, 40)).astype(np.float32)
    parts = user_values(
        {"m": Table(scores)},
        Rows(np.arange(20)),
        sparse.csr_matrix(seen),
        sparse.csr_matrix(relevant),
        warm_users=np.ones(20, np.bool_),
        cold_items=np.zeros(40, np.bool_),
    )
    direct = rank_metrics(np.where(seen, np.float32(-np.inf), scores), sparse.csr_matrix(relevant))
    for name, values in direct.items():
        np.testing.assert_array_equal(parts[0].values["m"][name], values[parts[0].users])


def test_scoring_leaves_the_models_own_array_alone() -> None:
    scores = ASCENDING.copy()
    run(ranker=Table(scores))
    np.testing.assert_array_equal(scores, ASCENDING)


def test_an_item_that_was_seen_before_is_not_relevant() -> None:
    relevant = matrix([[0]], 2)
    rows = evaluate(
        {"ranker": Table(np.ones((1, 2), np.float32))},
        Rows(np.arange(1)),
        relevant,
        relevant,
        warm_users=np.ones(1, np.bool_),
        cold_items=np.zeros(2, np.bool_),
    )
    assert rows == []


def test_a_model_that_scores_nan_is_named() -> None:
    with pytest.raises(ModelError, match="broken"):
        run(ranker=Table(ASCENDING), broken=Table(ASCENDING * np.float32(np.nan)))


def test_a_model_with_too_few_items_is_named() -> None:
    with pytest.raises(ModelError, match="short"):
        run(short=Table(ASCENDING[:, :4]))


def test_flat_metrics_carry_the_segment_but_for_all_users() -> None:
    flat = flat_metrics(list(run(ranker=Table(ASCENDING), other=Table(-ASCENDING)).values()))
    assert flat["recall@1"] == pytest.approx(0.5)
    assert flat["warm:recall@1"] == pytest.approx(0.75)
    assert "coverage@2" in flat and "cold_items:coverage@2" in flat


def test_the_interval_of_a_mean_has_the_width_that_theory_expects() -> None:
    values = np.random.default_rng(1).normal(3.0, 2.0, (400, 1))
    low, high = mean_intervals(values, 2000, seed=3)
    assert low[0] < values.mean() < high[0]
    assert high[0] - low[0] == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.08)


def test_intervals_repeat_with_the_seed_and_move_with_it() -> None:
    values = np.random.default_rng(1).random((50, 2))
    np.testing.assert_array_equal(mean_intervals(values, 100, 1), mean_intervals(values, 100, 1))
    assert (np.stack(mean_intervals(values, 100, 1)) != np.stack(mean_intervals(values, 100, 2))).any()


def test_many_users_get_the_normal_interval_that_the_bootstrap_tends_to() -> None:
    values = np.random.default_rng(1).random((NORMAL_ABOVE + 1, 1))
    low, high = mean_intervals(values, 100, 1)
    few_low, few_high = mean_intervals(values[:NORMAL_ABOVE], 1000, 1)
    assert (low[0], high[0]) == pytest.approx((few_low[0], few_high[0]), abs=3e-4)


def test_one_user_gives_an_interval_without_width() -> None:
    low, high = mean_intervals(np.array([[0.25]]), 100, 0)
    assert (low[0], high[0]) == (0.25, 0.25)


def test_a_bounded_sample_keeps_all_that_its_users_find_and_no_other_user() -> None:
    relevant = sparse.csr_matrix(np.array([[1, 1, 0], [0, 1, 0], [0, 0, 0], [1, 0, 1]]))
    seen = sparse.csr_matrix(np.array([[0, 0, 0], [0, 1, 0], [0, 0, 0], [0, 0, 0]]))
    some = relevant_of_some(relevant, seen, 1, seed=0).toarray()
    kept = np.flatnonzero(some.any(axis=1))
    assert len(kept) == 1
    assert kept[0] in (0, 3), "user 1 has seen what is relevant"
    assert some[kept[0]].tolist() == relevant.toarray()[kept[0]].tolist()
    assert relevant_of_some(relevant, seen, 2, seed=0) is relevant
