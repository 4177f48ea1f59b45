"""Parquet files → batches within limits: what a file unpacks to is bounded by its footer before anything is decoded."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mmrec_lib.ingest.landing.csv_rows import too_long
from mmrec_lib.ingest.landing.raw_row import RawRow
from mmrec_lib.ingest.landing.streams import FREE_BYTES, MAX_RATIO

MAX_VECTOR_LENGTH = 65_536
"""Numbers in a vector; longer ones are refused."""

BATCH_ROWS = 1024
_BATCH_BYTES = 16 << 20
_PROBE_ROWS = 8
# Values that are stored as the difference to the one before: a few bytes may stand for as much as all before them.
_DIFFERENCES, _DIFFERENCE_ROWS = "DELTA_BYTE_ARRAY", 16
_VALUE_BYTES = 8
_ERRORS = (OSError, ValueError, NotImplementedError, KeyError, TypeError, OverflowError, MemoryError)


@dataclass(frozen=True)
class LostRows:
    """Rows of a Parquet file that cannot be decoded: the first one, how many, and why."""

    first: int
    num_rows: int
    detail: str

    def rows(self) -> Iterator[RawRow]:
        """Each of them as a refused row: the reconciliation counts records, not accidents."""
        for number in range(self.first, self.first + self.num_rows):
            yield RawRow(number, b"", None, self.detail, "unreadable_record")


def bomb_in(metadata: pq.FileMetaData, *, is_vectors: bool) -> str | None:
    """Sentence on a file that by its footer unpacks to more than may be read; None when it does not.

    Args:
        metadata: The footer.
        is_vectors: Whether its lists are vectors, whose length is limited.
    """
    for group in range(metadata.num_row_groups):
        rows = metadata.row_group(group)
        for index in range(rows.num_columns):
            column = rows.column(index)
            is_list = metadata.schema.column(index).max_repetition_level > 0
            unpacked = max(column.total_uncompressed_size, column.num_values * _VALUE_BYTES if is_list else 0)
            if is_vectors and is_list and column.num_values > MAX_VECTOR_LENGTH * max(rows.num_rows, 1):
                return (
                    f"vectors of at most {MAX_VECTOR_LENGTH} numbers are needed, but column "
                    f"{column.path_in_schema} has {column.num_values // max(rows.num_rows, 1)} a row"
                )
            if unpacked > FREE_BYTES and unpacked > MAX_RATIO * max(column.total_compressed_size, 1):
                return (
                    f"column {column.path_in_schema} unpacks from {column.total_compressed_size} bytes to {unpacked}, "
                    f"more than {MAX_RATIO} times, like a bomb; write it without compression"
                )
    return None


def iter_batches(
    stream: Any, path: str, groups: range, first_row: int
) -> Iterator[tuple[int, pa.RecordBatch] | LostRows]:
    """Number of the first row, and the rows, of each batch of some row groups; rows that cannot be decoded as such.

    A batch holds about `_BATCH_BYTES` bytes. Texts with a dictionary stay encoded, in lists and structs too: a value
    that is repeated a million times is held once.
    """
    try:
        metadata = pq.ParquetFile(stream).metadata
        counts = [metadata.row_group(group).num_rows for group in groups]
    except _ERRORS as error:
        yield LostRows(first_row, 1, f"{path}: a Parquet file is needed, but {_said(error)}")
        return
    next_row = first_row
    for group, num_rows in zip(groups, counts, strict=True):
        start, stop = next_row, next_row + num_rows
        try:
            for batch in _group_batches(stream, metadata, group):
                yield next_row, batch
                next_row += batch.num_rows
        except _ERRORS as error:
            detail = f"{path}: rows {next_row} to {stop - 1} (row group {group}) cannot be decoded: {_said(error)}"
            yield LostRows(next_row, stop - next_row, detail)
        else:
            if next_row < stop:
                yield LostRows(next_row, stop - next_row, f"{path}: row group {group} ends at row {next_row - start}")
        next_row = stop


def _group_batches(stream: Any, metadata: pq.FileMetaData, group: int) -> Iterator[pa.RecordBatch]:
    rows = metadata.row_group(group)
    columns = [rows.column(index) for index in range(rows.num_columns)]
    texts = [column for column in columns if column.physical_type == "BYTE_ARRAY"]
    encoded = [column.path_in_schema for column in texts if column.has_dictionary_page]
    parquet = pq.ParquetFile(stream, read_dictionary=encoded)
    per_row = sum(max(c.total_uncompressed_size, c.num_values * _VALUE_BYTES) for c in columns) / max(rows.num_rows, 1)
    batch_rows = _rows_of(per_row)
    largest = max((c.total_uncompressed_size for c in texts if _DIFFERENCES in c.encodings), default=0)
    batch_rows = min(batch_rows, max(_DIFFERENCE_ROWS, _rows_of(largest)))
    if batch_rows > _PROBE_ROWS:
        # The footer does not tell how long a repeated value is; a few rows do.
        probe = next(parquet.iter_batches(batch_size=_PROBE_ROWS, row_groups=[group], use_threads=False), None)
        if probe is not None and probe.num_rows:
            batch_rows = min(batch_rows, _rows_of(probe.nbytes / probe.num_rows))
    yield from parquet.iter_batches(batch_size=batch_rows, row_groups=[group], use_threads=False)


def _rows_of(bytes_per_row: float) -> int:
    return int(max(1, min(BATCH_ROWS, _BATCH_BYTES // max(bytes_per_row, 1))))


def batch_rows(batch: pa.RecordBatch, first: int, limit: int) -> Iterator[RawRow]:
    """The rows of a batch as Python values; one that is too long or that Python cannot hold is refused alone.

    Args:
        batch: Rows; columns may be dictionary-encoded.
        first: Number of its first row.
        limit: Longest record in bytes.
    """
    sizes: list[int] = _sum([_value_bytes(column) for column in batch.columns], batch.num_rows).tolist()
    start = 0
    while start < batch.num_rows:
        stop, total = start, 0
        while stop < batch.num_rows and (stop == start or total + sizes[stop] <= _BATCH_BYTES):
            total += sizes[stop]
            stop += 1
        if sizes[start] > limit:
            stop = start + 1
            yield RawRow(first + start, b"", None, too_long(limit), "impossible_value")
        else:
            over = next((row for row in range(start, stop) if sizes[row] > limit), stop)
            stop = over
            yield from _python_rows(_decoded(batch.slice(start, stop - start)), first + start)
        start = stop


def _value_bytes(column: pa.Array) -> np.ndarray:
    """About how many bytes each value has when it is decoded: [num_rows] int64."""
    kind, size = column.type, len(column)
    if isinstance(column, pa.ExtensionArray):
        lengths = _value_bytes(column.storage)
    elif pa.types.is_nested(kind):
        lengths = _nested_bytes(column)
    elif pa.types.is_dictionary(kind):
        of_dictionary = np.append(_value_bytes(column.dictionary), 0)
        lengths = of_dictionary[pc.fill_null(column.indices.cast(pa.int64()), -1).to_numpy(zero_copy_only=False)]
    elif _is_text(kind):
        lengths = pc.fill_null(pc.binary_length(column), 0).to_numpy(zero_copy_only=False)
    elif pa.types.is_primitive(kind) or pa.types.is_null(kind) or pa.types.is_decimal(kind):
        lengths = np.full(size, _VALUE_BYTES)
    else:
        lengths = np.array([column.slice(row, 1).nbytes for row in range(size)])
    return np.asarray(lengths, dtype=np.int64)


def _nested_bytes(column: pa.Array) -> np.ndarray:
    kind, size = column.type, len(column)
    if pa.types.is_struct(kind):
        return _sum([_value_bytes(part) for part in column.flatten()], size)
    if pa.types.is_fixed_size_list(kind):
        inner = column.values.slice(column.offset * kind.list_size, size * kind.list_size)
        return np.asarray(_value_bytes(inner).reshape(size, kind.list_size).sum(axis=1))
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_map(kind)):
        return np.array([column.slice(row, 1).nbytes for row in range(size)])
    parts = [column.keys, column.items] if pa.types.is_map(kind) else [column.values]
    before = np.append(0, np.cumsum(_sum([_value_bytes(part) for part in parts], len(parts[0]))))
    offsets = column.offsets.to_numpy(zero_copy_only=False)
    return np.asarray(before[offsets[1:]] - before[offsets[:-1]] + _VALUE_BYTES)


def _sum(parts: list[np.ndarray], size: int) -> np.ndarray:
    return np.sum(parts, axis=0) if parts else np.zeros(size, np.int64)


def _is_text(arrow_type: pa.DataType) -> bool:
    types = pa.types
    return bool(
        types.is_string(arrow_type)
        or types.is_large_string(arrow_type)
        or types.is_binary(arrow_type)
        or types.is_large_binary(arrow_type)
    )


def _decoded(batch: pa.RecordBatch) -> pa.RecordBatch:
    columns = [c.dictionary_decode() if pa.types.is_dictionary(c.type) else c for c in batch.columns]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _python_rows(batch: pa.RecordBatch, first: int) -> list[RawRow]:
    try:
        return [RawRow(number, None, values) for number, values in enumerate(batch.to_pylist(), start=first)]
    except (ValueError, OverflowError):  # a row that Python cannot hold: invalid UTF-8, the year 10000
        return [_single_row(batch.slice(index, 1), first + index) for index in range(batch.num_rows)]


def _single_row(row: pa.RecordBatch, number: int) -> RawRow:
    try:
        return RawRow(number, None, row.to_pylist()[0])
    except (ValueError, OverflowError) as error:
        reason = "invalid_utf8" if isinstance(error, UnicodeDecodeError) else "wrong_type"
        return RawRow(number, arrow_bytes(row), None, f"the row cannot be read: {error}", reason)


def arrow_bytes(row: pa.RecordBatch) -> bytes:
    """A row that Python cannot hold, as an Arrow stream."""
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, row.schema) as writer:
        writer.write_batch(row)
    return sink.getvalue()


def _said(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
