"""Groups of users and items have the values of their members, and gaps the distance between them."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import sparse

from mmrec_lib.evaluation import GroupConfig, GroupFacts, MetricRow, evaluate
from mmrec_lib.evaluation.groups import activity_terciles, attribute_groupings, head_and_tail, is_group
from tests.unit.evaluation.test_evaluate import Rows, Table

NUM_USERS, NUM_ITEMS = 60, 20
CONFIG = GroupConfig(min_users=5, head_share=0.34)


def objects(*values: str | None) -> NDArray[np.object_]:
    return np.array(values, dtype=np.object_)


def run(facts: GroupFacts, config: GroupConfig = CONFIG) -> dict[tuple[str, str, str], MetricRow]:
    """A perfect ranker for the even users, the opposite for the odd ones; users below 20 have no history.

    Users like one of the items 0 to 9; items 0 to 4 are many users' history, 5 to 14 a few's, 15 to 19 nobody's.
    """
    users = np.arange(NUM_USERS)
    relevant = np.zeros((NUM_USERS, NUM_ITEMS))
    relevant[users, users % 10] = 1
    scores = np.where(users[:, None] % 2 == 0, relevant, -relevant).astype(np.float32)
    seen = np.zeros((NUM_USERS, NUM_ITEMS))
    for user in users[20:]:
        seen[user, :5] = 1
        seen[user, 5 + user % 10] = 1
    seen[relevant > 0] = 0
    rows = evaluate(
        {"ranker": Table(scores), "flat": Table(np.zeros_like(scores))},
        Rows(users),
        sparse.csr_matrix(seen),
        sparse.csr_matrix(relevant),
        warm_users=users >= 20,
        cold_items=seen.sum(axis=0) == 0,
        ks=(5,),
        num_bootstrap=200,
        facts=facts,
        groups=config,
    )
    return {(row.model, row.segment, row.name): row for row in rows if is_group(row)}


SIDES = objects(*["even", "odd"] * 30)
CONSTANT, NAMES = objects(*["x"] * NUM_USERS), objects(*map(str, range(NUM_USERS)))
HAS_IMAGE, HAS_TEXT = np.arange(NUM_ITEMS) % 2 == 0, np.ones(NUM_ITEMS, np.bool_)
FACTS = GroupFacts({"side": SIDES, "constant": CONSTANT, "name": NAMES}, {"image": HAS_IMAGE, "text": HAS_TEXT})


def test_groups_of_users_average_over_their_members_and_the_gap_is_between_them() -> None:
    rows = run(FACTS)
    even, odd = rows["ranker", "user_side:even", "ndcg@5"], rows["ranker", "user_side:odd", "ndcg@5"]
    assert (even.value, even.ci_low, even.ci_high, even.num_users) == (
        pytest.approx(1.0),
        *[pytest.approx(1.0)] * 2,
        30,
    )
    assert (odd.value, odd.num_users) == (0.0, 30)
    gap = rows["ranker", "user_side", "ndcg_gap@5"]
    assert gap.value == pytest.approx(1.0) and gap.num_users == 60


def test_groups_of_items_are_ranked_among_all_for_the_users_who_want_them() -> None:
    rows = run(FACTS)
    # Items of even users have an image.
    assert rows["ranker", "modality_image:with", "recall@5"].value == pytest.approx(1.0)
    assert rows["ranker", "modality_image:without", "recall@5"].num_users == 30
    assert rows["ranker", "modality_image", "recall_gap@5"].value == pytest.approx(1.0)
    assert {(row.segment, row.num_users) for row in rows.values() if row.segment.startswith("popularity:")} == {
        ("popularity:head", 30),
        ("popularity:tail", 30),
    }


def test_only_groupings_with_two_large_groups_are_told() -> None:
    rows = run(FACTS)
    groupings = {segment.partition(":")[0] for _, segment, _ in rows}
    assert groupings == {"history", "activity", "user_side", "popularity", "modality_image"}
    assert not any(segment.startswith("history:") for _, segment, _ in rows), "warm and cold are segments already"
    assert run(FACTS, CONFIG.model_copy(update={"max_values": 0})) == {}
    assert run(FACTS, CONFIG.model_copy(update={"min_users": 31})) == {}


def test_a_gap_that_chance_explains_has_an_interval_that_holds_zero() -> None:
    rng = np.random.default_rng(0)
    facts = GroupFacts({"coin": objects(*rng.choice(["heads", "tails"], NUM_USERS))}, {})
    gap = run(facts)["ranker", "user_coin", "ndcg_gap@5"]
    assert gap.ci_low is not None and gap.ci_high is not None
    assert gap.ci_low < 0 < gap.value < gap.ci_high


def test_equal_activity_is_in_one_third_and_users_without_history_in_none() -> None:
    assert activity_terciles(np.array([1, 2, 3, 4, 5, 6, 0])).tolist() == [0, 0, 1, 1, 2, 2, -1]
    assert activity_terciles(np.array([1, 1, 1, 1, 1, 9])).tolist() == [0, 0, 0, 0, 0, 2]
    assert activity_terciles(np.array([0, 0])).tolist() == [-1, -1]


def test_the_head_is_the_most_popular_share_and_ties_are_tail() -> None:
    assert head_and_tail(np.array([9, 1, 0, 5, 1, 1]), 0.4).tolist() == [0, 1, -1, 0, 1, 1]
    assert head_and_tail(np.array([5, 5, 5, 5]), 0.25).tolist() == [1, 1, 1, 1]


def test_attributes_are_bounded_to_the_most_frequent_values_of_the_best_known_ones() -> None:
    attributes = {
        "plan": objects(*["a"] * 9, *["b"] * 8, *["c"] * 7, *["d"] * 2, None),
        "city": objects(*["x"] * 6, *["y"] * 6, *[None] * 15),
    }
    config = GroupConfig(min_users=5, max_attributes=1, max_values=2)
    (plan,) = attribute_groupings(attributes, config)
    assert (plan.name, plan.groups) == ("user_plan", ("a", "b"))
    assert np.bincount(plan.codes + 1).tolist() == [10, 9, 8]
    both = attribute_groupings(attributes, config.model_copy(update={"max_attributes": 2, "max_values": 6}))
    assert [grouping.groups for grouping in both] == [("x", "y"), ("a", "b", "c")]
