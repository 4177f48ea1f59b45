"""Immutable records (events, reviews): the first delivery of a key stays, what contradicts it is refused."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from mmrec_lib.contracts import CONTRACTS
from mmrec_lib.ingest.records.reasons import Reason
from mmrec_lib.ingest.resolve.content_hash import content_hash, row_slot, stored_state

STORED, SUPERSEDED, DUPLICATE, QUARANTINED = "stored", "superseded", "duplicate", "quarantined"

# What `stored_state` tells of a row that the store has.
_STORED = {"_stored_content": "long", "_stored_line": "long", "_stored_file_id": "string", "_stored_path": "string"}


def settle_first(records: DataFrame, stored: DataFrame | None, known_items: DataFrame, kind: str) -> DataFrame:
    """Judge each record: stored, duplicate or quarantined.

    A record that the store has from the same line of the same file counts as stored, so that a run that was killed and
    is run again keeps the same counts. Only records whose item is known compete for their key.

    Args:
        records: Parsed records with `_retry` (true for those that come back from quarantine and so arrived earlier).
        stored: The table as it is; None when it is empty.
        known_items: `item_id` of every item that the store will hold after this run.
        kind: event or review.

    Returns:
        The records with `_status`, `_write` (true where the row is new to the table), `_waits_for` (the unknown item),
        `_is_known` (the store had the key from elsewhere) and, where quarantined, `_reason` and `_detail`.
    """
    key = CONTRACTS[kind].key[0]
    judged = records.withColumn("_content", content_hash(kind))
    if stored is None:
        judged = judged.withColumns({name: F.lit(None).cast(one) for name, one in _STORED.items()})
    else:
        judged = judged.join(stored_state(stored, kind), on=key, how="left")
    known = known_items.select("item_id", F.lit(True).alias("_known"))
    judged = judged.join(known, on="item_id", how="left")

    is_bad = F.col("_reason").isNotNull()
    in_store = F.col("_stored_content").isNotNull()
    same_place = _same("source_file_id", "_stored_file_id") & _same("source_line", "_stored_line")
    lacks_item = F.col("item_id").isNotNull() & F.col("_known").isNull()
    competes = ~is_bad & ~in_store & ~lacks_item
    # Those that came back arrived before all others.
    order = Window.partitionBy("_slot").orderBy(F.col("_retry").desc(), "source_path", "source_line")
    judged = judged.withColumn("_slot", row_slot(F.when(competes, F.col(key)))).withColumns(
        {
            "_place": F.row_number().over(order),
            "_first_content": F.first("_content").over(order),
            "_first_path": F.first("source_path").over(order),
            "_first_line": F.first("source_line").over(order),
        }
    )
    # A key that is a hash of the contract's fields is their content: what else the record holds does not contradict it.
    derived = F.coalesce(F.col("_derived_id"), F.lit(False))
    known_content = F.when(in_store, F.col("_stored_content")).otherwise(F.col("_first_content"))
    repeats = derived | F.col("_content").eqNullSafe(known_content)
    status = (
        F.when(is_bad, QUARANTINED)
        .when(in_store & same_place, STORED)
        .when(in_store & repeats, DUPLICATE)
        .when(in_store, QUARANTINED)
        .when(lacks_item, QUARANTINED)
        .when(F.col("_place") == 1, STORED)
        .when(repeats, DUPLICATE)
        .otherwise(QUARANTINED)
    )
    unknown_item = lacks_item & ~in_store
    reason = (
        F.when(is_bad, F.col("_reason"))
        .when(status != QUARANTINED, F.lit(None))
        .when(unknown_item, str(Reason.UNKNOWN_ITEM))
        .otherwise(str(Reason.CONFLICTING_REDELIVERY))
    )
    detail = (
        F.when(is_bad, F.col("_detail"))
        .when(status != QUARANTINED, F.lit(None))
        .when(unknown_item, _unknown_item_detail())
        .otherwise(_conflict_detail(key))
    )
    told = {
        "_reason": reason,
        "_detail": detail,
        "_record_id": F.coalesce(F.col(key), F.col("_record_id")),
        "_status": status,
        "_write": competes & (F.col("_place") == 1),
        "_waits_for": F.when(~is_bad & unknown_item, F.col("item_id")),
        "_is_known": in_store & ~same_place,
    }
    kept = [name for name in records.columns if name not in told]
    return judged.select(*kept, *[column.alias(name) for name, column in told.items()])


def _same(left: str, right: str) -> Column:
    return F.col(left).eqNullSafe(F.col(right))


def _unknown_item_detail() -> Column:
    return F.concat(
        F.lit("field `item_id`: a known item is needed, got "),
        F.col("item_id"),
        F.lit("; the record is stored as soon as that item arrives"),
    )


def _conflict_detail(key: str) -> Column:
    path = F.coalesce(F.col("_stored_path"), F.col("_first_path"))
    line = F.coalesce(F.col("_stored_line"), F.col("_first_line")).cast("string")
    return F.concat(
        F.lit(f"field `{key}`: each delivery of a key needs the same content, but "),
        F.col(key),
        F.lit(" was delivered with other content before (first in "),
        path,
        F.lit(" line "),
        line,
        F.lit("), which stays"),
    )
