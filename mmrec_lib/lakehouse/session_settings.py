"""Settings of a session that depend on what is worked on: small tables, many rows, large rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from pyspark.sql import SparkSession

_MARK = "spark.mmrec.smallTables"

# What makes local runs quicker where a table has some ten thousand rows: plans are interpreted, because
# they spend more on compiling generated Java than on running it, and a task does what two would.
SMALL = {
    _MARK: "true",
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.sql.shuffle.partitions": "1",
    "spark.sql.files.minPartitionNum": "1",
    "spark.databricks.delta.snapshotPartitions": "1",
    # What follows from a filter is looked for at each step of a plan, and pays where much is read.
    "spark.sql.constraintPropagation.enabled": "false",
    # Tables come as one partition each: they are joined where they are, and sending one to all would be a job more.
    "spark.sql.autoBroadcastJoinThreshold": "-1",
}
MANY_ROWS = 20_000
"""Rows of lists or vectors from which generated Java pays for being compiled."""

# What such a session does otherwise where rows are many or long.
_MANY_ROWS = {
    _MARK: "false",
    "spark.sql.autoBroadcastJoinThreshold": "10485760b",
    "spark.sql.codegen.wholeStage": "true",
    "spark.sql.codegen.factoryMode": "FALLBACK",
    "spark.sql.shuffle.partitions": "2",
    "spark.sql.files.minPartitionNum": "2",
}
# Rows that Spark's Parquet reader decodes, and that Arrow batches to Python workers hold, at once.
LARGE_ROWS = {"spark.sql.parquet.columnarReaderBatchSize": "4", "spark.sql.execution.arrow.maxRecordsPerBatch": "16"}


def is_for_small_tables(spark: SparkSession) -> bool:
    """Tell if a session, or the block that it is in, works on small tables."""
    return spark.conf.get(_MARK, None) == SMALL[_MARK]


def for_many_rows(spark: SparkSession) -> dict[str, str]:
    """Settings to change in a session for small tables; none in any other, and none that a user has set otherwise."""
    if not is_for_small_tables(spark):
        return {}
    return {key: value for key, value in _MANY_ROWS.items() if spark.conf.get(key, None) == SMALL[key]}


@contextmanager
def with_settings(spark: SparkSession, settings: Mapping[str, str]) -> Iterator[None]:
    """Inside the block a session has other settings; after it, what it had before."""
    before = {key: spark.conf.get(key, None) for key in settings}
    for key, value in settings.items():
        spark.conf.set(key, value)
    try:
        yield
    finally:
        for key, earlier in before.items():
            if earlier is None:
                spark.conf.unset(key)
            else:
                spark.conf.set(key, earlier)
