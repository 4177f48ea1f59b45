"""Image encoders that are trained on behaviour; see `Adapter`.

Shape legend: B images, H and W pixels, D dimensions, N different images.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from mmrec_lib.encoders.image.encoder import normalised
from mmrec_lib.encoders.image.networks import load_vision
from mmrec_lib.encoders.image.preprocessing import ImagePreprocessing
from mmrec_lib.encoders.runtime.fold_batch_norm import is_neutral
from mmrec_lib.encoders.weights.directory import require_safe
from mmrec_lib.errors import EncoderError
from mmrec_lib.recipes.adapt_config import AdaptationConfig
from mmrec_lib.recipes.adapter import ENCODED_TOGETHER, Adapter, refused
from mmrec_lib.recipes.frozen_layers import FrozenLayers, modules_after, vision_layers


@dataclass(frozen=True)
class Images:
    """Images of contents, as the network reads them.

    Attributes:
        pixels: `[N, H, W, 3] uint8`; may be a file that is mapped into memory.
        rows: Row of each content's image; below 0 for a content without one.
    """

    pixels: npt.NDArray[np.uint8]
    rows: npt.NDArray[np.int64]


class ImageReader:
    """Images that a network reads by their number; what its frozen layers give is kept, if it fits into memory."""

    def __init__(
        self,
        network: Callable[..., Any],
        preprocessing: ImagePreprocessing,
        device: str,
        frozen: FrozenLayers | None = None,
    ) -> None:
        """Bind to a network.

        Args:
            network: Takes `pixel_values [B, 3, H, W]`, returns `[B, D]`; in evaluation mode.
            preprocessing: Form in which it wants images.
            device: What is computed on.
            frozen: Its frozen layers, where some are.
        """
        self._network, self._preprocessing, self._device = network, preprocessing, device
        self.frozen, self.is_kept = frozen, False
        self._images = Images(np.zeros((0, *self._shape), np.uint8), np.zeros(0, np.int64))

    def read(self, images: Images) -> None:
        """Take the images that later calls name by their content; rows below 0 are contents without an image."""
        self._images, self.is_kept = images, False
        frozen, rows = self.frozen, np.unique(images.rows[images.rows >= 0]).tolist()
        if frozen is None or not rows or not frozen.fits(0, 0):
            return
        frozen.forget()
        self._capture(rows[:1])
        if not frozen.fits_like(rows[0], len(rows)):
            frozen.forget()
            return
        for start in range(0, len(rows), ENCODED_TOGETHER):
            self._capture(rows[start : start + ENCODED_TOGETHER])
        self.is_kept = True

    def vectors(self, numbers: Sequence[int]) -> Tensor:
        """Vectors of images `[B, D]`, of length 1."""
        rows = self._images.rows[list(numbers)].tolist()
        if self.is_kept and self.frozen is not None:
            with self.frozen.entered(rows):
                # The kept states take the place of what one black image gives.
                vectors_BD = self.of_black()
        else:
            vectors_BD = self._network(pixel_values=self._pixels(rows))
        return nn.functional.normalize(vectors_BD, dim=1)

    def of_black(self) -> Tensor:
        """Output of the network for a black image, `[1, D]`."""
        black = torch.zeros((1, *self._shape), dtype=torch.uint8, device=self._device)
        vectors_1D: Tensor = self._network(pixel_values=normalised(black, self._preprocessing))
        return vectors_1D

    @property
    def _shape(self) -> tuple[int, int, int]:
        return self._preprocessing.height_px, self._preprocessing.width_px, 3

    def _capture(self, rows: Sequence[int]) -> None:
        assert self.frozen is not None
        self.frozen.capture(functools.partial(self._network, pixel_values=self._pixels(rows)), rows)

    def _pixels(self, rows: Sequence[int]) -> Tensor:
        x_BHWC = torch.from_numpy(np.ascontiguousarray(self._images.pixels[list(rows)]))
        return normalised(x_BHWC.to(self._device), self._preprocessing)


class ImageAdapter(Adapter):
    """An image encoder that is trained; its vectors have length 1.

    Taken are the networks of transformers that give one vector an image, see `load_vision`. Adapters are put on the
    last blocks and on what stands after them, such as the last convolution of an EfficientNet.
    """

    contents = "images"

    def __init__(self, directory: Path, config: AdaptationConfig, device: str = "cpu") -> None:
        """Load the encoder and put adapters on it.

        Args:
            directory: The encoder as it is.
            config: How it is trained.
            device: What is computed on.

        Raises:
            RecipeError: When the directory is unsafe or holds no network of transformers that gives one vector an
                image, or has nothing to adapt.
        """
        torch.manual_seed(config.seed)
        try:
            require_safe(directory)
            self._preprocessing = ImagePreprocessing.from_directory(directory)
            self._network = load_vision(directory, torch.float32)
        except (EncoderError, OSError, ValueError, KeyError) as error:
            raise refused(config, error) from None
        model = getattr(self._network, "model", None)
        if not isinstance(model, PreTrainedModel):
            raise refused(
                config,
                "an image network in transformers format is needed that shares its space with no texts, got a network "
                "of torchvision or one with two towers, which is adapted as an encoder of kind joint.",
            )
        super().__init__(directory, config, model, device)
        gates = [one for one in model.modules() if is_neutral(one)]
        if config.rank is None:
            self.model.requires_grad_(True)
            for gate in gates:
                gate.requires_grad_(False)
        else:
            layers = vision_layers(model)
            self.adapt_layers(layers, modules_after(model, layers), gates)
        self._network.to(device).eval()
        self._reader = ImageReader(self._network, self._preprocessing, device, self._frozen)
        try:
            with torch.inference_mode():
                self._dim = int(self._reader.of_black().shape[1])
        except (ValueError, TypeError, RuntimeError) as error:
            raise refused(config, error) from None

    @property
    def dim(self) -> int:
        """Length of its vectors."""
        return self._dim

    @property
    def preprocessing(self) -> ImagePreprocessing:
        """Form in which it wants images."""
        return self._preprocessing

    def read(self, images: Images) -> None:
        """Take the images that later calls name by their content; what frozen layers give is kept, if it fits."""
        self.model.eval()
        self._reader.read(images)

    def vectors(self, numbers: Sequence[int]) -> Tensor:
        """Vectors of images `[B, D]`, of length 1."""
        return self._reader.vectors(numbers)

    def batches(self, numbers: Sequence[int]) -> Iterator[list[int]]:
        """Batches of images."""
        order = list(numbers)
        return (order[start : start + ENCODED_TOGETHER] for start in range(0, len(order), ENCODED_TOGETHER))
