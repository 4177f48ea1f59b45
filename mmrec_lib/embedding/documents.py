"""The document of an item: everything that is known of it in words, each span with where it came from."""

from __future__ import annotations

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from mmrec_lib.contracts import CONTRACTS
from mmrec_lib.embedding.extracted_text import SEPARATORS
from mmrec_lib.embedding.revisions import PROVIDED
from mmrec_lib.embedding.texts import normalised

_SOURCES = ("title", "description", *SEPARATORS)


def item_documents(item: DataFrame, words: DataFrame, provided_text: DataFrame) -> DataFrame:
    """Rows of `item_document`: title, description, then what is said, written, shown and heard in the item's media.

    Args:
        item: Bronze table.
        words: See `words.media_words`.
        provided_text: Bronze table; a transcript of the item itself stands for those of its media.
    """
    nothing = F.lit(None)
    origin = {"media": nothing.cast("string"), "asset_id": nothing.cast("string"), "revision": nothing.cast("string")}
    whole = F.array(
        F.struct(
            F.col("raw").alias("text"),
            nothing.cast("float").alias("confidence"),
            nothing.cast("double").alias("start_seconds"),
            nothing.cast("double").alias("end_seconds"),
        )
    )

    def of_item(rows: DataFrame, source: str, encoder_id: str | None) -> DataFrame:
        return rows.select(
            "item_id",
            F.lit(source).alias("source"),
            *(column.alias(name) for name, column in origin.items()),
            F.lit(encoder_id).cast("string").alias("encoder_id"),
            F.lit(0).alias("rank"),
            whole.alias("spans"),
        )

    said = provided_text.where((F.col("owner_kind") == "item") & (F.col("kind") == "transcript")).select(
        F.col("owner_id").alias("item_id"), F.col("text").alias("raw")
    )
    of_media = (
        words.where(F.col("owner_kind") == "item")
        .withColumn("raw", F.col("text"))
        .select(
            F.col("owner_id").alias("item_id"),
            F.col("kind").alias("source"),
            "media",
            "asset_id",
            "revision",
            "encoder_id",
            F.col("position").alias("rank"),
            F.when(F.size("spans") > 0, F.col("spans")).otherwise(whole).alias("spans"),
        )
        .join(said.select("item_id", F.lit("transcript").alias("source")), on=["item_id", "source"], how="left_anti")
    )
    parts = (
        of_item(item.select("item_id", F.col("title").alias("raw")), "title", None)
        .unionByName(of_item(item.select("item_id", F.col("description").alias("raw")), "description", None))
        .unionByName(of_item(said, "transcript", PROVIDED))
        .unionByName(of_media)
        .join(item.select("item_id"), on="item_id", how="left_semi")
    )
    spans = (
        parts.select("*", F.posexplode("spans").alias("part", "span"))
        .withColumn("text", normalised(F.col("span.text")))
        .where(F.col("text").isNotNull())
    )
    order = F.array_position(F.array(*map(F.lit, _SOURCES)), F.col("source"))
    in_order = Window.partitionBy("item_id").orderBy(order, "media", "rank", "asset_id", "part")
    numbered = spans.select(
        "*",
        (F.row_number().over(in_order) - 1).alias("position"),
        F.col("span.confidence").alias("confidence"),
        F.col("span.start_seconds").alias("start_seconds"),
        F.col("span.end_seconds").alias("end_seconds"),
    )
    return numbered.select(*CONTRACTS["item_document"].content_columns)
