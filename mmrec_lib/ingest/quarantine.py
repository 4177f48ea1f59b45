"""Refused records as rows of `quarantine`, and those that come back from it."""

from __future__ import annotations

from collections.abc import Iterable

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from mmrec_lib.contracts.bronze import QUARANTINE
from mmrec_lib.ingest.reasons import FILE_REASONS
from mmrec_lib.ingest.settle_first import QUARANTINED
from mmrec_lib.lakehouse.landing import Delivery

FILE_KIND = "file"
IS_UNREAD = "source_file_id LIKE 'unread-%'"
"""Condition of the rows that name places whose bytes could not be read; they go when the next ingest can."""

_FILE_REASONS = [str(reason) for reason in FILE_REASONS]


def quarantine_id(record_kind: Column) -> Column:
    """Key of a quarantine row: where the record stood."""
    place = F.concat_ws("\x1f", record_kind, F.col("source_file_id"), F.col("source_line").cast("string"))
    return F.substring(F.sha2(place, 256), 1, 32)


def record_kind(kind: str) -> Column:
    """Kind of a refused record: `file` where the reason judges the file."""
    return F.when(F.col("_reason").isin(_FILE_REASONS), FILE_KIND).otherwise(kind)


def quarantine_rows(settled: DataFrame, kind: str) -> DataFrame:
    """Rows of `quarantine` for the refused ones of settled records."""
    refused = settled.where(F.col("_status") == QUARANTINED).withColumn("record_kind", record_kind(kind))
    return refused.select(
        quarantine_id(F.col("record_kind")).alias("quarantine_id"),
        "record_kind",
        F.col("_reason").alias("reason"),
        F.col("_detail").alias("detail"),
        F.col("_record_id").alias("record_id"),
        F.col("_waits_for").alias("waits_for_item_id"),
        "source_path",
        "source_file_id",
        "source_line",
        F.col("_raw").alias("raw"),
    )


def file_rows(spark: SparkSession, deliveries: Iterable[Delivery]) -> DataFrame:
    """Rows of `quarantine` for landing files of which nothing can be read."""
    rows = [
        ("", FILE_KIND, d.problem.reason, d.problem.detail, d.file.path, None, d.file.path, d.file_id, 1, d.problem.raw)
        for d in deliveries
        if d.problem is not None
    ]
    frame = spark.createDataFrame(rows, QUARANTINE.input_schema)
    return frame.withColumn("quarantine_id", quarantine_id(F.col("record_kind")))


def returned_ids(settled: DataFrame, kind: str) -> DataFrame:
    """Keys of the quarantine rows whose record was judged again and is refused no more."""
    returned = settled.where(F.col("_retry") & (F.col("_status") != QUARANTINED))
    return returned.select(quarantine_id(F.lit(kind)).alias("quarantine_id"))
