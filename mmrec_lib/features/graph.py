"""Vectors of the knowledge graph as one more block of item features."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from mmrec_lib.errors import NoDataError
from mmrec_lib.features.config import FeaturesConfig
from mmrec_lib.features.contents import ALL_FITS
from mmrec_lib.features.load import sorted_table
from mmrec_lib.lakehouse.counts import count_rows
from mmrec_lib.lakehouse.tables import Lakehouse
from mmrec_lib.models.graph_vectors import entity_seeds, graph_vectors

GRAPH_VECTORS = "relations:vectors"
_COLUMNS = pa.schema([("item_id", pa.string()), ("vector", pa.list_(pa.float32()))])


def graph_vector_features(
    lakehouse: Lakehouse, items: DataFrame, graph_edge: DataFrame, config: FeaturesConfig
) -> DataFrame:
    """Vectors of the items that the graph speaks of, as rows of a snapshot: fit, feature, item_id, tokens, vector.

    Args:
        lakehouse: Table graph_edge, whose rows are counted.
        items: Table item.
        graph_edge: Edges, those of entities among them: head and tail.
        config: Dimensions and hops.

    Raises:
        NoDataError: When the graph has more edges than this process is meant to hold.
    """
    num_edges = count_rows(lakehouse, ("graph_edge",))["graph_edge"]
    if num_edges > config.max_graph_edges:
        raise NoDataError(
            f"graph_edge has {num_edges:,} rows, more than features.max_graph_edges = {config.max_graph_edges:,}. "
            "Raise it on a machine with 200 bytes of memory for each, or set features.graph_dim=0."
        )
    edges = sorted_table(lakehouse, "head", graph_edge.select("head", "tail").distinct())
    ids = sorted_table(lakehouse, "item_id", items.select("item_id"))["item_id"].combine_chunks()
    rows = item_vectors(edges, ids, config.graph_dim, config.graph_hops)
    return lakehouse.spark.createDataFrame(rows).select(
        F.lit(ALL_FITS).alias("fit"),
        F.lit(GRAPH_VECTORS).alias("feature"),
        "item_id",
        F.lit(None).cast("array<string>").alias("tokens"),
        "vector",
    )


def item_vectors(edges: pa.Table, item_ids: pa.StringArray, dim: int, hops: int) -> pa.Table:
    """Rows item_id and vector of the items that some edge leads to or from.

    Args:
        edges: head and tail.
        item_ids: Items of the catalogue.
        dim: Length of the vectors.
        hops: Longest walk.
    """
    ends = pc.unique(pa.chunked_array([*edges["head"].chunks, *edges["tail"].chunks], pa.string()))
    others = ends.filter(pc.invert(pc.is_in(ends, value_set=item_ids)))
    entities = pa.concat_arrays([item_ids, others])
    heads, tails = (
        pc.index_in(edges[name], value_set=entities).to_numpy().astype(np.int64) for name in ("head", "tail")
    )
    seeds = entity_seeds(entities.to_pylist())
    vectors = graph_vectors(heads, tails, seeds, len(item_ids), dim, hops)
    known = np.flatnonzero(vectors.any(axis=1))
    offsets = pa.array(np.arange(len(known) + 1, dtype=np.int32) * dim)
    lists = pa.ListArray.from_arrays(offsets, pa.array(vectors[known].ravel()))
    return pa.Table.from_arrays([item_ids.take(pa.array(known)), lists], schema=_COLUMNS)
