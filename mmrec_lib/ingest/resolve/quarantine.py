"""Refused records and fields as rows of `quarantine`, and the records that come back from it."""

from __future__ import annotations

from collections.abc import Iterable

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from mmrec_lib.contracts.bronze import QUARANTINE
from mmrec_lib.ingest.landing import Delivery
from mmrec_lib.ingest.records.frames import IMMUTABLE_KINDS, SOURCE
from mmrec_lib.ingest.records.reasons import FILE_REASONS
from mmrec_lib.ingest.resolve.first_wins import QUARANTINED, STORED
from mmrec_lib.ingest.resolve.waiting import kept_columns

FILE_KIND = "file"
IS_UNREAD = "source_file_id LIKE 'unread-%'"
"""Condition of the rows that name places whose bytes could not be read; they go when the next ingest can."""
FIELD_KIND = "field"
"""Record kind of a field that could not be kept as delivered although its record was; it is in no file's counts."""

_OF_MEDIA = ("media_seen", "num_attempts")
_FILE_REASONS = [str(reason) for reason in FILE_REASONS]


def quarantine_id(record_kind: Column, field: Column | None = None) -> Column:
    """Key of a quarantine row: where the record stood, and of a field its name."""
    place = [record_kind, F.col("source_file_id"), F.col("source_line").cast("string")]
    names = place if field is None else [*place, field]
    return F.substring(F.sha2(F.concat_ws("\x1f", *names), 256), 1, 32)


def record_kind(kind: str) -> Column:
    """Kind of a refused record: `file` where the reason judges the file."""
    return F.when(F.col("_reason").isin(_FILE_REASONS), FILE_KIND).otherwise(kind)


def has_notes() -> Column:
    """Tell whether fields of a settled record belong in quarantine: it was kept or waits, but not as delivered."""
    is_kept = (F.col("_status") == STORED) | F.col("_waits_for").isNotNull()
    return is_kept & F.col("_notes").isNotNull()


def quarantine_rows(settled: DataFrame, kind: str) -> DataFrame:
    """Rows of `quarantine` for the refused ones of settled records, and for fields that were not kept."""
    waits = F.col("_waits_for").isNotNull()
    no_text = F.lit(None).cast("string")
    record = F.struct(
        record_kind(kind).alias("record_kind"),
        F.col("_reason").alias("reason"),
        F.col("_detail").alias("detail"),
        F.col("_waits_for").alias("waits_for_item_id"),
        F.col("_raw").alias("raw"),
        (F.when(waits, kept_columns(kind)) if kind in IMMUTABLE_KINDS else no_text).alias("parsed"),
        no_text.alias("field"),
    )
    fields = F.transform(
        "_notes",
        lambda note: F.struct(
            F.lit(FIELD_KIND).alias("record_kind"),
            note["reason"].alias("reason"),
            note["detail"].alias("detail"),
            no_text.alias("waits_for_item_id"),
            note["raw"].alias("raw"),
            no_text.alias("parsed"),
            note["field"].alias("field"),
        ),
    )
    is_refused = F.col("_status") == QUARANTINED
    entries = F.concat(
        F.when(is_refused, F.array(record)).otherwise(F.array()),
        F.when(has_notes(), fields).otherwise(F.array()),
    )
    rows = settled.where(is_refused | has_notes())
    return rows.select("*", F.explode(entries).alias("_entry")).select(
        quarantine_id(F.col("_entry.record_kind"), F.col("_entry.field")).alias("quarantine_id"),
        "_entry.record_kind",
        "_entry.reason",
        "_entry.detail",
        F.col("_record_id").alias("record_id"),
        "_entry.waits_for_item_id",
        *SOURCE,
        "_entry.raw",
        "_entry.parsed",
        *[F.lit(None).cast(QUARANTINE.input_schema[name].dataType).alias(name) for name in _OF_MEDIA],
    )


def file_rows(spark: SparkSession, deliveries: Iterable[Delivery]) -> DataFrame:
    """Rows of `quarantine` for landing files of which nothing can be read."""
    rows = [
        (
            "",
            FILE_KIND,
            d.problem.reason,
            d.problem.detail,
            d.file.path,
            None,
            d.file.path,
            d.file_id,
            1,
            d.problem.raw,
            None,
            None,
            None,
        )
        for d in deliveries
        if d.problem is not None
    ]
    frame = spark.createDataFrame(rows, QUARANTINE.input_schema)
    return frame.withColumn("quarantine_id", quarantine_id(F.col("record_kind")))


def returned_ids(settled: DataFrame, kind: str) -> DataFrame:
    """Keys of the quarantine rows whose record was judged again and is refused no more."""
    returned = settled.where(F.col("_retry") & (F.col("_status") != QUARANTINED))
    return returned.select(quarantine_id(F.lit(kind)).alias("quarantine_id"))
