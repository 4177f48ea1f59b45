"""Divisions of the events into train, valid and test that do not follow one clock, for evaluation."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from mmrec_lib.errors import NoDataError
from mmrec_lib.features.config import (
    BY_USER_TIME,
    COLD_ITEMS,
    HELD_OUT_CATEGORY,
    RANDOM_BY_ITEM,
    FeaturesConfig,
)
from mmrec_lib.features.interactions import Cuts, assign_parts

_BUCKETS = 1_000_003
_NUM_NAMED = 10


def split_parts(
    weighted: DataFrame, cuts: Cuts, config: FeaturesConfig, users: DataFrame, items: DataFrame
) -> DataFrame:
    """Add the column part: train, valid or test, by the split of the snapshot.

    Args:
        weighted: See `interactions.weigh_events`.
        cuts: See `interactions.find_cuts`.
        config: Shares, seed and what is held out.
        users: Table user.
        items: Table item.
    """
    if cuts.source == BY_USER_TIME:
        return _by_user_time(weighted, config)
    if cuts.source == RANDOM_BY_ITEM:
        return _random_by_item(weighted, config)
    if cuts.source == config.split:
        unit = "item_id" if config.split in (COLD_ITEMS, HELD_OUT_CATEGORY) else "user_id"
        return _by_unit(weighted, unit, config, users, items)
    return assign_parts(weighted, cuts)


def _by_user_time(weighted: DataFrame, config: FeaturesConfig) -> DataFrame:
    """Each user's first events in time are train; events of one time go to the later part, as in the split by time."""
    times = F.array_sort(F.collect_list("event_ts"))
    positive = weighted.where(F.col("weight") > 0).groupBy("user_id").agg(times.alias("times"))
    number = F.size("times")
    test_share = 1 - config.train_share - config.valid_share
    num_test = F.when(number >= 2, F.greatest(F.lit(1), F.floor(number * F.lit(test_share) + F.lit(1e-9))))
    num_valid = F.when(number >= 3, F.greatest(F.lit(1), F.floor(number * F.lit(config.valid_share) + F.lit(1e-9))))
    counted = positive.select(
        "user_id",
        "times",
        num_test.cast("int").alias("num_test"),
        F.coalesce(num_valid, F.lit(0)).cast("int").alias("num_valid"),
    )
    cuts = counted.select(
        "user_id",
        F.try_element_at("times", -(F.col("num_test") + F.col("num_valid"))).alias("valid_from"),
        F.try_element_at("times", -F.col("num_test")).alias("test_from"),
    )
    part = (
        F.when(F.col("event_ts") >= F.col("test_from"), "test")
        .when(F.col("event_ts") >= F.col("valid_from"), "valid")
        .otherwise("train")
    )
    return weighted.join(cuts, "user_id", "left").withColumn("part", part).drop("valid_from", "test_from")


def _random_by_item(weighted: DataFrame, config: FeaturesConfig) -> DataFrame:
    """Of each item's users, in a random order, a share is train: systematic sampling from a random start.

    So each item has its share in each part, up to one user, and items with few users are not all in train.
    """
    pairs = weighted.where(F.col("weight") > 0).select("user_id", "item_id").distinct()
    of_item = Window.partitionBy("item_id")
    place = F.row_number().over(of_item.orderBy(_fraction(config, "user_id", "item_id"), "user_id")) - 1
    position = (place + _fraction(config, "item_id")) / F.count(F.lit(1)).over(of_item)
    parts = pairs.select("user_id", "item_id", _part(position, config).alias("part"))
    joined = weighted.join(parts, ["user_id", "item_id"], "left")
    return joined.withColumn("part", F.coalesce("part", F.lit("train")))


def _by_unit(weighted: DataFrame, unit: str, config: FeaturesConfig, users: DataFrame, items: DataFrame) -> DataFrame:
    """All events of an item or user are in one part, by chance or because it is of what is held out."""
    part = _part(_fraction(config, unit), config)
    if config.held_out is None:
        return weighted.withColumn("part", part)
    names = _held_out_names(config, users, items).where(F.col("name") == config.held_out)
    held_out = names.select(unit, F.lit(True).alias("_is_held_out")).distinct()
    share = config.train_share / (config.train_share + config.valid_share)
    rest = F.when(_fraction(config, unit) < F.lit(share), "train").otherwise("valid")
    marked = weighted.join(held_out, unit, "left")
    return marked.withColumn("part", F.when(F.col("_is_held_out"), "test").otherwise(rest)).drop("_is_held_out")


def _held_out_names(config: FeaturesConfig, users: DataFrame, items: DataFrame) -> DataFrame:
    """The categories of items, or the markets of users: item_id or user_id, and name."""
    if config.split == HELD_OUT_CATEGORY:
        return items.select("item_id", F.explode("categories").alias("name"))
    return users.select("user_id", F.try_element_at("attributes", F.lit(config.market_attribute)).alias("name"))


def _part(position: Column, config: FeaturesConfig) -> Column:
    """The part of a position between 0 and 1."""
    return (
        F.when(position < F.lit(config.train_share), "train")
        .when(position < F.lit(config.train_share + config.valid_share), "valid")
        .otherwise("test")
    )


def _fraction(config: FeaturesConfig, *columns: str) -> Column:
    """A number from 0 to below 1 that depends on the seed and some columns alone."""
    return F.pmod(F.xxhash64(F.lit(config.split_seed), *columns), F.lit(_BUCKETS)) / F.lit(float(_BUCKETS))


def require_parts(
    counts: dict[str, int], cuts: Cuts, config: FeaturesConfig, users: DataFrame, items: DataFrame
) -> str | None:
    """Check that a split left something to train on and to test on.

    Args:
        counts: Interactions by part, as `train_interactions` and so on.
        cuts: See `interactions.find_cuts`.
        config: The split.
        users: Table user.
        items: Table item.

    Returns:
        A sentence where a part is empty that can be done without, else None.

    Raises:
        NoDataError: When a chosen split leaves train or test empty.
    """
    empty = [part for part in ("train", "valid", "test") if not counts[f"{part}_interactions"]]
    if not empty:
        return None
    if cuts.source == config.split and {"train", "test"} & set(empty):
        told = f"features.split={config.split} leaves no interaction for {' and '.join(empty)}"
        if config.held_out is None:
            raise NoDataError(f"{told}. There are too few users or items; change the shares, the seed or the split.")
        named = _held_out_names(config, users, items).where(F.col("name").isNotNull()).groupBy("name").count()
        frequent = [row["name"] for row in named.orderBy(F.col("count").desc(), "name").limit(_NUM_NAMED).collect()]
        subject = "categories of items" if config.split == HELD_OUT_CATEGORY else config.market_attribute + " of users"
        raise NoDataError(f"{told}: held_out is {config.held_out!r}, and the most frequent {subject} are {frequent}.")
    return f"warning: no interaction is left for {' and '.join(empty)}, so nothing is chosen or measured there"
