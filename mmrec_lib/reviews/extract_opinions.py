"""Work of the job extract_opinions, table to table: reviews → opinions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from mmrec_lib.contracts import CONTRACTS
from mmrec_lib.embedding.batches import bounded
from mmrec_lib.embedding.config import EmbeddingConfig
from mmrec_lib.embedding.operator import check_same, on_this_worker, portable
from mmrec_lib.embedding.owner_text import joined_texts, read_owner_text, review_words
from mmrec_lib.encoders.config import EncoderConfig, ModelsConfig
from mmrec_lib.encoders.registry import encoder_spec, make_classifier
from mmrec_lib.encoders.spec import EncoderSpec
from mmrec_lib.lakehouse.arrow_tables import arrow_schema
from mmrec_lib.lakehouse.merging import Staged
from mmrec_lib.lakehouse.session import num_tasks
from mmrec_lib.lakehouse.tables import Lakehouse
from mmrec_lib.opinions.analyse import Judge, Opinion, analyse
from mmrec_lib.opinions.config import OpinionConfig
from mmrec_lib.opinions.model import OpinionModel, Review, fit_opinions, fit_revision, part_of, settings_id

OPINION_READS = ("review", "user", "owner_text")
OPINION_WRITES = ("opinion_model", "review_opinion")
STORE_MODEL = "store"

_FIT = CONTRACTS["opinion_model"]
_OPINION = CONTRACTS["review_opinion"]


def extract_opinions(
    lakehouse: Lakehouse, models: ModelsConfig, portions: EmbeddingConfig, config: OpinionConfig
) -> tuple[dict[str, int], dict[str, float]]:
    """Bring opinion_model and review_opinion up to date.

    The models are fitted again when enough of their reviews are new or gone; then every review is analysed again and
    replaces the earlier opinion in one commit. Otherwise only new reviews, and those with other words, are.

    Returns:
        Counts `analysed`, `errors`, `fitted` (1 when the models were), and what was measured on held-out reviews.
    """
    # Of people who were deleted nothing is analysed, nothing fitted, and earlier opinions go.
    written = lakehouse.read("review").join(lakehouse.read("user").select("user_id"), "user_id", "left_semi")
    reviews = lakehouse.stage("review_texts", review_texts(written, read_owner_text(lakehouse)))
    stored = lakehouse.read("review_opinion")
    sample = lakehouse.stage("fit_sample", fit_sample(reviews, config.max_fit_reviews))
    model, fit, is_new = _current_model(lakehouse, sample, stored, config)

    classifier = models.encoder(config.sentiment_encoder, "sentiment") if config.sentiment_encoder is not None else None
    spec = encoder_spec(classifier, models) if classifier is not None else None
    encoder_id, revision = (spec.id, f"{spec.revision}-{fit}") if spec is not None else (STORE_MODEL, fit)
    is_current = (F.col("encoder_id") == encoder_id) & (F.col("revision") == revision)
    # A fit that is not new has its marks already; only rows that it saw may carry them.
    in_fit = stored.where(F.col("fit_part").isNotNull())
    marked = sample if is_new else sample.join(in_fit, ["review_id", "content_id"], "left_semi")
    todo = plan_opinions(reviews, stored.where(is_current), marked)
    task = Analysis(model.to_saved(), config, classifier, portable(models), spec, portions)
    made = analyse_table(todo, task)
    rows = lakehouse.stage("review_opinion", opinion_rows(made, encoder_id, revision))
    outdated = stored.where(~is_current).select(*_OPINION.key)
    gone = stored.join(reviews, "review_id", "left_anti").select(*_OPINION.key)
    lakehouse.merge("review_opinion", Staged(rows), delete_keys=outdated.unionByName(gone))
    counts = rows.agg(F.count("sentiment").alias("analysed"), F.count("error").alias("errors")).collect()[0]
    return {"analysed": int(counts[0]), "errors": int(counts[1]), "fitted": int(is_new)}, model.metrics


def sentiment_revision(models: ModelsConfig, config: OpinionConfig) -> dict[str, str]:
    """Revision of the model that tells sentiments in place of the store's own; empty when there is none."""
    if config.sentiment_encoder is None:
        return {}
    spec = encoder_spec(models.encoder(config.sentiment_encoder, "sentiment"), models)
    return {spec.id: spec.revision}


