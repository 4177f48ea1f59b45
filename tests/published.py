"""A store in which lists were published, written straight through the contracts, without a pipeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

from mmrec_lib.contracts import CONTRACTS
from mmrec_lib.contracts.gold import CURRENT_SLICE
from mmrec_lib.lakehouse.tables import Lakehouse

NAMES = ("user_topk", "item_neighbor", "user_vector", "item_vector")
Lists = Mapping[str, Sequence[str]]


def publish(
    lakehouse: Lakehouse,
    day: date,
    lists: Lists,
    *,
    neighbors: Lists | None = None,
    version: str = "7",
    num_items: int = 4,
) -> None:
    """Publish lists as the scoring job does: scores are the ranks below zero, `current_slice` comes last."""
    spark = lakehouse.spark
    topk = [
        (day, user, rank, item, float(-rank), {"ease": float(-rank)}, None, None, version, None, None, None, None)
        for user, items in lists.items()
        for rank, item in enumerate(items, start=1)
    ]
    frame = spark.createDataFrame(topk, CONTRACTS["user_topk"].input_schema)
    lakehouse.replace_slice("user_topk", frame, {"as_of_date": day})
    vectors = [(version, f"i{n}", [1.0]) for n in range(num_items)]
    frame = spark.createDataFrame(vectors, "model_version string, item_id string, vector array<float>")
    lakehouse.replace_slice("item_vector", frame, {"model_version": version})
    names = ["user_topk", "item_vector"]
    if neighbors is not None:
        near = [
            (day, item, rank, other, 1 / rank, version)
            for item, others in neighbors.items()
            for rank, other in enumerate(others, start=1)
        ]
        columns = "as_of_date date, item_id string, rank int, neighbor_id string, similarity double"
        frame = spark.createDataFrame(near, f"{columns}, model_version string")
        lakehouse.replace_slice("item_neighbor", frame, {"as_of_date": day})
        names.append("item_neighbor")
    named = [(name, day, version, None) for name in names]
    lakehouse.merge("current_slice", spark.createDataFrame(named, CURRENT_SLICE.input_schema))
