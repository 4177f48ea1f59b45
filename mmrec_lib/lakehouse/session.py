"""The Spark session with Delta: built locally, taken as it is on a cluster."""

from __future__ import annotations

import importlib.metadata
import logging
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

import pyspark
from pyspark import accumulators
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from mmrec_lib.files import process_umask
from mmrec_lib.lakehouse.class_archive import archive_options
from mmrec_lib.lakehouse.config import SparkConfig
from mmrec_lib.lakehouse.hadoop_defaults import without_cluster_defaults
from mmrec_lib.lakehouse.java import check_java
from mmrec_lib.lakehouse.session_settings import SMALL

DELTA = {
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
}
# Settings that every mmrec job relies on, wherever it runs; all can be set on a running session.
NEEDED = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.execution.arrow.maxRecordsPerBatch": "1000",
    "spark.sql.parquet.columnarReaderBatchSize": "256",
    # Vectors take 9 to 14 % less than with snappy.
    "spark.sql.parquet.compression.codec": "zstd",
}
_CALL_SITES = "spark.python.sql.dataFrameDebugging.enabled"
# What makes small local runs quick and quiet.
LOCAL = {
    "spark.sql.shuffle.partitions": "2",
    # Generated code is kept: a run has more different plans than Spark's hundred, and compiles them again and again.
    "spark.sql.codegen.cache.maxEntries": "4000",
    # A rename through FileContext starts `readlink` twice a file, eight processes a commit.
    "spark.sql.streaming.checkpointFileManagerClass": (
        "org.apache.spark.sql.execution.streaming.checkpointing.FileSystemBasedCheckpointFileManager"
    ),
    # So does Delta's log store for local files, unless it is this one; both rename what they have looked for before.
    "spark.delta.logStore.file.impl": "io.delta.storage.LocalLogStore",
    # What is merged has been staged or comes from tables, so it is the same at every read.
    "spark.databricks.delta.merge.materializeSource": "none",
    # A merge touches one slice of a table, which is one partition: its rows would all go through one task.
    "spark.databricks.delta.merge.repartitionBeforeWrite.enabled": "false",
    "spark.databricks.delta.snapshotPartitions": "2",
    "spark.sql.sources.parallelPartitionDiscovery.parallelism": "4",
    # Plans of small tables need no second look while they run.
    "spark.sql.adaptive.enabled": "false",
    # PySpark notes where in the code each column was made: half of all calls of Java and more were for that.
    _CALL_SITES: "false",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    # What Java reports comes back as an error, which is told in one sentence; `--log-level debug` shows it all.
    "spark.log.level": "OFF",
    "spark.sql.files.maxPartitionBytes": "64m",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
}

# Small jobs spend more on compiling Java than on running it: the quick compiler only, room for what it makes, no
# collection at each step by which the room for classes grows, and no collector threads.
JAVA_OPTIONS = (
    "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -XX:ReservedCodeCacheSize=256m -XX:MetaspaceSize=384m -XX:NewSize=256m"
)

_MOST_CORES = 1 << 20


def delta_coordinates() -> str:
    """Maven coordinates of the Delta jar that fits the installed pyspark and delta-spark."""
    spark = ".".join(pyspark.__version__.split(".")[:2])
    return f"io.delta:delta-spark_{spark}_2.13:{importlib.metadata.version('delta-spark')}"


def jars_folder() -> Path:
    """Folder of the jars that pyspark ships."""
    return Path(pyspark.__file__).parent / "jars"


def has_delta_jars() -> bool:
    """True when Delta's jars lie among those of pyspark (see `install_delta_jars`)."""
    return any(jars_folder().glob("delta-spark_*.jar"))


