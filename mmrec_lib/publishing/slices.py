"""The rows of a published table that readers should take."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from mmrec_lib.contracts.table import SLICE_COLUMN
from mmrec_lib.lakehouse.tables import Lakehouse


def current_rows(lakehouse: Lakehouse, name: str) -> DataFrame:
    """Rows of the slice that the last run published, by its date; none where nothing was published yet.

    The date of a slice does not tell: a run with an earlier as-of date, made to repair, takes effect as well.

    Args:
        lakehouse: Tables.
        name: user_topk or item_neighbor.
    """
    day, rows = lakehouse.current_slice(name), lakehouse.read(name)
    # The date as a literal lets Delta read the one partition.
    return rows.where(F.col(SLICE_COLUMN) == F.lit(day)) if day is not None else rows.limit(0)
