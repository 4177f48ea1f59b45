"""Vectors of `content_embedding` and `item_embedding` in the form that is set, and back."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import StructField, StructType

from mmrec_lib.contracts import CONTRACTS
from mmrec_lib.embedding.vector_codec import Storage, quantize

_FIELDS = tuple(
    StructField(column.name, column.type)
    for column in CONTRACTS["item_embedding"].columns
    if column.name in ("vector", "codes", "scale", "storage")
)


def with_vectors(rows: DataFrame) -> DataFrame:
    """Rows of `content_embedding` or `item_embedding` that have a vector, as readers use them.

    Earlier versions could store `codes` and a `scale` in place of `vector`; such rows are read as well.

    Returns:
        The same columns; `vector` is filled whatever the form, and its other columns are gone.
    """
    # A code times a float is a double to Spark.
    scaled = F.transform("codes", lambda code: (code * F.col("scale")).cast("float"))
    vectors = rows.withColumn("vector", F.coalesce("vector", scaled)).drop("codes", "scale", "storage")
    return vectors.where(F.col("vector").isNotNull())


def stored_as(*forms: Storage) -> Column:
    """Tell if a row is kept in one of these forms; errors, and rows older than this choice, count as float32."""
    return F.coalesce("storage", F.lit("float32")).isin(*forms)


def quantized(rows: DataFrame, storage: Storage) -> DataFrame:
    """Rows with a column `vector` (float32, null with an error) in the form in which they are stored.

    Returns:
        The other columns, and `vector`, `codes`, `scale` and `storage`; see `vector_codec.quantize`. No row has codes.
    """
    names = [field.name for field in _FIELDS]
    others = [name for name in rows.columns if name not in names]
    exact = rows.select(*others, "vector")
    nothing = {one.name: F.lit(None).cast(one.dataType) for one in _FIELDS if one.name in ("codes", "scale")}
    if storage == "float32":
        return exact.withColumns(nothing | {"storage": F.when(F.col("vector").isNotNull(), F.lit(storage))})
    made = [field for field in _FIELDS if field.name not in nothing]

    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            columns = {name: batch.column(name) for name in others} | quantize(batch.column("vector"))
            yield pa.RecordBatch.from_pydict({name: columns[name] for name in (*others, *(one.name for one in made))})

    schema = StructType([*(exact.schema[name] for name in others), *made])
    return exact.mapInArrow(run, schema).withColumns(nothing)
