"""Contents pooled into items: one vector an item, modality and field."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import reduce
from itertools import groupby, pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import IntegerType, StructField, StructType

from mmrec_lib.embedding.batches import vector_array
from mmrec_lib.embedding.revisions import PROVIDED, made_by
from mmrec_lib.embedding.storage import with_vectors
from mmrec_lib.encoders.spec import EncoderSpec

# In the order in which rows are laid out: vectors of one length stand together.
_GROUP = ("encoder_id", "revision", "item_id", "modality", "field")


def pool_items(
    item: DataFrame,
    contents: DataFrame,
    content_embedding: DataFrame,
    provided_vector: DataFrame,
    specs: Sequence[EncoderSpec],
) -> DataFrame:
    """Rows of `item_embedding`, not yet packed, for the given encoders, and precomputed vectors as field `provided`.

    The vector of an item and field is the mean of the vectors of its distinct contents, summed in double precision in
    the order of their ids, so that it does not depend on how Spark cut the data. Contents with an error do not count.

    Args:
        item: Bronze table; vectors of items that are not in it are left out.
        contents: See `contents.item_contents`.
        content_embedding: Silver table.
        provided_vector: Bronze table.
        specs: The encoders of `contents`.

    Returns:
        The key of `item_embedding`, `num_contents`, `dim` and `vector` (float32).
    """
    ready = (
        provided_vector.join(item.select("item_id"), on="item_id", how="left_semi")
        .where(F.size("vector") > 0)
        .select(
            "item_id",
            "modality",
            F.lit(PROVIDED).alias("field"),
            "encoder_id",
            F.lit(PROVIDED).alias("revision"),
            F.lit(1).alias("num_contents"),
            F.size("vector").alias("dim"),
            "vector",
        )
    )
    return _pooled(contents, content_embedding, specs).unionByName(ready)


def release_rows(item_embedding_rows: DataFrame) -> DataFrame:
    """Rows of `encoder_release` that let readers use what `pool_items` made."""
    return item_embedding_rows.select("modality", "field", "encoder_id", "revision").distinct()


def _pooled(contents: DataFrame, content_embedding: DataFrame, specs: Sequence[EncoderSpec]) -> DataFrame:
    vectors = with_vectors(content_embedding.where(made_by(*specs))).select(
        "content_id", "encoder_id", "revision", "vector"
    )
    rows = contents.select("item_id", "modality", "field", "encoder_id", "content_id").join(
        vectors, on=["content_id", "encoder_id"], how="inner"
    )
    return mean_vectors(rows)


def mean_vectors(rows: DataFrame) -> DataFrame:
    """Mean vector of each group, in a fixed order of addition.

    Args:
        rows: item_id, modality, field, encoder_id, revision (together the group), content_id (the order) and vector;
            vectors of an encoder and revision have one length.

    Returns:
        The columns of the group, num_contents, dim and vector.
    """
    rows = rows.repartition(F.col("item_id")).sortWithinPartitions(*_GROUP, "content_id").select(*_GROUP, "vector")
    counted = [StructField("num_contents", IntegerType()), StructField("dim", IntegerType())]
    schema = StructType([*(rows.schema[name] for name in _GROUP), *counted, rows.schema["vector"]])
    return rows.mapInArrow(mean_of_runs, schema)


def mean_of_runs(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Means of runs of rows with the same group, also of runs that go over batches; holds one batch and one sum."""
    open_group: tuple[str, ...] | None = None
    open_sum: npt.NDArray[np.float64] = np.zeros(0)
    open_count = 0
    for batch in _of_one_length(batches):
        groups = list(zip(*(batch.column(name).to_pylist() for name in _GROUP), strict=True))
        flat = batch.column("vector").flatten().to_numpy(zero_copy_only=False)
        vectors = flat.reshape(len(groups), -1).astype(np.float64)
        starts = [0, *(row for row in range(1, len(groups)) if groups[row] != groups[row - 1])]
        done: list[tuple[tuple[str, ...], npt.NDArray[np.float64], int]] = []
        for start, end in zip(starts, [*starts[1:], len(groups)], strict=True):
            total = vectors[start:end]
            if groups[start] == open_group:
                # Row by row, as within one batch: the order of additions must not depend on where a batch ends.
                for row in total:
                    open_sum = open_sum + row
                open_count += end - start
                continue
            if open_group is not None:
                done.append((open_group, open_sum, open_count))
            open_group, open_count = groups[start], end - start
            open_sum = reduce(np.add, total[1:], total[0].copy())
        yield from _means(done)
    if open_group is not None:
        yield from _means([(open_group, open_sum, open_count)])


def _of_one_length(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same rows in batches that hold vectors of one length each."""
    for batch in batches:
        if not batch.num_rows:
            continue
        lengths = pc.list_value_length(batch.column("vector")).to_numpy(zero_copy_only=False)
        cuts = [0, *(np.flatnonzero(np.diff(lengths)) + 1).tolist(), batch.num_rows]
        for start, end in pairwise(cuts):
            yield batch.slice(start, end - start)


def _means(done: Sequence[tuple[tuple[str, ...], npt.NDArray[np.float64], int]]) -> Iterator[pa.RecordBatch]:
    """One batch for each length of vectors among the sums."""
    for _, same in groupby(done, key=lambda one: len(one[1])):
        groups, sums, counts = zip(*same, strict=True)
        vectors = np.stack([total / count for total, count in zip(sums, counts, strict=True)]).astype(np.float32)
        arrays = [pa.array([group[i] for group in groups], pa.string()) for i in range(len(_GROUP))]
        dims = pa.array([vectors.shape[1]] * len(groups), pa.int32())
        yield pa.RecordBatch.from_arrays(
            [*arrays, pa.array(counts, pa.int32()), dims, vector_array(vectors, [True] * len(groups))],
            names=[*_GROUP, "num_contents", "dim", "vector"],
        )
