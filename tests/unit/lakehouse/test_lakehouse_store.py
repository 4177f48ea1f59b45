"""The store's card and lock, the modes of a store, Java, and what counts as a change: no Spark."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mmrec_lib.errors import ConfigError, MachineError, StoreError
from mmrec_lib.lakehouse import java
from mmrec_lib.lakehouse.commits import MAINTENANCE, changes_rows, newest_data_commit
from mmrec_lib.lakehouse.config import MaintenanceConfig, StoreConfig
from mmrec_lib.lakehouse.reader import open_lakehouse
from mmrec_lib.lakehouse.staging import NO_STAGING, Staging
from mmrec_lib.lakehouse.store import CARD, FORMAT_VERSION, LOCK, check_store, create_card, locked


@pytest.fixture
def store(tmp_path: Path) -> StoreConfig:
    return StoreConfig(data=str(tmp_path / "landing"), out=str(tmp_path / "out"))


def out_of(store: StoreConfig) -> Path:
    assert store.out is not None
    return Path(store.out)


def make(store: StoreConfig) -> None:
    with locked(store):
        create_card(store)


# the card


def test_a_new_store_has_no_card_and_checking_writes_nothing(store: StoreConfig) -> None:
    assert check_store(store) is None
    assert not out_of(store).exists()


def test_a_card_tells_format_and_data(store: StoreConfig) -> None:
    make(store)
    card = check_store(store)
    assert card is not None
    assert (card["format_version"], card["data"]) == (FORMAT_VERSION, store.data)


def test_a_card_is_written_once(store: StoreConfig) -> None:
    make(store)
    before = (out_of(store) / CARD).read_bytes()
    make(store)
    assert (out_of(store) / CARD).read_bytes() == before


def test_a_store_may_move_alone_or_with_its_data(tmp_path: Path) -> None:
    old = tmp_path / "old"
    make(StoreConfig(data=str(old / "landing"), out=str(old / "out")))
    (old / "out").rename(tmp_path / "alone")
    assert check_store(StoreConfig(data=str(old / "landing"), out=str(tmp_path / "alone"))) is not None
    (tmp_path / "alone").rename(old / "out")
    old.rename(tmp_path / "new")
    assert (
        check_store(StoreConfig(data=str(tmp_path / "new" / "landing"), out=str(tmp_path / "new" / "out"))) is not None
    )
    for stranger in (tmp_path / "landing", tmp_path / "new" / "landing2"):
        with pytest.raises(StoreError, match="was made from DATA"):
            check_store(StoreConfig(data=str(stranger), out=str(tmp_path / "new" / "out")))


def test_other_data_is_refused_by_name(store: StoreConfig) -> None:
    make(store)
    other = store.model_copy(update={"data": "/other"})
    with pytest.raises(StoreError, match=rf"was made from DATA {store.data}, not from /other"):
        check_store(other)


def test_another_format_is_refused(store: StoreConfig) -> None:
    make(store)
    (out_of(store) / CARD).write_text(json.dumps({"format_version": 0, "data": store.data}), encoding="utf-8")
    with pytest.raises(StoreError, match="has store format 0"):
        check_store(store)


@pytest.mark.parametrize("content", ["", "[]", "{}", "not json", '{"format_version": 1}'])
def test_a_file_that_is_no_card_is_refused(store: StoreConfig, content: str) -> None:
    out_of(store).mkdir()
    (out_of(store) / CARD).write_text(content, encoding="utf-8")
    with pytest.raises(StoreError, match="is not a store's card"):
        check_store(store)


def test_a_folder_of_something_else_is_refused(store: StoreConfig) -> None:
    out_of(store).mkdir()
    (out_of(store) / "thesis.tex").touch()
    with pytest.raises(StoreError, match=r"not empty and holds no store\.json \(thesis\.tex"):
        check_store(store)


def test_an_empty_folder_and_one_of_a_run_killed_early_are_taken(store: StoreConfig) -> None:
    out_of(store).mkdir()
    assert check_store(store) is None
    (out_of(store) / LOCK).touch()
    assert check_store(store) is None


def test_a_file_in_the_place_of_out_is_refused(store: StoreConfig) -> None:
    out_of(store).touch()
    with pytest.raises(StoreError, match="is a file, but must be a folder"):
        check_store(store)


def test_a_read_only_place_is_refused(store: StoreConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    # Not by mode bits: those do not hold back the superuser, who runs tests in containers.
    def read_only(path: object, mode: int) -> bool:
        return not mode & os.W_OK

    monkeypatch.setattr(os, "access", read_only)
    with pytest.raises(StoreError, match="read-only"):
        check_store(store)


# the lock

HOLD = """
import sys
from mmrec_lib.lakehouse.config import StoreConfig
from mmrec_lib.lakehouse.store import locked
with locked(StoreConfig(out=sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_lock_names_its_process_and_ends_with_it(store: StoreConfig) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(store.out)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(StoreError, match=rf"in use by process {holder.pid} on "), locked(store):
            pass
        holder.kill()
    with locked(store):
        assert (out_of(store) / LOCK).read_text(encoding="utf-8").startswith(f"{os.getpid()} on ")


def test_a_file_system_without_locks_is_told_and_not_called_busy(
    store: StoreConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with pytest.raises(StoreError, match=r"cannot be locked \(No locks available\)"), locked(store):
        pass


# modes


def test_paths_become_absolute_and_uris_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = StoreConfig(data="landing", out="hdfs://nn/store")
    assert (store.data, store.out) == (str(tmp_path / "landing"), "hdfs://nn/store")


def test_path_mode_keeps_everything_under_out(store: StoreConfig) -> None:
    assert store.staging_root == f"{store.out}/staging"
    assert store.publish_root == store.out


def test_catalogue_mode_needs_its_places_and_excludes_a_folder() -> None:
    places = {"catalog": "main", "schema_name": "s", "staging": "/volume/staging", "report_folder": "/volume/report"}
    assert StoreConfig(**places).publish_root == "/volume/report"
    with pytest.raises(ValueError, match="not both"):
        StoreConfig(**places, out="/out")
    with pytest.raises(ValueError, match="needs `catalog`"):
        StoreConfig(catalog="main")


def test_versions_are_kept_for_a_week_at_least() -> None:
    with pytest.raises(ValueError, match="168"):
        MaintenanceConfig(retain_hours=1)


# reading a finished store


@pytest.mark.parametrize("named", [{}, {"out": "a", "catalog": "b", "schema_name": "c"}, {"catalog": "b"}])
def test_a_reader_names_one_store(named: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="one of `out`"):
        open_lakehouse(**named)  # type: ignore[arg-type]


def test_a_reader_of_a_folder_without_store_is_told(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="holds no store"):
        open_lakehouse(out=str(tmp_path))


def test_a_reader_of_another_format_is_told(tmp_path: Path) -> None:
    (tmp_path / CARD).write_text(json.dumps({"format_version": 7}), encoding="utf-8")
    with pytest.raises(StoreError, match="format 7"):
        open_lakehouse(out=str(tmp_path))


def test_a_reader_without_a_folder_for_temporary_files_says_how_to_name_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"champion needs temporary files.*staging='/Volumes"):
        Staging(NO_STAGING, "store", "reader-1").path("champion-1")
    assert Staging(str(tmp_path), "store", "reader-1").path("champion-1").startswith(str(tmp_path))


# Java


def fake_java(folder: Path, output: str, status: int = 0) -> Path:
    binary = folder / "bin" / "java"
    binary.parent.mkdir(parents=True)
    binary.write_text(f"#!/bin/sh\ncat >&2 <<'EOT'\n{output}\nEOT\nexit {status}\n", encoding="utf-8")
    binary.chmod(binary.stat().st_mode | stat.S_IXUSR)
    return folder


@pytest.mark.parametrize(
    ("output", "major"),
    [('openjdk version "17.0.12" 2024', 17), ('java version "21" 2023', 21), ('openjdk version "25-ea"', 25)],
)
def test_java_tells_its_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str, major: int) -> None:
    monkeypatch.setenv("JAVA_HOME", str(fake_java(tmp_path, output)))
    assert java.check_java() == major


@pytest.mark.parametrize(("output", "version"), [('java version "1.8.0_402"', 8), ('openjdk version "11.0.2"', 11)])
def test_too_old_java_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str, version: int) -> None:
    monkeypatch.setenv("JAVA_HOME", str(fake_java(tmp_path, output)))
    with pytest.raises(MachineError, match=rf"needs version 17 or newer, but .* is version {version}\."):
        java.check_java()


