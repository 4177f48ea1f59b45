"""Look into a medium: its kind, type and size, by content."""

from __future__ import annotations

from dataclasses import dataclass

from mmrec_lib.media.audio import check_audio
from mmrec_lib.media.errors import MediaError
from mmrec_lib.media.images import MAX_PIXELS, check_image
from mmrec_lib.media.kind import ContentType, sniff
from mmrec_lib.media.video import read_tracks

# Containers by what their first bytes say → their types with a video track inside, and with sound only.
_MIMES_INSIDE = {
    "video/mp4": ("video/mp4", "audio/mp4"),
    "audio/mp4": ("video/mp4", "audio/mp4"),
    "video/quicktime": ("video/quicktime", "audio/mp4"),
    "video/x-matroska": ("video/x-matroska", "audio/x-matroska"),
    "video/webm": ("video/webm", "audio/webm"),
    "video/x-msvideo": ("video/x-msvideo", "audio/x-msvideo"),
    "video/ogg": ("video/ogg", "audio/ogg"),
}


@dataclass(frozen=True)
class MediaInfo:
    """Findings of `probe`.

    Attributes:
        media_kind: image, audio or video.
        mime: MIME type by content.
        width_px: Width of an image or video, None for sound and where the container does not tell.
        height_px: Height, likewise.
        media_seconds: Length of sound or video, None for images and where the container does not tell.
    """

    media_kind: str
    mime: str
    width_px: int | None = None
    height_px: int | None = None
    media_seconds: float | None = None


def probe(content: bytes, expected_kind: str | None, max_pixels: int = MAX_PIXELS) -> MediaInfo:
    """Tells what bytes are, and that they can be decoded.

    Images and sound are decoded whole, so a truncated one is found; of a video the container's structure is checked and
    its first frame decoded. What is inside a container decides: one with a video track is a video, one with sound only
    is sound, whatever its brand or name says. Where sound is asked for, a video with a sound track will do, as a video
    whose sound is decoded whole; where a video is asked for, sound will not.

    Args:
        content: The original bytes.
        expected_kind: image, audio or video, or None when any will do.
        max_pixels: Largest image, in pixels.

    Returns:
        Kind, type and size.

    Raises:
        MediaError: With the reason `media_empty`, `media_oversized`, `media_truncated` or `media_wrong_type`, and for
            containers `media_no_video` or `media_no_sound` when the track that is asked for is not in it.
    """
    if not content:
        raise MediaError("media_empty", "the file has 0 bytes")
    found = sniff(content)
    if found is None:
        raise MediaError(
            "media_wrong_type",
            f"{expected_kind or 'an image, sound or video'} expected, the bytes are none: "
            f"they start with {content[:8].hex(' ')}",
        )
    if found.mime in _MIMES_INSIDE and expected_kind != "image":
        return _checked_container(content, found, expected_kind)
    if expected_kind is not None and found.kind != expected_kind:
        raise MediaError("media_wrong_type", f"{expected_kind} expected, the bytes are {found.mime}")
    if found.kind == "image":
        mime, width_px, height_px = check_image(content, max_pixels)
        return MediaInfo("image", mime, width_px, height_px)
    return MediaInfo("audio", found.mime, media_seconds=check_audio(content))


def _checked_container(content: bytes, found: ContentType, expected_kind: str | None) -> MediaInfo:
    tracks = read_tracks(content, found.mime)
    of_video, of_sound = _MIMES_INSIDE[found.mime]
    if expected_kind == "video" and not tracks.has_video:
        raise MediaError("media_no_video", f"video expected, but there is only sound in this container ({of_sound})")
    if expected_kind == "audio" and not tracks.has_sound:
        raise MediaError("media_no_sound", f"sound expected, but this video ({of_video}) has no sound track")
    seconds = tracks.media_seconds
    if expected_kind == "audio" or not tracks.has_video:
        seconds = check_audio(content)
    if not tracks.has_video:
        return MediaInfo("audio", of_sound, media_seconds=seconds)
    return MediaInfo("video", of_video, tracks.width_px, tracks.height_px, seconds)
