"""Temporary files of runs: each run has one folder, which it makes, marks and removes; nothing else is ever removed.

`<staging>/mmrec-<store>/run-<run>/` holds a marker that names store, run and process. What a killed run left is
removed by a later run of the same store, once that process is known to have ended.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import socket
import stat
import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.fs
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import StructField, StructType

from mmrec_lib.errors import ConfigError
from mmrec_lib.lakehouse.session_settings import is_for_small_tables
from mmrec_lib.location import filesystem_of, local_path

MARKER = ".mmrec-run.json"
NO_STAGING = "none"
"""Root of a reader that was given no folder for temporary files."""
# Processes of other machines cannot be asked; as long as Delta keeps files for readers, so long may a run take.
ABANDONED_AFTER = timedelta(days=7)
_STORE, _RUN = "mmrec-", "run-"
_log = logging.getLogger(__name__)


class Staging:
    """The staging folders of one store.

    Attributes:
        folder: `<staging>/mmrec-<store>`.
    """

    def __init__(self, root: str, store_id: str, run_id: str) -> None:
        """Name the folders; nothing is made before it is needed.

        Args:
            root: `store.staging`, or the folder of path mode; a path or a URI.
            store_id: Names the store among all that share the root.
            run_id: Names the run.
        """
        self._root = root
        root = local_path(root) or root
        self._store_id = store_id
        self._run_id = run_id
        self.folder = f"{root.rstrip('/')}/{_STORE}{store_id}"
        self._run = f"{self.folder}/{_RUN}{run_id}"
        self._is_made = False
        self._lock = threading.Lock()

    def path(self, name: str) -> str:
        """A place in this run's folder, which is made and marked at the first call.

        Raises:
            ConfigError: When the store was opened without a folder for temporary files.
        """
        if self._root == NO_STAGING:
            raise ConfigError(
                f"store: {name.rsplit('-', 1)[0]} needs temporary files. Name a folder that all workers can write "
                "to, such as open_lakehouse(..., staging='/Volumes/<catalog>/<schema>/work/staging')."
            )
        with self._lock:
            if not self._is_made:
                self._make()
                self._is_made = True
        return f"{self._run}/{name}"

    def _make(self) -> None:
        fs, folder = filesystem_of(self._run)
        if isinstance(fs, pyarrow.fs.LocalFileSystem):
            # Never a folder that is there already, whoever made it.
            Path(folder).mkdir(parents=True)
        else:
            fs.create_dir(folder)
        marker = {
            "store": self._store_id,
            "run": self._run_id,
            "started_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "process": process_identity(os.getpid()),
        }
        try:
            with fs.open_output_stream(f"{folder}/{MARKER}") as stream:
                stream.write(json.dumps(marker).encode())
        except OSError:
            # A folder without a whole marker would stay for good.
            with contextlib.suppress(OSError):
                fs.delete_file(f"{folder}/{MARKER}")
            raise

    def remove(self) -> None:
        """Remove this run's folder, if it made one, and the store's where no other run has one."""
        with self._lock:
            if self._is_made:
                self._remove(self._run)
                self._is_made = False
                with contextlib.suppress(OSError):
                    os.rmdir(filesystem_of(self.folder)[1])  # noqa: PTH106  (of a URI nothing is here to remove)

    def remove_stale(self, *, holds_lock: bool) -> list[str]:
        """Remove the folders of this store's runs that have ended; returns their names.

        Args:
            holds_lock: Whether this process holds the store's lock, so that no other run of the store is alive. Else
                a run counts as ended when its process is gone from this machine, or, when it ran on another one, a
                week after its start.
        """
        removed = []
        for path in self._run_folders():
            marker = self._marker(path)
            if marker is None:
                # A run that was killed before it could write its marker left nothing but an empty folder.
                if not is_link(path):
                    with contextlib.suppress(OSError):
                        os.rmdir(path)  # noqa: PTH106  (a URI is no Path, and no empty folder either)
                continue
            is_over = path != self._run and (holds_lock or not is_alive(marker, datetime.now(UTC)))
            if is_over and self._remove(path):
                removed.append(path.rsplit("/", 1)[-1])
        if removed:
            _log.info("removed temporary files of %d runs that did not end", len(removed))
        return removed

    def _run_folders(self) -> list[str]:
        fs, folder = filesystem_of(self.folder)
        if is_link(folder) or fs.get_file_info(folder).type != pyarrow.fs.FileType.Directory:
            return []
        infos = fs.get_file_info(pyarrow.fs.FileSelector(folder))
        names = [info.base_name for info in infos if info.type == pyarrow.fs.FileType.Directory]
        return sorted(f"{self.folder}/{name}" for name in names if name.startswith(_RUN))

    def _marker(self, path: str) -> dict[str, Any] | None:
        """The marker of a folder that a run of this store made; None for any other folder."""
        fs, folder = filesystem_of(path)
        if is_link(folder) or is_link(f"{folder}/{MARKER}"):
            return None
        try:
            with fs.open_input_stream(f"{folder}/{MARKER}") as stream:
                marker = json.loads(stream.read(65_536))
        except (OSError, ValueError):
            return None
        is_ours = isinstance(marker, dict) and marker.get("store") == self._store_id
        return marker if is_ours and f"{_RUN}{marker.get('run')}" == path.rsplit("/", 1)[-1] else None

    def _remove(self, path: str) -> bool:
        """Remove a run's folder; links in it are removed, what they point at is not. Returns True when it is gone.

        The marker goes last: where removing ends halfway, a later run still knows the folder as one of ours.
        """
        fs, folder = filesystem_of(path)
        if isinstance(fs, pyarrow.fs.LocalFileSystem):
            with contextlib.suppress(OSError):
                _remove_local(folder)
        elif fs.get_file_info(folder).type == pyarrow.fs.FileType.Directory:
            for info in fs.get_file_info(pyarrow.fs.FileSelector(folder)):
                if info.type == pyarrow.fs.FileType.Directory:
                    fs.delete_dir(info.path)
                elif info.base_name != MARKER:
                    fs.delete_file(info.path)
            fs.delete_dir(folder)
        return bool(fs.get_file_info(folder).type == pyarrow.fs.FileType.NotFound)


def _remove_local(folder: str) -> None:
    """Remove a folder and all in it, its marker last; a link in its place is not followed.

    Raises:
        OSError: When something in it cannot be removed; the marker is still there then.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        for name in os.listdir(handle):  # noqa: PTH208  (of the open folder, whatever takes its place)
            if name == MARKER:
                continue
            if stat.S_ISDIR(os.stat(name, dir_fd=handle, follow_symlinks=False).st_mode):
                shutil.rmtree(name, ignore_errors=True, dir_fd=handle)
            else:
                with contextlib.suppress(OSError):
                    os.unlink(name, dir_fd=handle)
        if os.listdir(handle) == [MARKER]:  # noqa: PTH208
            os.unlink(MARKER, dir_fd=handle)
    finally:
        os.close(handle)
    os.rmdir(folder)  # noqa: PTH106