def review_texts(review: DataFrame, owner_text: DataFrame) -> DataFrame:
    """The words of every review, written or spoken.

    Args:
        review: Bronze table.
        owner_text: Silver table.

    Returns:
        `review_id`, `language`, `rating`, `text` in normal form and `content_id`, both null without words.
    """
    words = review_words(joined_texts(owner_text))
    return review.select("review_id", "language", "rating").join(words, "review_id", "left")


def fit_sample(reviews: DataFrame, most: int) -> DataFrame:
    """The reviews that a fit looks at: all with words, or as many as are allowed, chosen by a hash of their id."""
    return reviews.where(F.col("text").isNotNull()).orderBy(F.sha2("review_id", 256), "review_id").limit(most)


def plan_opinions(reviews: DataFrame, done: DataFrame, marked: DataFrame) -> DataFrame:
    """Reviews that have no opinion yet, or whose words are others now.

    Args:
        reviews: See `review_texts`.
        done: Rows of `review_opinion` of the current models.
        marked: Reviews that the models were fitted on.

    Returns:
        The columns of `reviews` and `in_fit`; no null among the texts.
    """
    known = done.select("review_id", F.coalesce("content_id", F.lit("")).alias("_content"))
    todo = reviews.withColumn("_content", F.coalesce("content_id", F.lit("")))
    todo = todo.join(known, ["review_id", "_content"], "left_anti").drop("_content")
    fitted = marked.select("review_id", F.lit(True).alias("_fitted"))
    return (
        todo.join(fitted, "review_id", "left")
        .withColumn("in_fit", F.coalesce("_fitted", F.lit(False)))
        .withColumn("text", F.coalesce("text", F.lit("")))
        .drop("_fitted")
    )


@dataclass(frozen=True)
class Analysis:
    """Everything that a worker needs to know.

    Attributes:
        model: Saved model of the store, see `OpinionModel.to_saved`.
        config: How reviews are read.
        classifier: Model that tells sentiments in its place; None for the store's own.
        models: Where models lie.
        spec: Identity of the classifier as the driver saw it.
        portions: How much a worker holds at once.
    """

    model: tuple[str, bytes]
    config: OpinionConfig
    classifier: EncoderConfig | None
    models: ModelsConfig
    spec: EncoderSpec | None
    portions: EmbeddingConfig


def analyse_table(todo: DataFrame, task: Analysis) -> DataFrame:
    """Opinions of reviews; computed anew each time it is read.

    Args:
        todo: See `plan_opinions`.
        task: Models and settings.

    Returns:
        `review_id`, `content_id`, `fit_part`, `given` (the review's own rating) and the fields of an opinion.
    """
    schema = StructType(
        [
            *todo.select("review_id", "content_id").schema.fields,
            *_fields("fit_part"),
            *StructType().add("given", "double").fields,
            *_fields("sentiment", "p_negative", "p_neutral", "p_positive", "rating", "rating_std"),
            *_fields("aspects", "topics", "error"),
        ]
    )
    chosen = todo.select("review_id", "content_id", "language", "rating", "text", "in_fit")
    laid_out = chosen.repartition(num_tasks(todo, task.portions.num_partitions), "review_id").sortWithinPartitions(
        "review_id"
    )
    arrow = arrow_schema(schema)
    return laid_out.mapInArrow(lambda batches: _analyse_partition(batches, task, arrow), schema)


def opinion_rows(made: DataFrame, encoder_id: str, revision: str) -> DataFrame:
    """Rows of `review_opinion`: a given rating stays, a pseudo-rating stands in where there is none."""
    has_own = F.col("given").isNotNull()
    source = F.when(has_own, F.lit("given")).when(F.col("rating").isNotNull(), F.lit("predicted"))
    return (
        made.withColumn("rating_source", source)
        .withColumn("rating_std", F.when(~has_own, F.col("rating_std")))
        .withColumn("rating", F.coalesce("given", "rating"))
        .withColumn("encoder_id", F.lit(encoder_id))
        .withColumn("revision", F.lit(revision))
        .select(*_OPINION.content_columns)
    )


