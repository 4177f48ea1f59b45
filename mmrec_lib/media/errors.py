"""Reasons for which a medium cannot be used."""

from __future__ import annotations

from typing import Literal, get_args

from mmrec_lib.errors import MmrecError

MediaReason = Literal[
    "media_empty",
    "media_oversized",
    "media_truncated",
    "media_wrong_type",
    "media_no_video",
    "media_no_sound",
    "media_decoder_crashed",
    "media_decoder_timeout",
]

MEDIA_REASONS: tuple[MediaReason, ...] = get_args(MediaReason)

RETRYABLE_REASONS: tuple[MediaReason, ...] = ("media_decoder_crashed", "media_decoder_timeout")
"""Reasons that a busy machine may be to blame for: such a medium is tried again in later runs."""

MAX_ATTEMPTS = 3
"""Runs that try a medium before one of `RETRYABLE_REASONS` is its last word."""


class MediaError(MmrecError):
    """Raised when bytes are no image, sound or video that can be used.

    Attributes:
        reason: One of `MEDIA_REASONS`. `media_truncated` covers every damage found while decoding, `media_oversized`
            also what needs more memory than a decoder may have; `media_decoder_crashed` and `media_decoder_timeout`
            come from a decoder in a process of its own (see `mmrec_lib.media.child`), `media_no_video` and
            `media_no_sound` from a container without the track that is asked for.
        detail: What was wrong and what would be right, one sentence.
    """

    def __init__(self, reason: MediaReason, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason: MediaReason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"
