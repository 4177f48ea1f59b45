"""The items most like each item, by blocks of items over partitions."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql.types import DoubleType, IntegerType, StringType, StructField, StructType

from mmrec_lib.lakehouse.tables import Lakehouse
from mmrec_lib.lakehouse.worker_files import WorkerFiles
from mmrec_lib.scoring.catalogue import Catalogue, load_catalogue
from mmrec_lib.topk.exact import nearest
from mmrec_lib.topk.selection import NO_ITEM

NEIGHBORS = StructType(
    [
        StructField("item_id", StringType()),
        StructField("rank", IntegerType()),
        StructField("neighbor_id", StringType()),
        StructField("similarity", DoubleType()),
    ]
)
# Items whose lists a task makes.
_ITEMS_PER_TASK = 10_000


def neighbors_over_partitions(
    lakehouse: Lakehouse, catalogue_uri: str, num_items: int, scale: NDArray[np.float32], k: int
) -> WorkerFiles:
    """The k most similar items of each item of a catalogue, rows of `NEIGHBORS`.

    Args:
        lakehouse: Session and staging folder.
        catalogue_uri: Written by `save_catalogue`.
        num_items: Its items.
        scale: [dim] factors of the leading dimensions of the item vectors, which alone are compared.
        k: Neighbours an item.
    """
    num_tasks = -(-num_items // _ITEMS_PER_TASK)
    starts = lakehouse.spark.range(0, num_items, _ITEMS_PER_TASK, num_tasks)

    def work(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for start in batch["id"].to_numpy():
                rows = slice(int(start), min(int(start) + _ITEMS_PER_TASK, num_items))
                yield neighbor_rows(load_catalogue(catalogue_uri), scale, k, rows)

    return lakehouse.stage_in_workers("neighbors", starts, work, NEIGHBORS)


def neighbor_rows(catalogue: Catalogue, scale: NDArray[np.float32], k: int, rows: slice) -> pa.RecordBatch:
    """Neighbours of some items; see `neighbors_over_partitions`."""
    vectors = catalogue.item_vectors[:, : len(scale)] * scale
    top = nearest(vectors, k, unavailable=~catalogue.rules.is_listed, rows=rows)
    items, places = np.nonzero(top.indices != NO_ITEM)
    return pa.RecordBatch.from_arrays(
        [
            catalogue.arrow_ids.take(pa.array(items + rows.start)),
            pa.array((places + 1).astype(np.int32)),
            catalogue.arrow_ids.take(pa.array(top.indices[items, places])),
            pa.array(np.round(top.scores[items, places].astype(np.float64), 5)),
        ],
        names=NEIGHBORS.names,
    )
