"""Texts as they come: which hold nothing to encode, and what is mended before a tokenizer or a detector sees them."""

from __future__ import annotations

from mmrec_lib.encoders.errors import TEXT_EMPTY, TEXT_MISSING
from mmrec_lib.encoders.spec import EncoderInput


def refusal(text: EncoderInput) -> str | None:
    """Why an input is no text to encode, or None."""
    if not isinstance(text, str):
        return TEXT_MISSING
    return None if text.strip() else TEXT_EMPTY


def well_formed(text: str) -> str:
    """The text as valid Unicode: halves of surrogate pairs that belong together are joined, others become U+FFFD.

    Python strings may hold lone surrogates (broken escapes in JSON make them), which no UTF-8 encoder takes.
    """
    if text.isascii():
        return text
    return text.encode("utf-16-le", errors="surrogatepass").decode("utf-16-le", errors="replace")
