"""Settings of a session that depend on what is worked on: small tables, many rows, large rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from pyspark.sql import SparkSession

_COMPILES = "spark.sql.codegen.wholeStage"

# What makes local runs quicker where a table has some hundred thousand rows at most: plans are interpreted, because
# they spend more on compiling generated Java than on running it, and a task does what two would.
SMALL = {
    _COMPILES: "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.sql.shuffle.partitions": "1",
    "spark.sql.files.minPartitionNum": "1",
    "spark.databricks.delta.snapshotPartitions": "1",
    # What follows from a filter is looked for at each step of a plan, and pays where much is read.
    "spark.sql.constraintPropagation.enabled": "false",
}
# What such a session does otherwise where rows are many or long.
MANY_ROWS = {
    _COMPILES: "true",
    "spark.sql.codegen.factoryMode": "FALLBACK",
    "spark.sql.shuffle.partitions": "2",
    "spark.sql.files.minPartitionNum": "2",
}
# Rows that Spark's Parquet reader decodes, and that Arrow batches to Python workers hold, at once.
LARGE_ROWS = {"spark.sql.parquet.columnarReaderBatchSize": "4", "spark.sql.execution.arrow.maxRecordsPerBatch": "16"}


def is_for_small_tables(spark: SparkSession) -> bool:
    """Tell if a session was made with `SMALL`."""
    return spark.conf.get(_COMPILES, "true") == SMALL[_COMPILES]


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
