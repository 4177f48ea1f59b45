"""Preprocessing of images as a vision model wants it: read from `preprocessor_config.json`, done with Pillow."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from mmrec_lib.errors import EncoderError
from mmrec_lib.media.images import decode_image


@dataclass(frozen=True)
class ImagePreprocessing:
    """Resize, crop and scale of a vision model.

    Attributes:
        short_side_px: Length that the shorter side gets before the crop; None squashes to the size instead.
        height_px: Height of the model's input.
        width_px: Width of it.
        resample: Pillow's number of the resampling filter.
        scale: What 8-bit values are multiplied with.
        mean: Subtracted after that, for each colour.
        std: Divided by after that, for each colour.
    """

    short_side_px: int | None
    height_px: int
    width_px: int
    resample: int
    scale: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @classmethod
    def from_directory(cls, directory: Path, file: str = "preprocessor_config.json") -> ImagePreprocessing:
        """Reads the settings of a model directory.

        Args:
            directory: Folder in transformers format.
            file: Name of the settings in it.

        Raises:
            EncoderError: When the file is missing or is not understood.
        """
        path = directory / file
        try:
            return cls._from_settings(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise EncoderError(
                f"Image encoder `{directory.name}`: `{path}` must tell size, mean and scale of images as "
                f"transformers writes it, got: {error!r}."
            ) from None

    @classmethod
    def _from_settings(cls, settings: Mapping[str, Any]) -> ImagePreprocessing:
        size, crop = settings["size"], settings.get("crop_size")
        short_side = size if isinstance(size, int) else size.get("shortest_edge")
        is_cropped = bool(settings.get("do_center_crop", crop is not None)) and crop is not None
        if short_side is None and is_cropped:
            short_side = min(size["height"], size["width"])
        height, width = _height_width(crop if is_cropped else size)
        normalise = settings.get("do_normalize", True)
        return cls(
            short_side_px=short_side,
            height_px=height,
            width_px=width,
            resample=int(settings.get("resample", Image.Resampling.BICUBIC)),
            scale=float(settings.get("rescale_factor", 1 / 255)) if settings.get("do_rescale", True) else 1.0,
            mean=_three(settings["image_mean"]) if normalise else (0.0, 0.0, 0.0),
            std=_three(settings["image_std"]) if normalise else (1.0, 1.0, 1.0),
        )

    def fit(self, content: bytes) -> npt.NDArray[np.uint8]:
        """Decodes an image and brings it to the model's size: `[height_px, width_px, 3] uint8`.

        Raises:
            MediaError: When the bytes are no image that can be decoded.
        """
        return self.fit_array(decode_image(content, short_side_px=self.wanted_px))

    @property
    def wanted_px(self) -> int:
        """Shorter side that an image should have at least; what it has more is lost."""
        return self.short_side_px or max(self.height_px, self.width_px)

    def fit_array(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Brings a decoded image `[height, width, 3]` to the model's size: `[height_px, width_px, 3] uint8`."""
        image = Image.fromarray(pixels)
        resample = Image.Resampling(self.resample)
        if self.short_side_px is None:
            return np.asarray(image.resize((self.width_px, self.height_px), resample))
        short = min(image.size)
        width, height = (max(round(side * self.short_side_px / short), self.short_side_px) for side in image.size)
        left, top = (width - self.width_px) // 2, (height - self.height_px) // 2
        # Resizing only the part that is kept: a panorama of 1 x 10,000 would otherwise become millions of pixels.
        x_step, y_step = image.width / width, image.height / height
        box = (
            max(left * x_step, 0.0),
            max(top * y_step, 0.0),
            min((left + self.width_px) * x_step, image.width),
            min((top + self.height_px) * y_step, image.height),
        )
        return np.asarray(image.resize((self.width_px, self.height_px), resample, box=box))

    def normalised(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Scales the colours of fitted images, `[…, 3] uint8`, as the model wants them: `[…, 3] float32`."""
        values = pixels.astype(np.float32)
        values *= np.float32(self.scale)
        values -= np.asarray(self.mean, np.float32)
        values /= np.asarray(self.std, np.float32)
        return values


def _height_width(size: Any) -> tuple[int, int]:
    if isinstance(size, int):
        return size, size
    if "shortest_edge" in size:
        return int(size["shortest_edge"]), int(size["shortest_edge"])
    return int(size["height"]), int(size["width"])


def _three(values: Any) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in values)
    return red, green, blue
