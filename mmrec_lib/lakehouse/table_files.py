"""Files of a table's current version, read from its log without a Spark job that replays it.

Delta writes a checksum beside a commit, and into it the list of all files while these are few (Delta protocol,
"Version Checksum File"); what later commits add and remove is in their actions ("Action Reconciliation"). Delta's own
reader asks Spark for the same list, one or two jobs a query; where queries are small, that is most of what they cost.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any
from urllib.parse import unquote

import pyarrow.fs
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import StructType

from mmrec_lib.lakehouse.staging import read_parquet
from mmrec_lib.location import filesystem_of, is_uri

MOST_READ = 32
"""Tables of more files are left to Delta's reader: Spark would list so many by a job too."""
MOST_FILES = 1_000
"""Tables of more files are not listed."""
MOST_COMMITS = 200
"""Commits after a checksum that are read at most."""

_COMMIT = re.compile(r"(\d{20})\.json")
_MOST_BYTES = 16 << 20
# What a commit tells of itself stands first in it.
_COMMIT_INFO_BYTES = 1 << 16
# Table features whose data files are not all that a reader needs to look at.
_MAPPING, _MAPPED = "delta.columnMapping.mode", ("name", "id")


@dataclass(frozen=True)
class ListedTable:
    """The current version of a table.

    Attributes:
        schema: Its columns.
        partition_columns: Those that its folders are named after.
        files: Paths of its files, below the table's folder.
        num_rows: Rows in them; None where a file does not tell.
        num_bytes: Size of them.
        writer_features: What its writers must know besides the oldest features; see the Delta protocol.
        partitions: For each file the values of its partition columns, as text.
    """

    schema: StructType
    partition_columns: tuple[str, ...]
    files: tuple[str, ...]
    num_rows: int | None
    num_bytes: int
    partitions: tuple[Mapping[str, str | None], ...]
    writer_features: frozenset[str] = frozenset()

    def may_hold(self, where: Mapping[str, str | date]) -> bool:
        """Tell if a row may have these values; partitions tell, other columns may hold anything."""
        wanted = {column: str(value) for column, value in where.items()}
        return any(all(one.get(c, value) == value for c, value in wanted.items()) for one in self.partitions)


@dataclass
class _State:
    """Metadata and files of a version, as actions of the log make them, and what its readers must know."""

    metadata: Mapping[str, Any] | None
    files: dict[str, Mapping[str, Any]]
    protocol: Mapping[str, Any]

    def apply(self, action: Mapping[str, Any]) -> None:
        """Change the state by one line of a commit."""
        if (metadata := action.get("metaData")) is not None:
            self.metadata = metadata
        elif (added := action.get("add")) is not None:
            self.files[added["path"]] = added
        elif (removed := action.get("remove")) is not None:
            self.files.pop(removed["path"], None)
        elif (protocol := action.get("protocol")) is not None:
            self.protocol = protocol


def listed_table(table_folder: str) -> ListedTable | None:
    """The files of a table's current version; None when its log tells them in no way that is read here.

    Args:
        table_folder: A path or a URI.
    """
    fs, log = filesystem_of(f"{table_folder}/_delta_log")
    infos = {info.base_name: info for info in fs.get_file_info(pyarrow.fs.FileSelector(log, allow_not_found=True))}
    versions = {int(found[1]) for name in infos if (found := _COMMIT.fullmatch(name))}
    if not versions:
        return None
    newest = max(versions)
    base = max((v for v in versions if f"{v:020d}.crc" in infos), default=-1)
    later = range(base + 1, newest + 1)
    if len(later) > MOST_COMMITS or not versions.issuperset(later):
        return None
    checksum = infos[f"{base:020d}.crc"] if base >= 0 else None
    commits = [infos[f"{version:020d}.json"] for version in later]
    sizes = [info.size or 0 for info in (*commits, *([checksum] if checksum is not None else []))]
    if 0 in sizes or sum(sizes) > _MOST_BYTES:
        return None
    try:
        state = _State(None, {}, {})
        if checksum is not None:
            with fs.open_input_stream(infos[f"{base:020d}.json"].path) as stream:
                transaction = _transaction(stream.read(_COMMIT_INFO_BYTES))
            with fs.open_input_stream(checksum.path) as stream:
                state = _checked(json.loads(stream.read()), transaction)
        for commit in commits:
            with fs.open_input_stream(commit.path) as stream:
                for line in stream.read().splitlines():
                    state.apply(json.loads(line))
        return _listed(state)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        # A run that was killed while it wrote the checksum leaves a part of it; the log is what counts.
        return None


def _transaction(start: bytes) -> str | None:
    """Id of the transaction that wrote a commit, from the start of its file."""
    for line in start.splitlines():
        if line.startswith(b'{"commitInfo"'):
            found = json.loads(line)["commitInfo"].get("txnId")
            return found if isinstance(found, str) else None
    return None


def _checked(checksum: Mapping[str, Any], transaction: str | None) -> _State:
    """The state that a checksum tells.

    Raises:
        ValueError: When it is not that of its commit: one that was removed by hand leaves its checksum, which Delta
            does not write anew for the next one. Or when it does not list all files.
    """
    files = checksum.get("allFiles")
    if transaction is None or checksum.get("txnId") != transaction or files is None:
        raise ValueError("no list of files")
    if len(files) != checksum["numFiles"]:
        raise ValueError("not all files")
    return _State(checksum["metadata"], {file["path"]: file for file in files}, checksum.get("protocol") or {})


def _listed(state: _State) -> ListedTable | None:
    files, metadata = list(state.files.values()), state.metadata
    if metadata is None or len(files) > MOST_FILES or state.protocol.get("minReaderVersion", 1) > 1:
        return None
    if (metadata.get("configuration") or {}).get(_MAPPING) in _MAPPED or metadata["format"]["provider"] != "parquet":
        return None
    paths = _own_paths(files)
    if paths is None:
        return None
    return ListedTable(
        schema=StructType.fromJson(json.loads(metadata["schemaString"])),
        partition_columns=tuple(metadata["partitionColumns"]),
        files=paths,
        num_rows=_num_rows(files),
        num_bytes=sum(file.get("size") or 0 for file in files),
        partitions=tuple(file.get("partitionValues") or {} for file in files),
        writer_features=frozenset(state.protocol.get("writerFeatures") or ()),
    )


def _num_rows(files: Sequence[Mapping[str, Any]]) -> int | None:
    counts = [json.loads(file.get("stats") or "{}").get("numRecords") for file in files]
    return sum(counts) if all(isinstance(count, int) for count in counts) else None


def _own_paths(files: Sequence[Mapping[str, Any]]) -> tuple[str, ...] | None:
    """Paths below the table's folder; None when a file lies elsewhere or lacks rows that its log tells apart."""
    paths = tuple(unquote(file["path"]) for file in files)
    is_own = not any(is_uri(path) or path.startswith(("/", "file:")) or ".." in path.split("/") for path in paths)
    return paths if is_own and not any(file.get("deletionVector") for file in files) else None


def read_listed(spark: SparkSession, table_folder: str, table: ListedTable) -> DataFrame:
    """The rows of a listed table."""
    if not table.files:
        return spark.createDataFrame([], table.schema)
    rows = read_parquet(spark, table.schema, [f"{table_folder}/{path}" for path in table.files], base=table_folder)
    # Columns that the folders are named after come last.
    return rows.select(*table.schema.names) if table.partition_columns else rows
