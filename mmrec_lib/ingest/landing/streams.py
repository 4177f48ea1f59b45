"""Byte streams of landing files: unpacked within limits, checked against what was planned, cut into lines."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from typing import Any, Protocol, cast

from mmrec_lib.ingest.landing.shape import BOM

CHUNK = 1 << 20
MAX_RATIO = 200
"""A file that unpacks to more than so many times its size, and to more than `FREE_BYTES`, is refused."""
FREE_BYTES = 64 << 20


class Source(Protocol):
    """Bytes that can be read forwards."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; none at the end."""
        ...


class PackedError(ValueError):
    """Raised when a compressed file is damaged, ends too early, or unpacks to more than is allowed."""


class CheckedPiece:
    """The bytes of a piece of a file, with their CRC-32.

    Attributes:
        crc: CRC-32 of what was read.
    """

    def __init__(self, stream: Any, start: int, stop: int) -> None:
        """Read from `start` to `stop` of a stream that can seek."""
        self._stream = stream
        self._left = stop - start
        self.crc = 0
        if start:
            stream.seek(start)

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; none at the end of the piece."""
        data: bytes = self._stream.read(min(size, self._left)) if self._left > 0 else b""
        self._left = self._left - len(data) if data else 0
        self.crc = zlib.crc32(data, self.crc)
        return data

    def drain(self) -> int:
        """Read the rest; returns the CRC-32 of the piece."""
        while self.read(CHUNK):
            pass
        return self.crc


class Unpacked:
    """The content of a gzip stream, unpacked as it is read."""

    def __init__(self, source: Source, packed_bytes: int) -> None:
        """Unpack `source`, which holds `packed_bytes` bytes."""
        self._gzip = gzip.GzipFile(fileobj=cast("Any", source))
        self._limit = max(FREE_BYTES, MAX_RATIO * packed_bytes)
        self._total = 0

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; none at the end.

        Raises:
            PackedError: When the stream is damaged, ends too early, or unpacks to too much.
        """
        try:
            data = self._gzip.read(size)
        except (EOFError, OSError, zlib.error) as error:
            raise PackedError(f"the gzip stream is damaged or cut off ({error})") from None
        self._total += len(data)
        if self._total > self._limit:
            raise PackedError(
                f"it unpacks to more than {MAX_RATIO} times its size and {FREE_BYTES >> 20} MiB, like a bomb; "
                "deliver it unpacked"
            )
        return data


def iter_lines(source: Source, first_line: int, limit: int) -> Iterator[tuple[int, bytes]]:
    """Numbered lines without their line feed; a byte order mark at the start of the file is no part of the first.

    Of a line longer than `limit` only the first `limit` + 1 bytes are kept, so that it is seen to be too long.
    """
    number, pending = first_line, b""
    while chunk := source.read(CHUNK):
        *complete, pending = (pending + chunk).split(b"\n")
        for line in complete:
            yield number, _cut(line, number, limit)
            number += 1
        # One line may be as long as the file; 8 bytes more hold a byte order mark and show that the line is too long.
        pending = pending[: limit + 8]
    if pending:
        yield number, _cut(pending, number, limit)


def _cut(line: bytes, number: int, limit: int) -> bytes:
    if number == 1 and line.startswith(BOM):
        line = line[len(BOM) :]
    return line if len(line) <= limit + 2 else line[: limit + 2]
