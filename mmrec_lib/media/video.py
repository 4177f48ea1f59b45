"""Containers of video and sound: which tracks they hold, how large they are shown, and how long they last.

What is inside decides, not what a brand or a file name says. Of a video one frame is decoded, because in every
container frames tell how they are turned.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import av
import av.error

from mmrec_lib.media.containers import declared_seconds, open_container, shown_video_streams, video_stream
from mmrec_lib.media.errors import MediaError
from mmrec_lib.media.frames import MAX_PACKETS

_ISO_MIMES = ("video/mp4", "video/quicktime", "audio/mp4")
# Packets that are read for the first frame: damaged beginnings are skipped when frames are sampled, too.
_FIRST_PACKETS = 100


@dataclass(frozen=True)
class Tracks:
    """Contents of a container.

    Attributes:
        has_video: Whether there is a video track; covers of music are none.
        has_sound: Whether there is a sound track.
        width_px: Width of the video as it is shown, turned by its display matrix; None where it cannot be told.
        height_px: Height, likewise.
        media_seconds: Length of the longest track; None where it cannot be told.
    """

    has_video: bool
    has_sound: bool
    width_px: int | None = None
    height_px: int | None = None
    media_seconds: float | None = None


def read_tracks(content: bytes, mime: str) -> Tracks:
    """Reads a container.

    Of MP4 and QuickTime the boxes are walked too (ISO/IEC 14496-12), so that a file which ends early or lacks its index
    is found. Where no length is declared, as in streamed and fragmented files, the packets tell it.

    Args:
        content: The original bytes.
        mime: Type by the first bytes.

    Raises:
        MediaError: `media_truncated` when a box ends after the file, the header is missing or damaged or promises no
            track; `media_oversized` and `media_wrong_type` as `containers.video_stream`.
    """
    movie = _MovieHeader()
    if mime in _ISO_MIMES:
        try:
            movie = _read_movie(content)
        except (struct.error, IndexError) as error:
            raise MediaError("media_truncated", f"the video's header is damaged: {error}") from None
    with open_container(content) as container:
        has_video, has_sound = bool(shown_video_streams(container)), bool(container.streams.audio)
        if not has_video and not has_sound:
            if not movie.width_px or not movie.height_px:
                raise MediaError("media_truncated", "the container's header tells of neither a video nor a sound track")
            # A header without the rest: of such a video no frame will be found.
            return Tracks(True, False, movie.width_px, movie.height_px, movie.media_seconds)
        size = _shown_size(container) if has_video else None
        seconds = _declared(container)
    if seconds is None:
        seconds = _measured(content)
    width, height = size or (None, None)
    return Tracks(has_video, has_sound, width, height, seconds)


def _shown_size(container: av.container.InputContainer) -> tuple[int, int]:
    stream = video_stream(container)
    width, height = stream.codec_context.width, stream.codec_context.height
    with suppress(av.error.FFmpegError, ValueError):
        for packet in itertools.islice(container.demux(stream), _FIRST_PACKETS):
            with suppress(av.error.FFmpegError):
                for frame in packet.decode():
                    return (
                        (frame.height, frame.width) if round(frame.rotation / 90) % 2 else (frame.width, frame.height)
                    )
    return width, height


def _declared(container: av.container.InputContainer) -> float | None:
    if container.duration is not None and container.duration > 0:
        return container.duration / av.time_base
    streams = container.streams
    lengths = [
        *(declared_seconds(container, stream) for stream in streams.video),
        *(declared_seconds(container, stream) for stream in streams.audio),
    ]
    return max((length for length in lengths if length), default=None)


def _measured(content: bytes) -> float | None:
    """From the beginning of the first to the end of the last packet."""
    start: float | None = None
    end = 0.0
    with open_container(content) as container, suppress(av.error.FFmpegError):
        streams = [*shown_video_streams(container), *container.streams.audio]
        for packet in itertools.islice(container.demux(streams), MAX_PACKETS):
            stamp = packet.dts if packet.pts is None else packet.pts
            if packet.size and stamp is not None and packet.time_base is not None:
                time = float(stamp * packet.time_base)
                start = time if start is None else min(start, time)
                end = max(end, time + float((packet.duration or 0) * packet.time_base))
    return None if start is None or end <= start else end - start


@dataclass(frozen=True)
class _MovieHeader:
    width_px: int = 0
    height_px: int = 0
    media_seconds: float | None = None


def _read_movie(content: bytes) -> _MovieHeader:
    view = memoryview(content)
    # All boxes are walked, so that one which ends after the file is found wherever the header stands.
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
    return _MovieHeader(width, height, seconds)


def _boxes(view: memoryview, whole: bool = False) -> Iterator[tuple[bytes, memoryview]]:
    """Boxes at one level; with `whole`, a box that ends after the bytes is an error."""
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
