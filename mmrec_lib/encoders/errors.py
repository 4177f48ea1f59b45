"""Reasons for which a content has neither a vector nor text: a closed list, and the form of its messages.

The error of a result (`EncodeResult.errors`, `Words.error`, the column `error` of `content_embedding` and `media_text`)
is `<reason>: <one sentence>`. `MediaError` writes itself like that.
"""

from __future__ import annotations

from typing import Literal

from mmrec_lib.media.errors import MEDIA_REASONS, MediaReason

EncodeReason = MediaReason | Literal["media_missing", "text_missing", "text_empty", "text_unknown", "not_finite"]

ENCODE_REASONS: tuple[EncodeReason, ...] = (
    *MEDIA_REASONS,
    "media_missing",
    "text_missing",
    "text_empty",
    "text_unknown",
    "not_finite",
)

NOT_FINITE = "not_finite: the encoder gave values that are not finite"
TEXT_MISSING = "text_missing: a text is needed, there is none"
TEXT_EMPTY = "text_empty: a text with more than spaces is needed"
TEXT_UNKNOWN = "text_unknown: a text with a word that the model knows is needed"


def medium_missing(kind: Literal["image", "sound", "video", "text or image"]) -> str:
    """The error of a medium whose bytes are not there, or no longer where they were."""
    return f"media_missing: a {kind} is needed, its bytes are not there"


def reason_of(error: str) -> EncodeReason:
    """The reason that an error begins with.

    Raises:
        ValueError: When it begins with none of the closed list.
    """
    code, _, detail = error.partition(": ")
    for reason in ENCODE_REASONS:
        if code == reason and detail:
            return reason
    raise ValueError(
        f"Error {error!r}: it must begin with one of {', '.join(ENCODE_REASONS)} and say more behind `: `."
    )
