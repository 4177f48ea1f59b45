"""Video: what the container tells. Frames are not decoded here."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from mmrec_lib.media.errors import MediaError


@dataclass(frozen=True)
class VideoInfo:
    """Size and length of a video, None where the container does not tell."""

    width_px: int | None = None
    height_px: int | None = None
    media_seconds: float | None = None


def check_video(content: bytes, mime: str) -> VideoInfo:
    """Reads the container of a video.

    Of MP4 and QuickTime the boxes are walked (ISO/IEC 14496-12), so that a file which ends early or lacks its index is
    found; of other containers only the type is known.

    Raises:
        MediaError: `media_truncated` when a box ends behind the file or the movie's header is missing.
    """
    if mime not in ("video/mp4", "video/quicktime"):
        return VideoInfo()
    try:
        return _read_movie(content)
    except (struct.error, IndexError) as error:
        raise MediaError("media_truncated", f"the video's header is damaged: {error}") from None


def _read_movie(content: bytes) -> VideoInfo:
    view = memoryview(content)
    # All boxes are walked, so that one which ends behind the file is found wherever the header stands.
    movie = dict(_boxes(view, whole=True)).get(b"moov")
    if movie is None:
        raise MediaError("media_truncated", "the video has no movie header (moov)")
    seconds: float | None = None
    width = height = 0
    for name, body in _boxes(movie):
        if name == b"mvhd":
            seconds = _movie_seconds(body)
        elif name == b"trak":
            for part, header in _boxes(body):
                if part == b"tkhd":
                    # The last eight bytes of a track header are width and height as 16.16 fixed point.
                    w, h = struct.unpack(">II", header[-8:])
                    width, height = max(width, w >> 16), max(height, h >> 16)
    return VideoInfo(width or None, height or None, seconds)


def _boxes(view: memoryview, whole: bool = False) -> Iterator[tuple[bytes, memoryview]]:
    """Boxes at one level; with `whole`, a box that ends behind the bytes is an error."""
    position = 0
    while position + 8 <= len(view):
        size, name = struct.unpack_from(">I4s", view, position)
        start = position + 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", view, start)
            start += 8
        elif size == 0:
            size = len(view) - position
        end = position + size
        if end > len(view) or end < start:
            if whole:
                raise MediaError("media_truncated", f"{len(view) - position:,} of {size:,} bytes of a box are there")
            return
        yield name, view[start:end]
        position = end


def _movie_seconds(body: memoryview) -> float | None:
    if body[0] == 1:
        scale, duration = struct.unpack_from(">IQ", body, 20)
    else:
        scale, duration = struct.unpack_from(">II", body, 12)
    return duration / scale if scale else None
