"""Vectors of queries and of the questions of answers: encoded once, kept in the table search_vector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import reduce

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from mmrec_lib.contracts import CONTRACTS
from mmrec_lib.embedding.config import EmbeddingConfig
from mmrec_lib.embedding.operator import MEDIA_COLUMNS, TEXT_COLUMNS, encode_table
from mmrec_lib.embedding.revisions import is_retryable
from mmrec_lib.embedding.run import chosen_encoders
from mmrec_lib.embedding.texts import content_id, normalised
from mmrec_lib.encoders.config import ModelsConfig
from mmrec_lib.encoders.spec import EncoderSpec
from mmrec_lib.lakehouse.kept_media import kept_reference
from mmrec_lib.lakehouse.merging import Staged
from mmrec_lib.lakehouse.tables import Lakehouse
from mmrec_lib.search.config import SearchConfig

TEXT, IMAGES, QUESTION = "text", "images", "question"
_LOOK = "@"
_KEY = list(CONTRACTS["search_vector"].key)
_WORDS = ("text", "text_or_image")
_IMAGES = ("image", "text_or_image")


def searched_encoders(
    models: ModelsConfig, embedding: EmbeddingConfig, config: SearchConfig
) -> dict[EncoderSpec, list[str]]:
    """The encoders whose vectors are searched, with the fields of items that each encodes.

    Raises:
        ConfigError: When a name is unknown, or its model does not read such a field.
        EncoderError: When a model's directory is missing.
    """
    fields: dict[EncoderSpec, list[str]] = {}
    for one, spec in chosen_encoders(models, embedding):
        if one.field in config.vector_fields and one.field not in fields.get(spec, ()):
            fields.setdefault(spec, []).append(one.field)
    return fields


def field_of_look(factor: float) -> str:
    """Field of search_vector of a look at an image; see `search.photo_looks`."""
    return IMAGES if factor == 1 else f"{IMAGES}{_LOOK}{factor}"


def content_of(field: str) -> str:
    """The field without the look at it: what a vector of search_vector is of."""
    return field.partition(_LOOK)[0]


def question_encoder(specs: Sequence[EncoderSpec]) -> EncoderSpec | None:
    """The encoder that compares questions: the first that reads words; None where none does."""
    return next((spec for spec in specs if spec.input_kind in _WORDS), None)


def bring_vectors(
    lakehouse: Lakehouse,
    asked: DataFrame,
    specs: Sequence[EncoderSpec],
    models: ModelsConfig,
    embedding: EmbeddingConfig,
    looks: Sequence[float],
) -> dict[str, int]:
    """Make search_vector hold the vectors of all queries and answers; only new and changed ones are encoded.

    Args:
        lakehouse: The store.
        asked: See `asked_queries`; staged.
        specs: The encoders whose vectors are searched.
        models: Where models lie and how they are run.
        embedding: Portions of work.
        looks: See `search.photo_looks`.

    Returns:
        Counts `encoded` and `errors`.
    """
    wanted = lakehouse.stage("search_content", _contents(lakehouse, asked, specs, looks))
    stored = lakehouse.read("search_vector")
    may_retry = F.coalesce(is_retryable(F.col("error")), F.lit(False))
    done = stored.where(~may_retry).select(*_KEY, "revision", "content_id")
    missing = lakehouse.stage("search_missing", wanted.join(done, done.columns, "left_anti"))
    numbers = {row["encoder_id"]: row["count"] for row in missing.groupBy("encoder_id").count().collect()}
    made = [
        encoded
        for spec in specs
        if spec.id in numbers
        for encoded in _encoded(lakehouse, missing, spec, models, embedding, numbers[spec.id], looks)
    ]
    nothing = lakehouse.spark.createDataFrame([], CONTRACTS["search_vector"].input_schema)
    rows = reduce(DataFrame.unionByName, made, nothing)
    lakehouse.merge("search_vector", Staged(rows), delete_keys=stored.join(wanted, _KEY, "left_anti").select(*_KEY))
    if not made:
        return {"encoded": 0, "errors": 0}
    errors = rows.where(F.col("error").isNotNull()).count()
    return {"encoded": sum(numbers.values()) - errors, "errors": errors}


def _contents(
    lakehouse: Lakehouse, asked: DataFrame, specs: Sequence[EncoderSpec], looks: Sequence[float]
) -> DataFrame:
    """Key of search_vector, `revision`, `content_id` and `text` (null for images)."""
    question = question_encoder(specs)
    words = asked.where(F.col("words").isNotNull()).select(
        F.col("query_id").alias("owner_id"), F.col("words_id").alias("content_id"), F.col("words").alias("text")
    )
    images = asked.where(F.col("image_id").isNotNull()).select(
        F.col("query_id").alias("owner_id"),
        F.col("image_id").alias("content_id"),
        F.lit(None).cast("string").alias("text"),
    )
    own = lakehouse.read("answer").select("answer_id", normalised(F.col("question")).alias("text"))
    questions = own.where(F.col("text").isNotNull()).select(
        F.col("answer_id").alias("owner_id"), content_id(F.col("text")).alias("content_id"), "text"
    )
    parts = [
        rows.select(
            F.lit(kind).alias("owner_kind"),
            "owner_id",
            F.lit(field).alias("field"),
            F.lit(spec.id).alias("encoder_id"),
            F.lit(spec.revision).alias("revision"),
            "content_id",
            "text",
        )
        for kind, field, rows, inputs in (
            ("query", TEXT, words, _WORDS),
            *(("query", field_of_look(look), images, _IMAGES) for look in looks),
            ("answer", QUESTION, questions, _WORDS),
        )
        for spec in specs
        if spec.input_kind in inputs and (kind == "query" or spec == question)
    ]
    schema = [*CONTRACTS["search_vector"].input_schema.fields[:6], CONTRACTS["answer"].input_schema["question"]]
    nothing = lakehouse.spark.createDataFrame([], type(CONTRACTS["answer"].input_schema)(schema))
    return reduce(DataFrame.unionByName, parts, nothing.withColumnRenamed("question", "text"))


def _encoded(
    lakehouse: Lakehouse,
    missing: DataFrame,
    spec: EncoderSpec,
    models: ModelsConfig,
    embedding: EmbeddingConfig,
    num_rows: int,
    looks: Sequence[float],
) -> list[DataFrame]:
    """Rows of search_vector of one encoder, texts and each look at images apart; staged."""
    encoder, own = models.encoders[spec.id], missing.where(F.col("encoder_id") == spec.id)
    made = list[tuple[DataFrame, DataFrame]]()
    if spec.input_kind in _WORDS:
        wanted = own.where(F.col("text").isNotNull())
        texts = wanted.select("content_id", "text").dropDuplicates(["content_id"])
        made.append((wanted, encode_table(texts, encoder, models, TEXT_COLUMNS, embedding, num_rows)))
    if spec.input_kind in _IMAGES:
        assets = lakehouse.read("media_asset").select(
            F.col("asset_id").alias("content_id"), "content", kept_reference().alias("uri")
        )
        for look in looks:
            wanted = own.where(F.col("field") == field_of_look(look))
            images = assets.join(wanted.select("content_id").distinct(), "content_id")
            columns = replace(MEDIA_COLUMNS, continued=look)
            made.append((wanted, encode_table(images, encoder, models, columns, embedding, num_rows)))
    names = CONTRACTS["search_vector"].content_columns
    with lakehouse.large_rows():
        return [
            lakehouse.stage("search_vector", wanted.join(one.drop("dim"), "content_id").select(*names))
            for wanted, one in made
        ]
