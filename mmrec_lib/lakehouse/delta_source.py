"""A Delta table in a landing folder → the rows to ingest: a version, or what its change feed says since another."""

from __future__ import annotations

import logging
import re

from py4j.protocol import Py4JJavaError  # type: ignore[import-untyped]
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F
from pyspark.sql.types import DataType, NullType

from mmrec_lib.lakehouse.tables import Lakehouse

ROW_NUMBER, IS_DELETE = "_mmrec_row_number", "_mmrec_is_delete"
"""Columns that a table's rows get: their number from 1, and whether the row was deleted."""

_FEED = ("_change_type", "_commit_version", "_commit_timestamp")
_AS_TEXT = ("interval", "variant")
# How Spark and Delta begin what they say of files and tables. A failed task comes as Java's own exception; of those
# only these speak of the table, and none of the machine (a full disk, a lost executor).
_OF_THE_TABLE = re.compile(r"\[(?:FAILED_READ_FILE|DELTA_|CANNOT_READ_)[^\n]*")
_BUCKETS = 256
_log = logging.getLogger(__name__)


class DeltaReadError(ValueError):
    """Raised when a Delta table cannot be read by Spark, with the first line of what Spark says."""


def read_delta(lakehouse: Lakehouse, uri: str, key: str, version: int, changes_from: int | None = None) -> DataFrame:
    """Rows of a Delta table that are new since it was read last, staged.

    Of a change feed only what is left of each key's changes counts: a row that was inserted and deleted since is there
    as deleted, one that was overwritten is there once. A feed that cannot be read any more (its files were removed) is
    replaced by the whole version.

    Args:
        lakehouse: The store, for its session and its staging folder.
        uri: Folder of the table.
        key: Column that tells which rows are versions of one record; the whole row where the table has no such column.
        version: Version to read.
        changes_from: First version of the change feed to read; None reads the whole version.

    Returns:
        The table's columns, `ROW_NUMBER` and `IS_DELETE`.

    Raises:
        DeltaReadError: When Spark cannot read it.
    """
    if changes_from is None:
        return _read(lakehouse, uri, key, version)
    try:
        return _read(lakehouse, uri, key, version, changes_from)
    except DeltaReadError as error:
        _log.warning(
            "%s: the change feed from version %d cannot be read, so the whole of version %d is; rows that were deleted "
            "in between stay (%s)",
            uri,
            changes_from,
            version,
            error,
        )
    return _read(lakehouse, uri, key, version)


def _read(lakehouse: Lakehouse, uri: str, key: str, version: int, changes_from: int | None = None) -> DataFrame:
    try:
        return _staged(lakehouse, uri, key, version, changes_from)
    except PySparkException as error:
        raise DeltaReadError(_said(str(error)) or type(error).__name__) from error
    except Py4JJavaError as error:
        found = _OF_THE_TABLE.search(str(error))
        if found is None:
            raise
        raise DeltaReadError(_said(found.group())) from error


def _staged(lakehouse: Lakehouse, uri: str, key: str, version: int, changes_from: int | None) -> DataFrame:
    reader = lakehouse.spark.read.format("delta")
    if changes_from is None:
        rows = reader.option("versionAsOf", version).load(uri).withColumn(IS_DELETE, F.lit(False))
    else:
        feed = (
            reader.option("readChangeFeed", "true")
            .option("startingVersion", changes_from)
            .option("endingVersion", version)
            .load(uri)
        )
        rows = net_changes(feed, key)
    return numbered(lakehouse.stage("landing_table", _storable(rows)))


def net_changes(feed: DataFrame, key: str) -> DataFrame:
    """What is left of a change feed for each key: its last version, or that it was deleted.

    In one commit a new version counts more than a deletion, because an overwrite is written as both.
    """
    columns = [name for name in feed.columns if name not in _FEED]
    identity = F.col(f"`{key}`").cast("string") if key in columns else _row_text(columns)
    is_delete = F.col("_change_type") == "delete"
    last = Window.partitionBy("_mmrec_key").orderBy(F.col("_commit_version").desc(), is_delete, "_mmrec_text")
    # A row without a key is nobody's version: each is kept, and refused later with its reason.
    ranked = (
        feed.where(F.col("_change_type") != "update_preimage")
        .withColumn("_mmrec_text", _row_text(columns))
        .withColumn("_mmrec_key", F.coalesce(identity, F.col("_mmrec_text")))
        .withColumn("_mmrec_place", F.row_number().over(last))
    )
    return ranked.where(F.col("_mmrec_place") == 1).select(*_quoted(columns), is_delete.alias(IS_DELETE))


def numbered(rows: DataFrame) -> DataFrame:
    """Rows with a number each, from 1: the same number whenever the same rows are read."""
    columns = list(rows.columns)
    hashed = rows.withColumn("_mmrec_text", _row_text(columns)).withColumn(
        "_mmrec_bucket", F.pmod(F.xxhash64("_mmrec_text"), F.lit(_BUCKETS)).cast("int")
    )
    counts = {row["_mmrec_bucket"]: row["count"] for row in hashed.groupBy("_mmrec_bucket").count().collect()}
    before, offsets = 0, []
    for bucket in range(_BUCKETS):
        offsets.append(before)
        before += counts.get(bucket, 0)
    order = Window.partitionBy("_mmrec_bucket").orderBy("_mmrec_text")
    offset = F.get(F.array(*[F.lit(value).cast("long") for value in offsets]), F.col("_mmrec_bucket"))
    return hashed.withColumn(ROW_NUMBER, offset + F.row_number().over(order)).select(*_quoted(columns), ROW_NUMBER)


def _row_text(columns: list[str]) -> Column:
    return F.to_json(F.struct(*_quoted(columns)))


def _quoted(columns: list[str]) -> list[Column]:
    return [F.col(f"`{name.replace('`', '``')}`") for name in columns]


def _storable(rows: DataFrame) -> DataFrame:
    """Rows without columns of no type, and with intervals and variants as text."""
    columns = []
    for field in rows.schema:
        column = F.col(f"`{field.name.replace('`', '``')}`")
        if isinstance(field.dataType, NullType):
            continue
        columns.append((_as_text(column, field.dataType)).alias(field.name))
    return rows.select(*columns)


def _as_text(column: Column, data_type: DataType) -> Column:
    name = data_type.typeName()
    if name == "variant":
        return F.to_json(column)
    return column.cast("string") if any(part in name for part in _AS_TEXT) else column


def _said(message: str) -> str:
    return next(iter(message.strip().splitlines()), "")[:300]
