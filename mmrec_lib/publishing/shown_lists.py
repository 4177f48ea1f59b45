"""A few lists of items and of audiences as the report shows them."""

from __future__ import annotations

from typing import Any

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from mmrec_lib.lakehouse.tables import Lakehouse
from mmrec_lib.publishing.people import load_cards
from mmrec_lib.publishing.slices import current_rows
from mmrec_lib.reporting.data import ShownList

_NUM_SHOWN = 7


def shown_lists(lakehouse: Lakehouse, limit: int) -> tuple[list[ShownList], dict[str, int]]:
    """Some lists of each type, the same ones at every run, and the number of lists by type.

    Args:
        lakehouse: Tables.
        limit: Lists of a type, at most. Of audiences the ones with most support come first, of items by their hash.
    """
    if limit == 0:
        return [], {}
    of_items = _first(current_rows(lakehouse, "item_topk"), "item_id", "related_item_id", F.xxhash64("owner"), limit)
    of_audiences = _first(
        current_rows(lakehouse, "audience_topk"), "audience", "item_id", -F.coalesce(F.col("support"), F.lit(0)), limit
    )
    rows = of_items.withColumn("is_item", F.lit(True)).unionByName(of_audiences.withColumn("is_item", F.lit(False)))
    groups: dict[tuple[str, str, bool], list[Any]] = {}
    for row in rows.orderBy("list_type", "place", "owner", "rank").collect():
        groups.setdefault((row["list_type"], row["owner"], row["is_item"]), []).append(row)
    wanted = {row["item"] for own in groups.values() for row in own} | {
        owner for _, owner, is_item in groups if is_item
    }
    cards = load_cards(lakehouse, wanted) if wanted else {}
    shown = [
        ShownList(
            list_type,
            [(cards[row["item"]], float(row["score"]), row["num_support"]) for row in own],
            owner=cards[owner] if is_item else None,
            audience="" if is_item else owner,
        )
        for (list_type, owner, is_item), own in groups.items()
    ]
    return shown, {own[0]["list_type"]: int(own[0]["num_lists"]) for own in groups.values()}


def _first(rows: DataFrame, owner: str, item: str, order: Any, limit: int) -> DataFrame:
    """First ranks of the first lists of each type, with the number of all lists of the type."""
    lists = rows.select(
        "list_type", F.col(owner).alias("owner"), F.col(item).alias("item"), "rank", "score", "num_support"
    )
    support = lists.groupBy("list_type", "owner").agg(F.sum("num_support").alias("support"))
    of_type = Window.partitionBy("list_type")
    chosen = support.select(
        "list_type",
        "owner",
        F.row_number().over(of_type.orderBy(order, "owner")).alias("place"),
        F.count(F.lit(1)).over(of_type).alias("num_lists"),
    ).where(F.col("place") <= limit)
    return lists.where(F.col("rank") <= _NUM_SHOWN).join(chosen, ["list_type", "owner"])
