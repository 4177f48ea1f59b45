"""Users of a run laid out over tasks, and their scored rows in files that the workers write."""

from __future__ import annotations

from datetime import date

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from mmrec_lib.lakehouse.tables import Lakehouse
from mmrec_lib.lakehouse.worker_files import WorkerFiles
from mmrec_lib.scoring.users import SCORED, ScoringTask, score_partition


def score_profiles(
    lakehouse: Lakehouse, profiles: DataFrame, task: ScoringTask, day: date, num_tasks: int
) -> WorkerFiles:
    """The best items of every user, staged rows of `SCORED`.

    A user's row depends on that user and the catalogue alone, to the last bit: not on who is scored in the same batch.

    Args:
        lakehouse: Its staging folder takes the rows.
        profiles: user_profile: user_id, attributes, history, seen_item_ids; input_hash; controls, where users have
            some; and last_search, where the model looks at it.
        task: Settings.
        day: Chance, where re-ranking uses it, follows from user and day alone.
        num_tasks: Tasks to divide the users into.
    """
    laid_out = scored_columns(profiles, day).repartition(num_tasks, "user_id").sortWithinPartitions("user_id")
    return lakehouse.stage_in_workers("scored", laid_out, lambda batches: score_partition(batches, task), SCORED)


def scored_columns(profiles: DataFrame, day: date) -> DataFrame:
    """Columns of profiles as `score_batch` takes them."""
    return profiles.select(
        "user_id",
        "attributes",
        F.col("history.item_id").alias("history_items"),
        F.col("history.weight").alias("history_weights"),
        F.col("history.last_ts").cast("array<double>").alias("history_times"),
        "seen_item_ids",
        "input_hash",
        user_seed(day).alias("seed"),
        *[name for name in ("controls", "last_search") if name in profiles.columns],
    )


def user_seed(day: date) -> Column:
    """Seed of what chance decides for a user on a day: a hash of `user_id` and the day."""
    return F.xxhash64("user_id", F.lit(day.isoformat()))
