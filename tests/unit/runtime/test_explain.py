"""Errors of Java, Spark, SQLite and the system become one sentence that says what to do."""

from __future__ import annotations

import errno
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException, RestException
from py4j.protocol import Py4JNetworkError
from pyspark.errors import AnalysisException, PySparkException, PySparkRuntimeError

from mmrec_lib.errors import (
    InterruptedRunError,
    MachineError,
    MmrecError,
    ModelError,
    NoDataError,
    StoreError,
    UnexpectedError,
)
from mmrec_lib.lakehouse.config import StoreConfig
from mmrec_lib.runtime.explain import Terminated, explain


@pytest.fixture
def store(tmp_path: Path) -> StoreConfig:
    return StoreConfig(data=str(tmp_path / "landing"), out=str(tmp_path / "out"))


def of_java(text: str) -> PySparkException:
    """As PySpark hands on what Java raised: many lines."""
    trace = "\n".join(f"\tat org.apache.spark.Some.method{k}(Some.scala:{k})" for k in range(300))
    return PySparkException(
        f"An error occurred while calling o77.sql.\n: org.apache.spark.SparkException: {text}\n{trace}"
    )


@pytest.mark.parametrize(
    ("error", "kind", "told"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/x"), MachineError, r"disk is full.*B free.*Free space"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), MachineError, r"disk is full"),
        (OSError(errno.EFBIG, "File too large"), MachineError, r"grew beyond"),
        (of_java("Caused by: java.io.IOException: No space left on device"), MachineError, r"disk is full"),
        (sqlite3.OperationalError("database or disk is full"), MachineError, r"disk is full"),
        (Py4JNetworkError("Answer from Java side is empty"), MachineError, r"Java: Spark's process ended"),
        (PySparkRuntimeError("[JAVA_GATEWAY_EXITED] Java gateway exited"), MachineError, r"Spark's process ended"),
        (of_java("Caused by: java.lang.OutOfMemoryError: Java heap space"), MachineError, r"spark\.driver_memory=6g"),
        (MemoryError(), MachineError, r"memory: Python had not enough"),
        (of_java("Python worker exited unexpectedly (crashed)"), MachineError, r"Python worker ended.*killed"),
        (of_java("[PYTHON_EXCEPTION] Traceback\n  File x\nMemoryError"), MachineError, r"memory: Python"),
        (sqlite3.DatabaseError("file is not a database"), StoreError, r"mlflow\.db cannot be used \(file is not"),
        (
            MlflowException("(sqlite3.DatabaseError) database disk image is malformed"),
            StoreError,
            r"mlflow\.db.*backup",
        ),
        (sqlite3.OperationalError("database is locked"), StoreError, r"in use by another process"),
        (PermissionError(errno.EACCES, "Permission denied", "/data/x"), MachineError, r"^/data/x: permission denied"),
        (
            of_java("java.io.FileNotFoundException: /o/x.bin (Permission denied)"),
            MachineError,
            r"^/o/x.bin: perm",
        ),
        (KeyboardInterrupt(), InterruptedRunError, r"told to end; run it again"),
        (Terminated("SIGTERM"), InterruptedRunError, r"told to end"),
        (KeyError("abc"), UnexpectedError, r"did not foresee: KeyError: 'abc'\. Run with --log-level debug"),
    ],
)
def test_an_error_becomes_a_sentence(
    error: BaseException, kind: type[MmrecError], told: str, store: StoreConfig
) -> None:
    explained = explain(error, store)
    assert type(explained) is kind
    assert re.search(told, str(explained)), str(explained)
    assert len(str(explained)) < 700 and "\n" not in str(explained) and "\tat " not in str(explained)


