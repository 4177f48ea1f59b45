"""JSON arrays, and objects that span lines → rows, one value at a time; what is broken is skipped and refused."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator

from mmrec_lib.ingest.landing.raw_row import RawRow
from mmrec_lib.ingest.landing.streams import CHUNK, Source

_DECODER = json.JSONDecoder()
_BETWEEN = re.compile(r"[\s\[\],\ufeff]*")
_NEXT_VALUE = re.compile(r"\}\s*,?\s*(?=\{)|\n\s*(?=[{\]])")


def iter_values(source: Source, limit: int) -> Iterator[RawRow]:
    """The elements of arrays and the values of a file, in order; their number is the line of their row.

    Args:
        source: The bytes of the file.
        limit: Longest record in bytes; about twice as much is held in memory.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    text, position, number, is_ended = "", 0, 0, False
    while True:
        between = _BETWEEN.match(text, position)
        assert between is not None
        position = between.end()
        end = _value_end(text, position)
        # A number at the end of what was read may go on.
        if (end is None or end == len(text)) and not is_ended and len(text) - position <= limit + CHUNK:
            data = source.read(CHUNK)
            is_ended = not data
            text, position = text[position:] + decoder.decode(data, is_ended), 0
            continue
        if position == len(text):
            return
        if end is not None:
            number += 1
            yield RawRow(number, _bytes(text[position:end])[: limit + 1])
            position = end
            continue
        if (found := _NEXT_VALUE.search(text, position + 1)) is not None:
            number += 1
            yield _broken(number, text[position : found.end()], limit)
            position = found.end()
            continue
        for line in text[position:].splitlines():
            if line.strip(" \t\r\n[]{},"):
                number += 1
                yield _broken(number, line, limit)
        text, position = "", 0
        if is_ended:
            return


def _value_end(text: str, position: int) -> int | None:
    if position == len(text):
        return None
    try:
        return _DECODER.raw_decode(text, position)[1]
    except (ValueError, RecursionError):
        return None


def _broken(number: int, text: str, limit: int) -> RawRow:
    detail = "an element of a JSON array is needed, but this is broken JSON"
    return RawRow(number, _bytes(text)[:limit], None, detail, "not_json")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
