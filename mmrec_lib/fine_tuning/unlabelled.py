"""Contents without a label, of the kinds of owners that a task has labels of."""

from __future__ import annotations

from typing import Any

from pyspark.sql import functions as F

from mmrec_lib.embedding.owner_text import documents, single_texts, texts_of_fields
from mmrec_lib.encoders.config import ModelsConfig
from mmrec_lib.errors import RecipeError
from mmrec_lib.fine_tuning.contents import as_image, first_images, image_features
from mmrec_lib.fine_tuning.labelled import Labelled
from mmrec_lib.lakehouse.tables import Lakehouse
from mmrec_lib.recipes.config import RecipeConfig
from mmrec_lib.recipes.examples import Example

_OWNER = ("owner_kind", "owner_id")


def read_unlabelled(
    lakehouse: Lakehouse, config: RecipeConfig, models: ModelsConfig, labelled: Labelled
) -> list[Example]:
    """Contents of owners without a label of the task, sorted; none without `recipe.pseudo_labels`.

    Of more than `pseudo_labels.max_candidates` a sample by hash, the same in each run.

    Args:
        lakehouse: Tables.
        config: The recipe.
        models: Where models lie and how they are run.
        labelled: The labels.

    Raises:
        RecipeError: When labels bring texts of their own, which no other owner has.
    """
    if config.pseudo_labels is None:
        return []
    if labelled.bring_texts:
        raise RecipeError(
            f"Recipe `{config.name}`: labels of the owners' own texts are needed for pseudo-labels, but labels of task "
            f"`{config.task}` bring texts of their own, which owners without a label lack. Set "
            "recipe.pseudo_labels=null."
        )
    texts = texts_of_fields(lakehouse, config.fields, "recipe.fields")
    texts = texts.where(F.col("owner_kind").isin(*labelled.owner_kinds))
    rows = single_texts(texts, config.fields) if config.kind == "tagger" else documents(texts, config.fields)
    labels = lakehouse.read("label").where(F.col("task") == config.task).select(*_OWNER)
    rows = rows.join(labels, list(_OWNER), "left_anti")
    if config.needs_images:
        rows = rows.join(first_images(lakehouse), list(_OWNER))
    chosen = rows.orderBy(F.xxhash64(*_OWNER), *_OWNER).limit(config.pseudo_labels.max_candidates)
    rows = lakehouse.stage("recipe_unlabelled", chosen)
    images: dict[str, Any] = {}
    if config.needs_images:
        features = image_features(lakehouse, rows.select("image_id").distinct(), config, models)
        staged = lakehouse.stage("recipe_unlabelled_images", features)
        images = {row["image_id"]: as_image(row["image"], config) for row in staged.collect()}
    found = []
    for row in sorted(rows.collect(), key=lambda row: (str(row["owner_kind"]), str(row["owner_id"]))):
        image_id = str(row["image_id"]) if config.needs_images else ""
        if config.needs_images and image_id not in images:
            continue
        name = f"{row['owner_kind']}:{row['owner_id']}"
        found.append(Example(name, row["document"], None, images.get(image_id), image_id or None))
    return found


def owner_of(example: Example) -> tuple[str, str]:
    """Kind and id of the owner of an example of `read_unlabelled`."""
    kind, _, owner_id = example.id.partition(":")
    return kind, owner_id
