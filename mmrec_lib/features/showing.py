"""Tables → inputs of the showing rules: controls of users, values of their attributes, columns of items."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from mmrec_lib.errors import ShowingError
from mmrec_lib.lakehouse.tables import Lakehouse

_log = logging.getLogger(__name__)
MAX_VALUES = 10_000
"""Distinct values of one attribute of users; more are no market, age or segment but an id."""

_SOFT = ("less", "boost")
ITEM_COLUMNS = ("categories", "price", "markets", "attributes")
"""Columns of items that rules look at."""


def load_user_controls(lakehouse: Lakehouse, soft_targets: Mapping[str, Sequence[str]]) -> DataFrame | None:
    """Controls of the users that have some.

    Args:
        lakehouse: The store.
        soft_targets: Categories and brands that may be boosted or lessened; see `soft_control_targets`.

    Returns:
        user_id, controls array<struct<action, target_kind, target, strength>> sorted; None where no user has one, so
        that a run without controls joins nothing.
    """
    if not lakehouse.exists("user_control"):
        return None
    rows = lakehouse.read("user_control")
    if not rows.limit(1).collect():
        return None
    is_kept = ~F.col("action").isin(*_SOFT)
    for kind, targets in soft_targets.items():
        is_kept |= (F.col("target_kind") == kind) & F.col("target").isin(*targets)
    control = F.struct("action", "target_kind", "target", "strength")
    return rows.where(is_kept).groupBy("user_id").agg(F.array_sort(F.collect_list(control)).alias("controls"))


def soft_control_targets(lakehouse: Lakehouse, limit: int) -> dict[str, list[str]]:
    """Categories and brands that users boost or lessen, by kind, sorted; the most used ones, at most `limit`.

    What users set must not stop a run, and each target lengthens all vectors: the others are left out, and logged.
    """
    if not lakehouse.exists("user_control"):
        return {}
    rows = lakehouse.read("user_control").where(F.col("action").isin(*_SOFT))
    used = rows.groupBy("target_kind", "target").agg(F.count(F.lit(1)).alias("num"))
    found = used.orderBy(F.desc("num"), "target_kind", "target").limit(limit + 1).collect()
    if len(found) > limit:
        _log.warning(
            "users boost and lessen more than %d categories and brands (showing.max_control_dimensions); those that "
            "fewest users name, from %s %r on, have no effect",
            limit,
            found[limit]["target_kind"],
            found[limit]["target"],
        )
    targets: dict[str, list[str]] = {}
    for row in found[:limit]:
        targets.setdefault(row["target_kind"], []).append(row["target"])
    return {kind: sorted(names) for kind, names in targets.items()}


def user_attribute_values(profiles: DataFrame, names: Sequence[str]) -> dict[str, list[str]]:
    """Distinct values of attributes of users, sorted, in one Spark job; none where no attribute is asked for.

    Args:
        profiles: user_profile, or any DataFrame with `attributes`.
        names: See `rules_file.user_attributes_of`.

    Raises:
        ShowingError: When an attribute has more than `MAX_VALUES` values.
    """
    if not names:
        return {}
    wanted = F.array(
        *[
            F.struct(F.lit(name).alias("name"), F.try_element_at("attributes", F.lit(name)).alias("value"))
            for name in names
        ]
    )
    pairs = profiles.select(F.explode(wanted).alias("pair")).select("pair.*").where("value IS NOT NULL").distinct()
    # One value more than allowed tells that there are too many, however many there are.
    rows = pairs.limit(MAX_VALUES * len(names) + 1).collect()
    values: dict[str, list[str]] = {name: [] for name in names}
    for row in rows:
        values[row["name"]].append(row["value"])
    for name, found in values.items():
        if len(found) > MAX_VALUES:
            raise ShowingError(
                f"rules: attributes of users with at most {MAX_VALUES:,} distinct values are needed, but `{name}` has "
                "more. Use a coarser one, such as a country for a postcode."
            )
    return {name: sorted(found) for name, found in values.items()}
