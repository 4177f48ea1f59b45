"""Broken images and sounds: small files that look like media and are not, or are too much."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

HUGE_PX = 30_000


def huge_png() -> bytes:
    """A PNG of a few bytes whose header declares 30,000 x 30,000 pixels."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", HUGE_PX, HUGE_PX, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(20_000), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def huge_jpeg(jpeg: bytes) -> bytes:
    """The JPEG with a frame header that declares 30,000 x 30,000 pixels.

    Raises:
        ValueError: When it has no baseline frame header.
    """
    frame = jpeg.find(b"\xff\xc0")
    if frame < 0:
        raise ValueError("a baseline JPEG is needed, got one without a frame header FFC0")
    return jpeg[: frame + 5] + struct.pack(">HH", HUGE_PX, HUGE_PX) + jpeg[frame + 9 :]


@dataclass(frozen=True)
class MediaFault:
    """One broken reference.

    Attributes:
        reason: Why it must be refused.
        owner: item (a further image) or review (a sound).
        path: The path that the record names; {n} is the owner's id.
        make: Content of the file, from a good JPEG; None writes no file.
    """

    reason: str
    owner: str
    path: str
    make: Callable[[bytes], bytes] | None = None


def _plain_text(_: bytes) -> bytes:
    return b"This is not a picture, only somebody named it so.\n" * 4


def _web_page(_: bytes) -> bytes:
    return b"<!DOCTYPE html><html><head><title>404</title></head><body>Not found</body></html>\n"


def _pdf(_: bytes) -> bytes:
    return b"%PDF-1.4\n1 0 obj\n<< /Type /Catalog >>\nendobj\ntrailer << /Root 1 0 R >>\n%%EOF\n"


MEDIA_FAULTS: tuple[MediaFault, ...] = (
    *(MediaFault("media_missing", "item", "images/{n}-9.jpg") for _ in range(4)),
    MediaFault("media_missing", "item", "images/archive/{n}-2.jpg"),
    MediaFault("media_missing", "review", "audio/{n}-lost.flac"),
    *(MediaFault("media_empty", "item", "images/{n}-9.jpg", lambda _: b"") for _ in range(3)),
    MediaFault("media_empty", "review", "audio/{n}-empty.flac", lambda _: b""),
    MediaFault("media_oversized", "item", "images/{n}-huge.png", lambda _: huge_png()),
    MediaFault("media_oversized", "item", "images/{n}-huge.jpg", huge_jpeg),
    MediaFault("media_oversized", "item", "images/{n}-poster.jpg", huge_jpeg),
    MediaFault("media_truncated", "item", "images/{n}-9.jpg", lambda jpeg: jpeg[: len(jpeg) // 2]),
    MediaFault("media_truncated", "item", "images/{n}-9.jpg", lambda jpeg: jpeg[: len(jpeg) // 3]),
    MediaFault("media_truncated", "item", "images/{n}-9.jpg", lambda jpeg: jpeg[: len(jpeg) // 4]),
    MediaFault("media_truncated", "item", "images/{n}-9.jpeg", lambda jpeg: jpeg[: len(jpeg) * 3 // 5]),
    MediaFault("media_truncated", "item", "images/{n}-9.JPG", lambda jpeg: jpeg[: len(jpeg) * 2 // 3]),
    MediaFault("media_wrong_type", "item", "images/{n}-9.jpg", _plain_text),
    MediaFault("media_wrong_type", "item", "images/{n}-9.jpg", _web_page),
    MediaFault("media_wrong_type", "item", "images/{n}-9.png", _pdf),
    MediaFault("media_wrong_type", "item", "audio/rv0001.flac"),
    MediaFault("media_wrong_type", "review", "audio/{n}-note.flac", _plain_text),
    MediaFault("media_outside_landing", "item", "../../secret.jpg"),
    MediaFault("media_outside_landing", "item", "/srv/private/secret.jpg"),
    MediaFault("media_outside_landing", "item", "images/../../outside.png"),
    MediaFault("media_outside_landing", "item", "../other-store/images/p001.jpg"),
)
