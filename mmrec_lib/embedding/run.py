"""What the jobs extract_text and embed_content do, table to table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from mmrec_lib.contracts import CONTRACTS
from mmrec_lib.embedding.config import EmbeddingConfig
from mmrec_lib.embedding.contents import content_embedding_rows, item_contents, plan_encoding
from mmrec_lib.embedding.operator import MEDIA_COLUMNS, TEXT_COLUMNS, encode_table, extract_table
from mmrec_lib.embedding.pooling import pool_items, release_rows, stale_keys
from mmrec_lib.embedding.transcripts import media_text_rows, plan_extraction, provided_media_text, spoken_words
from mmrec_lib.encoders.config import EncoderConfig, EncoderKind, ModelsConfig
from mmrec_lib.encoders.registry import encoder_spec
from mmrec_lib.encoders.spec import EncoderSpec
from mmrec_lib.lakehouse.tables import Lakehouse

EXTRACT_READS = ("media_asset", "media_link", "provided_text")
EMBED_READS = ("item", "review", "media_asset", "media_link", "media_text", "provided_text", "provided_vector")
EMBED_WRITES = ("content_embedding", "item_embedding", "encoder_release")


def model_revisions(models: ModelsConfig, chosen: Mapping[str, str | None]) -> dict[str, str]:
    """Revision of each chosen model, for jobs that must run again when a model changes."""
    return {
        name: encoder_spec(models.encoders[name], models).revision
        for name in chosen.values()
        if name is not None and name in models.encoders
    }


def extract_texts(lakehouse: Lakehouse, models: ModelsConfig, config: EmbeddingConfig) -> dict[str, int]:
    """Bring media_text up to date: ready-made transcripts, and those of sounds that have none.

    Returns:
        Counts `transcribed`, `provided`, `errors`.
    """
    media_link, media_text = lakehouse.read("media_link"), lakehouse.read("media_text")
    rows = [provided_media_text(lakehouse.read("provided_text"), media_link)]
    if config.speech_encoder is not None:
        encoder = models.encoder(config.speech_encoder, "speech")
        spec = encoder_spec(encoder, models)
        todo = plan_extraction(
            lakehouse.read("media_asset"), media_link, media_text, lakehouse.read("provided_text"), spec
        )
        if not todo.isEmpty():
            heard = extract_table(todo, encoder, models, MEDIA_COLUMNS, config)
            rows.append(media_text_rows(heard, spec))
    new = lakehouse.stage("media_text", reduce(DataFrame.unionByName, rows))
    assets = media_link.select(F.col("asset_id").alias("content_id"))
    lakehouse.merge("media_text", new, delete_keys=media_text.join(assets, "content_id", "left_anti"))
    return _transcript_counts(new)


def _transcript_counts(new: DataFrame) -> dict[str, int]:
    is_ready = F.col("encoder_id") == "provided"
    row = new.agg(
        F.count_if(~is_ready & F.col("error").isNull()).alias("transcribed"),
        F.count_if(is_ready).alias("provided"),
        F.count_if(F.col("error").isNotNull()).alias("errors"),
    ).collect()[0]
    return {name: int(row[name]) for name in ("transcribed", "provided", "errors")}


def chosen_encoders(models: ModelsConfig, config: EmbeddingConfig) -> list[tuple[EncoderConfig, EncoderSpec]]:
    """The encoders that the config names, one a modality."""
    wanted: list[tuple[str | None, EncoderKind]] = [(config.text_encoder, "text"), (config.image_encoder, "image")]
    encoders = [models.encoder(name, kind) for name, kind in wanted if name is not None]
    return [(encoder, encoder_spec(encoder, models)) for encoder in encoders]


def embed_contents(lakehouse: Lakehouse, models: ModelsConfig, config: EmbeddingConfig) -> dict[str, int]:
    """Bring vectors of contents and items, and the release of their encoders, up to date.

    Returns:
        Counts `encoded`, `errors`, `contents`, `item_vectors`.
    """
    speech = models.encoder(config.speech_encoder, "speech") if config.speech_encoder is not None else None
    speech_spec = encoder_spec(speech, models) if speech is not None else None
    item, provided_vector = lakehouse.read("item"), lakehouse.read("provided_vector")
    words = spoken_words(
        lakehouse.read("media_link"), lakehouse.read("media_text"), lakehouse.read("provided_text"), speech_spec
    )
    contents = lakehouse.stage(
        "contents",
        item_contents(
            item,
            lakehouse.read("review"),
            lakehouse.read("media_link"),
            words=words,
            provided_vector=provided_vector,
            config=config,
        ),
    )
    encoders = chosen_encoders(models, config)
    new = lakehouse.stage("content_embedding", _encode_missing(lakehouse, contents, encoders, models, config))
    unused = lakehouse.read("content_embedding").join(contents.select("content_id"), "content_id", "left_anti")
    lakehouse.merge("content_embedding", new, delete_keys=unused)

    specs = [spec for _, spec in encoders]
    pooled = lakehouse.stage(
        "item_embedding", pool_items(item, contents, lakehouse.read("content_embedding"), provided_vector, specs)
    )
    _replace_all(lakehouse, "item_embedding", pooled)
    released = release_rows(pooled)
    if speech_spec is not None:
        transcript = [("transcript", "transcript", speech_spec.id, speech_spec.revision)]
        released = released.unionByName(lakehouse.spark.createDataFrame(transcript, released.schema))
    _replace_all(lakehouse, "encoder_release", released)
    row = new.agg(F.count("vector").alias("encoded"), F.count("error").alias("errors")).collect()[0]
    return {
        "encoded": int(row["encoded"]),
        "errors": int(row["errors"]),
        "contents": contents.select("content_id").distinct().count(),
        "item_vectors": pooled.count(),
    }


def _encode_missing(
    lakehouse: Lakehouse,
    contents: DataFrame,
    encoders: Sequence[tuple[EncoderConfig, EncoderSpec]],
    models: ModelsConfig,
    config: EmbeddingConfig,
) -> DataFrame:
    stored, assets = lakehouse.read("content_embedding"), lakehouse.read("media_asset")
    made = [stored.limit(0).select(*CONTRACTS["content_embedding"].content_columns)]
    for encoder, spec in encoders:
        todo = plan_encoding(contents, stored, spec, assets)
        if todo.isEmpty():
            continue
        columns = TEXT_COLUMNS if spec.modality == "text" else MEDIA_COLUMNS
        made.append(content_embedding_rows(encode_table(todo, encoder, models, columns, config), spec))
    return reduce(DataFrame.unionByName, made)


def _replace_all(lakehouse: Lakehouse, name: str, rows: DataFrame) -> None:
    """Make a keyed table hold exactly these rows."""
    lakehouse.merge(name, rows, delete_keys=stale_keys(lakehouse.read(name), rows, CONTRACTS[name].key))
