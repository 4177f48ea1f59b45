"""What a medium is: its kind, type and size, by content."""

from __future__ import annotations

from dataclasses import dataclass

from mmrec_lib.media.audio import check_audio
from mmrec_lib.media.errors import MediaError
from mmrec_lib.media.images import MAX_PIXELS, check_image
from mmrec_lib.media.kind import ContentType, sniff
from mmrec_lib.media.video import check_video


@dataclass(frozen=True)
class MediaInfo:
    """What `probe` found.

    Attributes:
        media_kind: image, audio or video.
        mime: MIME type by content.
        width_px: Width of a picture or video, None for sound and where the container does not tell.
        height_px: Height, likewise.
        media_seconds: Length of sound or video, None for pictures and where the container does not tell.
    """

    media_kind: str
    mime: str
    width_px: int | None = None
    height_px: int | None = None
    media_seconds: float | None = None


def probe(content: bytes, expected_kind: str | None, max_pixels: int = MAX_PIXELS) -> MediaInfo:
    """Tells what bytes are, and that they can be decoded.

    Pictures and sound are decoded whole, so a truncated one is found; of a video the container's structure is checked.

    Args:
        content: The original bytes.
        expected_kind: image, audio or video, or None when any will do.
        max_pixels: Largest picture, in pixels.

    Returns:
        Kind, type and size.

    Raises:
        MediaError: With the reason `media_empty`, `media_oversized`, `media_truncated` or `media_wrong_type`.
    """
    if not content:
        raise MediaError("media_empty", "the file has 0 bytes")
    found = sniff(content)
    if found is None:
        raise MediaError(
            "media_wrong_type",
            f"{expected_kind or 'a picture, sound or video'} expected, the bytes are none: "
            f"they start with {content[:8].hex(' ')}",
        )
    if expected_kind is not None and found.kind != expected_kind:
        raise MediaError("media_wrong_type", f"{expected_kind} expected, the bytes are {found.mime}")
    return _checked(content, found, max_pixels)


def _checked(content: bytes, found: ContentType, max_pixels: int) -> MediaInfo:
    if found.kind == "image":
        mime, width_px, height_px = check_image(content, max_pixels)
        return MediaInfo("image", mime, width_px, height_px)
    if found.kind == "audio":
        return MediaInfo("audio", found.mime, media_seconds=check_audio(content))
    video = check_video(content, found.mime)
    return MediaInfo("video", found.mime, video.width_px, video.height_px, video.media_seconds)
