"""Hashes of the content of records: equal for records that say the same, whoever delivered them."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, MapType, StructField

from mmrec_lib.contracts import CONTRACTS
from mmrec_lib.ingest.records.frames import SOURCE


def content_hash(kind: str) -> Column:
    """64-bit hash of a table's columns without those that tell the source; compared between rows of one key only.

    Presence and sizes are hashed before the values: xxhash64 passes over nulls and runs lists together, so a value
    that moves from one column to the next would not be seen.
    """
    fields = [f for f in CONTRACTS[kind].input_schema if f.name not in SOURCE]
    shape = F.concat_ws(",", *[_shape(field) for field in fields])
    return F.xxhash64(shape, *[_hashable(field) for field in fields])


def _shape(field: StructField) -> Column:
    column = F.col(field.name)
    present = F.size(column).cast("string") if isinstance(field.dataType, ArrayType | MapType) else F.lit("+")
    return F.when(column.isNull(), F.lit("-")).otherwise(present)


def _hashable(field: StructField) -> Column:
    column = F.col(field.name)
    return F.array_sort(F.map_entries(column)) if isinstance(field.dataType, MapType) else column


def row_slot(key: Column | None = None) -> Column:
    """Slot that rows compete for: their key, or for a row that does not compete its own place."""
    place = F.concat_ws("\x1f", F.lit("at"), "source_file_id", F.col("source_line").cast("string"))
    return place if key is None else F.when(key.isNotNull(), F.concat_ws("\x1f", F.lit("key"), key)).otherwise(place)


def stored_state(stored: DataFrame, kind: str) -> DataFrame:
    """Columns of stored rows that new ones are compared with: key, content hash, source, version where there is one."""
    contract = CONTRACTS[kind]
    version = [F.col("updated_at").alias("_stored_version")] if "updated_at" in contract.input_schema.names else []
    return stored.select(
        *contract.key,
        content_hash(kind).alias("_stored_content"),
        F.col("source_file_id").alias("_stored_file_id"),
        F.col("source_line").alias("_stored_line"),
        F.col("source_path").alias("_stored_path"),
        *version,
    )
