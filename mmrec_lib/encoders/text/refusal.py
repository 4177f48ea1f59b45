"""Texts that hold nothing to encode."""

from __future__ import annotations

from mmrec_lib.encoders.errors import TEXT_EMPTY, TEXT_MISSING
from mmrec_lib.encoders.spec import EncoderInput


def refusal(text: EncoderInput) -> str | None:
    """Reason for which an input is no text to encode, or None."""
    if not isinstance(text, str):
        return TEXT_MISSING
    return None if text.strip() else TEXT_EMPTY
