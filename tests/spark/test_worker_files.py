"""Rows that workers write into staged files themselves."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from pyspark.errors import PySparkException
from pyspark.sql.types import ArrayType, DoubleType, FloatType, LongType, MapType, StringType, StructField, StructType

from mmrec_lib.lakehouse.tables import Lakehouse
from mmrec_lib.lakehouse.worker_files import WorkerFiles, write_in_workers
from tests.conftest import PROJECT

NESTED = StructType(
    [
        StructField("user_id", StringType()),
        StructField("vector", ArrayType(FloatType())),
        StructField("shares", ArrayType(MapType(StringType(), DoubleType()))),
        StructField("reasons", ArrayType(ArrayType(StringType()))),
    ]
)
LISTS = pa.list_(pa.map_(pa.string(), pa.float64()))


def nested(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Rows with every kind of column that lists have: empty, null, and in a wider type than asked for."""
    for batch in batches:
        ids = batch["id"].to_pylist()
        yield pa.RecordBatch.from_pydict(
            {
                "user_id": [f"u{n}" for n in ids],
                "vector": pa.array([[float(n), 0.5] for n in ids], pa.list_(pa.float64())),
                "shares": pa.array([[[("a", float(n))], []] if n % 2 else None for n in ids], LISTS),
                "reasons": pa.array([[["x"], [], None] for _ in ids], pa.list_(pa.list_(pa.string()))),
            }
        )


def expected(n: int) -> dict[str, object]:
    shares = [{"a": float(n)}, {}] if n % 2 else None
    return {"user_id": f"u{n}", "vector": [float(n), 0.5], "shares": shares, "reasons": [["x"], [], None]}


def rows_of(lakehouse: Lakehouse, files: WorkerFiles) -> list[dict[str, object]]:
    found = [row.asDict(recursive=True) for row in files.frame(lakehouse.spark).collect()]
    return sorted(found, key=lambda row: int(str(row["user_id"])[1:]))


def test_nested_rows_come_back_as_they_were(lakehouse: Lakehouse) -> None:
    spark = lakehouse.spark
    files = lakehouse.stage_in_workers("nested", spark.range(0, 7, 1, 3), nested, NESTED)
    assert (len(files.paths), files.num_rows) == (3, 7)
    assert rows_of(lakehouse, files) == [expected(n) for n in range(7)]
    frame = files.frame(spark)
    assert frame.schema == NESTED and frame.count() == 7

    def lengths(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            assert set(batch.schema.names) == {"vector", "user_id"}
            yield pa.RecordBatch.from_pydict(
                {"user_id": batch["user_id"], "sum": [sum(v) for v in batch["vector"].to_pylist()]}
            )

    sums = files.map_in_workers(spark, ["user_id", "vector"], lengths, "user_id string, sum double").collect()
    assert {row["user_id"]: row["sum"] for row in sums} == {f"u{n}": n + 0.5 for n in range(7)}


def test_partitions_without_rows_leave_no_files(lakehouse: Lakehouse) -> None:
    spark = lakehouse.spark
    one = lakehouse.stage_in_workers("one", spark.range(0, 1, 1, 4), nested, NESTED)
    assert len(one.paths) == 1 and rows_of(lakehouse, one) == [expected(0)]

    none = lakehouse.stage_in_workers("none", spark.range(0, 0, 1, 2), nested, NESTED)
    assert (none.paths, none.num_rows) == ((), 0)
    assert none.frame(spark).schema == NESTED and none.frame(spark).count() == 0
    assert none.map_in_workers(spark, ["user_id"], lambda batches: batches, "user_id string").collect() == []


def test_files_of_tasks_that_did_not_count_are_in_no_row(lakehouse: Lakehouse, tmp_path: Path) -> None:
    """What a task left that failed lies in the folder and is never read."""
    spark, folder = lakehouse.spark, str(tmp_path / "rows")
    schema = StructType([StructField("id", LongType())])
    first = write_in_workers(spark.range(0, 3, 1, 1), lambda batches: batches, folder, schema)

    def breaks(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        yield from batches
        raise ValueError("the disk is on fire")

    with pytest.raises(PySparkException, match="the disk is on fire"):
        write_in_workers(spark.range(0, 3, 1, 1), breaks, folder, schema)
    second = write_in_workers(spark.range(5, 7, 1, 1), lambda batches: batches, folder, schema)
    assert len(list(Path(folder).glob("*.parquet"))) == 3
    assert [row["id"] for row in first.frame(spark).collect()] == [0, 1, 2]
    assert [row["id"] for row in second.frame(spark).collect()] == [5, 6]


def test_a_column_that_does_not_fit_ends_the_run(lakehouse: Lakehouse) -> None:
    schema = StructType([StructField("id", LongType()), StructField("name", StringType())])
    with pytest.raises(PySparkException, match="field names are not matching"):
        lakehouse.stage_in_workers("wrong", lakehouse.spark.range(2), lambda batches: batches, schema)


REPEATED = """
import sys
from pathlib import Path
from pyspark import TaskContext
from pyspark.sql.types import LongType, StructField, StructType
from mmrec_lib.lakehouse.config import SparkConfig
from mmrec_lib.lakehouse.session import build_session
from mmrec_lib.lakehouse.worker_files import write_in_workers

def work(batches):
    for batch in batches:
        yield batch
    if TaskContext.get().partitionId() == 0 and TaskContext.get().attemptNumber() < 2:
        raise OSError("the machine is gone")

spark = build_session(SparkConfig(master="local[2,3]", driver_memory="1g"))
schema = StructType([StructField("id", LongType())])
files = write_in_workers(spark.range(0, 10, 1, 2), work, sys.argv[1], schema)
left = len(list(Path(sys.argv[1]).glob("*.parquet")))
print(files.num_rows, len(files.paths), left, sorted(row["id"] for row in files.frame(spark).collect()))
spark.stop()
"""


@pytest.mark.slow
def test_a_task_that_fails_and_is_repeated_gives_its_rows_once(tmp_path: Path) -> None:
    command = [sys.executable, "-c", REPEATED, str(tmp_path / "staged")]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines()[-1] == f"10 2 4 {list(range(10))}", (
        "two attempts left a file each that no one reads"
    )
