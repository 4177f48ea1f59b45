"""Contents of labels: what a label's owner says and shows, from the tables of texts, events and media."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from mmrec_lib.embedding.config import EmbeddingConfig
from mmrec_lib.embedding.operator import MEDIA_COLUMNS, encode_table
from mmrec_lib.encoders.config import ModelsConfig
from mmrec_lib.generation.candidate_texts import BETWEEN_ITEMS
from mmrec_lib.lakehouse.kept_media import kept_reference, read_kept
from mmrec_lib.lakehouse.tables import Lakehouse
from mmrec_lib.media.errors import MediaError
from mmrec_lib.media.images import decode_image
from mmrec_lib.recipes.config import RecipeConfig

_OWNER = ["owner_kind", "owner_id"]


def train_pairs(lakehouse: Lakehouse, snapshot_id: str) -> DataFrame:
    """Users with the items that they turned to in the train part of a snapshot: what training may know of them.

    Returns:
        `user_id`, `item_id`, `weight` of the events, `at` (the latest); without users that were deleted since.
    """
    own = (F.col("snapshot_id") == snapshot_id) & (F.col("train_weight") > 0)
    rows = lakehouse.read("training_interaction").where(own)
    present = rows.join(lakehouse.read("user").select("user_id"), "user_id", "left_semi")
    return present.select("user_id", "item_id", F.col("train_weight").alias("weight"), F.col("train_ts").alias("at"))


def without_held_out_pairs(labels: DataFrame, lakehouse: Lakehouse, snapshot_id: str) -> DataFrame:
    """Labels of pairs less those that the valid or test part of a snapshot asks about.

    Args:
        labels: Columns `owner_id` (the user) and `item_id`.
        lakehouse: Tables.
        snapshot_id: The snapshot.
    """
    is_held_out = F.col("valid_weight").isNotNull() | F.col("test_weight").isNotNull()
    pairs = lakehouse.read("training_interaction").where((F.col("snapshot_id") == snapshot_id) & is_held_out)
    held_out = pairs.select(F.col("user_id").alias("owner_id"), "item_id")
    return labels.join(held_out, ["owner_id", "item_id"], "left_anti")


def histories(pairs: DataFrame, titles: DataFrame, num_items: int) -> DataFrame:
    """The items that each user turned to most, by the weight of the events, then the latest.

    Args:
        pairs: See `train_pairs`.
        titles: See `owner_text.documents`; those of items count.
        num_items: Items of a user; one more is kept, so that one may be left out.

    Returns:
        `user_id`, `history`: array of `item_id` and `document`, heaviest first.
    """
    of_items = titles.where(F.col("owner_kind") == "item").select(F.col("owner_id").alias("item_id"), "document")
    place = F.row_number().over(Window.partitionBy("user_id").orderBy(F.desc("weight"), F.desc("at"), "item_id"))
    ranked = pairs.join(of_items, "item_id").withColumn("place", place).where(F.col("place") <= num_items + 1)
    listed = F.array_sort(F.collect_list(F.struct("place", "item_id", "document")))
    return ranked.groupBy("user_id").agg(listed.alias("history"))


def with_user_texts(labels: DataFrame, histories_of_users: DataFrame, titles: DataFrame, num_items: int) -> DataFrame:
    """Labels of pairs with the user's text as `document` and the item's as `other`.

    The user's text is the label's own, such as answers to questions, else the history without the item.
    """
    of_items = titles.where(F.col("owner_kind") == "item").select(
        F.col("owner_id").alias("item_id"), F.col("document").alias("other")
    )
    others = F.filter("history", lambda one: one["item_id"] != F.col("item_id"))
    words = F.transform(F.slice(others, 1, num_items), lambda one: one["document"])
    users = histories_of_users.withColumnRenamed("user_id", "owner_id")
    joined = labels.join(users, "owner_id", "left").join(of_items, "item_id", "left")
    text = F.array_join(words, BETWEEN_ITEMS)
    return joined.withColumn("document", F.coalesce("text", F.when(F.length(text) > 0, text))).drop("history")


def first_images(lakehouse: Lakehouse) -> DataFrame:
    """The first image of each owner: `owner_kind`, `owner_id`, `image_id`."""
    links = lakehouse.read("media_link").where(F.col("field") == "images")
    return links.groupBy(*_OWNER).agg(F.min_by("asset_id", "position").alias("image_id"))


def image_features(lakehouse: Lakehouse, image_ids: DataFrame, config: RecipeConfig, models: ModelsConfig) -> DataFrame:
    """Contents of images as a recipe reads them: vectors of its image encoder, or pixels.

    Args:
        lakehouse: Tables.
        image_ids: Column `image_id`, without repetition.
        config: The recipe.
        models: Where models lie and how they are run.

    Returns:
        `image_id`, `image`: array of floats, or bytes `[3, px, px] uint8`; images that cannot be read are left out.
    """
    assets = (
        lakehouse.read("media_asset")
        .join(image_ids, F.col("asset_id") == F.col("image_id"), "left_semi")
        .select(F.col("asset_id").alias("content_id"), "content", kept_reference().alias("uri"))
    )
    if config.kind == "text_image":
        encoder = models.chosen(config.image_encoder, "recipe.image_encoder", ("image", "joint"))
        vectors = encode_table(assets, encoder, models, MEDIA_COLUMNS, EmbeddingConfig())
        made = vectors.where(F.col("vector").isNotNull()).select("content_id", F.col("vector").alias("image"))
    else:
        made = assets.mapInArrow(_Pixels(config.image_px), "content_id string, image binary")
    return made.withColumnRenamed("content_id", "image_id")


def as_image(value: Any, config: RecipeConfig) -> np.ndarray[Any, Any] | None:
    """An image of `image_features` as an example has it."""
    if value is None:
        return None
    if config.kind == "text_image":
        return np.asarray(value, np.float32)
    return np.frombuffer(value, np.uint8).reshape(3, config.image_px, config.image_px)


class _Pixels:
    """Decoder of images in a worker: squares of a side, colours first."""

    def __init__(self, px: int) -> None:
        self._px = px

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            ids, images = [], []
            for row in batch.to_pylist():
                content = row["content"] if row["content"] is not None else read_kept(row["uri"])
                try:
                    pixels = decode_image(content or b"", short_side_px=self._px)
                except MediaError:
                    continue
                square = np.asarray(Image.fromarray(pixels).resize((self._px, self._px)))
                ids.append(row["content_id"])
                images.append(np.ascontiguousarray(square.transpose(2, 0, 1)).tobytes())
            yield pa.RecordBatch.from_arrays(
                [pa.array(ids, pa.string()), pa.array(images, pa.binary())], ["content_id", "image"]
            )
