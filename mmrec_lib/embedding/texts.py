"""Normal form of texts, so that equal words have one identity."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Column
from pyspark.sql import functions as F
from pyspark.sql.pandas.functions import arrow_udf

from mmrec_lib.text.markup import plain_text

# For RE2: Unicode's spaces and separators, and the control characters that its `\s` knows; without the plain space.
_OTHERS = r"\t-\r\x{85}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000}"
_SPACE, _OTHER_SPACE = f"[ {_OTHERS}]", f"[{_OTHERS}]"
_WITHOUT_WIDTH = r"[\x{AD}\x{200B}\x{2060}\x{FEFF}]"


def normalise(texts: pa.Array) -> pa.Array:
    """The words of texts: without markup, in NFC, every run of white space as one space; null when nothing is left.

    See `text.markup.plain_text` for what counts as markup. White space at the ends goes, and so do characters without
    width that only tell where a line may break (soft hyphens, zero-width spaces, word joiners, byte order marks).
    """
    plain = _replaced(texts, pc.match_substring_regex(texts, "[<&]"), _each(plain_text))
    # By Python's tables: Arrow's `utf8_normalize` decomposes whatever form it is asked for.
    composed = _replaced(plain, pc.invert(pc.string_is_ascii(plain)), _composed)
    spaced = _replaced(composed, pc.match_substring_regex(composed, f"{_SPACE}{{2}}|{_OTHER_SPACE}"), _single_spaced)
    trimmed = pc.utf8_trim_whitespace(spaced)
    return pc.if_else(pc.equal(pc.utf8_length(trimmed), 0), None, trimmed)


def _replaced(texts: pa.Array, mask: pa.Array, function: Callable[[pa.Array], pa.Array]) -> pa.Array:
    """Texts with those under the mask replaced by what a function makes of them; others cost nothing."""
    is_wanted = pc.fill_null(mask, False)
    wanted = texts.filter(is_wanted)
    return pc.replace_with_mask(texts, is_wanted, function(wanted)) if len(wanted) else texts


def _each(function: Callable[[str], str]) -> Callable[[pa.Array], pa.Array]:
    return lambda texts: pa.array([function(text) for text in texts.to_pylist()], texts.type)


def _composed(texts: pa.Array) -> pa.Array:
    visible = _replaced(texts, pc.match_substring_regex(texts, _WITHOUT_WIDTH), _without_width)
    return pa.array([unicodedata.normalize("NFC", text) for text in visible.to_pylist()], texts.type)


def _without_width(texts: pa.Array) -> pa.Array:
    return pc.replace_substring_regex(texts, f"{_WITHOUT_WIDTH}+", "")


def _single_spaced(texts: pa.Array) -> pa.Array:
    return pc.replace_substring_regex(texts, f"{_SPACE}+", " ")


def normalised(text: Column) -> Column:
    """Normal form of a text column; Spark has no function for Unicode's normal forms, so Python does it."""
    make: Any = arrow_udf  # Its stubs know no function with type hints.
    column: Column = make(normalise, returnType="string")(text)
    return column


def content_id(text: Column) -> Column:
    """Identity of a normalised text: the sha256 of its UTF-8 bytes, hexadecimal."""
    return F.sha2(F.encode(text, "UTF-8"), 256)
