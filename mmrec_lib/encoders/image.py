"""Pictures → vectors, with any vision model directory.

Shape legend: B pictures, C colours, H and W pixels, D dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from mmrec_lib.encoders.config import EncoderConfig, ModelsConfig
from mmrec_lib.encoders.errors import NOT_FINITE, medium_missing
from mmrec_lib.encoders.fusion import fused
from mmrec_lib.encoders.precision import compute_dtype
from mmrec_lib.encoders.prefetch import map_ahead
from mmrec_lib.encoders.preprocessing import ImagePreprocessing
from mmrec_lib.encoders.spec import EncodeResult, EncoderInput, EncoderSpec
from mmrec_lib.encoders.vision import load_vision
from mmrec_lib.errors import EncoderError
from mmrec_lib.media.errors import MediaError


class ImageEncoder:
    """Encodes pictures, given as the bytes of their files; see the `Encoder` protocol.

    Threads decode and resize a few pictures ahead of the model. The model always sees batches of the same shape
    (missing rows are zeros), so that a picture's vector does not depend on its neighbours.

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
        config: EncoderConfig,
        directory: Path,
        models: ModelsConfig,
        load_network: Callable[[Path, torch.dtype], nn.Module] = load_vision,
    ) -> None:
        self._load_network = load_network
        self._spec, self._config, self._directory = spec, config, directory
        self._threads, self._decode_threads = models.threads, models.decode_threads
        self._preprocessing = ImagePreprocessing.from_directory(directory)
        self._model: Any = None
        self._device = "cpu"
        self._dtype = torch.float32

    @property
    def spec(self) -> EncoderSpec:
        """Identity."""
        return self._spec

    def load(self, device: str = "cpu") -> None:
        """Loads the weights.

        Raises:
            EncoderError: When the directory holds no vision model that can be loaded, or one that gives no vectors.
        """
        torch.set_num_threads(self._threads)
        try:
            model = self._load_network(self._directory, torch.float32)
        except (OSError, ValueError, KeyError) as error:
            raise EncoderError(
                f"Image encoder `{self._spec.id}`: `{self._directory}` must hold a vision model, got: {error}."
            ) from None
        self._check_output(model)
        self._dtype = compute_dtype(self._config.dtype, "image", device)
        model = fused(model, self._example()).to(device, self._dtype)
        self._model = model.to(memory_format=torch.channels_last)
        self._device = device

    def encode(self, batch: Sequence[EncoderInput]) -> EncodeResult:
        """Vectors of pictures: `[n, dim] float32`; what cannot be decoded is a row with an error."""
        prepared = map_ahead(self._fit, batch, self._decode_threads, num_ahead=2 * self._config.batch_images)
        return self._encode(prepared, len(batch))

    def encode_arrays(self, pictures: Sequence[npt.NDArray[np.uint8]]) -> EncodeResult:
        """Vectors of pictures that are decoded already, `[height, width, 3] uint8` each: `[n, dim] float32`."""
        return self._encode(map(self._preprocessing.fit_array, pictures), len(pictures))

    def _encode(self, prepared: Iterable[npt.NDArray[np.uint8] | str], num_rows: int) -> EncodeResult:
        """Vectors of pictures that fit the model, or of what is said where there is none."""
        if self._model is None:
            raise EncoderError(f"Image encoder `{self._spec.id}`: call load() before encode().")
        errors: list[str | None] = [None] * num_rows
        vectors: npt.NDArray[np.float32] = np.zeros((num_rows, self._spec.dim or 0), np.float32)
        size = self._config.batch_images
        rows: list[int] = []
        pictures: list[npt.NDArray[np.uint8]] = []
        for row, picture in enumerate(prepared):
            if isinstance(picture, str):
                errors[row] = picture
            else:
                rows.append(row)
                pictures.append(picture)
            if rows and (len(rows) == size or row == num_rows - 1):
                pooled_BD = self._forward(pictures)
                if vectors.shape[1] != pooled_BD.shape[1]:
                    vectors = np.zeros((num_rows, pooled_BD.shape[1]), np.float32)
                vectors[rows] = pooled_BD
                rows, pictures = [], []
        for row in np.flatnonzero(~np.isfinite(vectors).all(axis=1)).tolist():
            vectors[row], errors[row] = 0.0, NOT_FINITE
        return EncodeResult(vectors, errors)

    def _fit(self, content: EncoderInput) -> npt.NDArray[np.uint8] | str:
        if not isinstance(content, bytes):
            return medium_missing("picture")
        try:
            return self._preprocessing.fit(content)
        except MediaError as error:
            return str(error)

    def _forward(self, pictures: list[npt.NDArray[np.uint8]]) -> npt.NDArray[np.float32]:
        how = self._preprocessing
        x_BHWC = np.zeros((self._config.batch_images, how.height_px, how.width_px, 3), np.float32)
        for row, picture in enumerate(pictures):
            x_BHWC[row] = how.normalised(picture)
        # Colours last in memory, first in the shape: what torch calls channels_last.
        x_BCHW = torch.from_numpy(x_BHWC).permute(0, 3, 1, 2).to(self._device, self._dtype)
        with torch.inference_mode():
            pooled_BD = self._model(pixel_values=x_BCHW)
        result: npt.NDArray[np.float32] = pooled_BD[: len(pictures)].float().cpu().numpy()
        return result

    def _example(self) -> torch.Tensor:
        generator = torch.Generator().manual_seed(0)
        how = self._preprocessing
        return torch.rand((1, 3, how.height_px, how.width_px), generator=generator) * 2 - 1

    def _check_output(self, model: nn.Module) -> None:
        try:
            with torch.inference_mode():
                dim = model(pixel_values=self._example()).shape[1]
        except (ValueError, TypeError, RuntimeError) as error:
            raise EncoderError(
                f"Image encoder `{self._spec.id}`: a model that turns pictures of {self._preprocessing.height_px} x "
                f"{self._preprocessing.width_px} pixels into vectors is needed, got: {error}."
            ) from None
        if self._spec.dim not in (None, dim):
            raise EncoderError(
                f"Image encoder `{self._spec.id}`: vectors of {self._spec.dim} numbers are needed, got {dim}."
            )