def _current_model(
    lakehouse: Lakehouse, sample: DataFrame, stored: DataFrame, config: OpinionConfig
) -> tuple[OpinionModel, str, bool]:
    """The models, their revision, and whether they were fitted now."""
    found = lakehouse.read("opinion_model").where(F.col("encoder_id") == STORE_MODEL).collect()
    if found and found[0]["settings_id"] == settings_id(config):
        saved = found[0]
        ours = F.col("fit_part").isNotNull() & F.col("revision").endswith(saved["revision"])
        marked = stored.where(ours).select("review_id", "content_id", F.lit(1).alias("_marked"))
        both = sample.join(marked, ["review_id", "content_id"], "left")
        sums = both.agg(F.count(F.lit(1)).alias("now"), F.count("_marked").alias("kept")).collect()[0]
        changed = int(sums["now"]) + int(saved["num_reviews"]) - 2 * int(sums["kept"])
        if changed <= config.refit_share * saved["num_reviews"]:
            return OpinionModel.of_saved(saved["document"], bytes(saved["arrays"])), saved["revision"], False
    reviews = [
        Review(row["text"], row["language"] or "", row["rating"])
        for batch in lakehouse.stream_arrow("fit_reviews", sample.select("text", "language", "rating"))
        for row in batch.to_pylist()
    ]
    model, revision = fit_opinions(reviews, config), fit_revision(reviews, config)
    document, arrays = model.to_saved()
    row = {
        "encoder_id": STORE_MODEL,
        "revision": revision,
        "settings_id": settings_id(config),
        "num_reviews": len(reviews),
        "metrics": list(model.metrics.items()),
        "note": model.no_ratings,
        "document": document,
        "arrays": arrays,
    }
    table = pa.Table.from_pylist([row], arrow_schema(_FIT.input_schema))
    lakehouse.merge("opinion_model", lakehouse.from_arrow(table, _FIT))
    return model, revision, True


@dataclass
class _Worker:
    """The classifier that this worker process has loaded."""

    revision: str | None = None
    classifier: Judge | None = None


_worker = _Worker()


def _classifier(task: Analysis) -> Judge | None:
    if task.classifier is None or task.spec is None:
        return None
    if _worker.classifier is None or _worker.revision != task.spec.revision:
        models = on_this_worker(task.models)
        made = make_classifier(task.classifier, models)
        check_same(made.spec, task.spec)
        _worker.revision, _worker.classifier = None, None
        made.load(models.device)
        _worker.revision, _worker.classifier = task.spec.revision, made
    return _worker.classifier


def _analyse_partition(
    batches: Iterator[pa.RecordBatch], task: Analysis, schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    model: OpinionModel | None = None
    for portion in bounded(batches, "text", task.portions.batch_bytes, task.portions.batch_rows):
        # A task without reviews, of which a run with little news has most, loads nothing.
        model = model or OpinionModel.of_saved(*task.model)
        rows = portion.to_pylist()
        opinions = analyse([row["text"] for row in rows], model, task.config, _classifier(task))
        made = [_row(row, opinion) for row, opinion in zip(rows, opinions, strict=True)]
        yield pa.RecordBatch.from_pylist(made, schema)


def _row(review: dict[str, Any], opinion: Opinion) -> dict[str, Any]:
    chances: Sequence[float | None] = opinion.probabilities or (None, None, None)
    seen = Review(review["text"], review["language"] or "", review["rating"])
    return {
        "review_id": review["review_id"],
        "content_id": review["content_id"],
        "fit_part": part_of(seen) if review["in_fit"] else None,
        "given": review["rating"],
        "sentiment": opinion.sentiment,
        "p_negative": chances[0],
        "p_neutral": chances[1],
        "p_positive": chances[2],
        "rating": opinion.rating,
        "rating_std": opinion.rating_std,
        "aspects": [asdict(aspect) for aspect in opinion.aspects],
        "topics": [asdict(topic) for topic in opinion.topics],
        "error": opinion.error,
    }


def _fields(*names: str) -> list[Any]:
    return [_OPINION.schema[name] for name in names]
