"""Pieces of landing files → rows, one by one, with their line numbers and raw bytes; runs in Spark's workers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from mmrec_lib.ingest.landing.csv_rows import csv_row, iter_csv, iter_tsv
from mmrec_lib.ingest.landing.delivery import Split
from mmrec_lib.ingest.landing.folder import LandingFolder
from mmrec_lib.ingest.landing.json_values import iter_values
from mmrec_lib.ingest.landing.parquet import LostRows, batch_rows, iter_batches
from mmrec_lib.ingest.landing.raw_row import RawRow
from mmrec_lib.ingest.landing.streams import CheckedPiece, PackedError, Source, Unpacked, iter_lines

__all__ = ["LostRows", "RawRow", "csv_row", "iter_rows", "iter_vector_batches", "split_fields"]

FILE_CHANGED = "file_changed"
"""Reason of the row that says that a file is no longer what was planned; nothing of the file may be stored."""


def iter_rows(landing: LandingFolder, split: Split, max_record_bytes: int) -> Iterator[RawRow]:
    """The rows of a piece in order; blank lines are none.

    Of lines longer than `max_record_bytes` only the first `max_record_bytes` + 1 bytes are kept. A file that cannot be
    opened any more, or is no longer the one that was planned, ends with a row of reason `file_changed`.
    """
    try:
        with landing.open(split.path) as stream:
            if split.format == "parquet":
                for part in _batches(landing, stream, split):
                    if isinstance(part, RawRow):
                        yield part
                    elif isinstance(part, LostRows):
                        yield from part.rows()
                    else:
                        yield from batch_rows(part[1], part[0], max_record_bytes)
                return
            piece = CheckedPiece(stream, split.start, split.stop)
            yield from _text_rows(piece, split, max_record_bytes)
            if split.crc is not None and piece.drain() != split.crc:
                yield changed_row("its bytes are no longer those that were hashed")
    except OSError as error:
        yield changed_row(f"{type(error).__name__}: {error}")


def iter_vector_batches(
    landing: LandingFolder, split: Split
) -> Iterator[tuple[int, pa.RecordBatch] | LostRows | RawRow]:
    """Number of the first row, and the rows as Arrow, of each batch of a Parquet piece; lost rows; a changed file."""
    try:
        with landing.open(split.path) as stream:
            yield from _batches(landing, stream, split)
    except OSError as error:
        yield changed_row(f"{type(error).__name__}: {error}")


def split_fields(split: Split) -> dict[str, str | None]:
    """Fields that the folders of a piece give to its records."""
    fields: dict[str, str | None] = json.loads(split.fields) if split.fields else {}
    return fields


def changed_row(detail: str) -> RawRow:
    """The row that says that a file changed while it was read."""
    return RawRow(
        0, b"", None, f"the file changed while it was read ({detail}); it is read by the next run", FILE_CHANGED
    )


def _batches(
    landing: LandingFolder, stream: Any, split: Split
) -> Iterator[tuple[int, pa.RecordBatch] | LostRows | RawRow]:
    if not landing.is_as_planned(stream, split):
        yield changed_row("its size or time is no longer that of the file that was hashed")
        return
    yield from iter_batches(stream, split.path, range(split.start, split.stop), split.first_line)
    if not landing.is_as_planned(stream, split):
        yield changed_row("its size or time is no longer that of the file that was hashed")


def _text_rows(piece: CheckedPiece, split: Split, limit: int) -> Iterator[RawRow]:
    source: Source = Unpacked(piece, split.stop - split.start) if split.codec == "gzip" else piece
    try:
        if split.shape == "values":
            yield from iter_values(source, limit)
            return
        lines = iter_lines(source, split.first_line, limit)
        if split.format == "json":
            for number, line in lines:
                if line.strip():
                    yield RawRow(number, line.removesuffix(b"\r")[: limit + 1])
        elif split.format == "csv":
            yield from iter_csv(lines, limit)
        else:
            yield from iter_tsv(lines, split.path, limit, split_fields(split))
    except PackedError as error:  # a file that was whole when it was planned
        yield changed_row(str(error))
