"""Users that are known from what they did only."""

from __future__ import annotations

from collections.abc import Iterable

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from mmrec_lib.contracts.bronze import USER
from mmrec_lib.ingest.records.frames import SOURCE
from mmrec_lib.ingest.resolve.first_wins import STORED
from mmrec_lib.lakehouse.actions import union


def mentions(settled: DataFrame, *columns: str) -> DataFrame:
    """Users named by accepted records that are no deletions: `user_id` and the source columns; one row a mention."""
    accepted = settled.where((F.col("_status") == STORED) & ~F.coalesce("_deleted", F.lit(False)))
    parts = [accepted.select(F.col(column).alias("user_id"), *SOURCE) for column in columns]
    return union(parts)


def undeclared_users(mentioned: Iterable[DataFrame], *known: DataFrame) -> DataFrame:
    """Rows of `user` for users that were mentioned and are not known; their source is the first mention.

    Args:
        mentioned: See `mentions`.
        known: Frames with the `user_id` of users that need no row: stored, declared in this run, or deleted.
    """
    users = union(mentioned)
    first = F.min(F.struct("source_path", "source_line", "source_file_id")).alias("first")
    users = users.groupBy("user_id").agg(first)
    for frame in known:
        users = users.join(frame.select("user_id").distinct(), on="user_id", how="left_anti")
    return users.select(
        "user_id",
        F.timestamp_micros(F.lit(0)).alias("updated_at"),
        F.lit(False).alias("is_declared"),
        F.lit(None).cast(USER.input_schema["attributes"].dataType).alias("attributes"),
        *[F.col(f"first.{name}").alias(name) for name in SOURCE],
    )
