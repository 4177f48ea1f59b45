"""The log of a Delta table in a landing folder, read without Spark: which version is current, and what it may name."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import pyarrow.parquet as pq

from mmrec_lib.lakehouse.commits import changes_rows

_COMMIT = re.compile(r"[0-9]{20}\.json")
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/")
_CHECKED_COLUMNS = (
    "metaData.id",
    "metaData.configuration",
    "add.path",
    "add.deletionVector.storageType",
    "sidecar.path",
)
Opener = Callable[[str], Any]


class DeltaLogError(ValueError):
    """Raised when a table's log cannot be read, or names files that are not the table's own."""


@dataclass(frozen=True)
class TableState:
    """A Delta table as its log tells.

    Attributes:
        table_id: Its identity.
        version: Current version.
        has_feed: Whether it keeps a change feed.
        changed_at: Version of the last commit that changed rows; None when the log does not go back far enough.
    """

    table_id: str
    version: int
    has_feed: bool
    changed_at: int | None


def commit_versions(names: Sequence[str]) -> dict[int, str]:
    """Versions of a log's commits: number → path of the file."""
    files = {path: path.rsplit("/", 1)[-1] for path in names}
    return {int(file[:20]): path for path, file in files.items() if _COMMIT.fullmatch(file)}


def read_state(names: Sequence[str], opener: Opener) -> TableState:
    """State of a table.

    Args:
        names: Paths of the files of its `_delta_log`.
        opener: Opens one of them.

    Raises:
        DeltaLogError: When there is no commit, no description of the table, or a file that lies elsewhere.
    """
    try:
        return _state(names, opener)
    except DeltaLogError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise DeltaLogError(f"its log is damaged ({type(error).__name__}: {str(error)[:200]})") from None


def _state(names: Sequence[str], opener: Opener) -> TableState:
    commits = commit_versions(names)
    if not commits:
        raise DeltaLogError("its log holds no commit")
    table_id, has_feed, changed_at, removed = None, False, None, ""
    for version, path in sorted(commits.items(), reverse=True):
        for action in _actions(path, opener):
            if (described := action.get("metaData")) is not None and table_id is None:
                table_id, has_feed = described["id"], _has_feed(described.get("configuration") or {})
            commit = action.get("commitInfo")
            if commit is not None and changed_at is None:
                is_change = changes_rows(commit.get("operation", ""), commit.get("userMetadata"))
                changed_at = version if is_change else None
            _check_own(action)
            gone = (action.get("remove") or {}).get("path") or ""
            removed = removed if is_own(gone) else gone
    for action in _other_actions(names, set(commits.values()), opener):
        if (described := action.get("metaData")) is not None and table_id is None:
            table_id, has_feed = described["id"], _has_feed(dict(described.get("configuration") or {}))
        _check_own(action)
    if has_feed and removed:  # a change feed reads the files that a commit removed
        raise _outside(removed)
    if table_id is None:
        raise DeltaLogError("its log does not describe the table")
    return TableState(table_id, max(commits), has_feed, changed_at)


def _has_feed(configuration: dict[str, str]) -> bool:
    return configuration.get("delta.enableChangeDataFeed", "").lower() == "true"


def _actions(path: str, opener: Opener) -> Iterator[dict[str, Any]]:
    with opener(path) as stream:
        for line in stream.read().splitlines():
            if not line.strip():
                continue
            try:
                yield json.loads(line)
            except ValueError as error:
                raise DeltaLogError(f"its log file {path} is damaged ({error})") from None


def _other_actions(names: Sequence[str], commits: set[str], opener: Opener) -> Iterator[dict[str, Any]]:
    """Actions of everything else that a reader of the table may take files from, the newest first.

    Checkpoints of every version and form, with their sidecars, compacted commits and checksum files: which of them a
    reader uses is not known here.
    """
    for path in sorted(set(names) - commits, reverse=True):
        if path.rsplit("/", 1)[-1].startswith("."):  # checksums of the file system; no reader of tables takes them
            continue
        if path.endswith(".parquet"):
            yield from _checkpoint_actions(path, opener)
        elif path.endswith(".json"):
            yield from _actions(path, opener)
        elif path.endswith(".crc"):
            for checksum in _actions(path, opener):
                yield from ({"add": file} for file in checksum.get("allFiles") or ())


def _checkpoint_actions(path: str, opener: Opener) -> Iterator[dict[str, Any]]:
    try:
        with opener(path) as stream:
            parquet = pq.ParquetFile(stream)
            have = parquet.schema_arrow.names
            columns = [name for name in _CHECKED_COLUMNS if name.split(".")[0] in have]
            for batch in parquet.iter_batches(batch_size=1024, columns=columns):
                yield from ({k: v for k, v in row.items() if v is not None} for row in batch.to_pylist())
    except (OSError, ValueError, KeyError) as error:
        raise DeltaLogError(f"its checkpoint {path} is damaged ({error})") from None


def _check_own(action: dict[str, Any]) -> None:
    """Refuse files that a log names outside the table's folder: a shallow clone, or an attempt to read elsewhere."""
    for name in ("add", "cdc", "sidecar"):
        path = (action.get(name) or {}).get("path")
        if path is not None and not is_own(path):
            raise _outside(path)
    vector = (action.get("add") or {}).get("deletionVector") or {}
    if vector.get("storageType") == "p":
        raise DeltaLogError("it names a deletion vector outside its folder, as shallow clones do; deliver a deep clone")


def _outside(path: str) -> DeltaLogError:
    return DeltaLogError(
        f"it names a file outside its folder ({path[:200]}), as shallow clones do; deliver a deep clone"
    )


def is_own(path: str) -> bool:
    """Tell whether a path in a log is relative and stays in the table's folder."""
    plain = unquote(path)
    return not (plain.startswith("/") or _URI.match(path) or ".." in plain.split("/"))
