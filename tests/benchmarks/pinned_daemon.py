"""Spark's Python daemon on the processor cores that a benchmark names: `spark.python.daemon.module` points here."""

from __future__ import annotations

import os

from pyspark.daemon import manager

CORES_VARIABLE = "MMREC_BENCH_WORKER_CORES"

if __name__ == "__main__":
    os.sched_setaffinity(0, {int(core) for core in os.environ[CORES_VARIABLE].split(",")})
    manager()
