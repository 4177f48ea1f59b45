"""Images → vectors, with any vision model directory.

Shape legend: B images, C colours, H and W pixels, D dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from mmrec_lib.encoders.config import ModelsConfig
from mmrec_lib.encoders.errors import NOT_FINITE, medium_missing
from mmrec_lib.encoders.image.config import ImageNetworkConfig
from mmrec_lib.encoders.image.networks import load_vision
from mmrec_lib.encoders.image.preprocessing import ImagePreprocessing
from mmrec_lib.encoders.runtime.backend import InferenceFn, make_network
from mmrec_lib.encoders.runtime.fold_batch_norm import fold_batch_norm
from mmrec_lib.encoders.runtime.precision import calibration_images, choose_run
from mmrec_lib.encoders.runtime.prefetch import map_ahead, map_batches
from mmrec_lib.encoders.spec import EncodeResult, EncoderInput, EncoderSpec
from mmrec_lib.errors import EncoderError
from mmrec_lib.media.errors import MediaError

# Images that a model sees at once where the config does not say: larger batches are no faster on a processor.
_BATCH_IMAGES = {"cpu": 4, "cuda": 64}


class FromPixels(nn.Module):
    """A vision model behind its normalisation, so that images travel as bytes: `[B, H, W, 3] uint8` → `[B, D]`."""

    def __init__(self, model: nn.Module, preprocessing: ImagePreprocessing) -> None:
        super().__init__()
        self.model = model
        self._preprocessing = preprocessing

    def forward(self, x_BHWC: torch.Tensor) -> torch.Tensor:
        """Vectors of images."""
        x_BCHW = normalised(x_BHWC, self._preprocessing).to(next(self.model.parameters()).dtype)
        vectors_BD: torch.Tensor = self.model(pixel_values=x_BCHW)
        return vectors_BD


def normalised(x_BHWC: torch.Tensor, spec_: ImagePreprocessing) -> torch.Tensor:
    """Scales images as a model wants them: `[B, H, W, 3] uint8` → `[B, 3, H, W] float32`."""
    # Colours last in memory, first in the shape: what torch calls channels_last.
    x_BCHW = x_BHWC.permute(0, 3, 1, 2).float() * spec_.scale
    mean, std = (x_BCHW.new_tensor(values).reshape(1, 3, 1, 1) for values in (spec_.mean, spec_.std))
    return (x_BCHW - mean) / std


class ImageEncoder:
    """Encodes images, given as the bytes of their files; see the `Encoder` protocol.

    Threads decode and resize a few images ahead of the model. The model always sees batches of the same shape
    (missing rows are zeros), so that an image's vector does not depend on its neighbours.

    Args:
        spec: Identity.
        config: Entry of the config.
        directory: Model directory, with a `preprocessor_config.json`.
        models: How models are run.
        load_network: What loads the network that turns `pixel_values [B, 3, H, W]` into `[B, D]`.
    """

    def __init__(
        self,
        spec: EncoderSpec,
        config: ImageNetworkConfig,
        directory: Path,
        models: ModelsConfig,
        load_network: Callable[[Path, torch.dtype], nn.Module] = load_vision,
    ) -> None:
        self._load_network = load_network
        self._spec, self._config, self._directory = spec, config, directory
        self._models = models
        self._preprocessing = ImagePreprocessing.from_directory(directory)
        self._batch_images = config.batch_images or _BATCH_IMAGES["cpu"]
        self._run: InferenceFn | None = None
        self._device = "cpu"

    @property
    def spec(self) -> EncoderSpec:
        """Identity."""
        return self._spec

    def load(self, device: str = "cpu") -> None:
        """Loads the weights.

        Raises:
            EncoderError: When the directory holds no vision model that can be loaded, or one that gives no vectors.
        """
        self._device = device
        self._batch_images = self._config.batch_images or _BATCH_IMAGES[device.partition(":")[0]]
        network = make_network(
            self._build,
            [(self._batch([self._noise()]),), (self._noise()[None],)],
            key=self._spec.revision,
            device=device,
            threads=self._models.threads,
            backend=self._models.backend,
        )
        self._run = choose_run(
            network,
            self._config.dtype,
            device,
            key=self._spec.revision,
            sample=calibration_images,
            encode=lambda run, inputs: self._encode(run, map(self._fit, inputs), len(inputs)).vectors,
        )

    def _build(self) -> nn.Module:
        try:
            model = self._load_network(self._directory, torch.float32)
        except (OSError, ValueError, KeyError) as error:
            raise EncoderError(
                f"Image encoder `{self._spec.id}`: `{self._directory}` must hold a vision model, got: {error}."
            ) from None
        self._check_output(model)
        return FromPixels(fold_batch_norm(model, self._example()), self._preprocessing).eval()

    def encode(self, batch: Sequence[EncoderInput]) -> EncodeResult:
        """Vectors of images: `[n, dim] float32`; what cannot be decoded is a row with an error."""
        if self._run is None:
            raise EncoderError(f"Image encoder `{self._spec.id}`: call load() before encode().")
        prepared = map_ahead(self._fit, batch, self._models.decode_threads, num_ahead=2 * self._batch_images)
        return self._encode(self._run, prepared, len(batch))

    def encode_arrays(self, images: Sequence[npt.NDArray[np.uint8]]) -> EncodeResult:
        """Vectors of images that are decoded already, `[height, width, 3] uint8` each: `[n, dim] float32`."""
        if self._run is None:
            raise EncoderError(f"Image encoder `{self._spec.id}`: call load() before encode_arrays().")
        return self._encode(self._run, map(self._preprocessing.fit_array, images), len(images))

    def _encode(self, run: InferenceFn, prepared: Iterable[npt.NDArray[np.uint8] | str], num_rows: int) -> EncodeResult:
        """Vectors of images that fit the model, or of what is said where there is none."""
        errors: list[str | None] = [None] * num_rows
        vectors: npt.NDArray[np.float32] = np.zeros((num_rows, self._spec.dim or 0), np.float32)

        def batches() -> Iterator[tuple[list[int], list[npt.NDArray[np.uint8]]]]:
            rows, images = list[int](), list[npt.NDArray[np.uint8]]()
            for row, image in enumerate(prepared):
                if isinstance(image, str):
                    errors[row] = image
                else:
                    rows.append(row)
                    images.append(image)
                if rows and (len(rows) == self._batch_images or row == num_rows - 1):
                    yield rows, images
                    rows, images = [], []

        def computed(
            batch: tuple[list[int], list[npt.NDArray[np.uint8]]],
        ) -> tuple[list[int], npt.NDArray[np.float32]]:
            rows, images = batch
            return rows, run(self._batch(images))[: len(rows)]

        for rows, pooled_BD in map_batches(computed, batches(), self._device):
            if vectors.shape[1] != pooled_BD.shape[1]:
                vectors = np.zeros((num_rows, pooled_BD.shape[1]), np.float32)
            vectors[rows] = pooled_BD
        for row in np.flatnonzero(~np.isfinite(vectors).all(axis=1)).tolist():
            vectors[row], errors[row] = 0.0, NOT_FINITE
        return EncodeResult(vectors, errors)

    def _fit(self, content: EncoderInput) -> npt.NDArray[np.uint8] | str:
        if not isinstance(content, bytes):
            return medium_missing("image")
        try:
            return self._preprocessing.fit(content)
        except MediaError as error:
            return str(error)

    def _batch(self, images: list[npt.NDArray[np.uint8]]) -> npt.NDArray[np.uint8]:
        """Images as a batch of the one shape that the network sees, `[B, H, W, 3] uint8`."""
        x_BHWC = np.zeros((self._batch_images, *images[0].shape), np.uint8)
        x_BHWC[: len(images)] = images
        return x_BHWC

    def _noise(self) -> npt.NDArray[np.uint8]:
        shape = (self._preprocessing.height_px, self._preprocessing.width_px, 3)
        return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)

    def _example(self) -> torch.Tensor:
        return normalised(torch.from_numpy(self._noise()[None]), self._preprocessing)

    def _check_output(self, model: nn.Module) -> None:
        try:
            with torch.inference_mode():
                dim = model(pixel_values=self._example()).shape[1]
        except (ValueError, TypeError, RuntimeError) as error:
            raise EncoderError(
                f"Image encoder `{self._spec.id}`: a model that turns images of {self._preprocessing.height_px} x "
                f"{self._preprocessing.width_px} pixels into vectors is needed, got: {error}."
            ) from None
        if self._spec.dim not in (None, dim):
            raise EncoderError(
                f"Image encoder `{self._spec.id}`: vectors of {self._spec.dim} numbers are needed, got {dim}."
            )
