"""Places and tables that delta-rs can write to, and what it tells of a table."""

from __future__ import annotations

import json
import os
import uuid
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError
from pyspark.sql.types import StructType

from mmrec_lib.lakehouse.table_files import MOST_FILES, ListedTable


@cache
def has_links(folder: str) -> bool:
    """Tell if a file system makes hard links, by which a commit is there whole or not at all.

    Args:
        folder: A folder that is there.
    """
    written, linked = (Path(folder) / f".{uuid.uuid4().hex}.{end}" for end in ("tmp", "link"))
    try:
        written.touch()
        os.link(written, linked)
    except OSError:
        return False
    finally:
        written.unlink(missing_ok=True)
        linked.unlink(missing_ok=True)
    return True


def listed_here(folder: str) -> ListedTable | None:
    """The files of a table's current version, by delta-rs: where a log has been cut, and no checksum tells.

    Returns:
        None when its files alone do not tell its rows, or it is damaged.
    """
    try:
        table = DeltaTable(folder)
    except (DeltaError, OSError):
        return None
    protocol = table.protocol()
    if protocol.min_reader_version > 1 or len(table.file_uris()) > MOST_FILES:
        return None
    columns = tuple(table.metadata().partition_columns)
    actions = pa.table(table.get_add_actions(flatten=True)).to_pylist()
    counts = [action.get("num_records") for action in actions]
    return ListedTable(
        schema=StructType.fromJson(json.loads(table.schema().to_json())),
        partition_columns=columns,
        files=tuple(unquote(action["path"]) for action in actions),
        num_rows=None if None in counts else sum(counts),
        num_bytes=sum(action["size_bytes"] for action in actions),
        partitions=tuple({column: _text(action[f"partition.{column}"]) for column in columns} for action in actions),
        writer_features=frozenset(protocol.writer_features or ()),
    )


def _text(value: object) -> str | None:
    return None if value is None else str(value)
