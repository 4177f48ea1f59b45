"""Events → counts of pairs of items, and of single items beside them.

Counts are rows of `PAIR_COLUMNS`. A row without `related_item_id` counts the item alone, as the left and the right one
of pairs; the one without `item_id` counts all cases.
"""

from __future__ import annotations

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from mmrec_lib.list_types.events import is_dated
from mmrec_lib.listing.config import BOUGHT_TOGETHER, CONTINUE_WITH, BoughtTogetherConfig, ContinueWithConfig

PAIR_COLUMNS = ("list_type", "item_id", "related_item_id", "num_pairs", "num_reversed")
_SECONDS_AN_HOUR, _SECONDS_A_DAY = 3600, 86_400


def basket_pairs(events: DataFrame, config: BoughtTogetherConfig) -> DataFrame:
    """Baskets that two items share, both ways round.

    Args:
        events: user_id, item_id, event_ts, basket, of the types that make baskets.
        config: Width of baskets, and least support of pairs.
    """
    by_time = Window.partitionBy("user_id", F.col("basket").isNull()).orderBy("event_ts", "item_id")
    waited = F.col("event_ts").cast("double") - F.lag(F.col("event_ts").cast("double")).over(by_time)
    begins = F.coalesce(waited > config.basket_hours * _SECONDS_AN_HOUR, F.lit(True)).cast("int")
    marked = events.select("user_id", "item_id", "event_ts", "basket", begins.alias("begins"))
    until_now = by_time.rowsBetween(Window.unboundedPreceding, Window.currentRow)
    numbered = marked.select(
        "user_id", "item_id", "basket", is_dated().alias("is_dated"), F.sum("begins").over(until_now).alias("number")
    )
    # What has neither a basket of its own nor a time is in none.
    baskets = (
        numbered.where("basket IS NOT NULL OR is_dated")
        .groupBy("user_id", "basket", F.when(F.col("basket").isNull(), F.col("number")).alias("number"))
        .agg(F.collect_set("item_id").alias("items"))
        .where(F.size("items") <= config.max_basket_items)
    )
    items_and_none = F.concat("items", F.array(F.lit(None).cast("string")))
    left = baskets.select(items_and_none.alias("items"), F.explode(items_and_none).alias("item_id"))
    pairs = left.select("item_id", F.explode("items").alias("related_item_id"))
    is_pair = F.col("item_id") != F.col("related_item_id")
    counted = pairs.where(is_pair | F.col("related_item_id").isNull()).groupBy("item_id", "related_item_id").count()
    return _counts(counted, BOUGHT_TOGETHER, F.col("count"), F.col("count"), config.min_support)


def transition_pairs(events: DataFrame, config: ContinueWithConfig) -> DataFrame:
    """Users who took one item and right after it, for the first time, another.

    Items that a user took at the same instant have no order and follow each other in none.

    Args:
        events: user_id, item_id, event_ts, of the types by which items are taken.
        config: Longest time between the two, and least support of pairs.
    """
    first = events.where(is_dated()).groupBy("user_id", "item_id").agg(F.min("event_ts").alias("ts"))
    by_time = Window.partitionBy("user_id").orderBy("ts", "item_id")
    steps = first.select(
        "item_id",
        F.lead("item_id").over(by_time).alias("next_id"),
        (F.lead(F.col("ts").cast("double")).over(by_time) - F.col("ts").cast("double")).alias("waited"),
    ).where((F.col("waited") > 0) & (F.col("waited") <= config.max_days * _SECONDS_A_DAY))
    none = F.lit(None).cast("string")

    def row(left: Column, right: Column, forward: int, backward: int) -> Column:
        counts = (F.lit(forward).alias("forward"), F.lit(backward).alias("backward"))
        return F.struct(left.alias("item_id"), right.alias("related_item_id"), *counts)

    one, other = F.col("item_id"), F.col("next_id")
    rows = F.array(
        row(one, other, 1, 0),
        row(other, one, 0, 1),
        row(one, none, 1, 0),
        row(other, none, 0, 1),
        row(none, none, 1, 1),
    )
    flat = steps.select(F.explode(rows).alias("pair")).select("pair.*")
    counted = flat.groupBy("item_id", "related_item_id").agg(
        F.sum("forward").alias("forward"), F.sum("backward").alias("backward")
    )
    return _counts(counted, CONTINUE_WITH, F.col("forward"), F.col("backward"), config.min_support)


def named_pairs(pairs: DataFrame) -> DataFrame:
    """Pairs (item_id, related_item_id) of which the catalogue says that the second continues the first."""
    nothing = F.lit(None).cast("bigint")
    return pairs.select(
        F.lit(CONTINUE_WITH).alias("list_type"),
        "item_id",
        "related_item_id",
        nothing.alias("num_pairs"),
        nothing.alias("num_reversed"),
    )


def _counts(counted: DataFrame, list_type: str, num: Column, num_reversed: Column, min_support: int) -> DataFrame:
    """Rows of `PAIR_COLUMNS`; pairs without the least support are left out, items alone stay."""
    return counted.select(
        F.lit(list_type).alias("list_type"),
        "item_id",
        "related_item_id",
        num.cast("bigint").alias("num_pairs"),
        num_reversed.cast("bigint").alias("num_reversed"),
    ).where(F.col("related_item_id").isNull() | (F.col("num_pairs") >= min_support))
