"""Vectors of `content_embedding` and `item_embedding` in the form that is set, and back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import StructField, StructType

from mmrec_lib.contracts import CONTRACTS
from mmrec_lib.encoders.packing import Storage, pack, unpack
from mmrec_lib.encoders.retrieval import RetrievalLoss, retrieval_loss
from mmrec_lib.lakehouse.tables import Lakehouse

# Of an encoder's new vectors so many, drawn by their content ids, tell what the form costs.
SAMPLE_ROWS = 2000

_FIELDS = tuple(
    StructField(column.name, column.type)
    for column in CONTRACTS["item_embedding"].columns
    if column.name in ("vector", "codes", "scale", "storage")
)


def with_vectors(rows: DataFrame) -> DataFrame:
    """Rows of `content_embedding` or `item_embedding` that have a vector, as readers use them.

    Returns:
        The same columns; `vector` is filled whatever the form, and its other columns are gone.
    """
    # A code times a float is a double to Spark.
    scaled = F.transform("codes", lambda code: (code * F.col("scale")).cast("float"))
    vectors = rows.withColumn("vector", F.coalesce("vector", scaled)).drop("codes", "scale", "storage")
    return vectors.where(F.col("vector").isNotNull())


def stored_as(*forms: Storage) -> Column:
    """Whether a row is kept in one of these forms; errors, and rows older than this choice, count as float32."""
    return F.coalesce("storage", F.lit("float32")).isin(*forms)


def packed(rows: DataFrame, storage: Storage) -> DataFrame:
    """Rows with a column `vector` (float32, null with an error) in the form in which they are stored.

    Returns:
        The other columns, and `vector`, `codes`, `scale` and `storage`; see `encoders.packing.pack`.
    """
    names = [field.name for field in _FIELDS]
    others = [name for name in rows.columns if name not in names]
    exact = rows.select(*others, "vector")
    if storage == "float32":
        nothing = {one.name: F.lit(None).cast(one.dataType) for one in _FIELDS if one.name in ("codes", "scale")}
        return exact.withColumns(nothing | {"storage": F.when(F.col("vector").isNotNull(), F.lit(storage))})

    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            columns = {name: batch.column(name) for name in others} | pack(batch.column("vector"), storage)
            yield pa.RecordBatch.from_pydict({name: columns[name] for name in (*others, *names)})

    return exact.mapInArrow(run, StructType([*(exact.schema[name] for name in others), *_FIELDS]))


@dataclass
class LossMeter:
    """Measures on a sample of the new vectors of each work what their form costs.

    Attributes:
        lakehouse: Where the sample is staged.
        storage: The form.
    """

    lakehouse: Lakehouse
    storage: Storage
    _samples: dict[str, pa.Table] = field(default_factory=dict)

    def loss(self, name: str) -> RetrievalLoss | None:
        """What the form costs whoever searches among the vectors of a work.

        Returns:
            None when there are too few new vectors to tell.
        """
        sample = self._samples.get(name)
        if sample is None or not sample.num_rows:
            return None
        exact = sample.column("vector").combine_chunks()
        exact_ND, stored_ND = (
            vectors.flatten().to_numpy(zero_copy_only=False).reshape(sample.num_rows, -1)
            for vectors in (exact, unpack(pack(exact, self.storage)))
        )
        return retrieval_loss(exact_ND, stored_ND)

    def look_at(self, exact: DataFrame, name: str) -> None:
        """Take rows with exact vectors into the sample of a work.

        Of all rows that were looked at it holds those whose reversed ids come first, the same ones however the work is
        cut into chunks.

        Args:
            exact: `content_id` and `vector` (float32); read once.
            name: The work; see `loss`.
        """
        drawn = exact.where(F.col("vector").isNotNull()).select(F.reverse("content_id").alias("drawn"), "vector")
        few = self.lakehouse.stream_arrow("storage_sample", drawn.orderBy("drawn").limit(SAMPLE_ROWS))
        seen = [self._samples[name]] if name in self._samples else []
        # Made anew from their columns: whether these may be null differs from table to table.
        tables = [*seen, *(pa.Table.from_arrays(batch.columns, names=batch.schema.names) for batch in few)]
        if tables:
            self._samples[name] = pa.concat_tables(tables).sort_by("drawn").slice(0, SAMPLE_ROWS)
