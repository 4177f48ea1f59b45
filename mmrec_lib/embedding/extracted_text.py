"""Words found in media: the media that are still to be read, and the words of each owner's media.

Precomputed transcripts come for a medium (its path), a review or an item, and replace extraction there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from mmrec_lib.contracts import CONTRACTS
from mmrec_lib.embedding.config import MEDIA_KINDS
from mmrec_lib.embedding.revisions import PROVIDED, attempts_now, made_by, not_done, of_model
from mmrec_lib.encoders.spec import EncoderSpec
from mmrec_lib.lakehouse.kept_media import kept_reference

TRANSCRIPT = "transcript"


@dataclass(frozen=True)
class TextExtractor:
    """A model that reads words out of one kind of media.

    Attributes:
        media: Field of `media_link` that it reads.
        spec: The model; its modality is the kind of words.
    """

    media: str
    spec: EncoderSpec


def plan_extraction(
    media_asset: DataFrame,
    media_link: DataFrame,
    media_text: DataFrame,
    provided_text: DataFrame,
    extractor: TextExtractor,
) -> DataFrame:
    """Media that this revision of a model has not read, and that have no precomputed words.

    Args:
        media_asset: Bronze table.
        media_link: Bronze table.
        media_text: Silver table.
        provided_text: Bronze table.
        extractor: The model.

    Returns:
        `content_id`, `content` (bytes or null), `uri` and `num_attempts` (see `revisions.not_done`), one row a medium.
    """
    links = media_links(media_link, (extractor.media,))
    if extractor.spec.modality != TRANSCRIPT:
        # Of a query only what is said is searched.
        links = links.where(F.col("owner_kind") != "query")
    needed = links
    if extractor.spec.modality == TRANSCRIPT:
        ready = precomputed_transcripts(provided_text)
        by_owner = ready.where(F.col("owner_kind") != "media").select("owner_kind", "owner_id")
        by_path = ready.where(F.col("owner_kind") == "media").select(F.col("owner_id").alias("media_path"))
        known = provided_media_text(provided_text, media_link).select(F.col("content_id").alias("asset_id"))
        needed = (
            links.join(by_owner, on=["owner_kind", "owner_id"], how="left_anti")
            .join(by_path, on="media_path", how="left_anti")
            .join(known, on="asset_id", how="left_anti")
        )
    done = media_text.where(made_by(extractor.spec) & (F.col("kind") == extractor.spec.modality))
    missing = not_done(needed.select(F.col("asset_id").alias("content_id")).distinct(), done)
    # One asset may be named by a field of sound and by one of videos; the field decides.
    kind = MEDIA_KINDS[extractor.media]
    kinds = (kind,) if kind == "image" else ("audio", "video")
    media = media_asset.where(F.col("media_kind").isin(*kinds)).select(
        F.col("asset_id").alias("content_id"), "content", kept_reference().alias("uri")
    )
    return media.join(missing, on="content_id", how="inner")


def media_text_rows(extracted: DataFrame, *specs: EncoderSpec) -> DataFrame:
    """Rows of `media_text` from the operator's output for one model or several."""
    return extracted.select(
        *_in_contract_order(
            "media_text",
            kind=of_model(specs, "modality"),
            encoder_id=of_model(specs, "id"),
            revision=of_model(specs, "revision"),
            num_attempts=attempts_now(extracted),
        )
    )


