"""The Delta log as a reader of versions: which commit last changed rows."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pyarrow.fs

MAINTENANCE = "mmrec-maintenance"
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
    """Whether a commit of this operation counts as a change of rows for readers."""
    return user_metadata != MAINTENANCE and not any(word in operation for word in _NO_ROWS_CHANGED)


def newest_data_commit(log_folder: str) -> int | None:
    """Version of the last commit that changed rows, read from the log's JSON files.

    `DESCRIBE HISTORY` tells the same, but costs Spark half a second a table.

    Args:
        log_folder: `<table>/_delta_log`, a path or a URI.

    Returns:
        The version, -1 when no commit from the first on changed rows, None when the log does not go back far enough.
    """
    if "://" in log_folder:
        fs, root = pyarrow.fs.FileSystem.from_uri(log_folder)
    else:
        fs, root = pyarrow.fs.LocalFileSystem(), log_folder
    names = [info.path for info in fs.get_file_info(pyarrow.fs.FileSelector(root)) if info.path.endswith(".json")]
    versions = {int(stem): path for path in names if (stem := path.rsplit("/", 1)[-1][:-5]).isdigit()}
    for version, path in sorted(versions.items(), reverse=True):
        for commit in _commit_infos(fs, path):
            if changes_rows(commit.get("operation", ""), commit.get("userMetadata")):
                return version
    return -1 if 0 in versions else None


def _commit_infos(fs: pyarrow.fs.FileSystem, path: str) -> Iterator[dict[str, str]]:
    with fs.open_input_stream(path) as stream:
        for line in stream.read().splitlines():
            # Only the commit's own line is parsed: a commit of many files has long lines for each of them.
            if line.startswith(b'{"commitInfo"'):
                yield json.loads(line)["commitInfo"]
