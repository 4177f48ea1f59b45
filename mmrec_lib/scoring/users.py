"""User profiles over partitions → vectors and top-k lists."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql.types import ArrayType, DoubleType, FloatType, MapType, StringType, StructField, StructType
from scipy import sparse

from mmrec_lib.models.attributes import group_values
from mmrec_lib.models.data import Histories
from mmrec_lib.scoring.catalogue import Catalogue, load_catalogue
from mmrec_lib.topk.exact import search

SCORED = StructType(
    [
        StructField("user_id", StringType()),
        StructField("vector", ArrayType(FloatType())),
        StructField("item_ids", ArrayType(StringType())),
        StructField("scores", ArrayType(DoubleType())),
        StructField("shares", ArrayType(MapType(StringType(), DoubleType()))),
    ]
)


def score_profiles(profiles: DataFrame, catalogue_uri: str, k: int, num_tasks: int) -> DataFrame:
    """The best k items of every user.

    Users are laid out by a hash of their id and sorted, so that the same users are always scored in the same batches:
    matrix products of other batches differ in the last bits, and a second run must find nothing to change.

    Args:
        profiles: user_profile: user_id, attributes, history, seen_item_ids.
        catalogue_uri: Written by `save_catalogue`.
        k: Items a user.
        num_tasks: Tasks to divide the users into.

    Returns:
        user_id, vector, item_ids, scores, shares (best first, fewer than k where there are not so many candidates).
    """
    columns = profiles.select("user_id", "attributes", "history.item_id", "history.weight", "seen_item_ids")
    named = columns.toDF("user_id", "attributes", "history_items", "history_weights", "seen_item_ids")
    laid_out = named.repartition(num_tasks, "user_id").sortWithinPartitions("user_id")
    return laid_out.mapInArrow(lambda batches: score_partition(batches, catalogue_uri, k), SCORED)


def score_partition(batches: Iterator[pa.RecordBatch], catalogue_uri: str, k: int) -> Iterator[pa.RecordBatch]:
    """Work of one task; a task without users, of which small stores have many, loads no catalogue."""
    for batch in batches:
        if batch.num_rows:
            yield _score_batch(batch, load_catalogue(catalogue_uri), k)


def _score_batch(batch: pa.RecordBatch, catalogue: Catalogue, k: int) -> pa.RecordBatch:
    num_users = batch.num_rows
    ranker = catalogue.ranker
    history_rows, history_items = _flat(batch["history_items"])
    history_weights = batch["history_weights"].flatten().to_numpy()
    known = catalogue.listed(history_items)
    histories = Histories(
        _csr(
            history_rows[known],
            catalogue.model_index.positions(history_items[known]),
            history_weights[known],
            (num_users, len(ranker.item_ids)),
        ),
        group_values([dict(pairs or ()) for pairs in batch["attributes"].to_pylist()], ranker.attribute_names),
    )
    seen_rows, seen_items = _flat(batch["seen_item_ids"])
    there = catalogue.index.known(seen_items)
    seen = _csr(
        seen_rows[there],
        catalogue.index.positions(seen_items[there]),
        np.ones(int(there.sum())),
        (num_users, len(catalogue.item_ids)),
    )
    vectors = ranker.user_vectors(histories)
    # A task has one core.
    top = search(catalogue.prepared, vectors, k, seen=seen, num_threads=1)
    shares = _shares(catalogue, histories, top.indices, top.scores)
    lists = [[i for i in row if i >= 0] for row in top.indices.tolist()]
    return pa.RecordBatch.from_arrays(
        [
            batch["user_id"],
            pa.array(list(vectors), type=pa.list_(pa.float32())),
            pa.array([catalogue.item_ids[row].tolist() for row in lists], type=pa.list_(pa.string())),
            pa.array(
                [top.scores[u, : len(row)].astype(np.float64) for u, row in enumerate(lists)], pa.list_(pa.float64())
            ),
            pa.array(
                [shares[u][: len(row)] for u, row in enumerate(lists)], pa.list_(pa.map_(pa.string(), pa.float64()))
            ),
        ],
        names=SCORED.names,
    )


def _shares(
    catalogue: Catalogue, histories: Histories, indices: npt.NDArray[np.int32], scores: npt.NDArray[np.float32]
) -> list[list[list[tuple[str, float]]]]:
    """Shares of the listed items; for an item that came after the fit all of the score is `content`."""
    # The tail of a short list is padded, and items that came after the fit have no position in it.
    in_model = indices >= 0
    in_model[in_model] = catalogue.in_model.known[indices[in_model]]
    at = np.zeros(indices.shape, dtype=np.int64)
    at[in_model] = catalogue.in_model.of(indices[in_model])
    explained = catalogue.ranker.explain(histories, at)
    result = []
    for user in range(indices.shape[0]):
        row = []
        for place in range(indices.shape[1]):
            if in_model[user, place]:
                named = {name: float(values[user, place]) for name, values in explained.items() if name != "residual"}
            else:
                named = {"content": float(scores[user, place])}
            # Taken from the published score, so that the shares add up to it to the last bit that matters.
            named["residual"] = float(scores[user, place]) - sum(named.values())
            row.append(sorted(named.items()))
        result.append(row)
    return result


def _flat(lists: Any) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.object_]]:
    """Row number and value of every element of a list array."""
    lengths = lists.value_lengths().fill_null(0).to_numpy()
    values = np.asarray(lists.flatten().to_numpy(zero_copy_only=False), dtype=np.object_)
    return np.repeat(np.arange(len(lists)), lengths), values


def _csr(
    rows: npt.NDArray[np.int64],
    columns: npt.NDArray[np.int64],
    values: Sequence[float] | npt.NDArray[Any],
    shape: tuple[int, int],
) -> sparse.csr_matrix:
    return sparse.csr_matrix((np.asarray(values, dtype=np.float32), (rows, columns)), shape=shape)
