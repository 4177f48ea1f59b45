"""Splits of the events that do not follow one clock, on small tables with known answers."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import UTC, date, datetime, timedelta

import pytest
from pyspark.sql import DataFrame, SparkSession

from mmrec_lib.errors import NoDataError
from mmrec_lib.features.acts import NO_TIME
from mmrec_lib.features.config import FeaturesConfig
from mmrec_lib.features.interactions import Cuts, find_cuts
from mmrec_lib.features.splits import require_parts, split_parts

START, DAY = datetime(2026, 1, 1, tzinfo=UTC), date(2026, 2, 1)
Row = tuple[str, str, float, float]


def weighted(spark: SparkSession, *rows: Row) -> DataFrame:
    """Rows of (user, item, weight, hours after the start)."""
    full = [(user, item, weight, START + timedelta(hours=hours), None) for user, item, weight, hours in rows]
    return spark.createDataFrame(
        full, "user_id string, item_id string, weight double, event_ts timestamp, split string"
    )


@pytest.fixture(scope="module")
def people(spark: SparkSession) -> DataFrame:
    rows = [(f"u{n}", {"country": "DE" if n % 4 == 0 else "FR"} if n else {}) for n in range(40)]
    return spark.createDataFrame(rows, "user_id string, attributes map<string,string>").cache()


@pytest.fixture(scope="module")
def things(spark: SparkSession) -> DataFrame:
    rows = [(f"i{n}", ["shoes", "red"] if n < 3 else ["hats"]) for n in range(20)]
    return spark.createDataFrame(rows, "item_id string, categories array<string>").cache()


@pytest.fixture(scope="module")
def everybody(spark: SparkSession) -> DataFrame:
    """Every user on every item, twice, and once with a weight below zero."""
    rows = [
        (f"u{user}", f"i{item}", weight, float(user + 7 * item + hours))
        for user in range(40)
        for item in range(20)
        for weight, hours in ((1.0, 0), (2.0, 300), (-1.0, 500))
    ]
    return weighted(spark, *rows).cache()


def divide(
    rows: DataFrame, people: DataFrame, things: DataFrame, **config: object
) -> dict[tuple[str, str], Counter[str]]:
    """Parts of the events of each user and item."""
    features = FeaturesConfig.model_validate(config)
    cuts = find_cuts(rows, features, DAY)
    assert cuts == Cuts(DAY, features.split)
    found: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for row in split_parts(rows, cuts, features, people, things).select("user_id", "item_id", "part").collect():
        found[row["user_id"], row["item_id"]][row["part"]] += 1
    return found


def test_a_users_last_events_are_test_and_equal_times_go_to_the_later_part(
    spark: SparkSession, people: DataFrame, things: DataFrame
) -> None:
    rows: list[Row] = [("u1", f"i{n}", 1.0, n) for n in range(10)]
    rows += [("u2", "i0", 1.0, 5), ("u2", "i1", 1.0, 6), ("u3", "i0", 1.0, 99)]
    rows += [("u4", f"i{n}", 1.0, min(n, 2)) for n in range(4)]
    rows += [("u5", "i0", 1.0, 1), ("u5", "i1", -1.0, 9), ("u5", "i2", 1.0, 8), ("u5", "i3", 1.0, 7)]
    found = divide(weighted(spark, *rows), people, things, split="by_user_time", train_share=0.7, valid_share=0.1)
    parts = defaultdict(list)
    for user, item in sorted(found):
        parts[user] += found[user, item]
    assert parts == {
        "u1": ["train"] * 7 + ["valid", "test", "test"],
        "u2": ["train", "test"],
        "u3": ["train"],
        "u4": ["train", "train", "test", "test"],
        "u5": ["train", "test", "test", "valid"],
    }


def test_each_item_has_its_share_of_users_in_each_part_and_a_pair_is_in_one(
    everybody: DataFrame, people: DataFrame, things: DataFrame
) -> None:
    found = divide(everybody, people, things, split="random_by_item", train_share=0.75, valid_share=0.125)
    assert all(len(parts) == 1 for parts in found.values())
    for item in range(20):
        counts = Counter(next(iter(parts)) for (_, own), parts in found.items() if own == f"i{item}")
        assert abs(counts["train"] - 30) <= 1 and abs(counts["valid"] - 5) <= 1 and abs(counts["test"] - 5) <= 1
    by_user = Counter(user for (user, _), parts in found.items() if "test" in parts)
    assert len(by_user) > 25, "chance spreads the test pairs over users"
    again = divide(everybody, people, things, split="random_by_item", train_share=0.75, valid_share=0.125)
    other = divide(everybody, people, things, split="random_by_item", train_share=0.75, valid_share=0.125, split_seed=1)
    assert found == again != other


@pytest.mark.parametrize(("split", "unit"), [("cold_users", 0), ("cold_items", 1)])
def test_whole_users_or_items_are_held_out(
    everybody: DataFrame, people: DataFrame, things: DataFrame, split: str, unit: int
) -> None:
    found = divide(everybody, people, things, split=split, train_share=0.5, valid_share=0.25)
    parts = defaultdict(set)
    for pair, counts in found.items():
        parts[pair[unit]] |= set(counts)
    assert all(len(own) == 1 for own in parts.values())
    assert {part for own in parts.values() for part in own} == {"train", "valid", "test"}


def test_one_category_or_market_is_held_out_whole(everybody: DataFrame, people: DataFrame, things: DataFrame) -> None:
    of_items = divide(everybody, people, things, split="held_out_category", held_out="shoes")
    assert {item for (_, item), parts in of_items.items() if "test" in parts} == {"i0", "i1", "i2"}
    of_users = divide(everybody, people, things, split="held_out_market", held_out="DE")
    assert {user for (user, _), parts in of_users.items() if "test" in parts} == {f"u{n}" for n in range(4, 40, 4)}
    for found in (of_items, of_users):
        assert {part for parts in found.values() for part in parts} == {"train", "valid", "test"}
        assert all(len(parts) == 1 for parts in found.values())


def counts(**parts: int) -> dict[str, int]:
    return {f"{part}_interactions": parts.get(part, 0) for part in ("train", "valid", "test")}


def test_a_split_that_leaves_nothing_to_test_says_what_there_is(people: DataFrame, things: DataFrame) -> None:
    def require(split: str, found: dict[str, int], **config: object) -> str | None:
        features = FeaturesConfig.model_validate({"split": split, **config})
        source = "by_time" if split == "auto" else split
        return require_parts(found, Cuts(DAY, source), features, people, things)

    with pytest.raises(NoDataError, match=r"no interaction for test: held_out is 'boots'.*\['hats', 'red', 'shoes'\]"):
        require("held_out_category", counts(train=5, valid=1), held_out="boots")
    with pytest.raises(NoDataError, match=r"'ES', and the most frequent country of users are \['FR', 'DE'\]"):
        require("held_out_market", counts(train=5, valid=1), held_out="ES")
    with pytest.raises(NoDataError, match="split=cold_users leaves no interaction for train"):
        require("cold_users", counts(valid=1, test=1))
    assert require("cold_users", counts(train=1, valid=1, test=1)) is None
    told = require("auto", counts(train=1))
    assert told is not None and "no interaction is left for valid and test" in told


def test_only_splits_that_need_times_are_refused_without_them(spark: SparkSession) -> None:
    rows = weighted(spark, ("u0", "i0", 1.0, 0))
    with pytest.raises(NoDataError, match=r"features\.split=by_user_time"):
        find_cuts(rows, FeaturesConfig(split="by_user_time"), NO_TIME)
    assert find_cuts(rows, FeaturesConfig(split="random_by_item"), NO_TIME) == Cuts(NO_TIME, "random_by_item")


def test_what_is_held_out_must_be_named_and_only_there() -> None:
    with pytest.raises(ValueError, match="needs held_out"):
        FeaturesConfig(split="held_out_category")
    with pytest.raises(ValueError, match="has an effect only"):
        FeaturesConfig(held_out="shoes")
