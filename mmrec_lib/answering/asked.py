"""Queries as they were asked: words, written or heard, an image, and who asks."""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from mmrec_lib.embedding.extracted_text import TRANSCRIPT, TextExtractor
from mmrec_lib.embedding.revisions import PROVIDED, made_by
from mmrec_lib.embedding.texts import content_id, normalised
from mmrec_lib.features.load import present_profiles
from mmrec_lib.lakehouse.tables import Lakehouse
from mmrec_lib.scoring.shown_items import Controls
from mmrec_lib.search.reasons import EmptyReason

MAX_CHARACTERS = 20_000
"""Characters of a query that are read; what comes after is marked as cut."""


def asked_queries(lakehouse: Lakehouse, extractors: Sequence[TextExtractor]) -> DataFrame:
    """One row a query: what it says and shows.

    Args:
        lakehouse: The store.
        extractors: The models that read words out of media; those of speech in sound count.

    Returns:
        `query_id`, `user_id`, `k`, `market`; `words` in normal form, written and heard ones together, null without a
        letter or digit; `words_id`, their content_id; `image_id`, the asset; `is_cut`; and `problem`, why a medium is
        of no use.
    """
    query, links = lakehouse.read("query"), lakehouse.read("media_link").where(F.col("owner_kind") == "query")
    of_field = {
        field: links.where(F.col("field") == field).select(
            F.col("owner_id").alias("query_id"), F.col("asset_id").alias(name)
        )
        for field, name in (("images", "image_id"), ("audio", "audio_id"))
    }
    heard = _transcripts(lakehouse.read("media_text"), extractors).withColumnRenamed("content_id", "audio_id")
    rows = query.join(of_field["images"], "query_id", "left").join(of_field["audio"], "query_id", "left")
    rows = rows.join(heard, "audio_id", "left")
    whole = normalised(F.nullif(F.concat_ws(" ", "text", "transcript"), F.lit("")))
    rows = rows.select(
        "query_id",
        "user_id",
        "k",
        "market",
        "image_id",
        whole.alias("whole"),
        _problem().alias("problem"),
    )
    cut = F.substring("whole", 1, MAX_CHARACTERS)
    words = F.when(cut.rlike(r"[\p{L}\p{N}]"), cut)
    return rows.select(
        *("query_id", "user_id", "k", "market"),
        words.alias("words"),
        content_id(words).alias("words_id"),
        "image_id",
        F.coalesce(F.length("whole") > MAX_CHARACTERS, F.lit(False)).alias("is_cut"),
        "problem",
    )


def _transcripts(media_text: DataFrame, extractors: Sequence[TextExtractor]) -> DataFrame:
    """`content_id`, `transcript`, `transcript_error` and `is_heard`; precomputed ones come before those of a model."""
    specs = [one.spec for one in extractors if one.media == "audio" and one.spec.modality == TRANSCRIPT]
    is_precomputed = F.col("encoder_id") == PROVIDED
    counted = media_text.where((F.col("kind") == TRANSCRIPT) & (is_precomputed | made_by(*specs)))
    best = F.min_by(F.struct("text", "error"), F.when(is_precomputed, 0).otherwise(1)).alias("best")
    return (
        counted.groupBy("content_id")
        .agg(best)
        .select(
            "content_id",
            F.col("best.text").alias("transcript"),
            F.col("best.error").alias("transcript_error"),
            F.lit(True).alias("is_heard"),
        )
    )


def _problem() -> Column:
    is_lost = (F.col("images").isNotNull() & F.col("image_id").isNull()) | (
        F.col("audio").isNotNull() & F.col("audio_id").isNull()
    )
    has_sound = F.col("audio_id").isNotNull()
    return (
        F.when(is_lost, str(EmptyReason.MEDIA_MISSING))
        .when(F.col("transcript_error").isNotNull(), str(EmptyReason.MEDIA_UNREADABLE))
        .when(has_sound & F.col("is_heard").isNull(), str(EmptyReason.NOT_READ))
        .when(has_sound & (F.col("transcript") == ""), str(EmptyReason.SILENT))
    )


def with_users(
    lakehouse: Lakehouse, asked: DataFrame, controls: Controls, market_attribute: str | None, model_version: str | None
) -> DataFrame:
    """Queries with what is known of their users: `attributes`, `controls` (where any user has some), `user_vector`.

    Users that the store does not know are visitors without a name.

    Args:
        lakehouse: The store.
        asked: See `asked_queries`.
        controls: What users set.
        market_attribute: Attribute of users that names their market, which that of the query replaces; None without.
        model_version: Version of the ranker whose vectors are published; None where there is none.
    """
    rows = asked.join(present_profiles(lakehouse).select("user_id", "attributes"), "user_id", "left")
    if market_attribute is not None:
        others = F.map_filter(
            F.coalesce("attributes", F.create_map().cast("map<string,string>")),
            lambda name, _: name != market_attribute,
        )
        moved = F.map_concat(others, F.create_map(F.lit(market_attribute), F.col("market")))
        rows = rows.withColumn("attributes", F.when(F.col("market").isNotNull(), moved).otherwise(F.col("attributes")))
    if controls.of_users is not None:
        rows = rows.join(controls.of_users, "user_id", "left")
    vectors = lakehouse.read("user_vector").where(F.col("model_version") == F.lit(model_version))
    return rows.join(vectors.select("user_id", F.col("vector").alias("user_vector")), "user_id", "left")
