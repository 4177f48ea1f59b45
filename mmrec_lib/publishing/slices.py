"""The rows of a published table that readers should take."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from mmrec_lib.lakehouse.tables import Lakehouse


def current_rows(lakehouse: Lakehouse, name: str) -> DataFrame:
    """Rows of the slice that the last run published, by its date; none where nothing was published yet.

    The date of a slice does not tell: a run with an earlier as-of date, made to repair, takes effect as well.

    Args:
        lakehouse: Tables.
        name: user_topk or item_neighbor.
    """
    found = lakehouse.read("current_slice").where(F.col("table_name") == name).select("as_of_date").collect()
    rows = lakehouse.read(name)
    # The date as a literal lets Delta read the one partition.
    return rows.where(F.col("as_of_date") == F.lit(found[0]["as_of_date"])) if found else rows.limit(0)
