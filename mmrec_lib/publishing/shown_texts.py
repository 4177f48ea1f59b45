"""A sample of the texts for people as the report shows them."""

from __future__ import annotations

from pyspark.sql import functions as F

from mmrec_lib.lakehouse.tables import Lakehouse
from mmrec_lib.reporting.data import ShownText

# More of a title never leaves Spark.
_MAX_CHARACTERS = 200


def shown_texts(lakehouse: Lakehouse, limit: int) -> list[ShownText]:
    """Some texts, chosen by the hash of user and item: the same ones at every run; none where none was written.

    Args:
        lakehouse: Tables.
        limit: Texts, at most.
    """
    if not limit or not lakehouse.exists("recommendation_text"):
        return []
    texts = lakehouse.read("recommendation_text").where(F.col("text").isNotNull())
    chosen = texts.orderBy(F.xxhash64("user_id", "item_id"), "user_id", "item_id").limit(limit)
    titles = lakehouse.read("item").select("item_id", F.substring("title", 1, _MAX_CHARACTERS).alias("title"))
    rows = chosen.join(titles, "item_id", "left").orderBy(F.xxhash64("user_id", "item_id"), "user_id", "item_id")
    return [
        ShownText(
            user_id=row["user_id"],
            item_id=row["item_id"],
            title=row["title"],
            language=row["language"],
            told=row["text"],
            facts=[(fact["kind"], [one["value"] for one in fact["values"]]) for fact in row["facts"]],
            source=row["source"],
        )
        for row in rows.collect()
    ]
