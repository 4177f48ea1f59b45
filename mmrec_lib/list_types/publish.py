"""Lists → published slices: checked as a whole before the first table changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema

from mmrec_lib.contracts import CONTRACTS
from mmrec_lib.contracts.gold import CURRENT_LIST_SLICE
from mmrec_lib.errors import PublishingError
from mmrec_lib.lakehouse.actions import side_by_side
from mmrec_lib.lakehouse.merging import Staged
from mmrec_lib.lakehouse.tables import Lakehouse
from mmrec_lib.lakehouse.views import ensure_current_views
from mmrec_lib.scoring.list_rules import FINDINGS, LIST_RULES, SEEN, KnownItems, check_all

SLICED = ("item_topk", "audience_topk")
_OWN_TEXTS = {**LIST_RULES, SEEN: "hold the item that they belong to"}
_FINDINGS_IN_SPARK = from_arrow_schema(FINDINGS)


def check_lists_of(lists: DataFrame, items: KnownItems, k: int, *, of_items: bool) -> None:
    """Check lists before they are published: see `list_rules`; a list of an item must not hold the item itself.

    Args:
        lists: Rows of `selection.LISTS`; staged.
        items: Items, and whether each may be shown to anybody.
        k: Longest list.
        of_items: Whether the owners are items.

    Raises:
        PublishingError: When a list breaks a rule.
    """
    itself = F.array("owner") if of_items else F.array().cast("array<string>")
    rows = lists.select(
        F.concat("list_type", F.lit(" of "), "owner").alias("user_id"),
        "item_ids",
        "scores",
        itself.alias("seen_item_ids"),
    )

    def check(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        yield check_all(batches, items, k)

    broken = [
        f"{row['num_rows']} lists {_OWN_TEXTS[row['rule']]} ({row['user_ids'][0]}: {row['values'][0]})"
        for row in rows.mapInArrow(check, _FINDINGS_IN_SPARK).collect()
        if row["rule"] in _OWN_TEXTS
    ]
    if broken:
        raise PublishingError(
            f"The new lists were not published, and the published ones stay: {'; '.join(sorted(broken))}. Every list "
            f"needs at most {k} different items that are known and may be shown, with finite scores, best first."
        )


def publish_lists(
    lakehouse: Lakehouse,
    of_items: DataFrame,
    of_audiences: DataFrame,
    audiences: DataFrame,
    day: date,
    snapshot_id: str,
) -> None:
    """Replace the slices of a date, and the audiences of users; then name the slices.

    Args:
        lakehouse: Tables.
        of_items: Lists of items, rows of `selection.LISTS`; staged.
        of_audiences: Lists of audiences, likewise.
        audiences: user_id, list_type, audience; staged.
        day: Date of the slices.
        snapshot_id: Snapshot they were made for.
    """
    about = (F.lit(day).alias("as_of_date"), F.lit(snapshot_id).alias("snapshot_id"))

    def replace(name: str, lists: DataFrame, owner: str, item: str) -> Callable[[], object]:
        rows = _entry_rows(lists, owner, item).select("*", *about).select(*CONTRACTS[name].content_columns)
        return lambda: lakehouse.replace_slice(name, Staged(rows), {"as_of_date": day})

    def place() -> None:
        key = list(CONTRACTS["user_audience"].key)
        gone = lakehouse.read("user_audience").join(audiences, key, "left_anti")
        lakehouse.merge("user_audience", Staged(audiences), delete_keys=gone)

    side_by_side(
        [
            replace("item_topk", of_items, "item_id", "related_item_id"),
            replace("audience_topk", of_audiences, "audience", "item_id"),
            place,
        ]
    )
    # Last and in one commit: a reader that follows it never meets a table that is not there yet.
    current = [(name, day, snapshot_id) for name in SLICED]
    lakehouse.merge("current_list_slice", lakehouse.spark.createDataFrame(current, CURRENT_LIST_SLICE.input_schema))
    ensure_current_views(lakehouse, SLICED)


def _entry_rows(lists: DataFrame, owner: str, item: str) -> DataFrame:
    """One row an entry: list_type, owner, rank, item, score, num_support."""
    entries = F.arrays_zip("item_ids", "scores", "supports")
    rows = lists.select("list_type", F.col("owner").alias(owner), F.posexplode(entries).alias("position", "entry"))
    return rows.select(
        "list_type",
        owner,
        (F.col("position") + 1).cast("int").alias("rank"),
        F.col("entry.item_ids").alias(item),
        F.col("entry.scores").alias("score"),
        F.col("entry.supports").alias("num_support"),
    )
