"""Preparing an environment for local sessions: Delta's jars beside Spark's, and an archive of Java's classes."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
from pyspark import SparkContext
from pyspark.sql import SparkSession, Window
from pyspark.sql import functions as F

from mmrec_lib.errors import MachineError
from mmrec_lib.lakehouse.class_archive import archive_making_options, archive_path, known_archives
from mmrec_lib.lakehouse.config import SparkConfig, StoreConfig
from mmrec_lib.lakehouse.session import JAVA_OPTIONS, build_session, install_delta_jars
from mmrec_lib.lakehouse.tables import Lakehouse

_SECONDS = 180


def make_class_archive() -> bool:
    """Write the archive of classes for this Java and these jars; those for others go. Returns True when it is there.

    Without one sessions start a second or two later and that is all: a Java that cannot write it does without.
    """
    path = archive_path()
    for other in known_archives():
        if other != path:
            other.unlink()
    if path.is_file():
        return True
    part = path.with_name(f".{path.name}.part")
    part.unlink(missing_ok=True)
    # A process of its own: Java takes its options when it starts, and this one may have started it before.
    command = [
        sys.executable,
        "-c",
        f"from mmrec_lib.lakehouse.prepare import write_archive; write_archive({str(part)!r})",
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
        reason = None if done.returncode == 0 else (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
    except subprocess.TimeoutExpired:
        reason = f"it took more than {_SECONDS} seconds"
    if reason is not None or not part.is_file():
        part.unlink(missing_ok=True)
        print(f"The archive of Java's classes was not made: {reason or 'Java wrote none'}.", file=sys.stderr)
        return False
    # Moved when it is whole: a killed set-up leaves no half of an archive.
    part.rename(path)
    return True


def write_archive(part: str) -> None:
    """Do what a small run does in a Java that writes an archive of its classes when it ends.

    Raises:
        MachineError: When that Java does not end well.
    """
    options = " ".join([JAVA_OPTIONS, *archive_making_options(Path(part))])
    conf = {"spark.driver.extraJavaOptions": options}
    with tempfile.TemporaryDirectory(prefix="mmrec-classes-") as folder:
        session = build_session(SparkConfig(master="local[2]", driver_memory="1g", conf=conf), is_small=True)
        _work(session, f"{folder}/out")
        process = _end(session)
    if process.returncode != 0:
        raise MachineError(f"Java: it ended with status {process.returncode} while it wrote {part}.")


def _work(spark: SparkSession, out: str) -> None:
    """Do what jobs do, with a row or two: the classes that this loads are those that go into the archive."""
    tables = Lakehouse(spark, StoreConfig(out=out), "setup", datetime.now(UTC))
    ids = spark.createDataFrame(pa.table({"table_name": ["a", "b"]})).mapInArrow(_same, "table_name string")
    columns = {"as_of_date": F.lit(date(2026, 1, 1)), "model_version": F.lit("1"), "input_hashes": F.lit(None)}
    rows = ids.withColumns(columns)
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


def _end(session: SparkSession) -> subprocess.Popen[bytes]:
    """Stop a session and wait until its Java has ended, which is when it writes the archive."""
    gateway = SparkContext._gateway
    session.stop()
    process: subprocess.Popen[bytes] = gateway.proc  # type: ignore[union-attr]
    if process.stdin is not None:
        process.stdin.close()
    process.wait()
    return process


def main() -> None:
    """Prepare this environment; what is there already stays."""
    names = install_delta_jars()
    print("\n".join(names) or "Delta's jars are in place.")
    print("Java's classes are archived." if make_class_archive() else "Sessions start without an archive of classes.")


if __name__ == "__main__":
    main()