def provided_media_text(provided_text: DataFrame, media_link: DataFrame) -> DataFrame:
    """Rows of `media_text` for precomputed transcripts.

    A transcript of a path belongs to the asset behind it, one of a review or item to the first sound of that owner.
    When several would belong to one asset, that of a path wins, then the smallest owner.
    """
    ready = precomputed_transcripts(provided_text)
    links = media_links(media_link, ("audio", "video"))
    of_paths = ready.where(F.col("owner_kind") == "media").withColumnRenamed("owner_id", "media_path")
    by_path = of_paths.join(links.select("media_path", "asset_id").distinct(), on="media_path", how="inner").select(
        "asset_id", F.lit(0).alias("choice"), F.col("media_path").alias("owner"), "text", "language"
    )
    first_of_owner = Window.partitionBy("owner_kind", "owner_id").orderBy("media", "position")
    first = (
        links.withColumn("_rank", F.row_number().over(first_of_owner))
        .where(F.col("_rank") == 1)
        .select("owner_kind", "owner_id", "asset_id")
    )
    by_owner = ready.join(first, on=["owner_kind", "owner_id"], how="inner").select(
        "asset_id",
        F.lit(1).alias("choice"),
        F.concat_ws(":", "owner_kind", "owner_id").alias("owner"),
        "text",
        "language",
    )
    best = F.min(F.struct("choice", "owner", "text", "language")).alias("best")
    chosen = by_path.unionByName(by_owner).groupBy("asset_id").agg(best)
    return chosen.select(
        *_in_contract_order(
            "media_text",
            content_id=F.col("asset_id"),
            kind=F.lit(TRANSCRIPT),
            encoder_id=F.lit(PROVIDED),
            revision=F.lit(PROVIDED),
            text=F.col("best.text"),
            language=F.col("best.language"),
            confidence=F.lit(None).cast("float"),
            spans=F.lit(None).cast(CONTRACTS["media_text"].schema["spans"].dataType),
            error=F.lit(None).cast("string"),
            num_attempts=F.lit(None).cast("int"),
        )
    )


def media_words(media_link: DataFrame, media_text: DataFrame, extractors: Sequence[TextExtractor]) -> DataFrame:
    """Words of each owner's media, one row a medium and kind that has some.

    Precomputed words come before those of a model.

    Args:
        media_link: Bronze table.
        media_text: Silver table.
        extractors: The models whose words count; precomputed ones always do.

    Returns:
        `owner_kind`, `owner_id`, `media`, `position`, `asset_id`, `kind`, `encoder_id`, `revision`, `text`,
        `language`, `confidence`.
    """
    is_precomputed = F.col("encoder_id") == PROVIDED
    is_wanted = reduce(
        lambda a, b: a | b,
        [made_by(extractor.spec) & (F.col("media") == extractor.media) for extractor in extractors],
        is_precomputed,
    )
    precomputed_first = Window.partitionBy("owner_kind", "owner_id", "media", "position", "kind").orderBy(
        F.when(is_precomputed, 0).otherwise(1)
    )
    texts = media_text.where(F.col("text") != "").select(
        F.col("content_id").alias("asset_id"), "kind", "encoder_id", "revision", "text", "language", "confidence"
    )
    return (
        media_links(media_link, tuple(MEDIA_KINDS))
        .join(texts, on="asset_id", how="inner")
        .where(is_wanted)
        .withColumn("choice", F.row_number().over(precomputed_first))
        .where(F.col("choice") == 1)
        .drop("choice", "media_path")
    )


def precomputed_transcripts(provided_text: DataFrame) -> DataFrame:
    """Precomputed transcripts: `owner_kind`, `owner_id`, `text`, `language`."""
    return provided_text.where(F.col("kind") == TRANSCRIPT).select("owner_kind", "owner_id", "text", "language")


def media_links(media_link: DataFrame, media: Sequence[str]) -> DataFrame:
    """Links of some fields: `owner_kind`, `owner_id`, `media`, `position`, `asset_id`, `media_path`."""
    return media_link.where(F.col("field").isin(*media)).select(
        "owner_kind", "owner_id", F.col("field").alias("media"), "position", "asset_id", "media_path"
    )


def _in_contract_order(table: str, **made: Column) -> list[Column]:
    """Columns of a contract in its order: those given, the others by name."""
    return [made.get(name, F.col(name)).alias(name) for name in CONTRACTS[table].content_columns]
