"""Kind of bytes, told by their first bytes and never by a name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

MediaKind = Literal["image", "audio", "video"]


@dataclass(frozen=True)
class ContentType:
    """Kind and MIME type that the first bytes of a medium stand for."""

    kind: MediaKind
    mime: str


_PREFIXES: tuple[tuple[bytes, ContentType], ...] = (
    (b"\xff\xd8\xff", ContentType("image", "image/jpeg")),
    (b"\x89PNG\r\n\x1a\n", ContentType("image", "image/png")),
    (b"GIF87a", ContentType("image", "image/gif")),
    (b"GIF89a", ContentType("image", "image/gif")),
    (b"BM", ContentType("image", "image/bmp")),
    (b"II*\x00", ContentType("image", "image/tiff")),
    (b"MM\x00*", ContentType("image", "image/tiff")),
    (b"fLaC", ContentType("audio", "audio/flac")),
    (b"OggS", ContentType("audio", "audio/ogg")),
    (b"ID3", ContentType("audio", "audio/mpeg")),
    (b"\x1a\x45\xdf\xa3", ContentType("video", "video/x-matroska")),
)

# Bytes 0..3 and 8..11 of RIFF and IFF files.
_CONTAINERS: dict[tuple[bytes, bytes], ContentType] = {
    (b"RIFF", b"WAVE"): ContentType("audio", "audio/wav"),
    (b"RF64", b"WAVE"): ContentType("audio", "audio/wav"),
    (b"RIFF", b"WEBP"): ContentType("image", "image/webp"),
    (b"RIFF", b"AVI "): ContentType("video", "video/x-msvideo"),
    (b"FORM", b"AIFF"): ContentType("audio", "audio/aiff"),
    (b"FORM", b"AIFC"): ContentType("audio", "audio/aiff"),
}

# First bytes of the streams of Theora, VP8, Dirac and OGM video.
_OGG_VIDEO = (b"\x80theora", b"OVP80", b"BBCD", b"\x01video")

_ISO_BRANDS: dict[bytes, ContentType] = {
    b"avif": ContentType("image", "image/avif"),
    b"avis": ContentType("image", "image/avif"),
    b"heic": ContentType("image", "image/heic"),
    b"mif1": ContentType("image", "image/heic"),
    b"M4A ": ContentType("audio", "audio/mp4"),
    b"M4B ": ContentType("audio", "audio/mp4"),
    b"qt  ": ContentType("video", "video/quicktime"),
}


def sniff(content: bytes) -> ContentType | None:
    """Content type of bytes by their magic numbers, or None for anything that is no medium.

    Of containers that may hold video or sound this is what their brand says; `probe.probe` looks inside.
    """
    container = _CONTAINERS.get((content[:4], content[8:12]))
    if container is not None:
        return container
    if content[4:8] == b"ftyp":
        return _ISO_BRANDS.get(content[8:12], ContentType("video", "video/mp4"))
    found = next((found for prefix, found in _PREFIXES if content.startswith(prefix)), None)
    if found is not None:
        return _refined(content, found)
    if _is_mpeg_audio_frame(content):
        return ContentType("audio", "audio/mpeg")
    return ContentType("audio", "audio/aac") if _is_adts_frame(content) else None


def _refined(content: bytes, found: ContentType) -> ContentType:
    if found.mime == "audio/ogg" and _is_ogg_video(content):
        return ContentType("video", "video/ogg")
    if found.mime == "video/x-matroska" and b"webm" in content[:64]:
        return ContentType("video", "video/webm")
    return found


def _is_ogg_video(content: bytes) -> bool:
    """Tell if one of the streams of an Ogg file (RFC 3533) is video: they all are named on its first pages."""
    position = 0
    while content[position : position + 4] == b"OggS" and len(content) > position + 27 and content[position + 5] & 2:
        num_segments = content[position + 26]
        start = position + 27 + num_segments
        if content.startswith(_OGG_VIDEO, start):
            return True
        position = start + sum(content[position + 27 : start])
    return False


def _is_mpeg_audio_frame(content: bytes) -> bool:
    """Tell if bytes start with the header of an MPEG audio frame, layer III, with sensible fields."""
    if len(content) < 4 or content[0] != 0xFF or content[1] & 0xE0 != 0xE0:
        return False
    version, layer = content[1] >> 3 & 3, content[1] >> 1 & 3
    bitrate, rate = content[2] >> 4, content[2] >> 2 & 3
    return version != 1 and layer == 1 and bitrate not in (0, 15) and rate != 3


def _is_adts_frame(content: bytes) -> bool:
    """Tell if bytes start with the header of an AAC frame outside of any container (ADTS), with sensible fields."""
    if len(content) < 7 or content[0] != 0xFF or content[1] & 0xF6 != 0xF0:
        return False
    rate, length = content[2] >> 2 & 15, (content[3] & 3) << 11 | content[4] << 3 | content[5] >> 5
    return rate < 13 and length >= 7
