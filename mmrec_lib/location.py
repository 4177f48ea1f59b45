"""Paths of this machine, and URIs that say how a place is reached; the difference is made only here."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

import pyarrow.fs


def is_uri(place: str) -> bool:
    """Tell if a place is a URI, such as `s3://bucket/folder`; everything else is a path of this machine."""
    return "://" in place


def local_path(place: str) -> str | None:
    """The path of a place on this machine, given as a path or as `file://…`; None for any other URI."""
    if not is_uri(place):
        return place
    parts = urlsplit(place)
    return unquote(parts.path) if parts.scheme == "file" and parts.netloc in ("", "localhost") else None


def absolute(place: str, *, expand_home: bool = False) -> str:
    """The same place, whatever the working directory of who reads it.

    Args:
        place: Path or URI.
        expand_home: Take `~` for the home folder: where a person wrote the path.
    """
    if is_uri(place):
        return place
    return str((Path(place).expanduser() if expand_home else Path(place)).absolute())


def filesystem_of(place: str) -> tuple[pyarrow.fs.FileSystem, str]:
    """File system and path in it, of a path or a URI.

    Raises:
        ValueError, NotImplementedError, OSError: When no file system is known for a URI, or it cannot be opened.
    """
    local = local_path(place)
    if local is not None:
        return pyarrow.fs.LocalFileSystem(), local
    files, path = pyarrow.fs.FileSystem.from_uri(place)
    return files, path
