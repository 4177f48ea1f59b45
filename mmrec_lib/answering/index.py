"""Tables → what queries are put to: the words, vectors and rules of the catalogue, and the questions of answers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from mmrec_lib.answering.vectors import QUESTION, question_encoder
from mmrec_lib.embedding.owner_text import texts_of_fields
from mmrec_lib.embedding.revisions import made_by
from mmrec_lib.embedding.storage import with_vectors
from mmrec_lib.encoders.spec import EncoderSpec
from mmrec_lib.features.load import SnapshotItems, load_items, present_profiles
from mmrec_lib.features.showing import user_attribute_values
from mmrec_lib.lakehouse.tables import Lakehouse
from mmrec_lib.reranking.config import RerankingConfig
from mmrec_lib.scoring.catalogue import hash_of_files
from mmrec_lib.scoring.shown_items import Controls, item_columns
from mmrec_lib.search.config import SearchConfig
from mmrec_lib.search.engine import SearchIndex
from mmrec_lib.search.spaces import VectorSpace
from mmrec_lib.search.support import AnswerIndex
from mmrec_lib.search.words import WordIndex, WordIndexBuilder
from mmrec_lib.showing.build import build_rules
from mmrec_lib.showing.config import ShowingConfig
from mmrec_lib.showing.item_rules import ItemRules
from mmrec_lib.showing.labels import positions
from mmrec_lib.showing.rules_file import user_attributes_of
from mmrec_lib.source_version import source_version

CATEGORIES, IMAGES = "categories", "images"


def load_search_index(
    lakehouse: Lakehouse,
    encoders: Mapping[EncoderSpec, Sequence[str]],
    config: SearchConfig,
    showing: ShowingConfig,
    controls: Controls,
    model_version: str | None,
) -> SearchIndex:
    """The catalogue of the latest snapshot as queries see it.

    Args:
        lakehouse: The store.
        encoders: See `searched_encoders`.
        config: Fields and weights.
        showing: Rules of what may be shown.
        controls: What users set.
        model_version: Version of the ranker whose item vectors are published; None where there is none.

    Raises:
        NoDataError: When there is no snapshot yet.
        ShowingError: When a rule is wrong or removes too much.
    """
    asked = item_columns(showing, RerankingConfig(), controls)
    items = load_items(lakehouse, (*asked, CATEGORIES) if CATEGORIES in config.word_fields else asked)
    ids = pa.array(items.item_ids, pa.string())
    spaces = {}
    for spec, fields in encoders.items():
        rows, vectors, names = _vectors(lakehouse, spec, fields, ids)
        if len(rows):
            spaces[spec.id] = VectorSpace.of(vectors, rows, names, config.least_like)
    return SearchIndex(
        words=_words(lakehouse, items, ids, config),
        spaces=spaces,
        modalities={spec.id: spec.modality for spec in encoders},
        rules=_rules(lakehouse, items, showing, controls),
        item_vectors=_item_vectors(lakehouse, ids, model_version),
    )


def load_answer_index(lakehouse: Lakehouse, specs: Sequence[EncoderSpec]) -> AnswerIndex | None:
    """The questions of the answers; None where there are none, or no encoder reads them."""
    spec = question_encoder(specs)
    if spec is None:
        return None
    rows = lakehouse.read("search_vector").where(
        (F.col("field") == QUESTION) & made_by(spec) & F.col("vector").isNotNull()
    )
    found = _sorted(lakehouse, "search_question", rows.select("owner_id", "vector"), "owner_id")
    return AnswerIndex.of(found["owner_id"].combine_chunks(), _matrix(found)) if len(found) else None


def hash_of_answers(lakehouse: Lakehouse) -> str:
    """Hash of the texts of all answers, whatever their order: results hold them as they are."""
    told = F.sha2(F.to_json(F.struct("answer_id", "question", "answer", "source")), 256)
    rows = _sorted(lakehouse, "search_answer", lakehouse.read("answer").select(told.alias("told")), "told")
    return hashlib.sha256("".join(rows["told"].to_pylist()).encode()).hexdigest()


def save_indexes(
    index: SearchIndex, answers: AnswerIndex | None, answers_hash: str | None, config: SearchConfig, folder: Path
) -> str:
    """Write what workers read to a folder; returns a hash of all that the results follow from besides the queries.

    Args:
        index: The catalogue.
        answers: Questions of the answers; None where there are none.
        answers_hash: See `hash_of_answers`; None where no answer is given.
        config: Settings of search.
        folder: Where to write.
    """
    index.save(folder / "items")
    if answers is not None:
        answers.save(folder / "answers")
    parts = {path.name: hash_of_files(path) for path in sorted(folder.iterdir())}
    settings = config.model_dump(mode="json", exclude={"queries_per_task"})
    told = [parts, answers_hash, settings, source_version([Path(__file__).with_name("run.py")])]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:32]


def _words(lakehouse: Lakehouse, items: SnapshotItems, ids: pa.Array, config: SearchConfig) -> WordIndex:
    builder = WordIndexBuilder(len(ids), config.word_fields, config.k1, config.b)
    texts = texts_of_fields(lakehouse, tuple(config.word_fields), "search.word_fields").where(
        (F.col("owner_kind") == "item") & F.col("field").isin(*config.word_fields)
    )
    for batch in lakehouse.stream_arrow("search_text", texts.select("owner_id", "field", "text")):
        rows = positions(batch["owner_id"], ids)
        for field in pc.unique(batch["field"]).to_pylist():
            own = np.flatnonzero(pc.equal(batch["field"], field).to_numpy(zero_copy_only=False) & (rows >= 0))
            builder.add(field, rows[own], batch["text"].take(pa.array(own)).to_pylist())
    if CATEGORIES in config.word_fields:
        lists = items.table[CATEGORIES].to_pylist()
        builder.add(CATEGORIES, np.arange(len(ids)), (" ".join(own or ()) for own in lists))
    return builder.build()


def _vectors(
    lakehouse: Lakehouse, spec: EncoderSpec, fields: Sequence[str], ids: pa.Array
) -> tuple[NDArray[np.int64], NDArray[np.float32], list[str]]:
    """Items, vectors [R, dim] and fields: one row an item and field, of images one an item and image."""
    embedding = lakehouse.read("item_embedding").where(made_by(spec) & F.col("field").isin(*fields))
    columns = ("item_id", "field", "vector")
    rows = with_vectors(embedding.where(F.col("field") != IMAGES)).select(*columns)
    if IMAGES in fields:
        links = lakehouse.read("media_link").where((F.col("owner_kind") == "item") & (F.col("field") == IMAGES))
        shown = links.select(F.col("owner_id").alias("item_id"), F.col("asset_id").alias("content_id")).distinct()
        images = with_vectors(lakehouse.read("content_embedding").where(made_by(spec))).join(shown, "content_id")
        rows = rows.unionByName(
            images.select("item_id", F.concat(F.lit(f"{IMAGES}:"), "content_id").alias("field"), "vector")
        )
    found = _sorted(lakehouse, "search_item_vector", rows, "item_id", "field")
    at = positions(found["item_id"].combine_chunks(), ids) if len(found) else np.zeros(0, np.int64)
    kept = np.flatnonzero(at >= 0)
    return at[kept], _matrix(found)[kept], found["field"].take(pa.array(kept)).to_pylist()


def _rules(lakehouse: Lakehouse, items: SnapshotItems, showing: ShowingConfig, controls: Controls) -> ItemRules:
    """Rules of the day; pins belong to lists that nobody asked for, and are left out."""
    day = items.cuts.as_of
    values = user_attribute_values(present_profiles(lakehouse), user_attributes_of(showing, day))
    soft = None if controls.of_users is None else controls.soft_targets
    return build_rules(items.table, showing, day, values, soft_controls=soft)


def _item_vectors(lakehouse: Lakehouse, ids: pa.Array, model_version: str | None) -> NDArray[np.float32] | None:
    if model_version is None:
        return None
    rows = lakehouse.read("item_vector").where(F.col("model_version") == model_version).select("item_id", "vector")
    found = _sorted(lakehouse, "search_ranker", rows, "item_id")
    if not len(found):
        return None
    at, vectors = positions(found["item_id"].combine_chunks(), ids), _matrix(found)
    placed = np.zeros((len(ids), vectors.shape[1]), np.float32)
    placed[at[at >= 0]] = vectors[at >= 0]
    return placed


def _sorted(lakehouse: Lakehouse, name: str, rows: DataFrame, *keys: str) -> pa.Table:
    """Rows in this process in the order of their keys, whatever order Spark had."""
    batches = list(lakehouse.stream_arrow(name, rows))
    if not batches:
        return pa.table({column: pa.array([], pa.string()) for column in rows.columns})
    table = pa.Table.from_batches(batches)
    return table.take(pc.sort_indices(table, [(key, "ascending") for key in keys]))


def _matrix(rows: pa.Table) -> NDArray[np.float32]:
    """Column `vector` as [rows, dim]."""
    if not len(rows):
        return np.zeros((0, 0), np.float32)
    flat = rows["vector"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return np.ascontiguousarray(flat.reshape(len(rows), -1), np.float32)
