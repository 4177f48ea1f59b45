"""Peak memory of a worker and of the JVM while images of 10 MB pass: `python -m tests.benchmarks.large_rows`.

20 images are made; 2,000 rows of them arise inside the plan, and 100 rows are read from a Delta table, through one
task slot and a JVM of 4 GB, as the embedding job does it.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from mmrec_lib.embedding.config import EmbeddingConfig
from mmrec_lib.embedding.operator import Columns, encode_table
from mmrec_lib.encoders.config import ModelsConfig
from mmrec_lib.lakehouse.config import SparkConfig
from mmrec_lib.lakehouse.session import build_session
from mmrec_lib.lakehouse.session_settings import LARGE_ROWS
from tests.benchmarks.processes import peak_mb, python_workers
from tests.conftest import MODELS_ROOT, PROJECT

_IMAGES = 20
_SIDE_PX = 2_800


def image(seed: int) -> bytes:
    """A JPEG of about 10 MB."""
    pixels = np.random.default_rng(seed).integers(0, 256, (_SIDE_PX, _SIDE_PX, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=88)
    return file.getvalue()


def measure(spark: SparkSession, rows: DataFrame, models: ModelsConfig) -> dict[str, float]:
    """Encodes images and tells how much memory that took."""
    start = time.perf_counter()
    portions = EmbeddingConfig(num_partitions=1)
    made = encode_table(rows, models.encoders["efficientnet-lite0"], models, Columns("content"), portions)
    found = made.agg(F.count("vector").alias("vectors"), F.count("error").alias("errors")).collect()[0]
    jvm = spark.sparkContext._gateway.proc.pid  # type: ignore[union-attr]
    return {
        "vectors": found["vectors"],
        "errors": found["errors"],
        "seconds": time.perf_counter() - start,
        "worker_peak_mb": max(peak_mb(pid) for pid in python_workers(jvm)),
        "jvm_peak_mb": peak_mb(jvm),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.large_rows", description=__doc__)
    parser.add_argument("--planned", type=int, default=2_000, help="rows that arise inside the plan")
    parser.add_argument("--stored", type=int, default=100, help="rows that are read from Delta")
    parser.add_argument("--out", type=Path, default=PROJECT / "bench")
    options = parser.parse_args(arguments)
    models = ModelsConfig(root=str(MODELS_ROOT.absolute()))
    conf = {**LARGE_ROWS, "spark.sql.shuffle.partitions": "1"}
    spark = build_session(SparkConfig(master="local[1]", driver_memory="4g", conf=conf))
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="mmrec-large-") as folder:
        for number in range(_IMAGES):
            Path(folder, f"{number}.jpg").write_bytes(image(number))
        few = spark.read.format("binaryFile").load(f"{folder}/*.jpg").select(F.col("path"), "content")
        times = options.stored // _IMAGES
        many = few.crossJoin(spark.range(times)).select(F.concat_ws("-", "path", "id").alias("content_id"), "content")
        many.write.format("delta").save(f"{folder}/table")
        results["stored"] = measure(spark, spark.read.format("delta").load(f"{folder}/table"), models)
        print("read from Delta:", results["stored"], flush=True)
        times = options.planned // _IMAGES
        many = few.crossJoin(spark.range(times)).select(F.concat_ws("-", "path", "id").alias("content_id"), "content")
        results["planned"] = measure(spark, many, models)
        print("made inside the plan:", results["planned"], flush=True)
    spark.stop()
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "large_rows.json").write_text(json.dumps(results, indent=1), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
