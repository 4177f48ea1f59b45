"""Rows of tables, told by their checksums where these tell."""

from __future__ import annotations

from collections.abc import Iterable

from pyspark.sql import functions as F

from mmrec_lib.lakehouse.actions import union
from mmrec_lib.lakehouse.tables import Lakehouse


def count_rows(lakehouse: Lakehouse, names: Iterable[str]) -> dict[str, int]:
    """Rows of some tables, 0 of those not made yet; one Spark job for all whose files do not tell.

    Args:
        lakehouse: The store.
        names: Tables.
    """
    counts, asked = dict.fromkeys(names, 0), []
    for name in counts:
        if not lakehouse.exists(name):
            continue
        listed = lakehouse.listed(name)
        if listed is not None and listed.num_rows is not None:
            counts[name] = listed.num_rows
        else:
            rows = lakehouse.read(name).agg(F.count(F.lit(1)).alias("rows"))
            asked.append(rows.select(F.lit(name).alias("name"), "rows"))
    if asked:
        counts |= {row["name"]: int(row["rows"]) for row in union(asked).collect()}
    return counts
