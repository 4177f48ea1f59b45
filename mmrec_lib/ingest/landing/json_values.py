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
_NEXT_VALUE = re.compile(r"\}\s*(?:,\s*)?(?=\{)|\n[ \t\r]*(?=[{\]])")
# A string ends with its line: JSON knows none with a line feed.
_TOKEN = re.compile(r'"[^"\\\n]*(?:\\.[^"\\\n]*)*"?|[{}\[\]]')
_AFTER_VALUE = re.compile(r"\s*(?:,\s*)?(?:(?=\{)|\]|\Z)")
_OPENING = {"}": "{", "]": "["}
# Characters that may be looked at in vain for the ends of broken elements, a character of the file.
_VAIN_SHARE, _VAIN_LEAST = 8, 16 << 20


def iter_values(source: Source, limit: int) -> Iterator[RawRow]:
    """The elements of arrays and the values of a file, in order; their number is the line of their row.

    Args:
        source: The bytes of the file.
        limit: Longest record in bytes; about twice as much is held in memory.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    text, position, number, is_ended = "", 0, 0, False
    may_look = _VAIN_LEAST
    while True:
        between = _BETWEEN.match(text, position)
        assert between is not None
        position = between.end()
        end = _value_end(text, position)
        # A number at the end of what was read may go on.
        if (end is None or end == len(text)) and not is_ended and len(text) - position <= limit + CHUNK:
            data = source.read(CHUNK)
            is_ended = not data
            may_look += _VAIN_SHARE * len(data)
            text, position = text[position:] + decoder.decode(data, is_ended), 0
            continue
        if position == len(text):
            return
        if end is not None:
            number += 1
            yield RawRow(number, _bytes(text[position:end])[: limit + 1])
            position = end
            continue
        end, looked_at = _broken_end(text, position, min(len(text), position + max(0, may_look)))
        may_look -= looked_at
        if end is None and (found := _NEXT_VALUE.search(text, position + 1)) is not None:
            end = found.end()
        if end is not None:
            number += 1
            yield _broken(number, text[position:end], limit)
            position = end
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


def _broken_end(text: str, position: int, stop: int) -> tuple[int | None, int]:
    """End of a broken object by its brackets, so that objects inside it are not taken for elements of their own.

    Returns:
        The end; None where the brackets do not tell it. How many characters were looked at.
    """
    if not text.startswith("{", position):
        return None, 0
    open_brackets: list[str] = []
    for token in _TOKEN.finditer(text, position, stop):
        bracket = token.group()
        if bracket in ("{", "["):
            open_brackets.append(bracket)
        elif bracket in ("}", "]"):
            if open_brackets.pop() != _OPENING[bracket]:
                return None, token.end() - position
            if not open_brackets:
                is_end = _AFTER_VALUE.match(text, token.end()) is not None
                return token.end() if is_end else None, token.end() - position
    return None, stop - position


def _broken(number: int, text: str, limit: int) -> RawRow:
    detail = "an element of a JSON array is needed, but this is broken JSON"
    return RawRow(number, _bytes(text)[:limit], None, detail, "not_json")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
