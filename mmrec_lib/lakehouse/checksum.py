"""Tables whose current files their newest checksum lists: read as Parquet, without a Spark job that replays the log.

Delta writes a checksum beside each commit, and into it the list of all files while these are few (Delta protocol,
"Version Checksum File"). Delta's own reader asks Spark for the same list, one or two jobs a query; where queries are
small, that is most of what they cost.
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

MOST_FILES = 32
"""Tables of more files are left to Delta's reader: Spark would list so many by a job too."""

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
        partitions: For each file the values of its partition columns, as text.
    """

    schema: StructType
    partition_columns: tuple[str, ...]
    files: tuple[str, ...]
    num_rows: int | None
    partitions: tuple[Mapping[str, str | None], ...]

    def may_hold(self, where: Mapping[str, str | date]) -> bool:
        """Tell if a row may have these values; partitions tell, other columns may hold anything."""
        wanted = {column: str(value) for column, value in where.items()}
        return any(all(one.get(c, value) == value for c, value in wanted.items()) for one in self.partitions)


def listed_table(table_folder: str) -> ListedTable | None:
    """The files of a table's current version; None when its newest commit has no checksum of its own that lists them.

    Args:
        table_folder: A path or a URI.
    """
    fs, log = filesystem_of(f"{table_folder}/_delta_log")
    infos = {info.base_name: info for info in fs.get_file_info(pyarrow.fs.FileSelector(log, allow_not_found=True))}
    newest = max((found[1] for name in infos if (found := _COMMIT.fullmatch(name))), default=None)
    checksum = infos.get(f"{newest}.crc")
    if checksum is None or not 0 < (checksum.size or 0) <= _MOST_BYTES:
        return None
    try:
        with fs.open_input_stream(checksum.path) as stream:
            content = json.loads(stream.read())
        with fs.open_input_stream(infos[f"{newest}.json"].path) as stream:
            transaction = _transaction(stream.read(_COMMIT_INFO_BYTES))
        # A commit that was removed by hand leaves its checksum, which Delta does not write anew for the next one.
        return _listed(content) if transaction is not None and content.get("txnId") == transaction else None
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


def _listed(checksum: Mapping[str, Any]) -> ListedTable | None:
    files, metadata = checksum.get("allFiles"), checksum["metadata"]
    if files is None or len(files) != checksum["numFiles"] or len(files) > MOST_FILES:
        return None
    if (metadata.get("configuration") or {}).get(_MAPPING) in _MAPPED or metadata["format"]["provider"] != "parquet":
        return None
    paths = _own_paths(files)
    if paths is None:
        return None
    schema = StructType.fromJson(json.loads(metadata["schemaString"]))
    partitions = tuple(file.get("partitionValues") or {} for file in files)
    return ListedTable(schema, tuple(metadata["partitionColumns"]), paths, _num_rows(files), partitions)


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
