"""Valid Unicode: mended before a tokenizer or a language detector sees a text."""

from __future__ import annotations


def well_formed(text: str) -> str:
    """The text as valid Unicode: halves of surrogate pairs that belong together are joined, others become U+FFFD.

    Python strings may hold lone surrogates (broken escapes in JSON make them), which no UTF-8 encoder takes.

    Example:
        >>> well_formed("a" + chr(0xD800))
        'a�'
    """
    if text.isascii():
        return text
    return text.encode("utf-16-le", errors="surrogatepass").decode("utf-16-le", errors="replace")