def build_session(
    config: SparkConfig, app_name: str = "mmrec", *, is_debug: bool = False, is_small: bool = False
) -> SparkSession:
    """The session for this process.

    With `remote` a Spark Connect session, with `master` a local one, with neither the one that spark-submit or
    Databricks provides.

    Args:
        config: Where and how.
        app_name: Name for people.
        is_debug: A local session shows what Java reports, and tells where in the code a wrong column was made.
        is_small: A local session is made for small tables; see `SMALL`.

    Raises:
        MachineError: When a local session is asked for and Java is missing or too old.
    """
    builder = SparkSession.builder.appName(app_name)
    if not config.master and not config.remote:
        return _prepare(builder.getOrCreate(), config)
    check_java()
    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    # Workers must be this Python, not the system's, and find this package.
    os.environ["PYSPARK_PYTHON"] = sys.executable
    is_ours = config.remote is None or config.remote.startswith("local")
    settings = {**DELTA, **LOCAL, **(SMALL if is_small and is_ours else {}), **NEEDED}
    settings["spark.driver.memory"] = config.driver_memory
    settings["spark.driver.extraJavaOptions"] = java_options()
    # Java sets the modes of table files by a mask of its own.
    settings["spark.hadoop.fs.permissions.umask-mode"] = f"{process_umask():03o}"
    if is_debug:
        settings |= {"spark.log.level": "WARN", _CALL_SITES: "true"}
    settings |= config.conf
    if not has_delta_jars():
        settings["spark.jars.packages"] = delta_coordinates()
    for key, value in settings.items():
        builder = builder.config(key, value)
    if not is_debug:
        _keep_quiet_when_java_ends()
    if config.remote:
        return builder.remote(config.remote).getOrCreate()
    assert config.master is not None
    session = builder.master(config.master).getOrCreate()
    return without_cluster_defaults(session) if config.master.startswith("local") else session


def java_options() -> str:
    """Options of a local session's Java."""
    return " ".join([JAVA_OPTIONS, *archive_options()])


def _prepare(session: SparkSession, config: SparkConfig) -> SparkSession:
    for key, value in {**NEEDED, **config.conf}.items():
        session.conf.set(key, value)
    return session


def _keep_quiet_when_java_ends() -> None:
    """Print no trace when Java ends first: whoever calls Java next gets an error, which is told in one sentence."""

    def handle_error(server: object, request: object, address: object) -> None:
        return

    accumulators.AccumulatorTCPServer.handle_error = handle_error  # type: ignore[method-assign, assignment]
    # Py4J logs it under the name of the root.
    logging.getLogger().addFilter(_is_not_of_py4j)


def _is_not_of_py4j(record: logging.LogRecord) -> bool:
    return f"{os.sep}py4j{os.sep}" not in record.pathname


def num_tasks(rows: DataFrame, configured: int | None) -> int:
    """Number of tasks for work on rows: as configured, or two a core, so that a slow task delays little."""
    return configured if configured is not None else 2 * cluster_cores(rows.sparkSession)


def cluster_cores(session: SparkSession) -> int:
    """Tasks that Spark runs at once by default: the cores of the cluster, or of `local[n]`; also on Spark Connect.

    A range is cut into so many parts where nobody says into how many. Its plan tells without running anything; an
    engine whose plan is written otherwise is asked by counting the parts.
    """
    told = range_parts(str(session.sql("EXPLAIN SELECT * FROM range(1)").collect()[0][0]))
    if told is not None:
        return told
    parts = session.range(_MOST_CORES).select(F.spark_partition_id().alias("part")).agg(F.max("part"))
    return int(parts.collect()[0][0]) + 1


def range_parts(plan: str) -> int | None:
    """The number of parts that the physical plan of a range tells; None when it does not."""
    found = re.search(r"\bsplits=(\d+)", plan)
    return int(found[1]) if found else None


def install_delta_jars() -> list[str]:
    """Put Delta's jars beside those of pyspark, so that sessions start without asking Maven; returns their names.

    The jars come through Ivy, as Spark itself fetches packages. What Spark ships already stays as it is.
    """
    if has_delta_jars():
        return []
    check_java()
    with tempfile.TemporaryDirectory(prefix="ivy-delta-", dir=jars_folder().parent) as ivy:
        session = (
            SparkSession.builder.appName("mmrec-setup")
            .master("local[1]")
            .config("spark.jars.packages", delta_coordinates())
            .config("spark.jars.ivy", ivy)
            .config("spark.ui.enabled", "false")
            .getOrCreate()
        )
        session.stop()
        names = []
        for jar in sorted((Path(ivy) / "jars").glob("io.*.jar")):
            if jar.name.startswith(("io.delta_", "io.unitycatalog_")):
                name = jar.name.split("_", 1)[1]
                # Moved under a temporary name first: a killed set-up leaves no half of a jar.
                shutil.copyfile(jar, jars_folder() / f".{name}.part")
                names.append(name)
    for name in sorted(names, key=lambda n: n.startswith("delta-spark_")):
        (jars_folder() / f".{name}.part").rename(jars_folder() / name)
    return names