@pytest.mark.parametrize(
    "text",
    [
        "[DELTA_TABLE_NOT_FOUND] Delta table `{table}` doesn't exist.",
        "[FAILED_READ_FILE.NO_HINT] Error while reading file file://{table}/_delta_log/00.json. Caused by: "
        "org.apache.hadoop.fs.ChecksumException: Checksum error",
        "[DELTA_VERSIONS_NOT_CONTIGUOUS] file:{table}/_delta_log: Versions (0, 2) are not contiguous.",
        "java.io.FileNotFoundException: File file:{table}/part-0.parquet does not exist",
    ],
)
def test_a_damaged_table_is_named_with_what_to_do(text: str, store: StoreConfig) -> None:
    folder = f"{store.out}/tables/item"
    for error in (of_java(text.format(table=folder)), AnalysisException(text.format(table=folder))):
        explained = explain(error, store)
        assert isinstance(explained, StoreError)
        assert str(explained).startswith(f"Table item: a file of {folder} is missing or damaged (")
        assert "Restore that folder from a backup; or move it away and run again" in str(explained)


def test_a_sentence_stays_as_it_is(store: StoreConfig) -> None:
    error = NoDataError("there is nothing")
    assert explain(error, store) is error


def chained(raise_it: Callable[[], None]) -> BaseException:
    try:
        raise_it()
    except Exception as error:
        return error
    raise AssertionError


def test_the_cause_counts_wherever_it_stands_in_the_chain(store: StoreConfig) -> None:
    def clean_up_fails_too() -> None:
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError:
            raise ValueError("cleaning up failed too") from None

    def wrapped() -> None:
        try:
            raise ModelError("version 3 cannot be read")
        except ModelError as error:
            raise RuntimeError("in a callback") from error

    assert "disk is full" in str(explain(chained(clean_up_fails_too), store))
    assert str(explain(chained(wrapped), store)) == "version 3 cannot be read"


def test_a_full_disk_is_told_as_one_whatever_the_error_that_it_led_to_says(store: StoreConfig) -> None:
    def download_fails() -> None:
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError as error:
            raise ModelError("artifact 'fits' cannot be read. Run train_ranker.") from error

    def registry_fails() -> None:
        try:
            raise sqlite3.OperationalError("database or disk is full")
        except sqlite3.Error as error:
            raise ModelError("MLflow does not answer. Start it.") from error

    def cites_a_text() -> None:
        raise NoDataError("item 'No space left on device' has no events") from ValueError("x")

    for failing in (download_fails, registry_fails):
        explained = explain(chained(failing), store)
        assert isinstance(explained, MachineError) and "disk is full" in str(explained)
    assert isinstance(explain(chained(cites_a_text), store), NoDataError)


def test_a_disk_too_full_for_temporary_files_is_told(store: StoreConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> str:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr("tempfile.gettempdir", nowhere)
    assert "disk is full" in str(explain(chained(nowhere), store))
    assert "(no folder tells)" in str(explain(OSError(errno.ENOSPC, "full"), None))


def test_what_mlflow_refuses_is_a_sentence(store: StoreConfig) -> None:
    explained = explain(RestException({"error_code": "PERMISSION_DENIED", "message": "no"}), store)
    assert isinstance(explained, ModelError)
    assert str(explained).startswith("MLflow refused or did not answer: PERMISSION_DENIED: no. Look whether it runs")


def test_an_error_whose_text_java_would_have_to_tell_is_explained_without_java(store: StoreConfig) -> None:
    class OfDeadJava(Exception):  # noqa: N818
        def __str__(self) -> str:
            raise Py4JNetworkError("Answer from Java side is empty")

    assert "OfDeadJava" in str(explain(OfDeadJava(), store))


def test_a_secret_in_an_unforeseen_error_is_masked(store: StoreConfig) -> None:
    assert "hush" not in str(explain(ValueError("cannot open s3://me:hush@bucket/x"), store))
    # also one that the cut of a long message would halve
    long = "x" * 370 + " s3://me:hush" + "h" * 100 + "@bucket/x"
    assert "hush" not in str(explain(ValueError(long), store))
