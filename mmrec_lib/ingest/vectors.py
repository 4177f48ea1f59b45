"""Precomputed vectors: whole Arrow batches are judged at once, no Python object a number."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mmrec_lib.ingest.reasons import Reason, RecordError
from mmrec_lib.ingest.spellings import json_text
from mmrec_lib.ingest.values import Fields, Rules, first_readable_id
from mmrec_lib.lakehouse.landing import Split
from mmrec_lib.lakehouse.landing.parquet import MAX_VECTOR_LENGTH, arrow_bytes
from mmrec_lib.lakehouse.landing.rows import split_fields


def parse_vectors(
    batch: pa.RecordBatch, split: Split, first_row: int, schema: pa.Schema, rules: Rules
) -> pa.RecordBatch:
    """Rows of a vector file → rows of `provided_vector`, rejected ones with reason and raw bytes.

    Args:
        batch: Rows with `item_id` and `vector`, a list of numbers.
        split: Where they come from; its `dim` is the length that each vector must have.
        first_row: Number of the first row in the file, from 1.
        schema: Schema of the result.
        rules: What ids are held to.
    """
    num_rows = batch.num_rows
    vectors, problem = _vector_column(batch)
    lengths = pc.fill_null(pc.list_value_length(vectors), -1).to_numpy(zero_copy_only=False)
    bad_vector = (lengths != split.dim) | ~_all_finite(vectors, lengths)
    ids: list[str | None] = []
    reasons: list[str | None] = []
    details: list[str | None] = []
    raws: list[bytes | None] = []
    names: list[str | None] = []
    for row, raw_id in enumerate(_ids(batch, split)):
        reason = detail = item_id = None
        try:
            if isinstance(raw_id, RecordError):
                raise raw_id
            item_id = Fields({"item_id": raw_id}, rules).key("item_id")
            if bad_vector[row]:
                raise _vector_error(problem, int(lengths[row]), split.dim or 0)
        except RecordError as error:
            reason, detail = str(error.reason), error.detail
        ids.append(item_id)
        reasons.append(reason)
        details.append(detail)
        names.append(None if isinstance(raw_id, RecordError) else first_readable_id({"item_id": raw_id}, ("item_id",)))
        raws.append(None if reason is None else _raw(batch.slice(row, 1), int(lengths[row])))
    rejected = np.array([reason is not None for reason in reasons], dtype=bool)
    columns: dict[str, pa.Array] = {
        "item_id": pa.array(ids, pa.string()),
        "modality": pa.array([split.modality] * num_rows, pa.string()),
        "encoder_id": pa.array([split.encoder_id] * num_rows, pa.string()),
        "source_path": pa.array([split.path] * num_rows, pa.string()),
        "source_file_id": pa.array([split.file_id] * num_rows, pa.string()),
        "source_line": pa.array(np.arange(first_row, first_row + num_rows), pa.int64()),
        "vector": pc.if_else(pa.array(rejected), pa.scalar(None, vectors.type), vectors),
        "_raw": pa.array(raws, pa.binary()),
        "_reason": pa.array(reasons, pa.string()),
        "_detail": pa.array(details, pa.string()),
        "_record_id": pa.array(names, pa.string()),
    }
    arrays = [columns.get(field.name, pa.nulls(num_rows, field.type)) for field in schema]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _ids(batch: pa.RecordBatch, split: Split) -> list[Any]:
    """The ids of a batch as Python values; an error where Python cannot hold one (invalid UTF-8, the year 10000)."""
    if "item_id" not in batch.schema.names:
        return [split_fields(split).get("item_id")] * batch.num_rows
    column = batch.column("item_id")
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    try:
        ids: list[Any] = column.to_pylist()
        return ids
    except (ValueError, OverflowError):
        return [_id(value) for value in column]


def _id(value: pa.Scalar) -> Any:
    try:
        return value.as_py()
    except (ValueError, OverflowError) as error:
        reason = Reason.INVALID_UTF8 if isinstance(error, UnicodeDecodeError) else Reason.WRONG_TYPE
        return RecordError(reason, f"field `item_id`: an id is needed, but it cannot be read: {error}")


def _vector_column(batch: pa.RecordBatch) -> tuple[pa.ListArray, str | None]:
    wanted = pa.list_(pa.float32())
    if "vector" not in batch.schema.names:
        return pa.nulls(batch.num_rows, wanted), "there is no column `vector`"
    column = batch.column("vector")
    try:
        return column.cast(wanted, safe=False), None
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError):
        return pa.nulls(batch.num_rows, wanted), f"got a column of type {column.type}"


def _all_finite(vectors: pa.ListArray, lengths: np.ndarray) -> np.ndarray:
    """For each row, whether all its numbers are finite and none is null: [num_rows] bool."""
    flat = vectors.flatten()
    finite = np.isfinite(pc.fill_null(flat, float("nan")).to_numpy(zero_copy_only=False))
    bad_before = np.concatenate([[0], np.cumsum(~finite)])
    stops = np.cumsum(np.maximum(lengths, 0))
    starts = stops - np.maximum(lengths, 0)
    return np.asarray(bad_before[stops] == bad_before[starts])


def _vector_error(problem: str | None, length: int, dim: int) -> RecordError:
    if problem is not None:
        return RecordError(Reason.WRONG_TYPE, f"field `vector`: a list of numbers is needed, {problem}")
    if length <= 0:
        return RecordError(Reason.MISSING_FIELD, "field `vector`: a list of numbers is needed, got none")
    if length != dim:
        return RecordError(
            Reason.IMPOSSIBLE_VALUE,
            f"field `vector`: {dim} numbers are needed, as many as in the first row of the file, got {length}",
        )
    return RecordError(Reason.NOT_FINITE, "field `vector`: finite numbers are needed, got NaN, infinity or null")


def _raw(row: pa.RecordBatch, length: int) -> bytes:
    try:
        if length > MAX_VECTOR_LENGTH:
            row = row.drop_columns(["vector"])
        return json_text(row.to_pylist()[0], allow_nan=True).encode("utf-8", "replace")
    except (ValueError, OverflowError, TypeError):
        return arrow_bytes(row)
