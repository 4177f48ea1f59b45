"""Fixed costs: each job has a budget of Spark jobs on the tiny store."""

from __future__ import annotations

import pytest
from pyspark.sql import SparkSession

from tests.pipeline.conftest import NEW_STORE, Demo
from tests.spark_jobs import next_job_id

pytestmark = pytest.mark.models

# As measured: a change that needs fewer lowers its figure, and one that needs more must not come.
BUDGETS = {
    "ingest_landing": 55,
    "extract_text": 17,
    "embed_content": 23,
    "extract_opinions": 13,
    "assemble_snapshot": 36,
    "align_modalities": 1,
    "train_ranker": 8,
    "evaluate_ranker": 10,
    # The tenth commit of job_run, with its checkpoint, falls on it.
    "promote_ranker": 10,
    "score_topk": 30,
    "score_lists": 27,
    "answer_queries": 1,
    "write_texts": 1,
    "build_report": 34,
}


def test_spark_jobs_are_counted(spark: SparkSession) -> None:
    before = next_job_id(spark)
    assert next_job_id(spark) == before + 1, "counting takes one job itself"
    spark.range(10).collect()
    assert next_job_id(spark) == before + 3


def test_a_new_store_keeps_the_budget_of_each_job(demo: Demo) -> None:
    counts = demo.spark_jobs[NEW_STORE]
    assert set(counts) == set(BUDGETS), "each job of the graph has a budget"
    assert {job: num for job, num in counts.items() if num > BUDGETS[job]} == {}
