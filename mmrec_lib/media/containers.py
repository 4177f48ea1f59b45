"""Containers of video and sound (MP4, Matroska, AVI, …), opened from memory by PyAV (FFmpeg's libraries)."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import av
import av.error
from av.stream import Disposition

from mmrec_lib.media.errors import MediaError
from mmrec_lib.media.kind import sniff

# FFmpeg's reader for each type. It is named, never guessed: among FFmpeg's formats are playlists that open other files
# and addresses.
_READERS = {
    "video/mp4": "mov",
    "video/quicktime": "mov",
    "audio/mp4": "mov",
    "audio/aac": "aac",
    "video/x-matroska": "matroska",
    "video/webm": "matroska",
    "video/x-msvideo": "avi",
    "video/ogg": "ogg",
}

_CLOCK = re.compile(r"(\d{1,4}):(\d\d):(\d\d(?:\.\d+)?)")

# PyAV 19 lost the parameter and reads tags that are not UTF-8 without it.
_METADATA: dict[str, Any] = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}

CONTAINER_MIMES = frozenset(_READERS)

# The largest image that standards for video know.
MAX_FRAME_PIXELS = 8192 * 4320


@contextmanager
def open_container(content: bytes) -> Iterator[av.container.InputContainer]:
    """Opens a container; nothing is decoded but what is needed to know its streams.

    Args:
        content: Bytes of an MP4, QuickTime, M4A, AAC (ADTS), Matroska, WebM, AVI or Ogg video file.

    Raises:
        MediaError: `media_empty`, `media_wrong_type` for other bytes, `media_truncated` for a damaged header.
    """
    if not content:
        raise MediaError("media_empty", "the file has 0 bytes")
    found = sniff(content)
    reader = None if found is None else _READERS.get(found.mime)
    if reader is None:
        got = "bytes of no known type" if found is None else found.mime
        raise MediaError("media_wrong_type", f"{', '.join(sorted(CONTAINER_MIMES))} are read, this is {got}")
    try:
        container = av.open(io.BytesIO(content), "r", format=reader, options=_decoder_options(), **_METADATA)
    except MemoryError:
        raise MediaError("media_oversized", "the container needs more memory than there is") from None
    except Exception as error:
        # FFmpeg's own errors, and whatever reading from memory raises for absurd headers.
        raise MediaError("media_truncated", f"the container's header is truncated or damaged: {why(error)}") from None
    with container:
        yield container


def shown_video_streams(container: av.container.InputContainer) -> list[av.VideoStream]:
    """The video tracks without covers (images attached to music)."""
    return [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]


def video_stream(container: av.container.InputContainer) -> av.VideoStream:
    """The first video track; covers (images attached to music) do not count.

    Raises:
        MediaError: `media_no_video` when there is none, `media_wrong_type` when FFmpeg knows no decoder for it,
            `media_oversized` when frames have more pixels than any standard knows.
    """
    streams = shown_video_streams(container)
    if not streams:
        raise MediaError("media_no_video", "a container with a video track is needed, this one has none")
    decoder = _prepared(streams[0])
    if not 0 < decoder.width * decoder.height <= MAX_FRAME_PIXELS:
        # FFmpeg does not tell the size of what it was not allowed to look at.
        raise MediaError(
            "media_oversized", f"frames of more than {MAX_FRAME_PIXELS:,} pixels, or of no size, are not decoded"
        )
    # The size may also change on the way.
    decoder.options = _decoder_options()
    return streams[0]


def sound_stream(container: av.container.InputContainer) -> av.AudioStream:
    """The first sound track.

    Raises:
        MediaError: `media_no_sound` when there is none, `media_wrong_type` when FFmpeg knows no decoder for it.
    """
    streams = container.streams.audio
    if not streams:
        raise MediaError("media_no_sound", "a container with a sound track is needed, this one has none")
    _prepared(streams[0])
    return streams[0]


def _prepared(stream: Any) -> Any:
    """The decoder of a stream, with one thread: a worker process has as many as it was given."""
    if stream.codec_context is None:
        raise MediaError("media_wrong_type", f"the {stream.type} track has a codec that cannot be decoded")
    stream.codec_context.thread_type = "NONE"
    stream.codec_context.thread_count = 1
    return stream.codec_context


def declared_seconds(container: av.container.InputContainer, stream: av.VideoStream | av.AudioStream) -> float | None:
    """Length that a file promises for a stream; None where it does not tell.

    Matroska tells it in a tag of the stream (`DURATION`, 00:00:02.500000000), older files for all streams together,
    which says nothing of one among several.
    """
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    tag = _CLOCK.fullmatch(stream.metadata.get("DURATION", ""))
    if tag is not None:
        hours, minutes, seconds = tag.groups()
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    if container.duration is not None and len(container.streams) == 1:
        return container.duration / av.time_base
    return None


def _decoder_options() -> dict[str, str]:
    return {"max_pixels": str(MAX_FRAME_PIXELS)}


def why(error: Exception) -> str:
    """Message of an error without FFmpeg's numbers and file names."""
    return str(getattr(error, "strerror", None) or error)
