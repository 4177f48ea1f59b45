"""Contents that contradict each other, and retrieval between modalities, as the report shows them."""

from __future__ import annotations

from pyspark.sql import Window
from pyspark.sql import functions as F

from mmrec_lib.lakehouse.tables import Lakehouse
from mmrec_lib.reporting.data import CrossModalRecall, ShownFinding

# More of a title never leaves Spark.
_MAX_CHARACTERS = 200


def shown_findings(lakehouse: Lakehouse, limit: int) -> tuple[dict[str, int], list[ShownFinding]]:
    """Number of findings by kind, and the clearest of each kind; empty where none were looked for.

    Args:
        lakehouse: Tables.
        limit: Findings of a kind, at most.
    """
    if not lakehouse.exists("content_finding"):
        return {}, []
    findings = lakehouse.read("content_finding")
    numbers = {row["kind"]: int(row["count"]) for row in findings.groupBy("kind").count().orderBy("kind").collect()}
    clearest = Window.partitionBy("kind").orderBy(F.abs("score").desc(), "item_id", "against")
    chosen = findings.withColumn("place", F.row_number().over(clearest)).where(F.col("place") <= limit)
    titles = lakehouse.read("item").select("item_id", F.substring("title", 1, _MAX_CHARACTERS).alias("title"))
    rows = chosen.join(titles, "item_id", "left").orderBy("kind", "place").collect()
    shown = [ShownFinding(row["item_id"], row["title"], row["kind"], row["score"], row["told"]) for row in rows]
    return numbers, shown


def shown_recalls(lakehouse: Lakehouse) -> list[CrossModalRecall]:
    """Retrieval between modalities; empty without a joint space."""
    if not lakehouse.exists("alignment_metric"):
        return []
    rows = lakehouse.read("alignment_metric").orderBy("source_modality", "target_modality", "k").collect()
    return [
        CrossModalRecall(
            row["source_modality"], row["target_modality"], row["k"], row["value"], row["chance"], row["num_items"]
        )
        for row in rows
    ]
