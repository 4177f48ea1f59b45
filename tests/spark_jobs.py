"""Spark jobs that a piece of work starts, whatever threads, groups and broadcasts it uses."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from pyspark.sql import SparkSession

from mmrec_lib.runtime import graph


def next_job_id(spark: SparkSession) -> int:
    """Number of the next Spark job, which they get in turn: one job more, in a group of its own, tells it."""
    context, group = spark.sparkContext, uuid.uuid4().hex
    context.setJobGroup(group, "counts Spark jobs")
    try:
        context.parallelize([1], 1).count()
    finally:
        context.setLocalProperty("spark.jobGroup.id", None)  # type: ignore[arg-type]
        context.setLocalProperty("spark.job.description", None)  # type: ignore[arg-type]
    (number,) = context.statusTracker().getJobIdsForGroup(group)
    return int(number) + 1


@contextmanager
def counting_jobs() -> Iterator[Mapping[str, int]]:
    """Inside the block the graph runner notes how many Spark jobs each job of the graph starts."""
    counts: dict[str, int] = {}
    run_job = graph.run_job

    def counted(job: Any, context: Any, config: Any, *, force: bool) -> Any:
        before = next_job_id(context.lakehouse.spark)
        run = run_job(job, context, config, force=force)
        counts[job.name] = next_job_id(context.lakehouse.spark) - before - 1
        return run

    with patch.object(graph, "run_job", counted):
        yield counts
