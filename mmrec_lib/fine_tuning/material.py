"""Material of an adaptation: contents of items as an encoder reads them, and what people did with these items."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from scipy.sparse import csr_array

from mmrec_lib.encoders.encoder_config import EncoderConfig
from mmrec_lib.encoders.image.preprocessing import ImagePreprocessing
from mmrec_lib.encoders.text.config import TextConfig
from mmrec_lib.encoders.text.sentence_layout import sentence_layout
from mmrec_lib.errors import RecipeError
from mmrec_lib.features.load import current_snapshot
from mmrec_lib.fine_tuning.item_images import ItemImages, read_item_images
from mmrec_lib.fine_tuning.read_behaviour import (
    behaviour_graph,
    items_with_either,
    items_with_image,
    items_with_text,
    read_behaviour,
)
from mmrec_lib.lakehouse.tables import Lakehouse
from mmrec_lib.recipes.adapt import TextAdapter
from mmrec_lib.recipes.adapt_config import AdaptationConfig, AdaptedKind
from mmrec_lib.recipes.adapt_image import ImageAdapter
from mmrec_lib.recipes.adapt_joint import JointAdapter
from mmrec_lib.recipes.adapter import Adapter
from mmrec_lib.recipes.behaviour import Behaviour, groups_of_items


@dataclass(frozen=True)
class Material:
    """Contents of items, and what people did with them.

    Attributes:
        behaviour: Users and items.
        pairs: Texts of searches and reviews, with the item of each.
        graph: Contents that belong together, those of items first.
        texts: Texts, those of items first; of images their ids. Empty where an item of a joint encoder has none.
        images: The items' images; None of a text encoder.
    """

    behaviour: Behaviour
    pairs: list[tuple[str, int]]
    graph: csr_array
    texts: list[str]
    images: ItemImages | None = None

    @property
    def images_of_contents(self) -> list[str | None]:
        """Image of each content; None of one without."""
        known = {} if self.images is None else self.images.known
        items = [known.get(item) for item in self.behaviour.item_ids]
        return [*items, *[None] * (len(self.texts) - len(items))]


def read_material(
    lakehouse: Lakehouse,
    config: AdaptationConfig,
    weights: Mapping[str, float],
    kind: AdaptedKind,
    preprocessing: ImagePreprocessing | None = None,
) -> Material:
    """Read what an encoder learns from.

    Args:
        lakehouse: Tables.
        config: What is adapted, and how, `resolved`.
        weights: Weight of each event type; those of weight 0 are no visit.
        kind: Kind of the encoder.
        preprocessing: How the encoder wants images; None of a text encoder.

    Raises:
        NoDataError: When there is no training snapshot.
        RecipeError: When there is no content that can be read (for a joint encoder no text, or no image), or nobody
            turned to its item.
    """
    current_snapshot(lakehouse)  # Told before anything is read.
    images, groups = None, None
    if kind == "joint":
        assert preprocessing is not None
        items, known, images = _both(lakehouse, config, preprocessing)
        groups = groups_of_items({item: text for item, text in known.items() if text}, images.known)
    elif preprocessing is None:
        items = items_with_text(lakehouse, config)
        known = {row["item_id"]: row["content"] for row in items.collect()}
    else:
        items = items_with_image(lakehouse, config)
        images = read_item_images(lakehouse, items, preprocessing, config.target)
        known = images.known
    behaviour, pairs = read_behaviour(lakehouse, config, weights, items, known, groups)
    graph, contents = behaviour_graph(behaviour, pairs, config)
    return Material(behaviour, pairs, graph, contents, images)


def _both(
    lakehouse: Lakehouse, config: AdaptationConfig, preprocessing: ImagePreprocessing
) -> tuple[DataFrame, dict[str, str], ItemImages]:
    """Items with a text or an image that can be read, their texts, empty where they have none, and their images."""
    items = items_with_either(lakehouse, config)
    texts = {row["item_id"]: row["text"] for row in items.where(F.length("text") > 0).collect()}
    if not texts:
        raise RecipeError(
            f"Adaptation `{config.target}`: items with a text are needed ({', '.join(config.fields)}: "
            "adaptation.fields), got none. Adapt an image encoder, which reads images alone."
        )
    shown = items.where(F.col("image_id").isNotNull()).select("item_id", F.col("image_id").alias("content"))
    images = read_item_images(lakehouse, shown, preprocessing, config.target)
    return items, {item: texts.get(item, "") for item in texts.keys() | images.known.keys()}, images


def make_adapter(
    base: EncoderConfig, source: Path, config: AdaptationConfig, device: str, material: Material
) -> Adapter:
    """The encoder as it is with adapters on it; it has read the material.

    Raises:
        RecipeError: When it cannot be adapted.
    """
    if base.kind == "joint":
        assert material.images is not None
        of_both = JointAdapter(source, config, device)
        of_both.read([text or None for text in material.texts], material.images.of(material.images_of_contents))
        return of_both
    if material.images is not None:
        of_images = ImageAdapter(source, config, device)
        of_images.read(material.images.of(material.behaviour.contents))
        return of_images
    assert isinstance(base, TextConfig)
    adapter = TextAdapter(source, config, sentence_layout(base, source), device)
    adapter.read(material.texts)
    return adapter


def ranker_blocks(config: AdaptationConfig, kind: str) -> tuple[str, ...]:
    """Names of the snapshot's blocks that an encoder of a kind makes of the same contents."""
    if kind == "image":
        return ("image:images",)
    of_texts = tuple(f"{kind}:{field}" for field in config.fields)
    return (*of_texts, "joint:images") if kind == "joint" else of_texts
