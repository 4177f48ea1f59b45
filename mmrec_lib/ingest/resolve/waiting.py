"""Records that wait for their item: kept as they were read, and handed back as they were kept.

Events and reviews of unknown items are in `quarantine`. Their columns are kept there as they were read, so that a
record that was accepted once is never judged again: later it can be refused only because of its key or its item.
"""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import BooleanType, LongType, StructField, StructType, TimestampType

from mmrec_lib.contracts import CONTRACTS
from mmrec_lib.ingest.records.frames import SOURCE, parsed_schema, reread_raw
from mmrec_lib.ingest.records.values import Rules
from mmrec_lib.lakehouse.actions import union


def _kept_fields(kind: str) -> list[StructField]:
    columns = [field for field in CONTRACTS[kind].input_schema if field.name not in SOURCE]
    return [*columns, StructField("_derived_id", BooleanType())]


def kept_columns(kind: str) -> Column:
    """The columns of a record as JSON; times are microseconds since 1970, so that nothing of them is lost."""
    values = [
        (F.unix_micros(field.name) if isinstance(field.dataType, TimestampType) else F.col(field.name)).alias(
            field.name
        )
        for field in _kept_fields(kind)
    ]
    return F.to_json(F.struct(*values))


def waiting_records(quarantine: DataFrame, kind: str, rules: Rules, *, num_raw_only: int) -> DataFrame:
    """Quarantined records of one kind as they were read; see `parsed_schema`.

    Args:
        quarantine: Rows of `quarantine`, as they are stored.
        kind: event or review.
        rules: What raw records are held to.
        num_raw_only: Rows of a store that kept raw bytes only: they are parsed again. 0 spares looking for them.
    """
    rows = quarantine.where(F.col("record_kind") == kind)
    kept = _with_kept_columns(rows.where(F.col("parsed").isNotNull()), kind)
    if not num_raw_only:
        return kept
    return union([kept, reread_raw(rows.where(F.col("parsed").isNull()), kind, rules)])


def _with_kept_columns(rows: DataFrame, kind: str) -> DataFrame:
    fields = _kept_fields(kind)
    is_time = {field.name: isinstance(field.dataType, TimestampType) for field in fields}
    kept = StructType([StructField(f.name, LongType() if is_time[f.name] else f.dataType) for f in fields])
    read = rows.withColumn("_kept", F.from_json("parsed", kept))
    known = {name: F.col(f"_kept.{name}") for name in is_time}
    known |= {name: F.timestamp_micros(known[name]) for name, is_one in is_time.items() if is_one}
    known |= {name: F.col(name) for name in SOURCE}
    known |= {"_raw": F.col("raw"), "_record_id": F.col("record_id")}
    return read.select(
        *[known.get(field.name, F.lit(None)).cast(field.dataType).alias(field.name) for field in parsed_schema(kind)]
    )
