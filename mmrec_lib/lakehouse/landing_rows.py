"""Pieces of landing files → rows, one by one, with their line numbers and raw bytes; runs in Spark's workers."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mmrec_lib.lakehouse.landing import LandingFolder, Split

_CHUNK = 1 << 20
_BATCH_ROWS = 1024
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class RawRow:
    """One row of a landing file, not judged yet.

    Attributes:
        line: Line or row in the file, from 1.
        raw: Its bytes; None for a Parquet row. A CSV or TSV row comes with its header line before it.
        values: Its fields, where the format cuts them; None for a JSON line.
        problem: What is wrong with the row as a row; None when nothing is.
        reason: Reason for the quarantine that goes with the problem.
    """

    line: int
    raw: bytes | None
    values: dict[str, Any] | None = None
    problem: str | None = None
    reason: str | None = None


def iter_rows(landing: LandingFolder, split: Split, max_record_bytes: int) -> Iterator[RawRow]:
    """The rows of a piece in order; blank lines are none.

    Of lines longer than `max_record_bytes` only the first `max_record_bytes` + 1 bytes are kept.
    """
    with landing.open(split.path) as stream:
        if split.format == "parquet":
            yield from _parquet_rows(stream, split)
            return
        stream.seek(split.start)
        lines = _lines(stream, split.stop - split.start, split.first_line, max_record_bytes)
        if split.format == "json":
            for number, line in lines:
                if line.strip():
                    yield RawRow(number, line)
        elif split.format == "csv":
            yield from _csv_rows(lines, max_record_bytes)
        else:
            yield from _tsv_rows(lines, split.path)


def csv_row(raw: bytes, max_record_bytes: int) -> RawRow:
    """A CSV row that was kept with its header, as `iter_rows` gave it."""
    lines = ((number, line) for number, line in enumerate(raw.split(b"\n"), start=1))
    return next(_csv_rows(lines, max_record_bytes), RawRow(1, raw, None, "the CSV row is empty", "not_json"))


def iter_batches(landing: LandingFolder, split: Split) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Number of the first row, and the rows as Arrow, of each batch of a Parquet piece."""
    with landing.open(split.path) as stream:
        first = split.first_line
        parquet = pq.ParquetFile(stream)
        for batch in parquet.iter_batches(batch_size=_BATCH_ROWS, row_groups=list(range(split.start, split.stop))):
            yield first, batch
            first += batch.num_rows


def _lines(stream: Any, size: int, first_line: int, limit: int) -> Iterator[tuple[int, bytes]]:
    """Numbered lines without their end; a byte order mark at the start of the file is no part of the first."""
    number, pending = first_line, b""
    while size > 0 and (chunk := stream.read(min(_CHUNK, size))):
        size -= len(chunk)
        *complete, pending = (pending + chunk).split(b"\n")
        for line in complete:
            yield number, _trimmed(line, number, limit)
            number += 1
        # One line may be as long as the file; 8 bytes more hold a byte order mark and show that the line is too long.
        pending = pending[: limit + 8]
    if pending:
        yield number, _trimmed(pending, number, limit)


def _trimmed(line: bytes, number: int, limit: int) -> bytes:
    if number == 1 and line.startswith(_BOM):
        line = line[len(_BOM) :]
    return (line[:-1] if line.endswith(b"\r") else line)[: limit + 1]


class _CsvLines:
    """Feeds lines to a csv.reader and remembers those of the row that it is reading."""

    def __init__(self, lines: Iterator[tuple[int, bytes]], limit: int) -> None:
        self._lines = lines
        self._limit = limit
        self.start()

    def start(self) -> None:
        self.first = 0
        self.parts: list[bytes] = []
        self.too_long = False

    @property
    def raw(self) -> bytes:
        return b"\n".join(self.parts)

    def __iter__(self) -> Iterator[str]:
        for number, line in self._lines:
            self.first = self.first or number
            self.parts.append(line)
            if len(line) > self._limit:
                self.too_long = True
                yield "\n"
            else:
                yield line.decode("utf-8", "surrogateescape") + "\n"