@pytest.mark.parametrize(("output", "status"), [("no version here", 0), ('version "17"', 1)])
def test_java_that_does_not_work_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str, status: int
) -> None:
    monkeypatch.setenv("JAVA_HOME", str(fake_java(tmp_path, output, status)))
    with pytest.raises(MachineError, match="did not tell a version"):
        java.check_java()


def test_no_java_at_java_home_says_where_it_looked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(MachineError, match=r"JAVA_HOME is .* no bin/java.*Install"):
        java.check_java()


def test_no_java_on_the_path_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MachineError, match="no `java` on the PATH"):
        java.check_java()


# commits


@pytest.mark.parametrize("operation", ["WRITE", "MERGE", "DELETE"])
def test_writes_change_rows(operation: str) -> None:
    assert changes_rows(operation, None)


@pytest.mark.parametrize(
    "operation", ["OPTIMIZE", "VACUUM START", "VACUUM END", "CREATE TABLE", "ADD CONSTRAINT", "ADD COLUMNS"]
)
def test_maintenance_changes_no_rows(operation: str) -> None:
    assert not changes_rows(operation, None)


def test_a_deletion_by_maintenance_does_not_count() -> None:
    assert not changes_rows("DELETE", MAINTENANCE)


def write_log(folder: Path, *operations: str, first: int = 0) -> str:
    log = folder / "_delta_log"
    log.mkdir()
    for version, operation in enumerate(operations, start=first):
        lines = [{"commitInfo": {"operation": operation}}, {"add": {"path": "x"}}]
        (log / f"{version:020d}.json").write_text("\n".join(json.dumps(line) for line in lines), encoding="utf-8")
    (log / "_last_checkpoint").write_text("{}", encoding="utf-8")
    return str(log)


