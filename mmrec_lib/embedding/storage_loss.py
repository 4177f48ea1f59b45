"""Recall lost to the storage format of vectors, measured while they are made."""

from __future__ import annotations

from dataclasses import dataclass, field

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from mmrec_lib.embedding.quantization_loss import QuantizationLoss, quantization_loss
from mmrec_lib.embedding.vector_codec import Storage, quantize
from mmrec_lib.lakehouse.tables import Lakehouse

# Of an encoder's new vectors so many, drawn by their content ids, tell what the form costs.
SAMPLE_ROWS = 2000


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

    def loss(self, name: str) -> QuantizationLoss | None:
        """Recall lost to the format among the vectors of a work.

        Returns:
            None when there are too few new vectors to tell.
        """
        sample = self._samples.get(name)
        if sample is None or not sample.num_rows:
            return None
        exact = sample.column("vector").combine_chunks()
        exact_ND, stored_ND = (
            vectors.flatten().to_numpy(zero_copy_only=False).reshape(sample.num_rows, -1)
            for vectors in (exact, quantize(exact)["vector"])
        )
        return quantization_loss(exact_ND, stored_ND)

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
