"""Contents of items, and those among them that have no vector yet.

A content is a distinct text or medium; its id is the sha256 of the normalised text or of the medium's bytes. Many
items may share one, and it is encoded once.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from mmrec_lib.embedding.config import DEFAULT_LANGUAGE, FieldEncoder
from mmrec_lib.embedding.languages import language
from mmrec_lib.embedding.owner_text import joined_texts, review_words
from mmrec_lib.embedding.revisions import attempts_now, made_by, not_done, of_model
from mmrec_lib.embedding.storage import stored_as
from mmrec_lib.embedding.vector_codec import Storage
from mmrec_lib.encoders.spec import EncoderSpec
from mmrec_lib.lakehouse.kept_media import kept_reference


def item_contents(
    item: DataFrame,
    review: DataFrame,
    media_link: DataFrame,
    *,
    owner_text: DataFrame,
    provided_vector: DataFrame,
    encoders: Sequence[tuple[FieldEncoder, EncoderSpec]],
    provided: str = "replace",
) -> DataFrame:
    """The contents that are to be encoded, for each item and encoder.

    A spoken review counts with its transcript where it has no written words. An item with a precomputed vector of a
    modality has no contents of that modality, unless `provided` is `both`. Read more than once: stage it.

    Args:
        item: Bronze table.
        review: Bronze table; reviews of items that are not in `item` do not count.
        media_link: Bronze table.
        owner_text: Silver table.
        provided_vector: Bronze table.
        encoders: The encoders of each field.
        provided: What a precomputed vector does, `replace` or `both`.

    Returns:
        `item_id`, `modality`, `field`, `encoder_id`, `content_id`, `text` (null for media), distinct.
    """
    texts = [(one, spec) for one, spec in encoders if not one.reads_media]
    media = [(one, spec) for one, spec in encoders if one.reads_media]
    nothing = F.lit(None).cast("string")
    columns = ("item_id", "modality", "field", "encoder_id", "content_id", "text")
    parts = [item.limit(0).select("item_id", *(nothing.alias(name) for name in columns[1:]))]
    if texts:
        fields = tuple(dict.fromkeys(one.field for one, _ in texts))
        parts.append(_assigned(_texts(item, review, owner_text, fields), texts))
    if media:
        fields = tuple(dict.fromkeys(one.field for one, _ in media))
        parts.append(_assigned(_media(item, media_link, fields), media))
    contents = reduce(DataFrame.unionByName, (part.select(*columns) for part in parts))
    if provided == "replace":
        contents = contents.join(
            provided_vector.select("item_id", "modality").distinct(), on=["item_id", "modality"], how="left_anti"
        )
    return contents.select(*columns)


def plan_encoding(
    contents: DataFrame,
    content_embedding: DataFrame,
    spec: EncoderSpec,
    media_asset: DataFrame | None,
    storage: Storage = "float32",
) -> DataFrame:
    """Contents of an encoder that this revision has neither an error for nor a vector in the wanted form.

    A vector in float32 counts, because it can be packed as it stands.

    Args:
        contents: See `item_contents`.
        content_embedding: Silver table.
        spec: The encoder.
        media_asset: Bronze table, where the bytes of media are; None plans texts.
        storage: The form in which vectors are to be stored.

    Returns:
        For texts `content_id`, `text`; for media `content_id`, `content` (bytes or null), `uri` (a `kept_reference`)
        and `num_attempts`, see `revisions.not_done`. One row a content.
    """
    done = content_embedding.where(made_by(spec) & stored_as("float32", storage))
    wanted = contents.where(F.col("encoder_id") == spec.id)
    if media_asset is None:
        return (
            wanted.where(F.col("text").isNotNull())
            .select("content_id", "text")
            .dropDuplicates(["content_id"])
            .join(done, on="content_id", how="left_anti")
        )
    missing = not_done(wanted.where(F.col("text").isNull()).select("content_id").distinct(), done)
    media = media_asset.select(F.col("asset_id").alias("content_id"), "content", kept_reference().alias("uri"))
    return media.join(missing, on="content_id", how="inner")


def content_embedding_rows(encoded: DataFrame, *specs: EncoderSpec) -> DataFrame:
    """Rows of `content_embedding`, not yet packed, from the operator's output for one model or several."""
    return encoded.select(
        "content_id",
        of_model(specs, "id").alias("encoder_id"),
        of_model(specs, "revision").alias("revision"),
        of_model(specs, "modality").alias("modality"),
        "dim",
        "error",
        attempts_now(encoded).alias("num_attempts"),
        "vector",
    )


def _assigned(rows: DataFrame, encoders: Sequence[tuple[FieldEncoder, EncoderSpec]]) -> DataFrame:
    """Each row once for every encoder of its field and language."""
    with_languages = {one.field for one, _ in encoders if one.language is not None}
    if with_languages:
        read = F.when(F.col("field").isin(*with_languages), F.col("text"))
        rows = rows.withColumn("_language", language(F.coalesce(read, F.lit(""))))
    served = [
        F.when(
            _is_served(one, [other for other, _ in encoders if other.field == one.field]),
            F.struct(F.lit(spec.modality).alias("modality"), F.lit(spec.id).alias("encoder_id")),
        )
        for one, spec in encoders
    ]
    chosen = F.filter(F.array(*served), _is_there)
    assigned = rows.withColumn("_by", F.explode(F.array_distinct(chosen)))
    return assigned.select("*", "_by.modality", "_by.encoder_id").drop("_by", "_language")


def _is_served(one: FieldEncoder, of_field: Sequence[FieldEncoder]) -> Column:
    is_field = F.col("field") == one.field
    if one.language is None:
        return is_field
    if one.language != DEFAULT_LANGUAGE:
        return is_field & (F.col("_language") == one.language)
    own = [other.language for other in of_field if other.language != DEFAULT_LANGUAGE]
    return is_field & ~F.coalesce(F.col("_language").isin(*own), F.lit(False))


def _is_there(value: Column) -> Column:
    return value.isNotNull()


def _texts(item: DataFrame, review: DataFrame, owner_text: DataFrame, fields: Sequence[str]) -> DataFrame:
    known, texts = item.select("item_id"), joined_texts(owner_text)
    of_items = texts.where((F.col("owner_kind") == "item") & F.col("field").isin(*fields)).select(
        F.col("owner_id").alias("item_id"), "field", "content_id", "text"
    )
    parts = [of_items.join(known, on="item_id", how="left_semi")]
    if "review" in fields:
        of_reviews = review.select("review_id", "item_id").join(known, on="item_id", how="left_semi")
        parts.append(
            of_reviews.join(review_words(texts), on="review_id", how="inner").select(
                "item_id", F.lit("review").alias("field"), "content_id", "text"
            )
        )
    return reduce(DataFrame.unionByName, parts).dropDuplicates(["item_id", "field", "content_id"])


def _media(item: DataFrame, media_link: DataFrame, fields: Sequence[str]) -> DataFrame:
    return (
        media_link.where((F.col("owner_kind") == "item") & F.col("field").isin(*fields))
        .select(F.col("owner_id").alias("item_id"), "field", F.col("asset_id").alias("content_id"))
        .distinct()
        .join(item.select("item_id"), on="item_id", how="left_semi")
        .withColumn("text", F.lit(None).cast("string"))
    )
