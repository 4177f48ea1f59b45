"""Events that the list types count: of users and items that are there, in time, of types that say something good."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, time

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from mmrec_lib.errors import ConfigError
from mmrec_lib.features.acts import NO_TIME
from mmrec_lib.features.interactions import Cuts
from mmrec_lib.ingest.config import DEFAULT_EVENT_TYPES, EventTypeConfig
from mmrec_lib.lakehouse.tables import Lakehouse
from mmrec_lib.listing.config import BOUGHT_TOGETHER, CONTINUE_WITH, TRENDING, ListsConfig


def is_dated() -> Column:
    """True for events that have a time."""
    return F.unix_micros("event_ts") > 0


def counted_types(config: ListsConfig, event_types: Mapping[str, EventTypeConfig]) -> dict[str, list[str]]:
    """Event types that each list type counts, sorted; those that weigh more than 0 where it names none.

    Raises:
        ConfigError: When it names one that is neither declared nor one of the types that are declared by default.
    """
    good = sorted(name for name, kind in event_types.items() if kind.weight > 0)
    found = {}
    for list_type in (BOUGHT_TOGETHER, CONTINUE_WITH, TRENDING):
        own = getattr(config, list_type)
        if own is None:
            continue
        unknown = sorted(set(own.event_types or ()) - {*event_types, *DEFAULT_EVENT_TYPES})
        if unknown:
            raise ConfigError(
                f"lists.{list_type}.event_types: declared event types are needed, got {unknown[0]!r}. Declared are "
                f"{', '.join(sorted(event_types))}."
            )
        found[list_type] = sorted(own.event_types) if own.event_types else good
    return found


def list_events(
    lakehouse: Lakehouse,
    event_types: Mapping[str, EventTypeConfig],
    names: set[str],
    cuts: Cuts,
    basket_attribute: str | None,
) -> DataFrame:
    """Events that lists may count.

    Args:
        lakehouse: Tables; what users did who were deleted, and with deleted items, does not count.
        event_types: The declared types; a low value that does not speak for the item leaves the event out.
        names: Types to keep.
        cuts: Those of the snapshot; of data with a given split nothing of test counts.
        basket_attribute: Attribute that becomes the column basket.

    Returns:
        user_id, item_id, event_type, event_ts, basket.
    """
    kept = lakehouse.read("event").where(F.col("event_type").isin(sorted(names)) & F.col("item_id").isNotNull())
    if cuts.as_of != NO_TIME:
        kept = kept.where(F.col("event_ts") < F.lit(datetime.combine(cuts.as_of, time(), UTC)))
    if cuts.given:
        kept = kept.where(F.coalesce("split", F.lit("train")) != "test")
    for name in sorted(names & set(event_types)):
        kept = kept.where(_is_good(name, event_types[name]))
    basket = (
        F.lit(None).cast("string")
        if basket_attribute is None
        else F.try_element_at("attributes", F.lit(basket_attribute))
    )
    chosen = kept.select("user_id", "item_id", "event_type", "event_ts", basket.alias("basket"))
    of_users = chosen.join(lakehouse.read("user").select("user_id"), "user_id", "left_semi")
    return of_users.join(lakehouse.read("item").select("item_id"), "item_id", "left_semi").select(*chosen.columns)


def _is_good(name: str, kind: EventTypeConfig) -> Column:
    """True unless an event of a type has a value that is low and is not taken for liking."""
    if kind.low_value_below is None or kind.low_value_means == "positive":
        return F.lit(True)
    is_low = F.coalesce(F.col("value") < F.lit(kind.low_value_below), F.lit(False))
    return (F.col("event_type") != name) | ~is_low
