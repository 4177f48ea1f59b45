"""Images of items, decoded as an encoder wants them: from workers to one file that is mapped into memory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from mmrec_lib.encoders.image.preprocessing import ImagePreprocessing
from mmrec_lib.errors import RecipeError
from mmrec_lib.lakehouse.kept_media import kept_reference, read_kept
from mmrec_lib.lakehouse.tables import Lakehouse
from mmrec_lib.media.errors import MediaError
from mmrec_lib.recipes.adapt_image import Images

_BATCH_IMAGES = 64
_GONE = "its bytes are gone"


@dataclass(frozen=True)
class ItemImages:
    """The first image of each item.

    Attributes:
        known: Image of each item whose image can be read.
        rows: Row of each image among the pixels.
        pixels: `[num_images, H, W, 3] uint8`, in a file without a name, which is gone with the array.
        errors: What is wrong with the other items' images, by item.
    """

    known: dict[str, str]
    rows: dict[str, int]
    pixels: np.memmap[Any, np.dtype[np.uint8]]
    errors: dict[str, str]

    def of(self, image_ids: Sequence[str | None]) -> Images:
        """Images in an order; None stands for a content without one."""
        rows = [-1 if one is None else self.rows[one] for one in image_ids]
        return Images(self.pixels, np.array(rows, np.int64))

    def told(self, *, by_text: bool = False) -> str:
        """Items whose image cannot be read, in words; empty where all can.

        Args:
            by_text: Whether those with a text count by it.
        """
        if not self.errors:
            return ""
        item, error = min(self.errors.items())
        what = "count by their text alone, if they have one" if by_text else "do not count"
        return f"{len(self.errors)} items whose image cannot be read {what}, such as `{item}` ({error})"


def read_item_images(
    lakehouse: Lakehouse, items: DataFrame, preprocessing: ImagePreprocessing, name: str
) -> ItemImages:
    """Decode the images of items in workers.

    Args:
        lakehouse: Tables.
        items: `item_id` and `content`, the id of its image.
        preprocessing: How the encoder wants images.
        name: Name of the adaptation, for errors.

    Raises:
        RecipeError: When no item has an image, or none that can be read.
    """
    image_of = {row["item_id"]: row["content"] for row in items.collect()}
    if not image_of:
        raise RecipeError(f"Adaptation `{name}`: items with an image are needed, got none.")
    ids = items.select(F.col("content").alias("asset_id")).distinct()
    assets = lakehouse.read("media_asset").join(ids, "asset_id", "left_semi")
    read = assets.select("asset_id", "content", kept_reference().alias("uri")).mapInArrow(
        _Fitted(preprocessing), "asset_id string, pixels binary, error string"
    )
    shape = (preprocessing.height_px, preprocessing.width_px, 3)
    # In the order of their ids, whatever the order in which workers are done.
    place = {image: row for row, image in enumerate(sorted(set(image_of.values())))}
    with tempfile.TemporaryFile(prefix="mmrec-adaptation-") as file:
        pixels = np.memmap(file, np.uint8, "w+", shape=(len(place), *shape))
    rows, errors = dict[str, int](), dict[str, str]()
    with lakehouse.large_rows():
        for batch in lakehouse.stream_arrow("adapt_images", read, _BATCH_IMAGES):
            for image_id, content, error in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                if error is not None:
                    errors[image_id] = error
                    continue
                rows[image_id] = place[image_id]
                pixels[place[image_id]] = np.frombuffer(content, np.uint8).reshape(shape)
    known = {item: image for item, image in image_of.items() if image in rows}
    unread = {item: errors.get(image, _GONE) for item, image in image_of.items() if image not in rows}
    if not known:
        raise RecipeError(
            f"Adaptation `{name}`: items with an image that can be read are needed, got {len(unread)} of whom none "
            f"has one, such as `{min(unread)}` ({unread[min(unread)]})."
        )
    return ItemImages(known, rows, pixels, unread)


class _Fitted:
    """Decoder of images in a worker."""

    def __init__(self, preprocessing: ImagePreprocessing) -> None:
        self._preprocessing = preprocessing

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            pixels, errors = list[bytes | None](), list[str | None]()
            for row in batch.to_pylist():
                content = row["content"] if row["content"] is not None else read_kept(row["uri"])
                try:
                    pixels.append(None if content is None else self._preprocessing.fit(content).tobytes())
                    errors.append(_GONE if content is None else None)
                except MediaError as error:
                    pixels.append(None)
                    errors.append(str(error))
            yield pa.RecordBatch.from_arrays(
                [batch.column("asset_id"), pa.array(pixels, pa.binary()), pa.array(errors, pa.string())],
                ["asset_id", "pixels", "error"],
            )
