"""Preparing an environment for local sessions: Delta's jars beside Spark's, and an archive of Java's classes."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from datetime import UTC, date, datetime

import pyarrow as pa
from pyspark import SparkContext
from pyspark.sql import SparkSession, Window
from pyspark.sql import functions as F

from mmrec_lib.lakehouse.class_archive import archive_making_options, archive_path
from mmrec_lib.lakehouse.config import SparkConfig, StoreConfig
from mmrec_lib.lakehouse.session import JAVA_OPTIONS, build_session, install_delta_jars
from mmrec_lib.lakehouse.tables import Lakehouse

_SECONDS = 180


def make_class_archive() -> bool:
    """Write the archive of classes, once; returns True when it is there.

    A Java that cannot write one does without: sessions start a second or two later.
    """
    path = archive_path()
    if path.is_file():
        return True
    part = path.with_name(f".{path.name}.part")
    part.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix="mmrec-classes-") as folder:
        options = " ".join([JAVA_OPTIONS, *archive_making_options(part)])
        config = SparkConfig(master="local[2]", driver_memory="1g", conf={"spark.driver.extraJavaOptions": options})
        session = build_session(config, "mmrec-setup", is_small=True)
        _work(session, f"{folder}/out")
        _end(session)
    if not part.is_file():
        return False
    # Moved when it is whole: a killed set-up leaves no half of an archive.
    part.rename(path)
    return True


def _work(spark: SparkSession, out: str) -> None:
    """Do what jobs do, with a row or two: the classes that this loads are those that go into the archive."""
    tables = Lakehouse(spark, StoreConfig(out=out), "setup", datetime.now(UTC))
    ids = spark.createDataFrame(pa.table({"table_name": ["a", "b"]})).mapInArrow(_same, "table_name string")
    rows = ids.select("table_name", F.lit(date(2026, 1, 1)).alias("as_of_date"), F.lit("1").alias("model_version"))
    tables.merge("current_slice", rows)
    changed = rows.where("table_name = 'a'").withColumn("model_version", F.lit("2"))
    tables.merge("current_slice", changed, delete_keys=tables.read("current_slice").where("table_name = 'b'"))
    tables.replace_slice("current_slice", rows.where("table_name = 'a'"), {"table_name": "a"})
    latest = Window.partitionBy("table_name").orderBy(F.col("as_of_date").desc())
    numbered = tables.read("current_slice").withColumn("place", F.row_number().over(latest))
    grouped = numbered.groupBy("table_name").agg(
        F.collect_list(F.struct("place", "as_of_date")).alias("all"),
        F.max_by("place", "as_of_date").alias("last"),
        F.countDistinct("place").alias("places"),
    )
    words = numbered.select("table_name", F.explode(F.split("model_version", " ")).alias("word"))
    joined = grouped.join(words, "table_name", "left")
    joined.select("table_name", F.to_json("all"), F.sha2("word", 256), F.xxhash64("word")).orderBy("word").collect()
    tables.remove_staging()


def _same(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    yield from batches


def _end(session: SparkSession) -> None:
    """Stop a session and wait until its Java has ended, which is when it writes the archive."""
    gateway = SparkContext._gateway
    session.stop()
    process: subprocess.Popen[bytes] | None = getattr(gateway, "proc", None)
    if process is not None:
        if process.stdin is not None:
            process.stdin.close()
        process.wait(timeout=_SECONDS)


def main() -> None:
    """Prepare this environment; what is there already stays."""
    names = install_delta_jars()
    print("\n".join(names) or "Delta's jars are in place.")
    print("Java's classes are archived." if make_class_archive() else "This Java writes no archive of classes.")


if __name__ == "__main__":
    main()
