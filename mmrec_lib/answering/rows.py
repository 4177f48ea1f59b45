"""Batches of queries in Arrow → items and answers in Arrow, in a worker."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql.types import (
    ArrayType,
    BooleanType,
    DoubleType,
    MapType,
    StringType,
    StructField,
    StructType,
)

from mmrec_lib.answering.vectors import TEXT, content_of
from mmrec_lib.scoring.catalogue import on_local_disk
from mmrec_lib.search.config import SearchConfig
from mmrec_lib.search.engine import QueryBatch, QueryVectors, SearchIndex
from mmrec_lib.search.reasons import EmptyReason
from mmrec_lib.search.support import AnswerIndex, FoundAnswer

ANSWERED = StructType(
    [
        StructField("query_id", StringType()),
        StructField("item_ids", ArrayType(StringType())),
        StructField("scores", ArrayType(DoubleType())),
        StructField("shares", ArrayType(MapType(StringType(), DoubleType()))),
        StructField("reason", StringType()),
        StructField("is_cut", BooleanType()),
        StructField("answer_ids", ArrayType(StringType())),
        StructField("cosines", ArrayType(DoubleType())),
        StructField("confidences", ArrayType(DoubleType())),
    ]
)
"""One row a query."""

_IN_ARROW = pa.schema(
    [
        ("query_id", pa.string()),
        ("item_ids", pa.list_(pa.string())),
        ("scores", pa.list_(pa.float64())),
        ("shares", pa.list_(pa.map_(pa.string(), pa.float64()))),
        ("reason", pa.string()),
        ("is_cut", pa.bool_()),
        ("answer_ids", pa.list_(pa.string())),
        ("cosines", pa.list_(pa.float64())),
        ("confidences", pa.list_(pa.float64())),
    ]
)
# Queries answered at once: a muted category may be thousands of items a user.
_AT_ONCE = 1_000


@dataclass(frozen=True)
class AnsweringTask:
    """Settings of the tasks of a run.

    Attributes:
        uri: Written by `save_indexes`.
        config: Settings of search.
        question_encoder: Encoder of the questions; None where there are no answers.
    """

    uri: str
    config: SearchConfig
    question_encoder: str | None


def answer_partition(batches: Iterator[pa.RecordBatch], task: AnsweringTask) -> Iterator[pa.RecordBatch]:
    """Work of one task; a task without queries reads no index.

    Columns of the batches: query_id, words, k, vectors (map from `<field> <encoder>` to a vector), attributes,
    user_vector, is_cut, problem; and controls, if any.
    """
    for batch in batches:
        for start in range(0, batch.num_rows, _AT_ONCE):
            index, answers = load_indexes(task.uri)
            yield answer_batch(batch.slice(start, _AT_ONCE), index, answers, task)


@lru_cache(maxsize=1)
def load_indexes(uri: str) -> tuple[SearchIndex, AnswerIndex | None]:
    """Read what `save_indexes` wrote, once a worker process."""
    folder = on_local_disk(uri)
    answers = folder / "answers"
    return SearchIndex.load(folder / "items"), AnswerIndex.load(answers) if answers.exists() else None


def answer_batch(
    batch: pa.RecordBatch, index: SearchIndex, answers: AnswerIndex | None, task: AnsweringTask
) -> pa.RecordBatch:
    """Items and answers of some queries; see `answer_partition`."""
    vectors = _vectors_of(batch["vectors"])
    queries = QueryBatch(
        texts=batch["words"].to_pylist(),
        lengths=batch["k"].fill_null(task.config.k).to_numpy(zero_copy_only=False).astype(np.int64),
        vectors=[
            QueryVectors(space, rows, matrix, content_of(field))
            for name, (rows, matrix) in vectors.items()
            for field, space in [name.split(" ", 1)]
            if space in index.spaces
        ],
        attributes=batch["attributes"],
        controls=batch["controls"] if "controls" in batch.schema.names else None,
        users=_rows_and_matrix(batch["user_vector"]) if index.item_vectors is not None else None,
    )
    lists = index.answer(queries, task.config)
    given: dict[int, list[FoundAnswer]] = {}
    own = vectors.get(f"{TEXT} {task.question_encoder}")
    if answers is not None and own is not None:
        given = dict(zip(own[0].tolist(), answers.answer(own[1], task.config.support), strict=True))
    ids, problems, cut = index.rules.item_ids, batch["problem"].to_pylist(), batch["is_cut"].to_pylist()
    rows = []
    for row, (query_id, one) in enumerate(zip(batch["query_id"].to_pylist(), lists, strict=True)):
        found, names = given.get(row, []), list(one.shares)
        rows.append(
            {
                "query_id": query_id,
                "item_ids": ids.take(pa.array(one.items)).to_pylist(),
                "scores": one.scores.tolist(),
                "shares": [
                    [(name, part) for name, part in zip(names, parts, strict=True) if part]
                    for parts in zip(*(share.tolist() for share in one.shares.values()), strict=True)
                ],
                "reason": problems[row] if one.reason == EmptyReason.NO_WORDS and problems[row] else one.reason,
                "is_cut": one.is_cut or cut[row],
                "answer_ids": [str(answers.answer_ids[a.answer]) for a in found] if answers is not None else [],
                "cosines": [a.cosine for a in found],
                "confidences": [a.confidence for a in found],
            }
        )
    return pa.RecordBatch.from_pylist(rows, schema=_IN_ARROW)


def _vectors_of(maps: pa.MapArray) -> dict[str, tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """By key of the maps the rows that have it, and their vectors."""
    rows = np.repeat(np.arange(len(maps)), maps.is_valid().to_numpy(zero_copy_only=False) * _lengths(maps))
    entries = maps.drop_null().cast(pa.list_(pa.struct([("key", pa.string()), ("value", pa.list_(pa.float32()))])))
    flat = entries.flatten()
    keys = flat.field("key").to_numpy(zero_copy_only=False)
    found = {}
    for key in sorted(set(keys.tolist())):
        at = np.flatnonzero(keys == key)
        order = at[np.argsort(rows[at], kind="stable")]
        values = flat.field("value").take(pa.array(order)).flatten().to_numpy(zero_copy_only=False)
        found[str(key)] = rows[order], values.reshape(len(order), -1)
    return found


def _lengths(maps: pa.MapArray) -> NDArray[np.int64]:
    lists = maps.cast(pa.list_(pa.struct([("key", pa.string()), ("value", pa.list_(pa.float32()))])))
    return np.asarray(lists.value_lengths().fill_null(0).to_numpy(zero_copy_only=False), np.int64)


def _rows_and_matrix(vectors: pa.ListArray) -> tuple[NDArray[np.int64], NDArray[np.float32]] | None:
    """Rows that have a vector, and these; None where none has."""
    rows = np.flatnonzero(vectors.is_valid().to_numpy(zero_copy_only=False))
    if not len(rows):
        return None
    flat = vectors.take(pa.array(rows)).flatten().to_numpy(zero_copy_only=False)
    return rows, flat.reshape(len(rows), -1)
