"""The jobs extract_text and embed_content, table to table."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import reduce

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from mmrec_lib.contracts import CONTRACTS
from mmrec_lib.embedding.chunks import ChunkedRun, ReportProgress, Work
from mmrec_lib.embedding.config import MEDIA_KINDS, EmbeddingConfig, FieldEncoder
from mmrec_lib.embedding.contents import content_embedding_rows, item_contents, plan_encoding
from mmrec_lib.embedding.document_parts import unknown_attributes
from mmrec_lib.embedding.extracted_text import (
    TextExtractor,
    media_text_rows,
    plan_extraction,
    provided_media_text,
)
from mmrec_lib.embedding.operator import MEDIA_COLUMNS, TEXT_COLUMNS, encode_table, extract_table, infer_together
from mmrec_lib.embedding.owner_text import read_owner_text, write_owner_text
from mmrec_lib.embedding.pooling import pool_items, release_rows
from mmrec_lib.embedding.quantization_loss import NEIGHBOURS
from mmrec_lib.embedding.revisions import in_use, made_by, wanted_together
from mmrec_lib.embedding.storage import quantized, stored_as, with_vectors
from mmrec_lib.embedding.storage_loss import LossMeter
from mmrec_lib.encoders.config import EncoderConfig, ModelsConfig
from mmrec_lib.encoders.kinds import KINDS
from mmrec_lib.encoders.registry import encoder_spec
from mmrec_lib.encoders.spec import EncoderSpec
from mmrec_lib.lakehouse.kept_media import kept_reference
from mmrec_lib.lakehouse.merging import Staged
from mmrec_lib.lakehouse.tables import Lakehouse

EXTRACT_READS = ("item", "review", "media_asset", "media_link", "provided_text")
EXTRACT_FEEDBACK = ("encoder_release",)
EXTRACT_WRITES = ("media_text", "owner_text")
EMBED_READS = ("item", "review", "media_asset", "media_link", "owner_text", "provided_vector")
EMBED_WRITES = ("content_embedding", "item_embedding", "encoder_release")

# The number of earlier attempts is carried along.
_RETRIED_MEDIA = replace(MEDIA_COLUMNS, keys=(*MEDIA_COLUMNS.keys, "num_attempts"))

# What an encoder must read to serve a field of such contents; of video its sound track can be encoded too.
_READING = {
    "text": ("text", "text_or_image"),
    "image": ("image", "text_or_image"),
    "audio": ("audio",),
    "video": ("video", "audio"),
}
# Rows a second that a slow machine does with a slow model: how large the first chunk may be before it was measured.
_SLOW_ROWS_PER_SECOND = {"text": 50.0, "image": 5.0, "audio": 0.5, "video": 0.1}


def extraction_revisions(models: ModelsConfig, config: EmbeddingConfig) -> dict[str, str]:
    """Revision of each model that reads words out of media."""
    return {extractor.spec.id: extractor.spec.revision for extractor in selected_extractors(models, config)}


def encoding_revisions(models: ModelsConfig, config: EmbeddingConfig) -> dict[str, str]:
    """Revision of each encoder."""
    return {spec.id: spec.revision for _, spec in chosen_encoders(models, config)}


def encoders_in_use(models: ModelsConfig, config: EmbeddingConfig, *names: str | None) -> list[EncoderConfig]:
    """Every model that extraction and encoding use, and those of further names; looks at no directory.

    Raises:
        ConfigError: When a name is unknown.
    """
    used = {one.encoder_id: "embedding.extract" for one in config.word_sources}
    used |= {one.encoder_id: "embedding.encode" for one in config.field_encoders}
    used |= {name: "opinion.sentiment_encoder" for name in names if name is not None}
    return [models.chosen(name, where, tuple(KINDS)) for name, where in used.items()]


def selected_extractors(models: ModelsConfig, config: EmbeddingConfig) -> list[TextExtractor]:
    """The models that read words out of media.

    Raises:
        ConfigError: When a name is unknown, or its model does not find such words.
    """
    extractors = []
    for source in config.word_sources:
        kinds = [name for name, kind in KINDS.items() if kind.modality == source.kind]
        encoder = models.chosen(source.encoder_id, f"embedding.extract.{source.media}.{source.kind}", kinds)
        extractors.append(TextExtractor(source.media, encoder_spec(encoder, models)))
    return extractors


def chosen_encoders(models: ModelsConfig, config: EmbeddingConfig) -> list[tuple[FieldEncoder, EncoderSpec]]:
    """The encoders of each field.

    Raises:
        ConfigError: When a name is unknown, or its model does not read such a field.
    """
    encoders = []
    for one in config.field_encoders:
        reading = _READING[MEDIA_KINDS.get(one.field, "text")]
        kinds = [name for name, kind in KINDS.items() if kind.makes == "vectors" and kind.input_kind in reading]
        encoder = models.chosen(one.encoder_id, f"embedding.encode, field {one.field}", kinds)
        encoders.append((one, encoder_spec(encoder, models)))
    return encoders


def extract_texts(
    lakehouse: Lakehouse, models: ModelsConfig, config: EmbeddingConfig, report_progress: ReportProgress
) -> tuple[dict[str, int], dict[str, float]]:
    """Bring media_text and owner_text up to date: precomputed words, those that models find, and those of records.

    Returns:
        Counts `extracted`, `provided`, `errors`, `texts`, and `to_retry` where media are to be tried again; rows,
        errors and speed of each model.
    """
    media_asset, media_link = lakehouse.read("media_asset"), lakehouse.read("media_link")
    provided_text = lakehouse.read("provided_text")
    provided = lakehouse.stage("provided_media_text", provided_media_text(provided_text, media_link))
    run = ChunkedRun(lambda made: _merge(lakehouse, "media_text", made), config.commit_every * 60, report_progress)
    extractors = selected_extractors(models, config)
    stored = lakehouse.read("media_text")
    plans = [
        (extractor, plan_extraction(media_asset, media_link, stored, provided_text, extractor))
        for extractor in extractors
    ]
    of_images = [(extractor, todo) for extractor, todo in plans if MEDIA_KINDS[extractor.media] == "image"]
    alone = plans if len(of_images) < 2 else [plan for plan in plans if plan not in of_images]
    works = [_reading(lakehouse, extractor, todo, models, config) for extractor, todo in alone]
    if len(of_images) > 1:
        works.insert(0, _reading_together(lakehouse, media_asset, of_images, models, config))
    run.add(*works)
    assets = media_link.select(F.col("asset_id").alias("content_id"))
    is_in_use = in_use(lakehouse.read("encoder_release"), [extractor.spec for extractor in extractors])
    unused = _unused(lakehouse.read("media_text"), assets, is_in_use)
    _merge(lakehouse, "media_text", [*run.take(), provided], delete_keys=unused)
    for name in unknown_attributes(lakehouse.read("item"), config.document_entries):
        report_progress(f"  embedding.document: no item has an attribute `{name}`")
    counts = {
        "extracted": run.counts["rows"] - run.counts["errors"],
        "provided": provided.count(),
        "errors": run.counts["errors"],
        "texts": write_owner_text(lakehouse, extractors, config.document_entries),
    }
    return counts | _to_retry(run), run.metrics


def embed_contents(
    lakehouse: Lakehouse, models: ModelsConfig, config: EmbeddingConfig, report_progress: ReportProgress
) -> tuple[dict[str, int], dict[str, float]]:
    """Bring vectors of contents and items, and the release of their encoders, up to date.

    What a new revision made stands beside what the old one made until one commit of encoder_release lets readers use
    it; only then the old item vectors go.

    Returns:
        Counts `encoded`, `errors`, `contents`, `item_vectors`, and `to_retry` where media are to be tried again; rows,
        errors and speed of each encoder.
    """
    extractors, encoders = selected_extractors(models, config), chosen_encoders(models, config)
    item, provided_vector = lakehouse.read("item"), lakehouse.read("provided_vector")
    media_link = lakehouse.read("media_link")
    contents = lakehouse.stage(
        "contents",
        item_contents(
            item,
            lakehouse.read("review"),
            media_link,
            owner_text=read_owner_text(lakehouse),
            provided_vector=provided_vector,
            encoders=encoders,
            provided=config.provided,
        ),
    )
    run = _encode_missing(lakehouse, contents, encoders, models, config, report_progress)
    specs = list({spec.id: spec for _, spec in encoders}.values())
    vectors = pool_items(item, contents, lakehouse.read("content_embedding"), provided_vector, specs)
    pooled = lakehouse.stage("item_embedding", quantized(vectors, config.storage))
    _release(lakehouse, pooled, extractors)
    counts = {
        "encoded": run.counts["rows"] - run.counts["errors"],
        "errors": run.counts["errors"],
        "contents": contents.select("content_id").distinct().count(),
        "item_vectors": pooled.count(),
    }
    return counts | _to_retry(run), run.metrics


def _to_retry(run: ChunkedRun) -> dict[str, int]:
    return {name: count for name, count in run.counts.items() if name == "to_retry"}


def _reading(
    lakehouse: Lakehouse, extractor: TextExtractor, todo: DataFrame, models: ModelsConfig, config: EmbeddingConfig
) -> Work:
    spec, encoder = extractor.spec, models.encoders[extractor.spec.id]

    def run(chunk: DataFrame, num_rows: int) -> DataFrame:
        read = media_text_rows(extract_table(chunk, encoder, models, _RETRIED_MEDIA, config, num_rows), spec)
        with lakehouse.large_rows():
            return lakehouse.stage("media_text", read)

    return Work(_reading_name(extractor), todo, run, _SLOW_ROWS_PER_SECOND[MEDIA_KINDS[extractor.media]])


def _reading_together(
    lakehouse: Lakehouse,
    media_asset: DataFrame,
    plans: Sequence[tuple[TextExtractor, DataFrame]],
    models: ModelsConfig,
    config: EmbeddingConfig,
) -> Work:
    """All models that read words out of images, in one pass that decodes each image once."""
    specs = [extractor.spec for extractor, _ in plans]
    encoders = [models.encoders[spec.id] for spec in specs]

    def run(chunk: DataFrame, num_rows: int) -> DataFrame:
        read = infer_together(chunk, encoders, models, MEDIA_COLUMNS, config, "text", num_rows)
        with lakehouse.large_rows():
            return lakehouse.stage("media_text", media_text_rows(read, *specs))

    names = {extractor.spec.id: _reading_name(extractor) for extractor, _ in plans}
    todo = _images_wanted(media_asset, [(extractor.spec, todo) for extractor, todo in plans])
    return _together(names, todo, run)


def _images_wanted(media_asset: DataFrame, plans: Sequence[tuple[EncoderSpec, DataFrame]]) -> DataFrame:
    """Images that at least one model is to see, see `infer_together`."""
    images = media_asset.select(F.col("asset_id").alias("content_id"), "content", kept_reference().alias("uri"))
    return images.join(wanted_together(plans), on="content_id", how="inner")


def _together(names: dict[str, str], todo: DataFrame, run: Callable[[DataFrame, int], DataFrame]) -> Work:
    """One pass of several models over images."""
    rate = _SLOW_ROWS_PER_SECOND["image"]
    return Work(" and ".join(names.values()), todo, run, rate, results="size(wanted)", parts=names)


def _reading_name(extractor: TextExtractor) -> str:
    return f"{extractor.spec.modality} of {extractor.media} by {extractor.spec.id}"


def _encoding(
    meter: LossMeter, spec: EncoderSpec, reads: str, todo: DataFrame, models: ModelsConfig, config: EmbeddingConfig
) -> Work:
    encoder, columns = models.encoders[spec.id], TEXT_COLUMNS if reads == "text" else _RETRIED_MEDIA
    name, lakehouse = _encoding_name(spec, reads), meter.lakehouse

    def run(chunk: DataFrame, num_rows: int) -> DataFrame:
        made = content_embedding_rows(encode_table(chunk, encoder, models, columns, config, num_rows), spec)
        with contextlib.nullcontext() if reads == "text" else lakehouse.large_rows():
            exact = lakehouse.stage("content_embedding", made)
        rows = quantized(exact, config.storage)
        if config.storage == "float32":
            return rows
        meter.look_at(exact, name)
        return lakehouse.stage("content_embedding", rows)

    return Work(name, todo, run, _SLOW_ROWS_PER_SECOND[reads])


def _encoding_together(
    meter: LossMeter,
    media_asset: DataFrame,
    plans: Sequence[tuple[EncoderSpec, DataFrame]],
    models: ModelsConfig,
    config: EmbeddingConfig,
) -> Work:
    """All encoders of images, in one pass that decodes each image once."""
    specs = [spec for spec, _ in plans]
    encoders, lakehouse = [models.encoders[spec.id] for spec in specs], meter.lakehouse
    names = {spec.id: _encoding_name(spec, "image") for spec in specs}

    def run(chunk: DataFrame, num_rows: int) -> DataFrame:
        encoded = infer_together(chunk, encoders, models, MEDIA_COLUMNS, config, "vectors", num_rows)
        with lakehouse.large_rows():
            exact = lakehouse.stage("content_embedding", content_embedding_rows(encoded, *specs))
        rows = quantized(exact, config.storage)
        if config.storage == "float32":
            return rows
        for spec in specs:
            meter.look_at(exact.where(F.col("encoder_id") == spec.id), names[spec.id])
        return lakehouse.stage("content_embedding", rows)

    return _together(names, _images_wanted(media_asset, plans), run)


def _encoding_name(spec: EncoderSpec, reads: str) -> str:
    return f"{spec.modality} of {reads} by {spec.id}"


def _reads(one: FieldEncoder, spec: EncoderSpec) -> str:
    """Part that an encoder takes of a field: of sound and video the same, so both are one piece of work."""
    kind = MEDIA_KINDS.get(one.field, "text")
    return kind if spec.input_kind == "text_or_image" else spec.input_kind


def _requantize(
    meter: LossMeter, stored: DataFrame, spec: EncoderSpec, name: str, report_progress: ReportProgress
) -> None:
    """Pack what an encoder made while vectors were kept in float32."""
    lakehouse, storage = meter.lakehouse, meter.storage
    if storage == "float32":
        return
    exact = with_vectors(stored.where(made_by(spec) & stored_as("float32")))
    rows = lakehouse.stage("content_embedding", quantized(exact, storage)).where(stored_as(storage))
    if num_rows := rows.count():
        meter.look_at(exact, name)
        lakehouse.merge("content_embedding", Staged(rows))
        report_progress(f"  {name}: {num_rows:,} stored vectors packed in {storage}")


def _loss_metrics(meter: LossMeter, name: str, report_progress: ReportProgress) -> dict[str, float]:
    loss = meter.loss(name)
    if loss is None:
        return {}
    report_progress(
        f"  {name}: {meter.storage} keeps {loss.recall:.2%} of the {NEIGHBOURS} nearest neighbours, "
        f"mean cosine {loss.mean_cosine:.6f}, on {loss.num_vectors:,} vectors"
    )
    return {f"{name}/storage_recall@{NEIGHBOURS}": loss.recall, f"{name}/storage_cosine": loss.mean_cosine}


def _encode_missing(
    lakehouse: Lakehouse,
    contents: DataFrame,
    encoders: Sequence[tuple[FieldEncoder, EncoderSpec]],
    models: ModelsConfig,
    config: EmbeddingConfig,
    report_progress: ReportProgress,
) -> ChunkedRun:
    assets, meter = lakehouse.read("media_asset"), LossMeter(lakehouse, config.storage)
    run = ChunkedRun(
        lambda made: _merge(lakehouse, "content_embedding", made), config.commit_every * 60, report_progress
    )
    stored, works = lakehouse.read("content_embedding"), list[Work]()
    specs, of_images = [spec for _, spec in encoders], list[tuple[EncoderSpec, DataFrame]]()
    for spec, reads in dict.fromkeys((spec, _reads(one, spec)) for one, spec in encoders):
        _requantize(meter, stored, spec, _encoding_name(spec, reads), report_progress)
        todo = plan_encoding(contents, stored, spec, None if reads == "text" else assets, config.storage)
        if reads == "image":
            of_images.append((spec, todo))
        else:
            works.append(_encoding(meter, spec, reads, todo, models, config))
    if len(of_images) > 1:
        works.append(_encoding_together(meter, assets, of_images, models, config))
    else:
        works += [_encoding(meter, spec, "image", todo, models, config) for spec, todo in of_images]
    run.add(*works)
    for name in (name for work in works for name in (work.parts.values() or (work.name,))):
        run.metrics.update(_loss_metrics(meter, name, report_progress))
    stored = lakehouse.read("content_embedding")
    unused = _unused(stored, contents.select("content_id"), in_use(lakehouse.read("encoder_release"), specs))
    nothing = lakehouse.spark.createDataFrame([], CONTRACTS["content_embedding"].input_schema)
    _merge(lakehouse, "content_embedding", [nothing, *run.take()], delete_keys=unused)
    return run


def _unused(stored: DataFrame, contents: DataFrame, is_in_use: Column) -> DataFrame:
    """Rows of contents that are gone, or of models that nobody needs."""
    wanted = contents.select(F.col("content_id").alias("_wanted")).distinct()
    return stored.join(wanted, (F.col("content_id") == F.col("_wanted")) & is_in_use, "left_anti")


def _release(lakehouse: Lakehouse, pooled: DataFrame, extractors: Sequence[TextExtractor]) -> None:
    """Write vectors of items beside those that are there, let readers use them, then remove what nobody uses.

    What a model that is no longer released made of contents goes with the next run.
    """
    key = ("modality", "field", "encoder_id", "revision")
    released = {tuple(row) for row in release_rows(pooled).select(*key).collect()}
    released |= {(one.spec.modality, one.media, one.spec.id, one.spec.revision) for one in extractors}
    before = {tuple(row) for row in lakehouse.read("encoder_release").select(*key).collect()}
    if before != released:
        lakehouse.merge("item_embedding", Staged(pooled))
        schema = lakehouse.read("encoder_release").select(*key).schema
        _replace_all(lakehouse, "encoder_release", lakehouse.spark.createDataFrame(sorted(released), schema))
    _replace_all(lakehouse, "item_embedding", Staged(pooled))


def _merge(lakehouse: Lakehouse, name: str, rows: Sequence[DataFrame], delete_keys: DataFrame | None = None) -> None:
    """Merge rows that are staged, chunk by chunk."""
    lakehouse.merge(name, Staged(reduce(DataFrame.unionByName, rows)), delete_keys=delete_keys)


def _replace_all(lakehouse: Lakehouse, name: str, rows: DataFrame | Staged) -> None:
    """Make a keyed table hold exactly these rows."""
    lakehouse.merge(name, rows, delete_keys=lakehouse.read(name))
