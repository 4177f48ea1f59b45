"""Deletion vectors: a row that changes is marked in a file beside its own, which is not written again for a few rows.

Not every reader of Delta knows them, so that a table has them only where somebody asks for it.
"""

from __future__ import annotations

from pyspark.sql import Row, SparkSession

_PROPERTY, _FEATURE = "delta.enableDeletionVectors", "deletionVectors"


def enable_deletion_vectors(spark: SparkSession, identifier: str) -> None:
    """Let the table of a SQL name have deletion vectors, by a commit that changes no row; nothing where it may."""
    if _detail(spark, identifier)["properties"].get(_PROPERTY) != "true":
        spark.sql(f"ALTER TABLE {identifier} SET TBLPROPERTIES ('{_PROPERTY}' = 'true')")


def purge_deleted(spark: SparkSession, identifier: str) -> None:
    """Write files again whose rows are marked as deleted, so that the rows are gone; other tables stay as they are."""
    if _FEATURE in (_detail(spark, identifier)["tableFeatures"] or ()):
        spark.sql(f"REORG TABLE {identifier} APPLY (PURGE)")


def _detail(spark: SparkSession, identifier: str) -> Row:
    return spark.sql(f"DESCRIBE DETAIL {identifier}").select("properties", "tableFeatures").collect()[0]
