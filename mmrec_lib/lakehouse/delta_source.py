"""A Delta table in a landing folder → the rows to ingest: a version, or what its change feed says since another."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from functools import reduce

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


def read_delta(
    lakehouse: Lakehouse, uri: str, key: Sequence[str], version: int, changes_from: int | None = None
) -> DataFrame:
    """Rows of a Delta table that are new since it was read last, staged.

    Of a change feed only what is left of its changes counts: see `net_changes`. A feed that cannot be read any more
    (its files were removed) is replaced by the whole version.

    Args:
        lakehouse: The store, for its session and its staging folder.
        uri: Folder of the table.
        key: Columns that tell which rows are of one record; the whole row where the table has none of them.
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


def _read(
    lakehouse: Lakehouse, uri: str, key: Sequence[str], version: int, changes_from: int | None = None
) -> DataFrame:
    try:
        return _staged(lakehouse, uri, key, version, changes_from)
    except PySparkException as error:
        raise DeltaReadError(_said(str(error)) or type(error).__name__) from error
    except Py4JJavaError as error:
        found = _OF_THE_TABLE.search(str(error))
        if found is None:
            raise
        raise DeltaReadError(_said(found.group())) from error


def _staged(lakehouse: Lakehouse, uri: str, key: Sequence[str], version: int, changes_from: int | None) -> DataFrame:
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


def net_changes(feed: DataFrame, key: Sequence[str]) -> DataFrame:
    """Net changes of a change feed: the rows that it added and that are still there, and the keys that are gone.

    A row that was inserted and then deleted or changed is not there; several rows of one key are all there, and the
    ingest judges them. A key is gone when its last change took a row away and no row of it is left. In one commit a new
    row counts more than a deletion, because an overwrite is written as both.

    Args:
        feed: Rows of a change feed.
        key: See `read_delta`.

    Returns:
        The table's columns and `IS_DELETE`.
    """
    columns = [name for name in feed.columns if name not in _FEED]
    parts = [name for name in key if name in columns]
    # A row without a key is nobody's version.
    of_parts = [F.when(_has_any(parts), _row_text(parts))] if parts else []
    identity = F.coalesce(*of_parts, F.col("_mmrec_text"))
    newest_first = [F.col("_commit_version").desc(), F.col("_mmrec_is_gone")]
    of_row = Window.partitionBy("_mmrec_text").orderBy(*newest_first)
    of_key = Window.partitionBy("_mmrec_key").orderBy(*newest_first, "_mmrec_text")
    is_gone = F.col("_mmrec_is_gone")
    return (
        feed.withColumn("_mmrec_text", _row_text(columns))
        .withColumn("_mmrec_is_gone", F.col("_change_type").isin("delete", "update_preimage"))
        .withColumn("_mmrec_key", identity)
        .withColumn("_mmrec_is_there", ~is_gone & (F.rank().over(of_row) == 1))
        .withColumn("_mmrec_is_left", F.max("_mmrec_is_there").over(Window.partitionBy("_mmrec_key")))
        .withColumn(IS_DELETE, is_gone & ~F.col("_mmrec_is_left") & (F.row_number().over(of_key) == 1))
        .where(F.col("_mmrec_is_there") | F.col(IS_DELETE))
        .select(*_quoted(columns), IS_DELETE)
    )


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


def _has_any(columns: list[str]) -> Column:
    return reduce(Column.__or__, [column.isNotNull() for column in _quoted(columns)])


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
