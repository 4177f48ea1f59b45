"""Weighted events → what is known of each user."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from mmrec_lib.features.config import FeaturesConfig
from mmrec_lib.features.interactions import Cuts
from mmrec_lib.ingest.config import EventTypeConfig

NUM_NAMES = 5
"""Categories and brands that a profile names."""

_CATEGORY, _BRAND = "category", "brand"
_LABELLED = "array<struct<kind:string,name:string,weight:double>>"


def known_events(parted: DataFrame, cuts: Cuts, *, refit_on_valid: bool) -> DataFrame:
    """The events that published histories may hold.

    All before the as-of date; of data with a given split nothing of test, and of valid only when fits include it.
    """
    if not cuts.given:
        return parted
    parts = ["train", "valid"] if refit_on_valid else ["train"]
    return parted.where(F.col("part").isin(parts))


def rating_types(event_types: Mapping[str, EventTypeConfig]) -> list[str]:
    """Event types whose value is a rating: it is needed, and lies on a scale with two ends."""
    return sorted(
        name
        for name, kind in event_types.items()
        if kind.needs_value and kind.value_min is not None and kind.value_max is not None
    )


def user_profiles(
    users: DataFrame, items: DataFrame, events: DataFrame, ratings: Sequence[str], config: FeaturesConfig
) -> DataFrame:
    """One row a known user, also for those without an event; columns of the contract user_profile without tastes.

    Args:
        users: Table user.
        items: Table item.
        events: Weighted events that may be known (`known_events`).
        ratings: Event types whose value is a rating, see `rating_types`.
        config: Length of histories, and the attribute that names the brand.
    """
    is_price = F.col("price").isNotNull() & ~F.isnan("price")
    known_items = items.select(
        "item_id",
        F.when(is_price, F.col("price")).alias("price"),
        "categories",
        F.try_element_at("attributes", F.lit(config.brand_attribute)).alias("brand"),
    )
    priced = events.join(known_items.select("item_id", "price"), "item_id", "left")
    positive = F.greatest(F.col("weight"), F.lit(0.0))
    priced_weight = F.nullif(F.sum(F.when(F.col("price").isNotNull(), positive)), F.lit(0.0))
    mean_price = F.sum(positive * F.col("price")) / priced_weight
    mean_square = F.sum(positive * F.col("price") * F.col("price")) / priced_weight
    totals = priced.groupBy("user_id").agg(
        F.count(F.lit(1)).alias("num_events"),
        F.max("event_ts").alias("last_ts"),
        F.round(mean_price, 4).alias("mean_price"),
        F.round(F.greatest(mean_square - mean_price * mean_price, F.lit(0.0)), 4).alias("price_variance"),
        F.array_sort(F.collect_set(F.when(F.col("is_seen"), F.col("item_id")))).alias("seen_item_ids"),
    )
    by_type = (
        events.groupBy("user_id", "event_type")
        .agg(F.count(F.lit(1)).alias("num"))
        .groupBy("user_id")
        .agg(F.map_from_entries(F.array_sort(F.collect_list(F.struct("event_type", "num")))).alias("event_counts"))
    )
    is_rating = F.col("event_type").isin(*ratings) & F.col("value").isNotNull()
    latest_rating = F.max(F.when(is_rating, F.struct("event_ts", "value")))
    pairs = (
        events.groupBy("user_id", "item_id")
        .agg(
            F.round(F.sum("weight"), 6).alias("weight"),
            F.max("event_ts").alias("last_ts"),
            latest_rating["value"].alias("rating"),
        )
        .join(known_items, "item_id", "left")
    )
    taken = F.col("weight") > 0
    latest_first = F.transform(
        F.sort_array(F.collect_list(F.when(taken, F.struct("last_ts", "item_id", "weight"))), asc=False),
        lambda e: F.struct(e["item_id"].alias("item_id"), e["weight"].alias("weight"), e["last_ts"].alias("last_ts")),
    )
    histories = pairs.groupBy("user_id").agg(
        F.slice(latest_first, 1, config.max_history).alias("history"),
        F.percentile_approx(F.when(taken, F.col("price")), [0.25, 0.75], 10_000).alias("price_quartiles"),
        F.count("rating").alias("num_ratings"),
        F.round(F.avg("rating"), 4).alias("mean_rating"),
        F.round(F.var_pop("rating"), 4).alias("rating_variance"),
    )
    no_items = F.array().cast("array<string>")
    return (
        users.select("user_id", "attributes")
        .join(totals, "user_id", "left")
        .join(by_type, "user_id", "left")
        .join(histories, "user_id", "left")
        .join(_top_names(pairs.where(taken)), "user_id", "left")
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
            "price_variance",
            "price_quartiles",
            F.nullif("num_ratings", F.lit(0)).alias("num_ratings"),
            "mean_rating",
            "rating_variance",
            "top_categories",
            "top_brands",
        )
    )


def _top_names(pairs: DataFrame) -> DataFrame:
    """user_id, top_categories and top_brands: names with their shares, the largest in front.

    Args:
        pairs: user_id, weight above 0, categories, brand. The weight of an item is divided among its categories.
    """
    categories = F.array_distinct(F.filter("categories", lambda name: name.isNotNull()))
    named = F.concat(
        F.coalesce(
            F.transform(categories, lambda name: _labelled(_CATEGORY, name, F.col("weight") / F.size(categories))),
            F.array().cast(_LABELLED),
        ),
        F.when(F.col("brand").isNotNull(), F.array(_labelled(_BRAND, F.col("brand"), F.col("weight")))).otherwise(
            F.array().cast(_LABELLED)
        ),
    )
    labels = pairs.select("user_id", F.inline(named))
    sums = labels.groupBy("user_id", "kind", "name").agg(F.sum("weight").alias("weight"))
    return sums.groupBy("user_id").agg(
        _shares_of(_CATEGORY).alias("top_categories"), _shares_of(_BRAND).alias("top_brands")
    )


def _labelled(kind: str, name: Column, weight: Column) -> Column:
    return F.struct(F.lit(kind).alias("kind"), name.alias("name"), weight.alias("weight"))


def _shares_of(kind: str) -> Column:
    """The names of a kind that weigh most, with their shares of all of the kind; null where there are none."""
    is_kind = F.col("kind") == kind
    total = F.sum(F.when(is_kind, F.col("weight")))
    weighed = F.collect_list(F.when(is_kind, F.struct("name", "weight")))
    # Rounded, so that the order of a parallel sum decides no tie; shares, because weights of long ago are tiny.
    heaviest = F.array_sort(
        F.transform(
            weighed, lambda e: F.struct(F.round(-e["weight"] / total, 6).alias("minus"), e["name"].alias("name"))
        )
    )
    shares = F.transform(
        F.slice(heaviest, 1, NUM_NAMES),
        lambda e: F.struct(e["name"].alias("name"), F.round(-e["minus"], 4).alias("share")),
    )
    return F.when(total > 0, shares)
