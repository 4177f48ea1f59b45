"""Which contents items have, and which of them have no vector yet.

A content is a distinct text or picture; its id is the sha256 of the normalised text or of the picture's bytes. Many
items may share one, and it is encoded once.
"""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from mmrec_lib.embedding.config import EmbeddingConfig
from mmrec_lib.embedding.texts import content_id, normalised
from mmrec_lib.encoders.spec import EncoderSpec


def item_contents(
    item: DataFrame,
    review: DataFrame,
    media_link: DataFrame,
    *,
    words: DataFrame,
    provided_vector: DataFrame,
    config: EmbeddingConfig,
) -> DataFrame:
    """The contents that are to be encoded, for each item.

    A spoken review counts with its transcript where it has no written words. An item with a ready-made vector of a
    modality has no contents of that modality, unless `config.provided` is `both`. Read more than once: stage it.

    Args:
        item: Bronze table.
        review: Bronze table; reviews of items that are not in `item` do not count.
        media_link: Bronze table.
        words: What items and reviews say; see `transcripts.spoken_words`.
        provided_vector: Bronze table.
        config: Which fields count.

    Returns:
        `item_id`, `modality`, `field`, `content_id`, `text` (null for pictures), distinct.
    """
    parts: list[DataFrame] = []
    if config.text_encoder is not None and config.text_fields:
        parts.append(_texts(item, review, words, config))
    if config.image_encoder is not None and config.image_fields:
        parts.append(_pictures(item, media_link))
    if not parts:
        nothing = F.lit(None).cast("string")
        parts.append(
            item.limit(0).select("item_id", *(nothing.alias(n) for n in ("modality", "field", "content_id", "text")))
        )
    contents = parts[0] if len(parts) == 1 else parts[0].unionByName(parts[1])
    if config.provided == "replace":
        contents = contents.join(
            provided_vector.select("item_id", "modality").distinct(), on=["item_id", "modality"], how="left_anti"
        )
    return contents.select("item_id", "modality", "field", "content_id", "text")


def plan_encoding(
    contents: DataFrame, content_embedding: DataFrame, spec: EncoderSpec, media_asset: DataFrame
) -> DataFrame:
    """Contents of an encoder's modality that this revision has neither a vector nor an error for.

    Args:
        contents: See `item_contents`.
        content_embedding: Silver table.
        spec: The encoder.
        media_asset: Bronze table, where the bytes of pictures are.

    Returns:
        For texts `content_id`, `text`; for pictures `content_id`, `content` (bytes or null), `uri`. One row a content.
    """
    is_done = (F.col("encoder_id") == spec.id) & (F.col("revision") == spec.revision)
    done = content_embedding.where(is_done).select("content_id")
    wanted = contents.where(F.col("modality") == spec.modality)
    if spec.modality == "text":
        return (
            wanted.select("content_id", "text")
            .dropDuplicates(["content_id"])
            .join(done, on="content_id", how="left_anti")
        )
    missing = wanted.select("content_id").distinct().join(done, on="content_id", how="left_anti")
    media = media_asset.select(F.col("asset_id").alias("content_id"), "content", "uri")
    return media.join(missing, on="content_id", how="left_semi")


def content_embedding_rows(encoded: DataFrame, spec: EncoderSpec) -> DataFrame:
    """Rows of `content_embedding` from the operator's output (`content_id`, `vector`, `dim`, `error`)."""
    return encoded.select(
        "content_id",
        F.lit(spec.id).alias("encoder_id"),
        F.lit(spec.revision).alias("revision"),
        F.lit(spec.modality).alias("modality"),
        "dim",
        "error",
        "vector",
    )


def review_words(review: DataFrame, words: DataFrame) -> DataFrame:
    """The words of each review, written or else spoken.

    Args:
        review: Bronze table.
        words: See `transcripts.spoken_words`.

    Returns:
        The columns of `review` and `raw`, null where there are no words.
    """
    spoken = words.where(F.col("owner_kind") == "review").select(
        F.col("owner_id").alias("review_id"), F.col("text").alias("_spoken")
    )
    written = F.nullif(F.trim("text"), F.lit(""))
    joined = review.join(spoken, on="review_id", how="left")
    return joined.withColumn("raw", F.coalesce(written, "_spoken")).drop("_spoken")


def _texts(item: DataFrame, review: DataFrame, words: DataFrame, config: EmbeddingConfig) -> DataFrame:
    known = item.select("item_id")
    said = words.where(F.col("owner_kind") == "item").select(
        F.col("owner_id").alias("item_id"), F.col("text").alias("raw")
    )
    sources = {
        "title": item.select("item_id", F.col("title").alias("raw")),
        "description": item.select("item_id", F.col("description").alias("raw")),
        "transcript": said.join(known, on="item_id", how="left_semi"),
        "review": review_words(review.join(known, on="item_id", how="left_semi"), words).select("item_id", "raw"),
    }
    parts = [sources[field].withColumn("field", F.lit(field)) for field in dict.fromkeys(config.text_fields)]
    union = parts[0]
    for part in parts[1:]:
        union = union.unionByName(part)
    texts = union.where(F.col("raw").isNotNull()).select("item_id", "field", normalised(F.col("raw")).alias("text"))
    return (
        texts.where(F.col("text").isNotNull())
        .select(
            "item_id", F.lit("text").alias("modality"), "field", content_id(F.col("text")).alias("content_id"), "text"
        )
        .dropDuplicates(["item_id", "field", "content_id"])
    )


def _pictures(item: DataFrame, media_link: DataFrame) -> DataFrame:
    is_picture = (F.col("owner_kind") == "item") & (F.col("field") == "images")
    return (
        media_link.where(is_picture)
        .select(F.col("owner_id").alias("item_id"), F.col("asset_id").alias("content_id"))
        .distinct()
        .join(item.select("item_id"), on="item_id", how="left_semi")
        .select(
            "item_id",
            F.lit("image").alias("modality"),
            F.lit("images").alias("field"),
            "content_id",
            F.lit(None).cast("string").alias("text"),
        )
    )
