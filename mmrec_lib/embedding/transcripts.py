"""What was said: which sound is to be transcribed, and whose words a transcript is.

Ready-made transcripts come for a medium (its path), a review or an item, and replace extraction there.
"""

from __future__ import annotations

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from mmrec_lib.contracts import CONTRACTS
from mmrec_lib.encoders.spec import EncoderSpec

TRANSCRIPT = "transcript"
PROVIDED = "provided"


def plan_extraction(
    media_asset: DataFrame, media_link: DataFrame, media_text: DataFrame, provided_text: DataFrame, spec: EncoderSpec
) -> DataFrame:
    """Sounds that have no transcript yet, neither ready-made nor by this revision of the model.

    Args:
        media_asset: Bronze table.
        media_link: Bronze table.
        media_text: Silver table.
        provided_text: Bronze table.
        spec: Model that transcribes.

    Returns:
        `content_id`, `content` (bytes or null) and `uri`, one row a sound.
    """
    ready = _ready_made(provided_text)
    by_owner = ready.where(F.col("owner_kind") != "media").select("owner_kind", "owner_id")
    by_path = ready.where(F.col("owner_kind") == "media").select(F.col("owner_id").alias("media_path"))
    needed = (
        _audio_links(media_link)
        .join(by_owner, on=["owner_kind", "owner_id"], how="left_anti")
        .join(by_path, on="media_path", how="left_anti")
        .select(F.col("asset_id").alias("content_id"))
        .distinct()
    )
    known = provided_media_text(provided_text, media_link).select("content_id")
    done = media_text.where(_made_by(spec)).select("content_id")
    missing = needed.join(known, on="content_id", how="left_anti").join(done, on="content_id", how="left_anti")
    sounds = media_asset.where(F.col("media_kind") == "audio").select(
        F.col("asset_id").alias("content_id"), "content", "uri"
    )
    return sounds.join(missing, on="content_id", how="left_semi")


def media_text_rows(extracted: DataFrame, spec: EncoderSpec) -> DataFrame:
    """Rows of `media_text` from the operator's output (`content_id` and the fields of words)."""
    return extracted.select(
        *_in_contract_order(
            "media_text",
            kind=F.lit(TRANSCRIPT),
            encoder_id=F.lit(spec.id),
            revision=F.lit(spec.revision),
        )
    )


def provided_media_text(provided_text: DataFrame, media_link: DataFrame) -> DataFrame:
    """Rows of `media_text` for ready-made transcripts.

    A transcript of a path belongs to the asset behind it, one of a review or item to the first sound of that owner.
    When several would belong to one asset, that of a path wins, then the smallest owner.
    """
    ready = _ready_made(provided_text)
    links = _audio_links(media_link)
    of_paths = ready.where(F.col("owner_kind") == "media").withColumnRenamed("owner_id", "media_path")
    by_path = of_paths.join(links.select("media_path", "asset_id").distinct(), on="media_path", how="inner").select(
        "asset_id", F.lit(0).alias("choice"), F.col("media_path").alias("owner"), "text", "language"
    )
    first = links.where(F.col("position") == 0).select("owner_kind", "owner_id", "asset_id")
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
        )
    )


def spoken_words(
    media_link: DataFrame, media_text: DataFrame, provided_text: DataFrame, spec: EncoderSpec | None
) -> DataFrame:
    """What each item and review says: its ready-made transcript, or those of its sounds in their order.

    Args:
        media_link: Bronze table.
        media_text: Silver table.
        provided_text: Bronze table.
        spec: Model whose transcripts count; None counts ready-made ones only.

    Returns:
        `owner_kind`, `owner_id`, `text`, one row an owner with words.
    """
    own = _ready_made(provided_text).where(F.col("owner_kind").isin("item", "review"))
    own = own.select("owner_kind", "owner_id", "text")
    is_ready = (F.col("encoder_id") == PROVIDED) & (F.col("kind") == TRANSCRIPT)
    is_wanted = is_ready if spec is None else is_ready | _made_by(spec)
    ready_first = Window.partitionBy("content_id").orderBy(F.when(is_ready, 0).otherwise(1))
    texts = (
        media_text.where(is_wanted & F.col("text").isNotNull())
        .withColumn("choice", F.row_number().over(ready_first))
        .where(F.col("choice") == 1)
        .select(F.col("content_id").alias("asset_id"), "text")
    )
    in_order = F.array_sort(F.collect_list(F.struct("position", "text")))
    heard = (
        _audio_links(media_link)
        .join(own, on=["owner_kind", "owner_id"], how="left_anti")
        .join(texts, on="asset_id", how="inner")
        .groupBy("owner_kind", "owner_id")
        .agg(F.array_join(F.transform(in_order, lambda part: part["text"]), " ").alias("text"))
    )
    return own.unionByName(heard)


def released_extractor(encoder_release: DataFrame) -> EncoderSpec | None:
    """The model whose transcripts readers use, or None when none was released."""
    rows = encoder_release.where(F.col("modality") == TRANSCRIPT).select("encoder_id", "revision").limit(1).collect()
    if not rows:
        return None
    return EncoderSpec(str(rows[0]["encoder_id"]), str(rows[0]["revision"]), TRANSCRIPT, "audio", None)


def _ready_made(provided_text: DataFrame) -> DataFrame:
    return provided_text.where(F.col("kind") == TRANSCRIPT).select("owner_kind", "owner_id", "text", "language")


def _audio_links(media_link: DataFrame) -> DataFrame:
    return media_link.where(F.col("field") == "audio").select(
        "owner_kind", "owner_id", "position", "asset_id", "media_path"
    )


def _made_by(spec: EncoderSpec) -> Column:
    return (F.col("kind") == TRANSCRIPT) & (F.col("encoder_id") == spec.id) & (F.col("revision") == spec.revision)


def _in_contract_order(table: str, **made: Column) -> list[Column]:
    """Columns of a contract in its order: those given, the others by name."""
    return [made.get(name, F.col(name)).alias(name) for name in CONTRACTS[table].content_columns]
