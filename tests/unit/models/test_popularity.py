from __future__ import annotations

import numpy as np
import pytest

from mmrec_lib.models.attributes import MAX_NAMES, group_values
from mmrec_lib.models.config import PopularitySettings, RankerSettings
from mmrec_lib.models.data import FitData, Interactions
from mmrec_lib.models.sources.groups import Group, find_groups, membership
from mmrec_lib.models.sources.popularity import PopularityModel, decayed_counts, half_life_candidates

DAY = 86_400.0


def store(times: list[float]) -> FitData:
    interactions = Interactions.from_rows([0, 1, 2], [0, 0, 1], (3, 3), times=times)
    return FitData(np.array(["a", "b", "c"]), interactions)


def test_an_event_counts_half_after_a_half_life() -> None:
    data = store([10 * DAY, 20 * DAY, 20 * DAY])
    np.testing.assert_allclose(decayed_counts(data, 10.0), [1.5, 1.0, 0.0])
    np.testing.assert_allclose(decayed_counts(data, None), [2.0, 1.0, 0.0])


def test_without_times_nothing_decays() -> None:
    data = store([0.0, 0.0, 0.0])
    np.testing.assert_allclose(decayed_counts(data, 1.0), [2.0, 1.0, 0.0])
    assert half_life_candidates(data) == [None]


def test_unknown_times_count_as_the_earliest() -> None:
    np.testing.assert_allclose(decayed_counts(store([0.0, 10 * DAY, 20 * DAY]), 10.0), [1.0, 1.0, 0.0])


def test_half_lives_scale_with_the_span_of_the_data() -> None:
    short = half_life_candidates(store([1 * DAY, 2 * DAY, 3 * DAY]))
    long = half_life_candidates(store([10 * DAY, 20 * DAY, 30 * DAY]))
    np.testing.assert_allclose(np.array(short[1:]) * 10, np.array(long[1:]))


def test_log_ratios_point_to_what_a_group_likes_and_shrink_with_the_prior() -> None:
    users = np.repeat(np.arange(40), 2)
    items = np.where(users % 2 == 0, 0, 1)
    items[::2] = 2  # everybody takes item 2
    data = FitData(
        np.array(["a", "b", "c", "d"]),
        Interactions.from_rows(users, items, (40, 4)),
        user_attributes={"side": np.array(["even", "odd"] * 20, dtype=object)},
    )

    def fitted(shrinkage: float) -> PopularityModel:
        settings = PopularitySettings(group_shrinkage=shrinkage)
        return PopularityModel.fit(data, RankerSettings(popularity=settings, min_group_users=5))

    model = fitted(1.0)
    even = [group.value for group in model.groups].index("even")
    assert model.log_ratios[0, even] > 0 > model.log_ratios[1, even]
    assert abs(model.log_ratios[2, even]) < 0.1
    assert 0 < fitted(100.0).log_ratios[0, even] < model.log_ratios[0, even]


def test_numbers_are_grouped_by_quantiles_and_words_by_value() -> None:
    attributes = {
        "age": np.array([*(str(age) for age in range(20, 69)), None], dtype=object),
        "job": np.array(["baker", "smith"] * 25, dtype=object),
    }
    groups = find_groups(attributes, np.ones(50, dtype=bool), min_users=5, max_groups=32)
    assert {group.attribute for group in groups} == {"age", "job"}
    codes = membership(groups, attributes, 50)
    ages = [column for column, group in enumerate(groups) if group.attribute == "age"]
    assert codes[:49, ages].sum(axis=1).tolist() == [1.0] * 49
    assert codes[49, ages].sum() == 0


def test_groups_are_bounded_and_too_small_ones_left_out() -> None:
    attributes = {"job": np.array(["a"] * 30 + ["b"] * 15 + ["c"] * 3, dtype=object)}
    has_history = np.ones(48, dtype=bool)
    assert [g.value for g in find_groups(attributes, has_history, min_users=5, max_groups=32)] == ["a", "b"]
    assert [g.value for g in find_groups(attributes, has_history, min_users=5, max_groups=1)] == ["a"]


@pytest.mark.parametrize(
    ("value", "expected"), [("19", False), ("20", True), ("29.5", True), ("30", False), ("x", False)]
)
def test_a_range_includes_its_lower_end_only(value: str, expected: bool) -> None:
    group = Group(attribute="age", low=20, high=30)
    assert group.members({"age": np.array([value], dtype=object)}, 1)[0] == expected


def test_an_attribute_that_is_not_there_puts_nobody_in_a_group() -> None:
    assert not Group(attribute="age", value="1").members({}, 3).any()


def test_an_attribute_that_nearly_everybody_has_an_own_value_of_makes_no_groups() -> None:
    num_users = 5_000
    attributes = {
        "token": np.array([f"t{user}" for user in range(num_users)], dtype=object),
        "city": np.array([f"c{user % 3}" for user in range(num_users)], dtype=object),
    }
    groups = find_groups(attributes, np.ones(num_users, dtype=bool), min_users=20, max_groups=32)
    assert {(group.attribute, group.value) for group in groups} == {("city", "c0"), ("city", "c1"), ("city", "c2")}


def test_only_the_most_common_attributes_become_columns() -> None:
    rows = [{"city": "a", **({f"name{n}": "x" for n in range(3000)} if user == 0 else {})} for user in range(100)]
    groups = group_values(rows)
    assert len(groups) == MAX_NAMES and groups["city"].tolist() == ["a"] * 100


def test_groups_are_the_largest_by_their_own_members() -> None:
    rng = np.random.default_rng(0)
    attributes = {
        "age": np.array([str(age) for age in rng.integers(15, 80, 600)], dtype=object),
        "city": np.array([f"c{city}" for city in rng.geometric(0.2, 600)], dtype=object),
        "odd": np.array(rng.choice(["inf", "-inf", "nan", "1", "2", None], 600), dtype=object),
    }
    has_history = rng.random(600) < 0.7
    groups = find_groups(attributes, has_history, min_users=20, max_groups=32)
    sizes = membership(groups, attributes, 600)[has_history].sum(axis=0)
    assert sizes.min() >= 20 and sizes.tolist() == sorted(sizes, reverse=True)
    assert {group.value for group in groups if group.attribute == "odd"} == {"inf", "-inf", "nan", "1", "2"}
    assert {group.value for group in groups if group.attribute == "city"} == {
        city for city in set(attributes["city"]) if (attributes["city"][has_history] == city).sum() >= 20
    }


def test_an_attribute_of_many_values_is_counted_once_and_not_once_a_value(monkeypatch: pytest.MonkeyPatch) -> None:
    # 3,000 values of 20 users each: to look at all users for each value takes minutes.
    values = np.array([f"v{user % 3_000}" for user in range(60_000)], dtype=object)
    monkeypatch.delattr(Group, "members")
    assert len(find_groups({"v": values}, np.ones(60_000, dtype=bool), min_users=20, max_groups=32)) == 32


@pytest.mark.parametrize(
    ("value", "group"),
    [
        ("24", "20"),
        ("1234", "1000"),
        ("-0.017", "-0.02"),
        ("96", "100"),
        ("5e-324", "4.94066e-324"),
        ("1e308", "1e+308"),
    ],
)
def test_a_number_belongs_to_the_group_of_its_first_digit(value: str, group: str) -> None:
    assert group_values([{"n": value}])["n"].tolist() == [group]
