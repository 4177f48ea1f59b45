"""Changes of a keyed table, counted before they are committed."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow.dataset
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from mmrec_lib.lakehouse.staging import filesystem_of

OPERATION = "_mmrec_op"
"""Column of a change: insert, update or delete."""

# More changes than that are counted by Spark.
_COUNTED_HERE = 100_000


def count_changes(changes: DataFrame, keys: Sequence[str], path: str | None) -> dict[str, tuple[int, int]]:
    """Count rows, and different keys among them, of each operation.

    Args:
        changes: Rows with the key and `OPERATION`.
        keys: Columns of the key.
        path: Folder where the changes are staged: a few are counted there without a Spark job. None: not staged.
    """
    counted = _counted_in_files(path, keys) if path is not None else None
    return _counted(changes, keys) if counted is None else counted


def _counted(changes: DataFrame, keys: Sequence[str]) -> dict[str, tuple[int, int]]:
    counted = changes.groupBy(OPERATION).agg(
        F.count(F.lit(1)).alias("rows"), F.countDistinct(F.struct(*keys)).alias("keys")
    )
    return {row[OPERATION]: (row["rows"], row["keys"]) for row in counted.collect()}


def _counted_in_files(path: str, keys: Sequence[str]) -> dict[str, tuple[int, int]] | None:
    """Count in this process; None when there are too many."""
    fs, root = filesystem_of(path)
    found = pyarrow.dataset.dataset(root, filesystem=fs, format="parquet")
    num_rows = found.count_rows()
    if num_rows > _COUNTED_HERE:
        return None
    counts: dict[str, tuple[int, int]] = {}
    by_key = found.to_table([OPERATION, *keys]).group_by([OPERATION, *keys]).aggregate([([], "count_all")])
    for operation, num in zip(by_key[OPERATION].to_pylist(), by_key["count_all"].to_pylist(), strict=True):
        rows, different = counts.get(operation, (0, 0))
        counts[operation] = (rows + num, different + 1)
    return counts
