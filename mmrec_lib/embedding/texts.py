"""Normal form of texts, so that equal words have one identity."""

from __future__ import annotations

import unicodedata
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Column
from pyspark.sql import functions as F
from pyspark.sql.pandas.functions import arrow_udf


def normalise(texts: pa.Array) -> pa.Array:
    """NFC, every run of white space as one space, none at the ends; null when nothing is left."""
    # Unicode's spaces and separators, and the control characters that RE2's `\s` knows.
    spaced = pc.replace_substring_regex(_composed(texts), r"[\s\x0b\x{85}\p{Z}]+", " ")
    trimmed = pc.utf8_trim_whitespace(spaced)
    return pc.if_else(pc.equal(pc.utf8_length(trimmed), 0), None, trimmed)


def _composed(texts: pa.Array) -> pa.Array:
    """Texts in NFC, by Python's tables: Arrow's `utf8_normalize` decomposes whatever form it is asked for."""
    is_foreign = pc.fill_null(pc.invert(pc.string_is_ascii(texts)), False)
    composed = [unicodedata.normalize("NFC", text) for text in texts.filter(is_foreign).to_pylist()]
    return pc.replace_with_mask(texts, is_foreign, pa.array(composed, texts.type)) if composed else texts


def normalised(text: Column) -> Column:
    """Normal form of a text column; Spark has no function for Unicode's normal forms, so Python does it."""
    make: Any = arrow_udf  # Its stubs know no function with type hints.
    column: Column = make(normalise, returnType="string")(text)
    return column


def content_id(text: Column) -> Column:
    """Identity of a normalised text: the sha256 of its UTF-8 bytes, hexadecimal."""
    return F.sha2(F.encode(text, "UTF-8"), 256)
