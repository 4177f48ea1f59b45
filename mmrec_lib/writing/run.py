"""The job write_texts, table to table: only users whose list, profile or items changed."""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
import uuid
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.fs
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from mmrec_lib.contracts import CONTRACTS
from mmrec_lib.contracts.table import SLICE_COLUMN
from mmrec_lib.embedding.config import EmbeddingConfig
from mmrec_lib.encoders.config import ModelsConfig
from mmrec_lib.encoders.spec import EncoderSpec
from mmrec_lib.encoders.weights.directory import directory_revision, local_directory, require_safe
from mmrec_lib.features.load import present_profiles
from mmrec_lib.generation.candidates import TEMPLATE, Bounds
from mmrec_lib.generation.config import GenerationConfig
from mmrec_lib.generation.descriptions import describe
from mmrec_lib.generation.reasons import NoTextReason
from mmrec_lib.lakehouse.arrow_tables import arrow_schema
from mmrec_lib.lakehouse.merging import Staged
from mmrec_lib.lakehouse.tables import Lakehouse
from mmrec_lib.location import filesystem_of
from mmrec_lib.source_version import source_version
from mmrec_lib.writing.items import ItemTable, item_facts
from mmrec_lib.writing.users import TEXTS, WritingTask, fact_rules, told_facts, write_partition
from mmrec_lib.writing.vectors import alpha_of_validation, load_vectors, text_encoder

_log = logging.getLogger(__name__)
READS = (
    "user_topk",
    "current_slice",
    "user",
    "user_profile",
    "item",
    "review",
    "review_opinion",
    "owner_text",
    "item_embedding",
    "training_snapshot",
    "training_interaction",
)
WRITES = ("recommendation_text", "generated_description")


@dataclass(frozen=True)
class WritingSettings:
    """Settings of a run.

    Attributes:
        generation: Texts.
        brand_attribute: Attribute of items that names their brand.
        models: Where models lie and how they are run.
        embedding: Encoders of the fields.
    """

    generation: GenerationConfig
    brand_attribute: str
    models: ModelsConfig
    embedding: EmbeddingConfig

    def encoder(self) -> EncoderSpec | None:
        """The encoder in whose space texts are chosen; None, and no model is looked at, where order decides."""
        if not self.generation.num_ranks or self.generation.choose_by == "order":
            return None
        return text_encoder(self.models, self.embedding, self.generation)

    def revisions(self) -> dict[str, str]:
        """Revisions of the models that texts follow from.

        Raises:
            EncoderError: When a model's directory is missing, holds pickles only or brings code of its own.
            ConfigError: When no encoder fits.
        """
        found, encoder = dict[str, str](), self.encoder()
        if encoder is not None:
            found[encoder.id] = encoder.revision
        if self.generation.num_ranks and self.generation.model is not None:
            directory = local_directory(self.models.root, self.generation.model)
            require_safe(directory)
            found["generation.model"] = directory_revision(directory)
        return found


def write_texts(lakehouse: Lakehouse, settings: WritingSettings) -> dict[str, int]:
    """Bring recommendation_text and generated_description to the current lists and to the catalogue as it is.

    Without `generation.num_ranks` there are no texts, and those of an earlier run go.

    Returns:
        Counts `users` (with a list), `written` (users of whom this run wrote texts), `texts` and `model` (of these, the
        ones that a model worded), one for each reason why an item has none, and `descriptions`.
    """
    config = settings.generation
    if not config.num_ranks:
        for name in WRITES:
            if lakehouse.exists(name):
                nothing = lakehouse.spark.createDataFrame([], CONTRACTS[name].input_schema)
                lakehouse.merge(name, Staged(nothing), delete_keys=lakehouse.read(name))
        return {}
    items = ItemTable(item_facts(lakehouse, config, settings.brand_attribute))
    for name in items.without_items(config.silent_categories):
        _log.warning("generation.silent_categories: no item has the category `%s`", name)
    stored = lakehouse.read("recommendation_text")
    users = lakehouse.stage("text_user", _users(lakehouse, config, stored))
    task = _task(lakehouse, settings, items, users)
    made = users.where(~F.col("is_gone")).mapInArrow(lambda batches: write_partition(batches, task), TEXTS)
    rows = lakehouse.stage("recommendation_text", made)
    gone = users.where("is_gone").select("user_id").unionByName(rows.select("user_id"))
    # Of a list whose items are all gone there is no row.
    without_item = stored.join(lakehouse.read("item"), "item_id", "left_anti")
    replaced = stored.join(gone, "user_id", "left_semi").unionByName(without_item)
    lakehouse.merge("recommendation_text", Staged(rows), delete_keys=replaced.select("user_id", "item_id").distinct())
    counts = _counts(users, rows)
    return {**counts, "descriptions": _describe_items(lakehouse, settings, items)}


