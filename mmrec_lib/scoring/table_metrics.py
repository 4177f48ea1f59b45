"""Metrics of lists that lie in tables too large for one process: the same numbers as `evaluation`, by Spark.

Spark finds the ranks of the hits; what they are worth is computed by `evaluation.metrics` in the workers. Nothing that
grows with users or items is collected.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from mmrec_lib.errors import ModelError
from mmrec_lib.evaluation.metrics import METRICS, hit_metrics


def user_metrics(lists: DataFrame, relevant: DataFrame, ks: Sequence[int] = (10, 20)) -> DataFrame:
    """Metrics of each user with a relevant item; users without a list found nothing.

    Args:
        lists: user_id, rank (from 1 on) and item_id, such as a slice of `user_topk`; each item once in a list.
        relevant: user_id and item_id, distinct: what users turned to that they could be recommended.
        ks: Cut-offs.

    Returns:
        user_id and a double column `<metric>@<k>` for each of METRICS; see `evaluation.metrics.list_metrics`.

    Raises:
        ModelError: When a cut-off is below 1.
    """
    _check_cut_offs(ks)
    listed = lists.where(F.col("rank") <= max(ks)).select("user_id", "item_id", "rank")
    hits = listed.join(relevant.select("user_id", "item_id"), ["user_id", "item_id"]).groupBy("user_id")
    found = (
        relevant.groupBy("user_id")
        .agg(F.count(F.lit(1)).alias("num_relevant"))
        .join(hits.agg(F.collect_list("rank").alias("ranks")), "user_id", "left")
        .select("user_id", "num_relevant", F.coalesce("ranks", F.array().cast("array<int>")).alias("ranks"))
    )
    columns = ", ".join(f"`{name}` double" for name in _names(ks))
    return found.mapInArrow(_metrics_of_batches(tuple(ks)), f"user_id string, {columns}")


def mean_metrics(
    lists: DataFrame, relevant: DataFrame, num_items: int, ks: Sequence[int] = (10, 20)
) -> dict[str, float]:
    """Means of `user_metrics` over users, and coverage and Gini coefficient of all lists.

    Args:
        lists: See `user_metrics`.
        relevant: See `user_metrics`.
        num_items: Items of the catalogue.
        ks: Cut-offs.

    Returns:
        `{"ndcg@10": …, "coverage@10": …, "gini@10": …, …}`; means are NaN where nobody has a relevant item.
    """
    by_user = user_metrics(lists, relevant, ks)
    means = by_user.agg(*(F.avg(F.col(f"`{name}`")).alias(name) for name in _names(ks))).collect()[0].asDict()
    found = {name: float("nan") if mean is None else float(mean) for name, mean in means.items()}
    for k in ks:
        exposures = lists.where(F.col("rank") <= k).groupBy("item_id").agg(F.count(F.lit(1)).alias("exposure"))
        # Items of one exposure share a row, so that few are left however many items there are.
        rows = exposures.groupBy("exposure").agg(F.count(F.lit(1)).alias("num_items")).orderBy("exposure").collect()
        shown, numbers = (np.array([row[name] for row in rows], dtype=np.float64) for name in ("exposure", "num_items"))
        found[f"coverage@{k}"] = float(numbers.sum()) / num_items if num_items else 0.0
        found[f"gini@{k}"] = _gini(shown, numbers, num_items)
    return found


def _gini(exposures: np.ndarray, numbers: np.ndarray, num_items: int) -> float:
    """The coefficient of `evaluation.lists.gini`, of ascending exposures that several items have; others have none."""
    total = float(exposures @ numbers)
    if total == 0:
        return 0.0
    last = num_items - numbers.sum() + np.cumsum(numbers)
    # The sum of 2 i - I - 1 over the places i of the items of one exposure.
    weights = numbers * (2 * last - numbers - num_items)
    return float(weights @ exposures) / (num_items * total)


def _names(ks: Sequence[int]) -> list[str]:
    return [f"{metric}@{k}" for k in ks for metric in METRICS]


def _metrics_of_batches(ks: tuple[int, ...]) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def compute(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            ranks = batch["ranks"]
            hits_NK = np.zeros((batch.num_rows, max(ks)), dtype=np.bool_)
            rows = np.repeat(np.arange(batch.num_rows), ranks.value_lengths().to_numpy())
            hits_NK[rows, ranks.flatten().to_numpy() - 1] = True
            values = hit_metrics(hits_NK, batch["num_relevant"].to_numpy(), ks)
            yield pa.RecordBatch.from_pydict(
                {"user_id": batch["user_id"], **{name: pa.array(values[name]) for name in _names(ks)}}
            )

    return compute


def _check_cut_offs(ks: Sequence[int]) -> None:
    if not ks or min(ks) < 1:
        raise ModelError(f"metrics: cut-offs of at least 1 are needed, got {list(ks)}")
