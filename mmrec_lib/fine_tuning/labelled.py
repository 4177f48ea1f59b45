"""The labels of a task → examples of a recipe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from mmrec_lib.embedding.owner_text import documents, single_texts, texts_of_fields
from mmrec_lib.encoders.config import ModelsConfig
from mmrec_lib.features.load import current_snapshot
from mmrec_lib.fine_tuning.contents import (
    as_image,
    first_images,
    histories,
    image_features,
    train_pairs,
    with_user_texts,
    without_held_out_pairs,
)
from mmrec_lib.lakehouse.tables import Lakehouse
from mmrec_lib.recipes.config import RecipeConfig
from mmrec_lib.recipes.examples import Example, TextSpan

READS = (
    "label",
    "owner_text",
    "media_asset",
    "media_link",
    "training_snapshot",
    "training_interaction",
    "user",
)
Owner = tuple[str, str, str | None, str | None]


@dataclass(frozen=True)
class Labelled:
    """The labels of a task with their contents.

    Attributes:
        examples: Labels whose content is there.
        owners: Of each example: owner kind, owner, item of a pair, and the label's own text.
        num_labels: Labels of the task.
        num_unknown: Labels whose owner has no such content, or is not there.
        num_held_out: Labels of pairs of valid or test that do not count, with `recipe.train_part_only`.
    """

    examples: list[Example]
    owners: list[Owner]
    num_labels: int
    num_unknown: int
    num_held_out: int = 0

    @property
    def owner_kinds(self) -> tuple[str, ...]:
        """Kinds of the owners."""
        return tuple(sorted({kind for kind, _, _, _ in self.owners}))

    @property
    def bring_texts(self) -> bool:
        """True when any label has a text of its own."""
        return any(text is not None for _, _, _, text in self.owners)


def labelled_tasks(lakehouse: Lakehouse) -> dict[str, int]:
    """Tasks that the store has labels of, by name, and how many of each."""
    if not lakehouse.exists("label"):
        return {}
    return {row["task"]: row["count"] for row in lakehouse.read("label").groupBy("task").count().collect()}


def read_labelled(lakehouse: Lakehouse, config: RecipeConfig, models: ModelsConfig, num_labels: int) -> Labelled:
    """Examples of a task; of more than `max_examples` labels a sample, the same in each run.

    Args:
        lakehouse: Tables.
        config: The recipe.
        models: Where models lie and how they are run.
        num_labels: Labels of the task, see `labelled_tasks`.

    Raises:
        NoDataError: When the labels are of pairs and there is no training snapshot.
    """
    own = lakehouse.read("label").where(F.col("task") == config.task)
    sampled = own.orderBy(F.xxhash64("label_id"), "label_id").limit(config.max_examples)
    rows = lakehouse.stage("recipe_examples", labelled_rows(lakehouse, sampled, config))
    images: dict[str, Any] = {}
    if config.needs_images:
        ids = rows.where(F.col("image_id").isNotNull()).select("image_id").distinct()
        features = lakehouse.stage("recipe_images", image_features(lakehouse, ids, config, models))
        images = {row["image_id"]: as_image(row["image"], config) for row in features.collect()}
    found = sorted(rows.collect(), key=lambda row: str(row["label_id"]))
    examples, owners = [], []
    for row in found:
        image = images.get(row["image_id"])
        if row["document"] is None or (config.kind == "pair" and row["other"] is None):
            continue
        if config.needs_images and image is None:
            continue
        spans = tuple(TextSpan(span["start"], span["end"], span["label"]) for span in row["spans"] or ())
        examples.append(
            Example(
                row["label_id"],
                row["document"],
                row["other"],
                image,
                row["image_id"] if image is not None else None,
                row["label"],
                spans,
                row["split"],
            )
        )
        owners.append((row["owner_kind"], row["owner_id"], row["item_id"], row["text"]))
    num_held_out = min(num_labels, config.max_examples) - len(found) if config.train_part_only else 0
    return Labelled(examples, owners, num_labels, len(found) - len(examples), num_held_out)


def labelled_rows(lakehouse: Lakehouse, labels: DataFrame, config: RecipeConfig) -> DataFrame:
    """Labels with `document`, `other` (of pairs) and `image_id`, each null where the owner has none.

    What users turned to after the train part of the current snapshot is not in their texts, and with
    `recipe.train_part_only` pairs of the other parts are left out.
    """
    texts = texts_of_fields(lakehouse, config.fields, "recipe.fields")
    labels = labels.select("label_id", "owner_kind", "owner_id", "item_id", "text", "label", "spans", "split")
    nothing = F.lit(None).cast("string")
    if config.kind == "pair":
        titles = single_texts(texts, config.fields[:1])
        snapshot_id, _ = current_snapshot(lakehouse)
        users = histories(train_pairs(lakehouse, snapshot_id), titles, config.num_history)
        pairs = labels.where(F.col("item_id").isNotNull())
        if config.train_part_only:
            pairs = without_held_out_pairs(pairs, lakehouse, snapshot_id)
        return with_user_texts(pairs, users, documents(texts, config.fields), config.num_history).withColumn(
            "image_id", nothing
        )
    own = single_texts(texts, config.fields) if config.kind == "tagger" else documents(texts, config.fields)
    rows = labels.join(own, ["owner_kind", "owner_id"], "left").withColumn("other", nothing)
    rows = rows.withColumn("document", F.coalesce("text", "document"))
    if not config.needs_images:
        return rows.withColumn("image_id", nothing)
    return rows.join(first_images(lakehouse), ["owner_kind", "owner_id"], "left")
