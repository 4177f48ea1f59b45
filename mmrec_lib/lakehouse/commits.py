"""The Delta log as a reader of versions: which commit last changed rows."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping

import pyarrow.fs

from mmrec_lib.errors import StoreError
from mmrec_lib.location import filesystem_of

MAINTENANCE = "mmrec-maintenance"
_COMMIT = re.compile(r"\d{20}\.json")
_CHECKPOINT = re.compile(r"(\d{20})\.checkpoint\..*")
# Operations that change no rows: they do not make readers run again.
_NO_ROWS_CHANGED = (
    "OPTIMIZE",
    "VACUUM",
    "REORG",
    "TBLPROPERTIES",
    "CREATE",
    "CONSTRAINT",
    "COLUMN",
    "FEATURE",
    "COMPUTE",
)


def changes_rows(operation: str, user_metadata: str | None) -> bool:
    """Tell if a commit of this operation counts as a change of rows for readers."""
    return user_metadata != MAINTENANCE and not any(word in operation for word in _NO_ROWS_CHANGED)


def newest_data_commit(log_folder: str) -> int:
    """Version of the last commit that changed rows, read from the log's JSON files.

    `DESCRIBE HISTORY` tells the same, but costs Spark half a second a table.

    Args:
        log_folder: `<table>/_delta_log`, a path or a URI.

    Returns:
        The version; -1 when no commit from the first on changed rows; when the log does not go back to the last change
        of rows, the version before its oldest commit, which Delta keeps for a month at least.

    Raises:
        StoreError: When a commit is missing or cut short, so that rows would be missing without a word.
    """
    fs, root = filesystem_of(log_folder)
    infos = {info.base_name: info for info in fs.get_file_info(pyarrow.fs.FileSelector(root))}
    commits = {int(name[:20]): info for name, info in infos.items() if _COMMIT.fullmatch(name)}
    checkpoints = {int(found[1]) for name in infos if (found := _CHECKPOINT.fullmatch(name))}
    _require_whole(root, {version: info.size for version, info in commits.items()}, checkpoints)
    for version in sorted(commits, reverse=True):
        for commit in _commit_infos(fs, commits[version].path):
            if changes_rows(commit.get("operation", ""), commit.get("userMetadata")):
                return version
    if 0 in commits:
        return -1
    return min(commits) - 1 if commits else max(checkpoints)


def _require_whole(root: str, sizes: Mapping[int, int | None], checkpoints: Collection[int]) -> None:
    """Check that a log has every commit from the first, or from a checkpoint on, and none of them is empty."""
    if not sizes:
        return
    oldest, newest = min(sizes), max(sizes)
    # Delta itself removes old commits, but only those before a checkpoint.
    start = oldest if oldest == 0 else max((c for c in checkpoints if c + 1 >= oldest), default=None)
    if start is None:
        raise _damaged(root, f"commits 0 to {oldest - 1} are missing, and there is no checkpoint")
    missing = [version for version in range(max(start + 1, oldest), newest) if version not in sizes]
    if missing:
        raise _damaged(root, f"commit {missing[0]} is missing")
    empty = [version for version in sorted(sizes) if sizes[version] == 0]
    if empty:
        raise _damaged(root, f"commit {empty[0]} is empty")


def _commit_infos(fs: pyarrow.fs.FileSystem, path: str) -> Iterator[dict[str, str]]:
    with fs.open_input_stream(path) as stream:
        lines = stream.read().splitlines()
    if not lines or not lines[-1].rstrip().endswith(b"}"):
        raise _damaged(path.rpartition("/")[0], f"commit {int(path.rpartition('/')[2][:20])} is cut short")
    for line in lines:
        # Only the commit's own line is parsed: a commit of many files has long lines for each of them.
        if line.startswith(b'{"commitInfo"'):
            try:
                yield json.loads(line)["commitInfo"]
            except ValueError as error:
                raise _damaged(path.rpartition("/")[0], f"{path} is no JSON") from error


def _damaged(log_folder: str, what: str) -> StoreError:
    table = log_folder.rstrip("/").rpartition("/")[0]
    return StoreError(
        f"Table {table.rpartition('/')[2]}: its log {log_folder} is damaged ({what}). Restore the folder {table} from "
        "a backup; or move it away and run again: it is made anew from the landing files and tables that are there."
    )
