"""Media that a store keeps by URI: what is read later must be the very bytes that the ingest accepted."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat

import pyarrow.fs
from pyspark.sql import Column
from pyspark.sql import functions as F

from mmrec_lib.location import absolute, filesystem_of

_CHECK = re.compile(r"#sha256=(?P<sha256>[0-9a-f]{64})&bytes=(?P<size>\d+)\Z")


def kept_reference(uri: str = "uri", asset_id: str = "asset_id", bytes_len: str = "bytes_len") -> Column:
    """Reference to the bytes of a row of `media_asset`, with the size and hash they must have; null if inline."""
    return F.concat(F.col(uri), F.lit("#sha256="), F.col(asset_id), F.lit("&bytes="), F.col(bytes_len).cast("string"))


def read_kept(reference: str) -> bytes | None:
    """Bytes of a reference, or of a plain URI or path, which is not checked.

    Returns:
        None when the accepted bytes are gone: there is no file, a link or a pipe is in its place, or the size or hash
        differs.

    Raises:
        OSError: When the storage does not answer: trying again may help.
    """
    check = _CHECK.search(reference)
    uri = reference[: check.start()] if check is not None else reference
    size = int(check["size"]) if check is not None else None
    files, path = filesystem_of(absolute(uri))
    try:
        if isinstance(files, pyarrow.fs.LocalFileSystem):
            content = _read_plain(path, size)
        else:
            with files.open_input_stream(path) as stream:
                content = stream.read() if size is None else stream.read(size + 1)
    except FileNotFoundError:
        return None
    if content is None or check is None:
        return content
    is_same = len(content) == size and hashlib.sha256(content).hexdigest() == check["sha256"]
    return content if is_same else None


def _read_plain(path: str, size: int | None) -> bytes | None:
    """Bytes of a plain file, opened without following a link in its place and without waiting for a pipe."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):  # a link, or a socket
            return None
        raise
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, "Is a directory", path)
        return None
    with os.fdopen(descriptor, "rb") as stream:
        return stream.read() if size is None or status.st_size == size else None
