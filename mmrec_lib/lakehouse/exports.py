"""Files for others: rows as Parquet or JSON Lines in a folder, and what lies in it."""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import asdict, dataclass
from typing import Literal

import pyarrow.fs
from pyspark.sql import DataFrame

from mmrec_lib.location import filesystem_of

Format = Literal["parquet", "jsonl"]
_BLOCK = 1 << 20


@dataclass(frozen=True)
class ExportedFile:
    """One file of an export.

    Attributes:
        name: Its name in the folder.
        bytes_len: Its size.
        sha256: Of its bytes, in hexadecimal.
    """

    name: str
    bytes_len: int
    sha256: str

    def as_json(self) -> dict[str, str | int]:
        """The file as a manifest names it."""
        return asdict(self)


def write_files(rows: DataFrame, folder: str, form: Format) -> list[ExportedFile]:
    """Write rows as files that workers make side by side, and hash what was written.

    Args:
        rows: What to write.
        folder: Place of the files; must not exist.
        form: `parquet`, or `jsonl` for a JSON object a line.

    Returns:
        The files with rows, by name. Nothing else is left in the folder.
    """
    writer = rows.write.mode("error")
    # A null stays a field: whoever loads the lines finds every name in each.
    if form == "jsonl":
        writer.option("ignoreNullFields", "false").json(folder)
    else:
        writer.parquet(folder)
    fs, root = filesystem_of(folder)
    found = []
    for info in sorted(fs.get_file_info(pyarrow.fs.FileSelector(root)), key=lambda one: str(one.base_name)):
        # What Spark leaves for itself: a mark of success, and checksums on local disks.
        if info.base_name.startswith(("_", ".")) or (form == "jsonl" and not info.size):
            fs.delete_file(info.path)
        else:
            found.append(ExportedFile(info.base_name, info.size, _sha256(fs, info.path)))
    return found


def remove_folder(folder: str) -> None:
    """Remove a folder of an export with all that is in it; one that is gone already is fine."""
    fs, root = filesystem_of(folder)
    with contextlib.suppress(FileNotFoundError):
        fs.delete_dir(root)


def _sha256(fs: pyarrow.fs.FileSystem, path: str) -> str:
    digest = hashlib.sha256()
    with fs.open_input_stream(path) as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
