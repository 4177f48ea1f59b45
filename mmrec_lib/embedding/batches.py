"""Arrow batches of bounded size, and flat Arrow vectors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import overload

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mmrec_lib.encoders.spec import EncoderInput, ExtractedText


def bounded(batches: Iterable[pa.RecordBatch], column: str, max_bytes: int, max_rows: int) -> Iterator[pa.Table]:
    """Cuts and joins batches into portions that have as many rows as fit; nothing is copied.

    Args:
        batches: Batches of any size, all of one schema.
        column: Strings or binaries whose bytes are counted; a null counts as `max_bytes`, because what it stands for
            (bytes behind a URI) is not known.
        max_bytes: Most bytes of that column in a portion; one row may have more and is then alone.
        max_rows: Most rows in a portion.
    """
    waiting: list[pa.RecordBatch] = []
    num_bytes = num_rows = 0
    for batch in batches:
        sizes = pc.fill_null(pc.binary_length(batch.column(column)), max_bytes).to_numpy(zero_copy_only=False)
        start = 0
        for row, size in enumerate(sizes.tolist()):
            if num_rows and (num_bytes + size > max_bytes or num_rows >= max_rows):
                if row > start:
                    waiting.append(batch.slice(start, row - start))
                yield pa.Table.from_batches(waiting)
                waiting, num_bytes, num_rows, start = [], 0, 0, row
            num_bytes += size
            num_rows += 1
        if start < batch.num_rows:
            waiting.append(batch.slice(start))
    if waiting:
        yield pa.Table.from_batches(waiting)


class Rows(Sequence[EncoderInput]):
    """A column as models read it: each value is copied out of Arrow when it is asked for.

    Beside the column itself no more is held than what a model works on. It costs less than a list, too: memory that is
    used again needs no new pages from the operating system.

    Args:
        column: Strings or binaries.
        read: Gives the value of a row that has none, by its number.
    """

    def __init__(self, column: pa.ChunkedArray, read: Callable[[int], EncoderInput] = lambda _: None) -> None:
        self._column, self._read = column, read

    def __len__(self) -> int:
        return len(self._column)

    @overload
    def __getitem__(self, row: int) -> EncoderInput: ...

    @overload
    def __getitem__(self, row: slice) -> Sequence[EncoderInput]: ...

    def __getitem__(self, row: int | slice) -> EncoderInput | Sequence[EncoderInput]:
        """A value, or a list of values."""
        if isinstance(row, slice):
            return [self[number] for number in range(len(self))[row]]
        value: EncoderInput = self._column[row].as_py()
        return self._read(row) if value is None else value


def vector_array(vectors: npt.NDArray[np.float32], is_valid: Sequence[bool]) -> pa.ListArray:
    """One flat Arrow list array of `[n, dim]` vectors; null where not valid. No Python object is made for a row."""
    valid = np.asarray(is_valid, dtype=bool)
    offsets = np.zeros(len(valid) + 1, dtype=np.int32)
    np.cumsum(valid * vectors.shape[1], out=offsets[1:])
    values = pa.array(np.ascontiguousarray(vectors[valid], dtype=np.float32).reshape(-1), type=pa.float32())
    return pa.ListArray.from_arrays(pa.array(offsets), values, mask=pa.array(~valid))


_SPANS = pa.list_(
    pa.struct(
        [
            ("text", pa.string()),
            ("confidence", pa.float32()),
            ("start_seconds", pa.float64()),
            ("end_seconds", pa.float64()),
        ]
    )
)


def text_arrays(found: Sequence[ExtractedText]) -> dict[str, pa.Array]:
    """Columns text, language, confidence, spans and error; spans are null with an error."""
    spans = [None if words.error else [asdict(span) for span in words.spans] for words in found]
    return {
        "text": pa.array([words.text for words in found], pa.string()),
        "language": pa.array([words.language for words in found], pa.string()),
        "confidence": pa.array([words.confidence for words in found], pa.float32()),
        "spans": pa.array(spans, _SPANS),
        "error": pa.array([words.error for words in found], pa.string()),
    }
