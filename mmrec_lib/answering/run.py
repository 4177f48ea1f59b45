"""The job answer_queries, table to table: only queries that are new or changed, or whose catalogue changed."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow.fs
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from mmrec_lib.answering.asked import asked_queries, with_users
from mmrec_lib.answering.index import hash_of_answers, load_answer_index, load_search_index, save_indexes
from mmrec_lib.answering.rows import ANSWERED, AnsweringTask, answer_partition
from mmrec_lib.answering.vectors import IMAGES, bring_vectors, question_encoder, searched_encoders
from mmrec_lib.contracts import CONTRACTS
from mmrec_lib.embedding.config import EmbeddingConfig
from mmrec_lib.embedding.run import selected_extractors
from mmrec_lib.encoders.config import ModelsConfig
from mmrec_lib.lakehouse.actions import side_by_side
from mmrec_lib.lakehouse.merging import Staged
from mmrec_lib.lakehouse.tables import Lakehouse
from mmrec_lib.scoring.published import published_slices
from mmrec_lib.scoring.shown_items import load_controls
from mmrec_lib.search.config import SearchConfig
from mmrec_lib.search.reasons import EmptyReason
from mmrec_lib.showing.config import ShowingConfig

READS = (
    "query",
    "answer",
    "item",
    "user",
    "user_control",
    "user_profile",
    "owner_text",
    "media_asset",
    "media_link",
    "media_text",
    "content_embedding",
    "item_embedding",
    "training_snapshot",
    "training_item",
    "user_vector",
    "item_vector",
    "current_slice",
)
WRITES = ("search_vector", "query_topk", "support_answer", "query_result")


@dataclass(frozen=True)
class AnsweringSettings:
    """Settings of a run.

    Attributes:
        search: Fields, weights, bounds.
        showing: Rules of what may be shown.
        models: Where models lie and how they are run.
        embedding: Encoders of the fields.
    """

    search: SearchConfig
    showing: ShowingConfig
    models: ModelsConfig
    embedding: EmbeddingConfig


def search_revisions(lakehouse: Lakehouse, settings: AnsweringSettings) -> dict[str, str]:
    """Revision of each encoder that is searched with; none where nobody ever asked, so that no model is looked at."""
    if not lakehouse.exists("query"):
        return {}
    encoders = searched_encoders(settings.models, settings.embedding, settings.search)
    return {spec.id: spec.revision for spec in encoders}


def answer_queries(lakehouse: Lakehouse, settings: AnsweringSettings) -> dict[str, int]:
    """Bring query_topk, support_answer and query_result to what was asked and to the catalogue as it is.

    Each query has one row in query_result, which is written last; what is known of gone queries goes.

    Returns:
        Counts `queries`, `answered` (by this run), `empty` (of those) and `encoded`.

    Raises:
        NoDataError: When there is no snapshot yet.
        ShowingError: When a rule is wrong or removes too much.
    """
    counts = {"queries": 0, "answered": 0, "empty": 0, "encoded": 0}
    if not lakehouse.exists("query"):
        return counts
    if not lakehouse.read("query").limit(1).collect():
        _forget_all(lakehouse)
        return counts
    encoders = searched_encoders(settings.models, settings.embedding, settings.search)
    extractors = selected_extractors(settings.models, settings.embedding)
    asked = lakehouse.stage("asked", asked_queries(lakehouse, extractors))
    encoded = bring_vectors(
        lakehouse, asked, list(encoders), settings.models, settings.embedding, settings.search.photo_looks
    )
    published = published_slices(lakehouse).get("user_vector")
    version = None if published is None else published.version
    controls = load_controls(lakehouse, settings.showing)
    index = load_search_index(lakehouse, encoders, settings.search, settings.showing, controls, version)
    answers = load_answer_index(lakehouse, list(encoders))
    uri = lakehouse.staging_path(f"search-{uuid.uuid4().hex}")
    with tempfile.TemporaryDirectory() as scratch:
        answers_hash = None if answers is None else hash_of_answers(lakehouse)
        index_hash = save_indexes(index, answers, answers_hash, settings.search, Path(scratch))
        pyarrow.fs.copy_files(scratch, uri)
    market = settings.showing.market_attribute
    rows = _with_vectors(lakehouse, with_users(lakehouse, asked, controls, market, version), set(index.spaces))
    due = lakehouse.stage("due", _due(lakehouse, rows, index_hash))
    num_due = due.count()
    question = question_encoder(list(encoders)) if answers is not None else None
    task = AnsweringTask(uri, settings.search, None if question is None else question.id)
    num_tasks = max(1, -(-num_due // settings.search.queries_per_task))
    laid_out = due.repartition(num_tasks, "query_id").sortWithinPartitions("query_id")
    found = laid_out.mapInArrow(lambda batches: answer_partition(batches, task), ANSWERED)
    answered = lakehouse.stage("answered", found)
    num_empty = _publish(lakehouse, asked, due, answered, index_hash)
    return {"queries": asked.count(), "answered": num_due, "empty": num_empty, "encoded": encoded["encoded"]}


def _forget_all(lakehouse: Lakehouse) -> None:
    """Take out all that is known of queries, where none is left; vectors of answers stay."""
    for name in WRITES:
        if not lakehouse.exists(name):
            continue
        contract, stored = CONTRACTS[name], lakehouse.read(name)
        gone = stored.where(F.col("owner_kind") == "query") if name == "search_vector" else stored
        nothing = lakehouse.spark.createDataFrame([], contract.input_schema)
        lakehouse.merge(name, Staged(nothing), delete_keys=gone.select(*contract.key))


def _with_vectors(lakehouse: Lakehouse, asked: DataFrame, spaces: set[str]) -> DataFrame:
    """Queries with a column `vectors`, see `answer_partition`, and the problem of images without one."""
    own = lakehouse.read("search_vector").where(F.col("owner_kind") == "query")
    entry = F.struct(F.concat_ws(" ", "field", "encoder_id").alias("key"), F.col("vector").alias("value"))
    is_image = F.col("field").startswith(IMAGES)
    vectors = own.groupBy(F.col("owner_id").alias("query_id")).agg(
        F.map_from_entries(F.array_sort(F.collect_list(F.when(F.col("vector").isNotNull(), entry)))).alias("vectors"),
        F.bool_or(is_image & F.col("error").isNotNull()).alias("_is_unreadable"),
        F.bool_or(is_image & F.col("encoder_id").isin(*spaces)).alias("_is_read"),
    )
    problem = F.when(F.col("_is_unreadable"), str(EmptyReason.MEDIA_UNREADABLE)).when(
        F.col("image_id").isNotNull() & ~F.coalesce("_is_read", F.lit(False)), str(EmptyReason.NOT_READ)
    )
    rows = asked.join(vectors, "query_id", "left").withColumn("problem", F.coalesce("problem", problem))
    return rows.drop("_is_unreadable", "_is_read")


def _due(lakehouse: Lakehouse, rows: DataFrame, index_hash: str) -> DataFrame:
    """Queries without a result that follows from the same query, user and index; with `input_hash`."""
    maps: Mapping[str, str] = {name: f"array_sort(map_entries({name}))" for name in ("attributes", "vectors")}
    parts = [F.expr(maps.get(name, name)) for name in sorted(rows.columns) if name != "query_id"]
    hashed = rows.withColumn("input_hash", F.xxhash64(*parts))
    done = lakehouse.read("query_result").where(F.col("index_hash") == index_hash).select("query_id", "input_hash")
    return hashed.join(done, ["query_id", "input_hash"], "left_anti")


def _publish(lakehouse: Lakehouse, asked: DataFrame, due: DataFrame, answered: DataFrame, index_hash: str) -> int:
    """Replace the rows of the queries that were answered, and take those of gone queries out; returns empty ones."""
    ids = answered.select("query_id")

    def gone(name: str) -> DataFrame:
        stored = lakehouse.read(name)
        return stored.join(ids, "query_id", "left_semi").unionByName(stored.join(asked, "query_id", "left_anti"))

    items = answered.select(
        "query_id", F.posexplode(F.arrays_zip("item_ids", "scores", "shares")).alias("position", "entry")
    ).select(
        "query_id",
        (F.col("position") + 1).cast("int").alias("rank"),
        F.col("entry.item_ids").alias("item_id"),
        F.col("entry.scores").alias("score"),
        F.col("entry.shares").alias("shares"),
    )
    given = answered.select(
        "query_id", F.posexplode(F.arrays_zip("answer_ids", "cosines", "confidences")).alias("position", "entry")
    ).select(
        "query_id",
        (F.col("position") + 1).cast("int").alias("rank"),
        F.col("entry.answer_ids").alias("answer_id"),
        F.col("entry.cosines").alias("cosine"),
        F.col("entry.confidences").alias("confidence"),
    )
    texts = lakehouse.read("answer").select("answer_id", "question", "answer", "source")
    answers = lakehouse.stage("support_answer", given.join(texts, "answer_id"))
    side_by_side(
        [
            lambda: lakehouse.merge("query_topk", Staged(items), delete_keys=gone("query_topk")),
            lambda: lakehouse.merge("support_answer", Staged(answers), delete_keys=gone("support_answer")),
        ]
    )
    results = answered.join(due.select("query_id", "words", "input_hash"), "query_id").select(
        "query_id",
        "words",
        "is_cut",
        F.size("item_ids").alias("num_items"),
        F.size("answer_ids").alias("num_answers"),
        "reason",
        "input_hash",
        F.lit(index_hash).alias("index_hash"),
    )
    lakehouse.merge("query_result", Staged(results), delete_keys=gone("query_result"))
    return results.where(F.col("reason").isNotNull()).count()
