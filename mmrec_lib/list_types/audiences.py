"""Profiles and events → the audiences of users, and counts of items by audience."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, IntegerType, StringType, StructField, StructType

from mmrec_lib.features.acts import NO_TIME
from mmrec_lib.list_types.events import is_dated
from mmrec_lib.listing.audiences import audience_key, audience_paths
from mmrec_lib.listing.config import POPULAR_LIKE_YOU, TRENDING, PopularLikeYouConfig, TrendingConfig
from mmrec_lib.scoring.arrow_lists import groups_of_maps
from mmrec_lib.showing.attributes import Attributes
from mmrec_lib.showing.item_rules import ItemRules

PLACED = StructType(
    [
        StructField("user_id", StringType()),
        StructField(POPULAR_LIKE_YOU, ArrayType(StringType())),
        StructField(TRENDING, ArrayType(StringType())),
        StructField("showing_group", IntegerType()),
    ]
)
"""One row a user: keys of the audiences of each list type, the largest first, and the group of the showing rules."""

_ATTRIBUTES = pa.map_(pa.string(), pa.string())


@dataclass(frozen=True)
class Placement:
    """Rule by which users are placed into audiences.

    Attributes:
        attributes: Attributes of audiences, the coarsest first.
        rules: Rules of the day; their markets are audiences too.
    """

    attributes: tuple[str, ...]
    rules: ItemRules

    def place(self, users: pa.RecordBatch) -> pa.RecordBatch:
        """Rows of `PLACED` for users with user_id and attributes."""
        maps, tests = users["attributes"], self.rules.tests
        markets = {}
        if tests.market_attribute is not None:
            names = np.array([*tests.markets, None], dtype=np.object_)
            codes = tests.market_codes(Attributes(maps).values(tests.market_attribute))
            markets[tests.market_attribute] = names[codes]
        groups = groups_of_maps(maps, self.attributes)
        return pa.RecordBatch.from_arrays(
            [
                users["user_id"],
                audience_paths(groups, len(maps)),
                audience_paths(markets, len(maps)),
                pa.array(self.rules.of_users(maps).group_of_user),
            ],
            names=PLACED.names,
        )

    def visitors(self, audiences: Sequence[str]) -> dict[str, list[int]]:
        """Group of a visitor of whom nothing is known, or the market alone, by key of the audience.

        Args:
            audiences: Keys of audiences that have users; of others no visitor is asked for.
        """
        attribute = self.rules.tests.market_attribute
        known: list[list[tuple[str, str]]] = [[]]
        if attribute is not None:
            known += [[(attribute, market)] for market in self.rules.tests.markets]
        known = [own for own in known if audience_key(own) in audiences]
        groups = self.rules.of_users(pa.array(known, _ATTRIBUTES)).group_of_user
        return {audience_key(own): [int(group)] for own, group in zip(known, groups, strict=True)}


def placed_users(profiles: DataFrame, placement: Placement) -> DataFrame:
    """Rows of `PLACED` for all users of user_profile."""

    def work(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            yield placement.place(batch)

    return profiles.select("user_id", "attributes").mapInArrow(work, PLACED)


def trending_counts(events: DataFrame, placed: DataFrame, config: TrendingConfig, as_of: date) -> DataFrame:
    """Users and days on which an item was taken, in the window and before it.

    Args:
        events: user_id, item_id, event_ts, of the types that count.
        placed: Rows of `PLACED`.
        config: Window and baseline.
        as_of: Day after the window.

    Returns:
        list_type, audience, item_id, num, num_before.
    """
    window = _midnight(as_of) - timedelta(days=config.window_days)
    oldest = F.lit(window - timedelta(days=config.baseline_days))
    days = events.where(is_dated() & (F.col("event_ts") >= oldest)).select(
        "user_id",
        "item_id",
        F.to_date("event_ts").alias("day"),
        (F.col("event_ts") >= F.lit(window)).alias("is_recent"),
    )
    placed_days = days.distinct().join(placed, "user_id")
    counted = placed_days.select(F.explode(TRENDING).alias("audience"), "item_id", "is_recent").groupBy(
        "audience", "item_id"
    )
    sums = counted.agg(F.count_if("is_recent").alias("num"), F.count_if(~F.col("is_recent")).alias("num_before"))
    return sums.select(F.lit(TRENDING).alias("list_type"), "audience", "item_id", "num", "num_before")


def popular_counts(profiles: DataFrame, placed: DataFrame, config: PopularLikeYouConfig, as_of: date) -> DataFrame:
    """Users of each audience who took an item; the row without an item counts those who took any.

    Args:
        profiles: user_id and history.
        placed: Rows of `PLACED`.
        config: Time within which items were taken.
        as_of: Day after it.

    Returns:
        list_type, audience, item_id, num, num_before (0).
    """
    history = F.col("history")
    if config.days is not None and as_of != NO_TIME:
        oldest = F.lit(_midnight(as_of) - timedelta(days=config.days))
        history = F.filter(history, lambda taken: taken["last_ts"] >= oldest)
    taken = profiles.select("user_id", history["item_id"].alias("item_ids")).where(F.size("item_ids") > 0)
    with_none = F.explode(F.concat("item_ids", F.array(F.lit(None).cast("string"))))
    by_user = taken.select("user_id", with_none.alias("item_id")).join(placed, "user_id")
    counted = by_user.select(F.explode(POPULAR_LIKE_YOU).alias("audience"), "item_id").groupBy("audience", "item_id")
    sums = counted.agg(F.count(F.lit(1)).alias("num"))
    return sums.select(
        F.lit(POPULAR_LIKE_YOU).alias("list_type"),
        "audience",
        "item_id",
        "num",
        F.lit(0).cast("bigint").alias("num_before"),
    )


def audience_groups(placed: DataFrame, list_type: str) -> dict[str, list[int]]:
    """Groups of the showing rules that occur among the users of each audience of a list type."""
    pairs = placed.select(F.explode(list_type).alias("audience"), "showing_group").distinct().collect()
    found: dict[str, list[int]] = {}
    for row in pairs:
        found.setdefault(row["audience"], []).append(row["showing_group"])
    return found


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
