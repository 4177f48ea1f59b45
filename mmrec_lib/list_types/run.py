"""The lists that are not made for one user: tables → item_topk, audience_topk and the audiences of users."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from mmrec_lib.features.acts import NO_TIME
from mmrec_lib.features.load import SnapshotItems, load_items, present_profiles
from mmrec_lib.features.showing import ITEM_COLUMNS, user_attribute_values
from mmrec_lib.ingest.config import EventTypeConfig
from mmrec_lib.lakehouse.actions import union
from mmrec_lib.lakehouse.tables import Lakehouse
from mmrec_lib.list_types.audiences import (
    Placement,
    audience_groups,
    placed_users,
    popular_counts,
    trending_counts,
)
from mmrec_lib.list_types.events import counted_types, list_events
from mmrec_lib.list_types.item_lists import LISTS_IN_SPARK, item_lists, to_arrow
from mmrec_lib.list_types.publish import SLICED, check_lists_of, publish_lists
from mmrec_lib.listing.audience_lists import AudienceCounts, audience_lists, popular, rising
from mmrec_lib.listing.audiences import DEFAULT_ATTRIBUTES, AudienceItems, checked_attributes
from mmrec_lib.listing.config import AUDIENCE_TYPES, POPULAR_LIKE_YOU, TRENDING, ListsConfig
from mmrec_lib.listing.selection import LISTS, Entries
from mmrec_lib.models.attributes import group_value
from mmrec_lib.scoring.list_rules import KnownItems
from mmrec_lib.showing.build import build_rules
from mmrec_lib.showing.catalogue import RuleItems
from mmrec_lib.showing.config import ShowingConfig
from mmrec_lib.showing.item_rules import ItemRules
from mmrec_lib.showing.rules_file import user_attributes_of

READS = (
    "event",
    "item",
    "user",
    "user_profile",
    "training_snapshot",
    "training_item",
    "training_content",
    "graph_edge",
)
WRITES = (*SLICED, "user_audience", "current_list_slice")


def make_lists(
    lakehouse: Lakehouse, config: ListsConfig, showing: ShowingConfig, event_types: Mapping[str, EventTypeConfig]
) -> dict[str, int]:
    """Make the lists of all types that are on, check them, and publish them under the date of the latest snapshot.

    Without times of events there is no order and no growth: continue_with holds what the catalogue names, and nothing
    is trending.

    Returns:
        Number of lists by list type.

    Raises:
        ConfigError: When an event type or attribute is named that is not there.
        ShowingError: When a rule is wrong or removes too much.
        PublishingError: When new lists break a rule; the published ones stay.
    """
    types = counted_types(config, event_types)
    items, profiles = load_items(lakehouse, ITEM_COLUMNS), present_profiles(lakehouse)
    rules, known, placement = _placement(items, profiles, config, showing)
    attribute = None if config.bought_together is None else config.bought_together.basket_attribute
    names = {name for own in types.values() for name in own}
    events = lakehouse.stage("list_event", list_events(lakehouse, event_types, names, items.cuts, attribute))
    found = item_lists(lakehouse, items, known, rules, events, types, config)
    of_items = _nothing(lakehouse) if found is None else lakehouse.stage("item_lists", found)
    placed = lakehouse.stage("placed_user", placed_users(profiles, placement))
    lists = _audience_lists(lakehouse, items, profiles, placed, placement, rules, events, types, config)
    of_audiences = lakehouse.stage("audience_lists", lakehouse.spark.createDataFrame(lists, LISTS_IN_SPARK))
    shown = KnownItems(rules.item_ids, rules.is_listed)
    check_lists_of(of_items, shown, config.k, of_items=True)
    check_lists_of(of_audiences, shown, config.k, of_items=False)
    audiences = lakehouse.stage("user_audience", _audiences_of_users(placed, lists))
    publish_lists(lakehouse, of_items, of_audiences, audiences, items.cuts.as_of, items.snapshot_id)
    counts = {row["list_type"]: int(row["count"]) for row in of_items.groupBy("list_type").count().collect()}
    counts |= {row["values"]: int(row["counts"]) for row in lists["list_type"].value_counts().to_pylist()}
    return {name: counts.get(name, 0) for name in config.types}


def _nothing(lakehouse: Lakehouse) -> DataFrame:
    return lakehouse.spark.createDataFrame([], LISTS_IN_SPARK)


def _placement(
    items: SnapshotItems, profiles: DataFrame, config: ListsConfig, showing: ShowingConfig
) -> tuple[ItemRules, RuleItems, Placement]:
    """Rules of the day, the items as they see them, and how users are placed into audiences."""
    day, popular_config = items.cuts.as_of, config.popular_like_you
    of_rules = user_attributes_of(showing, day)
    asked = () if popular_config is None else popular_config.attributes or DEFAULT_ATTRIBUTES
    values = user_attribute_values(profiles, sorted({*of_rules, *asked}))
    rules = build_rules(items.table, showing, day, {name: values[name] for name in of_rules})
    attributes: tuple[str, ...] = ()
    if popular_config is not None:
        groups = {name: len({group_value(value) for value in values[name]} - {None}) for name in asked}
        attributes = checked_attributes(popular_config, groups)
    return rules, RuleItems(items.table, showing.brand_attribute), Placement(attributes, rules.for_users())


def _audience_lists(
    lakehouse: Lakehouse,
    items: SnapshotItems,
    profiles: DataFrame,
    placed: DataFrame,
    placement: Placement,
    rules: ItemRules,
    events: DataFrame,
    types: Mapping[str, list[str]],
    config: ListsConfig,
) -> pa.Table:
    """Lists of audiences, rows of `selection.LISTS`; the driver holds counts by audience and item."""
    day, frames = items.cuts.as_of, []
    if config.trending is not None and day != NO_TIME:
        own = events.where(F.col("event_type").isin(types[TRENDING]))
        frames.append(trending_counts(own, placed, config.trending, day))
    if config.popular_like_you is not None:
        frames.append(popular_counts(profiles, placed, config.popular_like_you, day))
    if not frames:
        return LISTS.empty_table()
    rows = to_arrow(lakehouse, "audience_count", union(frames))
    lists = []
    for name in AUDIENCE_TYPES:
        own_rows = rows.filter(pc.equal(rows["list_type"], name))
        if not len(own_rows):
            continue
        counts = AudienceCounts.of(own_rows, rules.item_ids)
        groups = audience_groups(placed, name) if rules.tests.has_groups else {}
        shown = AudienceItems(rules, _joined(groups, placement.visitors(counts.audiences)))
        lists.append(audience_lists(name, _entries(name, counts, config), counts.audiences, shown, config.k))
    return pa.concat_tables(lists) if lists else LISTS.empty_table()


def _entries(list_type: str, counts: AudienceCounts, config: ListsConfig) -> Iterable[Entries]:
    if list_type == TRENDING and config.trending is not None:
        return rising(counts, config.trending)
    assert config.popular_like_you is not None
    return popular(counts, config.popular_like_you)


def _joined(*groups: Mapping[str, list[int]]) -> dict[str, list[int]]:
    keys = {key for one in groups for key in one}
    return {key: [group for one in groups for group in one.get(key, ())] for key in keys}


def _audiences_of_users(placed: DataFrame, lists: pa.Table) -> DataFrame:
    """The smallest audience of each user that has a list, by list type."""
    entries = []
    for name in (POPULAR_LIKE_YOU, TRENDING):
        own = lists.filter(pc.equal(lists["list_type"], name))["owner"].to_pylist()
        with_list = F.array_intersect(F.col(name), F.array(*map(F.lit, own)).cast("array<string>"))
        smallest = F.try_element_at(with_list, F.lit(-1))
        entries.append(F.struct(F.lit(name).alias("list_type"), smallest.alias("audience")))
    rows = placed.select("user_id", F.explode(F.array(*entries)).alias("entry")).select("user_id", "entry.*")
    return rows.where(F.col("audience").isNotNull())