def read_parquet(
    spark: SparkSession, schema: StructType, paths: Sequence[str], *, base: str | None = None
) -> DataFrame:
    """Rows of Parquet files or folders whose names are taken as they are: what would be a pattern is none.

    Args:
        spark: Session.
        schema: Columns to read, each of which may be null; those that a file lacks are.
        paths: Files or folders.
        base: Folder below which the names of folders are columns.
    """
    # Spark's own tables are read with the same option.
    reader = spark.read.schema(nullable(schema)).option("__globPaths__", "false")
    rows = (reader if base is None else reader.option("basePath", base)).parquet(*paths)
    # What is one partition needs no exchange before it is joined, grouped or sorted.
    return rows.coalesce(1) if is_for_small_tables(spark) else rows


def nullable(schema: StructType) -> StructType:
    """The same columns, each of which may be null."""
    return StructType([StructField(of.name, of.dataType, metadata=of.metadata) for of in schema])


def is_link(path: str) -> bool:
    """Tell if a path is a symbolic link; a URI is none."""
    return os.path.islink(path)  # noqa: PTH114


def process_identity(pid: int) -> dict[str, Any]:
    """Identity of a process of this machine: host, boot, name space of process ids, id and start."""
    return {
        "host": socket.gethostname(),
        "boot": _read("/proc/sys/kernel/random/boot_id"),
        "pids": _link("/proc/self/ns/pid"),
        "pid": pid,
        "start": _start_of(pid),
    }


def is_alive(marker: dict[str, Any], now: datetime) -> bool:
    """Tell if the run that wrote a marker may still be running."""
    process = marker.get("process")
    here = process_identity(os.getpid())
    if isinstance(process, dict) and all(process.get(part) == here[part] for part in ("host", "boot", "pids")):
        pid = process.get("pid")
        return isinstance(pid, int) and _is_running(pid) and process.get("start") == _start_of(pid)
    try:
        started_at = datetime.fromisoformat(str(marker["started_at"]))
        return now - started_at < ABANDONED_AFTER
    except (KeyError, ValueError, TypeError):
        return True


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _start_of(pid: int) -> str | None:
    """Ticks from boot to the start of a process, where the system tells: a process id alone may be used again."""
    fields = _read(f"/proc/{pid}/stat")
    # The name in brackets may hold anything; the start is the 22nd field.
    return fields.rpartition(")")[2].split()[19] if fields else None


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def _link(path: str) -> str | None:
    try:
        return os.readlink(path)  # noqa: PTH115
    except OSError:
        return None
