"""Shape of a text file by its first bytes: compressed, an array, in another encoding, something else."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

HEAD_BYTES = 64 * 1024
BOM = b"\xef\xbb\xbf"
GZIP = b"\x1f\x8b"

_ENCODINGS = (
    (b"\xff\xfe\x00\x00", "UTF-32"),
    (b"\x00\x00\xfe\xff", "UTF-32"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
)
_CONTENTS: tuple[tuple[bytes, str, str], ...] = (
    (b"PK\x03\x04", "a ZIP archive or an Excel workbook", "unpack it, or save the sheet as CSV"),
    (b"PAR1", "Parquet", "give it a name that ends in .parquet"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd", "unpack it, or compress it with gzip"),
    *((b"BZh%d1AY&SY" % n, "compressed with bzip2", "unpack it, or compress it with gzip") for n in range(1, 10)),
    (b"\xfd7zXZ\x00", "compressed with xz", "unpack it, or compress it with gzip"),
    (b"\x04\x22\x4d\x18", "compressed with LZ4", "unpack it, or compress it with gzip"),
    (b"Obj\x01", "Avro", "write it as Parquet or JSON Lines"),
    (b"ORC", "ORC", "write it as Parquet or JSON Lines"),
    (b"SQLite format 3\x00", "a SQLite database", "export its table as CSV"),
    (b"%PDF-", "a PDF document", "export its records as CSV or JSON Lines"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Excel workbook", "save the sheet as CSV"),
)
# Beginnings that a header of CSV may have too (ORCID, PAR1): then no control characters follow.
_WORDS = (b"PAR1", b"ORC")
_CONTROL = re.compile(rb"[\x00-\x08]")
_HEADER_GOES_ON = re.compile(rb"[\w,;\t| ]")
_KEYS = frozenset({"event_id", "review_id", "item_id", "user_id", "friend_id", "audio"})
"""Names of which each record has at least one."""
_STRING = r'"(?:[^"\\]|\\.){0,1000}"'
_WRAPPED = re.compile(
    rf"\s*\{{\s*(?P<before>(?:{_STRING}\s*:\s*(?:{_STRING}|[-+.\w]{{1,100}})\s*,\s*){{0,50}})"
    rf"(?P<name>{_STRING})\s*:\s*\[\s*(?P<first>\{{[^{{}}]*)"
)
_NAME = re.compile(rf"({_STRING})\s*:")
_ARRAY = re.compile(rb"\s*\[\s*(\{|\]|\Z)")
_SPREAD_OBJECT = re.compile(rb"\s*\{[ \t]*\r?\n")


@dataclass(frozen=True)
class Shape:
    """The shape of a text file.

    Attributes:
        values: Whether a JSON file is an array, or has objects that span lines.
        problem: A sentence part that names a shape that is not read, and the remedy; None when it is read.
        line_end: Ends its lines.
    """

    values: bool = False
    problem: str | None = None
    line_end: bytes = b"\n"


def shape_of(head: bytes, file_format: str) -> Shape:
    """The shape of a text file.

    Args:
        head: Its first bytes, unpacked, at most `HEAD_BYTES`.
        file_format: json, csv or tsv, as its name says.
    """
    if (problem := _problem_of(head, file_format)) is not None:
        return Shape(problem=problem)
    if b"\n" not in head and head.strip(b"\r").count(b"\r") > 1:
        problem = "lines that end with a line feed are needed, but these end with CR alone; convert them"
        return Shape(problem=problem, line_end=b"\r")
    body = head.removeprefix(BOM)
    if file_format == "json" and (name := _wrapper_of(body)) is not None:
        return Shape(
            problem=f"an array of records or JSON Lines are needed, but this is an object that holds its records in "
            f"{name}; write that array alone"
        )
    if file_format == "json" and (_ARRAY.match(body) or _SPREAD_OBJECT.match(body)):
        return Shape(values=True)
    return Shape()


def _problem_of(head: bytes, file_format: str) -> str | None:
    encoding = next((name for start, name in _ENCODINGS if head.startswith(start)), None)
    if encoding is None and _is_wide_text(head):
        encoding = "UTF-16"
    if encoding is not None:
        return f"text in UTF-8 is needed, but this is {encoding}; save it as UTF-8"
    for start, name, remedy in _CONTENTS:
        if head.startswith(start) and not _is_csv_header(head, start):
            return f"a {_TITLES[file_format]} file is needed, but this is {name}; {remedy}"
    if head.startswith(GZIP):
        return "it is compressed with gzip twice; unpack it once"
    return None


def _is_csv_header(head: bytes, start: bytes) -> bool:
    if start not in _WORDS:
        return False
    return _CONTROL.search(head[:512]) is None and _HEADER_GOES_ON.match(head, len(start)) is not None


def _wrapper_of(body: bytes) -> str | None:
    """Name, quoted, under which an object holds the records of a file; None when the first object is a record."""
    text = body.decode("utf-8", "replace")
    match = _WRAPPED.match(text)
    if match is None or _KEYS.isdisjoint(_names(match["first"])):
        return None
    try:
        first: Any = json.JSONDecoder().raw_decode(text.lstrip())[0]
        outer = set(first)
    except (ValueError, RecursionError):  # it goes on after the first bytes of the file
        outer = _names(match["before"])
    return match["name"] if _KEYS.isdisjoint(outer) else None


def _names(text: str) -> set[str]:
    return {name[1:-1] for name in _NAME.findall(text)}


_TITLES = {"json": "JSON Lines", "csv": "CSV", "tsv": "TSV"}


def _is_wide_text(head: bytes) -> bool:
    """Tell whether every other byte is zero, as in Latin text in UTF-16 without a byte order mark."""
    sample = head[:512]
    if len(sample) < 8:
        return False
    zeros = (sample[0::2].count(0), sample[1::2].count(0))
    return max(zeros) > 0.4 * len(sample) / 2 and min(zeros) < 0.1 * len(sample) / 2 and b"\n" in sample
