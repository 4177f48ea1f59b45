"""Material of an adaptation: contents of items as an encoder reads them, and what people did with these items."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from scipy.sparse import csr_array

from mmrec_lib.encoders.encoder_config import EncoderConfig
from mmrec_lib.encoders.image.preprocessing import ImagePreprocessing
from mmrec_lib.encoders.text.config import TextConfig
from mmrec_lib.encoders.text.sentence_layout import sentence_layout
from mmrec_lib.features.load import current_snapshot
from mmrec_lib.fine_tuning.item_images import ItemImages, read_item_images
from mmrec_lib.fine_tuning.read_behaviour import behaviour_graph, items_with_image, items_with_text, read_behaviour
from mmrec_lib.lakehouse.tables import Lakehouse
from mmrec_lib.recipes.adapt import TextAdapter
from mmrec_lib.recipes.adapt_config import AdaptationConfig
from mmrec_lib.recipes.adapt_image import ImageAdapter
from mmrec_lib.recipes.adapter import Adapter
from mmrec_lib.recipes.behaviour import Behaviour


@dataclass(frozen=True)
class Material:
    """Contents of items, and what people did with them.

    Attributes:
        behaviour: Users and items.
        pairs: Texts of searches and reviews, with the item of each.
        graph: Contents that belong together, those of items first.
        texts: Texts, those of items first; of images their ids.
        images: The items' images; None of a text encoder.
    """

    behaviour: Behaviour
    pairs: list[tuple[str, int]]
    graph: csr_array
    texts: list[str]
    images: ItemImages | None = None


def read_material(
    lakehouse: Lakehouse,
    config: AdaptationConfig,
    weights: Mapping[str, float],
    preprocessing: ImagePreprocessing | None = None,
) -> Material:
    """Read what an encoder learns from.

    Args:
        lakehouse: Tables.
        config: What is adapted, and how, `resolved`.
        weights: Weight of each event type; those of weight 0 are no visit.
        preprocessing: How the encoder wants images; None of one that reads texts.

    Raises:
        NoDataError: When there is no training snapshot.
        RecipeError: When there is no content that can be read, or nobody turned to its item.
    """
    current_snapshot(lakehouse)  # Told before anything is read.
    images = None
    if preprocessing is None:
        items = items_with_text(lakehouse, config)
        known = {row["item_id"]: row["content"] for row in items.collect()}
    else:
        items = items_with_image(lakehouse, config)
        images = read_item_images(lakehouse, items, preprocessing, config.target)
        known = images.known
    behaviour, pairs = read_behaviour(lakehouse, config, weights, items, known)
    graph, contents = behaviour_graph(behaviour, pairs, config)
    return Material(behaviour, pairs, graph, contents, images)


def make_adapter(
    base: EncoderConfig, source: Path, config: AdaptationConfig, device: str, material: Material
) -> Adapter:
    """The encoder as it is with adapters on it; it has read the material.

    Raises:
        RecipeError: When it cannot be adapted.
    """
    if material.images is not None:
        of_images = ImageAdapter(source, config, device)
        of_images.read(material.images.of(material.behaviour.contents))
        return of_images
    assert isinstance(base, TextConfig)
    adapter = TextAdapter(source, config, sentence_layout(base, source), device)
    adapter.read(material.texts)
    return adapter


def ranker_blocks(config: AdaptationConfig, kind: str) -> tuple[str, ...]:
    """Names of the snapshot's blocks of contents that come from the same contents as those of an encoder of a kind."""
    return ("image:images",) if kind == "image" else tuple(f"text:{field}" for field in config.fields)
