"""Normal form of texts, so that equal words have one identity."""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Column
from pyspark.sql import functions as F
from pyspark.sql.pandas.functions import arrow_udf

from mmrec_lib.text.markup import plain_text


def normalise(texts: pa.Array) -> pa.Array:
    """The words of texts: without markup, in NFC, every run of white space as one space; null when nothing is left.

    See `text.markup.plain_text` for what counts as markup. White space at the ends goes, and so do characters without
    width that only tell where a line may break (soft hyphens, zero-width spaces, word joiners, byte order marks).
    """
    plain = _replaced(texts, pc.match_substring_regex(texts, "[<&]"), plain_text)
    is_foreign = pc.invert(pc.string_is_ascii(plain))
    visible = pc.replace_substring_regex(plain, r"[\x{AD}\x{200B}\x{2060}\x{FEFF}]+", "")
    # By Python's tables: Arrow's `utf8_normalize` decomposes whatever form it is asked for.
    composed = _replaced(visible, is_foreign, functools.partial(unicodedata.normalize, "NFC"))
    # Unicode's spaces and separators, and the control characters that RE2's `\s` knows.
    spaced = pc.replace_substring_regex(composed, r"[\s\x0b\x{85}\p{Z}]+", " ")
    trimmed = pc.utf8_trim_whitespace(spaced)
    return pc.if_else(pc.equal(pc.utf8_length(trimmed), 0), None, trimmed)


def _replaced(texts: pa.Array, mask: pa.Array, function: Callable[[str], str]) -> pa.Array:
    """Texts with those under the mask replaced by what a function makes of them; others cost nothing."""
    is_wanted = pc.fill_null(mask, False)
    made = [function(text) for text in texts.filter(is_wanted).to_pylist()]
    return pc.replace_with_mask(texts, is_wanted, pa.array(made, texts.type)) if made else texts


def normalised(text: Column) -> Column:
    """Normal form of a text column; Spark has no function for Unicode's normal forms, so Python does it."""
    make: Any = arrow_udf  # Its stubs know no function with type hints.
    column: Column = make(normalise, returnType="string")(text)
    return column


def content_id(text: Column) -> Column:
    """Identity of a normalised text: the sha256 of its UTF-8 bytes, hexadecimal."""
    return F.sha2(F.encode(text, "UTF-8"), 256)