@pytest.mark.parametrize(
    ("operations", "expected"),
    [
        (["CREATE TABLE", "WRITE"], 1),
        (["CREATE TABLE", "WRITE", "OPTIMIZE", "VACUUM END"], 1),
        (["CREATE TABLE", "WRITE", "OPTIMIZE", "MERGE"], 3),
        (["CREATE TABLE", "ADD CONSTRAINT"], -1),
    ],
)
def test_the_newest_commit_of_rows_is_found(tmp_path: Path, operations: list[str], expected: int) -> None:
    assert newest_data_commit(write_log(tmp_path, *operations)) == expected


def test_a_log_that_was_cleaned_up_tells_a_version_before_its_oldest_commit(tmp_path: Path) -> None:
    log = write_log(tmp_path, "OPTIMIZE", "VACUUM END", first=10)
    (tmp_path / "_delta_log" / f"{10:020d}.checkpoint.parquet").write_bytes(b"x")
    assert newest_data_commit(log) == 9


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda log: (log / f"{1:020d}.json").unlink(), "commit 1 is missing"),
        (lambda log: (log / f"{0:020d}.json").unlink(), "commits 0 to 0 are missing, and there is no checkpoint"),
        (lambda log: (log / f"{1:020d}.json").write_bytes(b""), "commit 1 is empty"),
        (lambda log: (log / f"{2:020d}.json").write_bytes(b'{"commitInfo":{"oper'), "commit 2 is cut short"),
        (lambda log: (log / f"{2:020d}.json").write_bytes(b'{"commitInfo":oper}'), "is no JSON"),
    ],
)
def test_a_damaged_log_is_named_with_what_to_do(tmp_path: Path, damage: Callable[[Path], None], message: str) -> None:
    table = tmp_path / "item"
    table.mkdir()
    log = write_log(table, "CREATE TABLE", "WRITE", "MERGE")
    assert newest_data_commit(log) == 2
    damage(table / "_delta_log")
    with pytest.raises(StoreError, match=rf"Table item: its log .* is damaged \(.*{message}\).*backup.*made anew"):
        newest_data_commit(log)