def _users(lakehouse: Lakehouse, config: GenerationConfig, stored: DataFrame) -> DataFrame:
    """Columns of `write_partition`; and users who have texts but no list any more, who are `is_gone`."""
    day = lakehouse.current_slice("user_topk")
    lists = lakehouse.read("user_topk").where((F.col(SLICE_COLUMN) == F.lit(day)) & (F.col("rank") <= config.num_ranks))
    entry = F.struct("rank", "item_id", "because_item_ids", "path")
    listed = lists.groupBy("user_id").agg(F.array_sort(F.collect_list(entry)).alias("entries"))
    history = F.transform(
        "history", lambda one: F.struct(one["item_id"].alias("item_id"), one["weight"].alias("weight"))
    )
    profiles = present_profiles(lakehouse).select(
        "user_id",
        F.size("history").alias("num_items"),
        "top_categories",
        "top_brands",
        "price_quartiles",
        "segment",
        F.try_element_at("attributes", F.lit(config.language_attribute)).alias("language"),
        # Nothing but vectors asks for it.
        (
            history
            if config.choose_by == "vectors"
            else F.lit(None).cast("array<struct<item_id:string,weight:double>>")
        ).alias("history"),
    )
    hashes = stored.groupBy("user_id").agg(F.min("input_hash").alias("stored_hash"))
    rows = listed.join(profiles, "user_id").join(hashes, "user_id", "full")
    return rows.withColumn("is_gone", F.col("entries").isNull())


def _task(lakehouse: Lakehouse, settings: WritingSettings, items: ItemTable, users: DataFrame) -> WritingTask:
    """The task of the workers; the facts and vectors that they read are written to a folder."""
    config, encoder, alpha = settings.generation, settings.encoder(), settings.generation.alpha
    uri = lakehouse.staging_path(f"texts-{uuid.uuid4().hex}")
    with tempfile.TemporaryDirectory() as scratch:
        items.save(Path(scratch))
        if encoder is not None:
            names = sorted(items.names() | _names_of_users(users))
            vectors = load_vectors(lakehouse, items, names, encoder, settings.models, settings.embedding)
            vectors.save(Path(scratch))
            if alpha is None:
                alpha = alpha_of_validation(lakehouse, items, vectors, config.alpha_users)
        files, folder = filesystem_of(uri)
        files.create_dir(folder)
        pyarrow.fs.copy_files(scratch, folder, destination_filesystem=files)
    told = [
        config.model_dump(mode="json", exclude={"num_ranks", "model_batch", "alpha_users", "describe_items"}),
        settings.revisions(),
        alpha,
        source_version([Path(__file__).with_name("users.py")]),
    ]
    settings_hash = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
    return WritingTask(
        uri,
        config,
        settings.models.root,
        settings.models.threads or 1,
        settings_hash,
        None if encoder is None else alpha,
    )


def _names_of_users(users: DataFrame) -> set[str]:
    """Names of segments and of nodes of paths."""
    nodes = F.transform("entries", lambda one: one["path"]["node"])
    names = users.where("NOT is_gone").select(F.explode(F.concat(nodes, F.array("segment"))).alias("name"))
    return {row["name"] for row in names.where(F.col("name").isNotNull()).distinct().collect()}


def _counts(users: DataFrame, rows: DataFrame) -> dict[str, int]:
    """Counts of `write_texts` but those of descriptions."""
    worded = F.col("source") != TEMPLATE
    asked = {
        "texts": F.col("text").isNotNull(),
        "model": F.col("text").isNotNull() & worded,
        **{str(reason): F.col("reason") == reason for reason in NoTextReason},
    }
    counted = [F.count(F.when(condition, 1)).alias(name) for name, condition in asked.items()]
    found = rows.agg(F.count_distinct("user_id").alias("written"), *counted).collect()[0].asDict()
    return {"users": users.where("NOT is_gone").count(), **{name: int(number) for name, number in found.items()}}


def _describe_items(lakehouse: Lakehouse, settings: WritingSettings, items: ItemTable) -> int:
    """Write the descriptions of items that have none; returns their number."""
    config = settings.generation
    rules = fact_rules(config)
    bounds = Bounds(config.language, config.max_characters, rules.names)
    rows = [
        {
            "item_id": item.item_id,
            "language": config.language,
            "text": text.candidate.text,
            "facts": told_facts(text.candidate.facts),
            "grounding": text.grounding,
            "source": text.candidate.source,
        }
        for item in (items.undescribed() if config.describe_items else ())
        if (text := describe(item, bounds, rules)) is not None
    ]
    contract = CONTRACTS["generated_description"]
    if rows or lakehouse.exists(contract.name):
        schema = arrow_schema(contract.input_schema)
        made = lakehouse.from_arrow(pa.Table.from_pylist(rows, schema=schema), contract)
        lakehouse.merge("generated_description", Staged(made), delete_keys=lakehouse.read("generated_description"))
    return len(rows)