def _csv_rows(lines: Iterator[tuple[int, bytes]], limit: int) -> Iterator[RawRow]:
    csv.field_size_limit(limit)
    feed = _CsvLines(lines, limit)
    reader = csv.reader(iter(feed), strict=True)
    header: list[str] | None = None
    header_raw = b""
    while True:
        feed.start()
        problem, cells = None, list[str]()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            problem = f"a CSV row is needed, but {error}"
        if feed.too_long:
            problem = f"a CSV row of at most {limit} bytes is needed (ingest.max_record_bytes)"
        if problem is None and (not cells or (len(cells) == 1 and not cells[0].strip())):
            continue
        if header is None:
            header, header_raw = [name.strip() for name in cells], feed.raw
            if problem is None and len(set(header)) != len(header):
                problem = "a column stands twice"
            if problem is not None:
                detail = f"the header line cannot be read: {problem}"
                yield RawRow(feed.first, feed.raw, None, detail, "unreadable_file")
                return
            continue
        raw = header_raw + b"\n" + feed.raw
        if problem is None and len(cells) != len(header):
            problem = f"a CSV row of {len(header)} fields as in the header is needed, got {len(cells)}"
        if problem is None:
            yield RawRow(feed.first, raw, dict(zip(header, cells, strict=True)))
        else:
            yield RawRow(feed.first, raw, None, problem, "impossible_value" if feed.too_long else "not_json")


def _tsv_rows(lines: Iterator[tuple[int, bytes]], path: str) -> Iterator[RawRow]:
    needed = ["head", "relation", "tail"]
    header: list[str] | None = None
    header_raw = b""
    for number, line in lines:
        if not line.strip():
            continue
        cells = line.decode("utf-8", "surrogateescape").split("\t")
        if header is None:
            header, header_raw = [name.strip() for name in cells], line
            if len(set(header)) != len(header) or not set(needed) <= set(header):
                detail = f"{path}: a header line with {', '.join(needed)}, separated by tabs, is needed"
                yield RawRow(number, line, None, detail, "unreadable_file")
                return
        elif len(cells) != len(header):
            detail = f"a row of {len(header)} fields separated by tabs is needed, got {len(cells)}"
            yield RawRow(number, header_raw + b"\n" + line, None, detail, "not_json")
        else:
            yield RawRow(number, header_raw + b"\n" + line, dict(zip(header, cells, strict=True)))


def _parquet_rows(stream: Any, split: Split) -> Iterator[RawRow]:
    number = split.first_line
    try:
        parquet = pq.ParquetFile(stream)
        for batch in parquet.iter_batches(batch_size=_BATCH_ROWS, row_groups=list(range(split.start, split.stop))):
            yield from _batch_rows(batch, number)
            number += batch.num_rows
    except (OSError, ValueError, NotImplementedError) as error:
        detail = f"{split.path}: the rows from {number} on cannot be read: {error}"
        yield RawRow(number, b"", None, detail, "unreadable_file")


def _batch_rows(batch: pa.RecordBatch, first: int) -> list[RawRow]:
    try:
        return [RawRow(number, None, values) for number, values in enumerate(batch.to_pylist(), start=first)]
    except (ValueError, OverflowError):  # a row that Python cannot hold: invalid UTF-8, the year 10000
        return [_single_row(batch.slice(index, 1), first + index) for index in range(batch.num_rows)]


def _single_row(row: pa.RecordBatch, number: int) -> RawRow:
    try:
        return RawRow(number, None, row.to_pylist()[0])
    except (ValueError, OverflowError) as error:
        sink = io.BytesIO()
        with pa.ipc.new_stream(sink, row.schema) as writer:
            writer.write_batch(row)
        reason = "invalid_utf8" if isinstance(error, UnicodeDecodeError) else "wrong_type"
        return RawRow(number, sink.getvalue(), None, f"the row cannot be read: {error}", reason)
