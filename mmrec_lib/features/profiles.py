"""Weighted events → what is known of each user."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from mmrec_lib.features.interactions import Cuts


def known_events(parted: DataFrame, cuts: Cuts, *, refit_on_valid: bool) -> DataFrame:
    """The events that published histories may hold.

    All before the as-of date; of data with a given split nothing of test, and of valid only when fits include it.
    """
    if not cuts.given:
        return parted
    parts = ["train", "valid"] if refit_on_valid else ["train"]
    return parted.where(F.col("part").isin(parts))


def user_profiles(users: DataFrame, items: DataFrame, events: DataFrame, max_history: int) -> DataFrame:
    """One row a known user, also for those without an event; columns of the contract user_profile.

    Args:
        users: Table user.
        items: Table item.
        events: Weighted events that may be known (`known_events`).
        max_history: Items kept in a history, latest first.
    """
    priced = events.join(items.select("item_id", "price"), "item_id", "left")
    positive = F.greatest(F.col("weight"), F.lit(0.0))
    spent = F.sum(positive * F.col("price"))
    priced_weight = F.sum(F.when(F.col("price").isNotNull(), positive))
    totals = priced.groupBy("user_id").agg(
        F.count(F.lit(1)).alias("num_events"),
        F.max("event_ts").alias("last_ts"),
        F.round(spent / F.nullif(priced_weight, F.lit(0.0)), 4).alias("mean_price"),
        F.array_sort(F.collect_set(F.when(F.col("is_seen"), F.col("item_id")))).alias("seen_item_ids"),
    )
    by_type = (
        events.groupBy("user_id", "event_type")
        .agg(F.count(F.lit(1)).alias("num"))
        .groupBy("user_id")
        .agg(F.map_from_entries(F.array_sort(F.collect_list(F.struct("event_type", "num")))).alias("event_counts"))
    )
    pairs = events.groupBy("user_id", "item_id").agg(
        F.round(F.sum("weight"), 6).alias("weight"), F.max("event_ts").alias("last_ts")
    )
    latest_first = F.transform(
        F.sort_array(F.collect_list(F.struct("last_ts", "item_id", "weight")), asc=False),
        lambda e: F.struct(e["item_id"].alias("item_id"), e["weight"].alias("weight"), e["last_ts"].alias("last_ts")),
    )
    histories = (
        pairs.where(F.col("weight") > 0).groupBy("user_id").agg(F.slice(latest_first, 1, max_history).alias("history"))
    )
    no_items = F.array().cast("array<string>")
    return (
        users.select("user_id", "attributes")
        .join(totals, "user_id", "left")
        .join(by_type, "user_id", "left")
        .join(histories, "user_id", "left")
        .select(
            "user_id",
            F.coalesce("num_events", F.lit(0).cast("bigint")).alias("num_events"),
            "last_ts",
            "attributes",
            F.coalesce("event_counts", F.create_map().cast("map<string,bigint>")).alias("event_counts"),
            "mean_price",
            F.coalesce(
                "history", F.array().cast("array<struct<item_id:string,weight:double,last_ts:timestamp>>")
            ).alias("history"),
            F.coalesce("seen_item_ids", no_items).alias("seen_item_ids"),
        )
    )
