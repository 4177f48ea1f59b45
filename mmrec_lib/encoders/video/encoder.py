"""Videos → vectors, with a model of video or with any model of images.

Shape legend: T frames, H and W pixels, D dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from mmrec_lib.encoders.config import ModelsConfig
from mmrec_lib.encoders.errors import NOT_FINITE, medium_missing
from mmrec_lib.encoders.image.encoder import ImageEncoder
from mmrec_lib.encoders.image.preprocessing import ImagePreprocessing
from mmrec_lib.encoders.runtime.decoders import isolated
from mmrec_lib.encoders.runtime.precision import compute_dtype
from mmrec_lib.encoders.runtime.prefetch import map_ahead
from mmrec_lib.encoders.spec import EncodeResult, EncoderInput, EncoderSpec
from mmrec_lib.encoders.video.config import MOTION_DIM, VideoConfig
from mmrec_lib.encoders.video.networks import frames_of_network, load_video_network
from mmrec_lib.errors import EncoderError
from mmrec_lib.media.errors import MediaError
from mmrec_lib.media.frames import VideoFrames, sample_frames

_PREPROCESSING_FILES = ("video_preprocessor_config.json", "preprocessor_config.json")


class FrameVectors(Protocol):
    """Turns the frames of one video into a vector.

    Attributes:
        num_even: Frames that it wants, evenly spread.
        num_scenes: Most frames that it wants because a scene begins with them.
        short_side_px: Length that their shorter side should have.
    """

    num_even: int
    num_scenes: int
    short_side_px: int

    def load(self, device: str) -> None:
        """Loads the weights; raises EncoderError when the directory is not what the config says."""

    def vector(self, video: VideoFrames) -> npt.NDArray[np.float32]:
        """The vector of a video: `[dim] float32`."""


class VideoEncoder:
    """Encodes videos, given as the bytes of their files; see the `Encoder` protocol.

    A directory of a video model (see `video_networks`) is given as many evenly spread frames as it was trained with.
    Of any other directory the model of images is asked, and the vector is the mean over frames that are spread evenly
    and that scenes begin with: it sees what is shown, not what is done. A video without sound is a video; one of sound
    only is a row with an error; of a truncated one what can be read counts.

    With `motion`, the mean and the spread of the motion (see `VideoFrames`) follow, times the length of the vector, so
    that they weigh the same in a cosine whatever the model.

    Videos are decoded in child processes, a few ahead of the model, which sees one at a time.
    """

    def __init__(self, spec: EncoderSpec, config: VideoConfig, directory: Path, models: ModelsConfig) -> None:
        self._spec, self._config = spec, config
        self._decode_threads = models.decode_threads
        try:
            num_frames = frames_of_network(directory)
        except ValueError as error:
            raise EncoderError(
                f"Video encoder `{spec.id}`: `{directory}` must hold a video model, got: {error}."
            ) from None
        alone = spec if spec.dim is None or not config.motion else replace(spec, dim=spec.dim - MOTION_DIM)
        self._model: FrameVectors = (
            _ImageMean(alone, config, directory, models)
            if num_frames is None
            else _VideoNetwork(alone, config, directory, models, num_frames)
        )
        self._is_loaded = False

    @property
    def spec(self) -> EncoderSpec:
        """Identity."""
        return self._spec

    def load(self, device: str = "cpu") -> None:
        """Loads the weights.

        Raises:
            EncoderError: When the directory holds no model of video or images that can be loaded.
        """
        self._model.load(device)
        self._is_loaded = True

    def encode(self, batch: Sequence[EncoderInput]) -> EncodeResult:
        """Vectors of videos: `[n, dim] float32`; what has no frame that can be decoded is a row with an error."""
        if not self._is_loaded:
            raise EncoderError(f"Video encoder `{self._spec.id}`: call load() before encode().")
        errors: list[str | None] = [None] * len(batch)
        found: dict[int, npt.NDArray[np.float32]] = {}
        decoded = map_ahead(self._decode, batch, self._decode_threads, num_ahead=self._decode_threads)
        for row, video in enumerate(decoded):
            if isinstance(video, str):
                errors[row] = video
                continue
            vector = self._vector(video)
            if np.isfinite(vector).all():
                found[row] = vector
            else:
                errors[row] = NOT_FINITE
        dim = next((len(vector) for vector in found.values()), self._spec.dim or 0)
        vectors = np.zeros((len(batch), dim), np.float32)
        for row, vector in found.items():
            vectors[row] = vector
        return EncodeResult(vectors, errors)

    def _decode(self, content: EncoderInput) -> VideoFrames | str:
        if not isinstance(content, bytes):
            return medium_missing("video")
        wanted = self._model
        try:
            return isolated(
                sample_frames,
                content,
                num_even=wanted.num_even,
                num_scenes=wanted.num_scenes,
                short_side_px=wanted.short_side_px,
            )
        except MediaError as error:
            return str(error)

    def _vector(self, video: VideoFrames) -> npt.NDArray[np.float32]:
        vector = self._model.vector(video)
        if not self._config.motion:
            return vector
        motion: npt.NDArray[np.float32] = np.array([video.motion_mean, video.motion_spread], np.float32)
        return np.concatenate([vector, motion * np.linalg.norm(vector)])


class _ImageMean:
    """The mean over the vectors that a model of images gives a video's frames."""

    def __init__(self, spec: EncoderSpec, config: VideoConfig, directory: Path, models: ModelsConfig) -> None:
        self._images = ImageEncoder(spec, config, directory, models)
        self.num_even, self.num_scenes = config.num_frames, config.num_scenes
        self.short_side_px = ImagePreprocessing.from_directory(directory).wanted_px

    def load(self, device: str) -> None:
        self._images.load(device)

    def vector(self, video: VideoFrames) -> npt.NDArray[np.float32]:
        vectors_TD = self._images.encode_arrays(list(video.pixels)).vectors
        mean: npt.NDArray[np.float32] = vectors_TD.mean(axis=0, dtype=np.float32)
        return mean


class _VideoNetwork:
    """A model of video, which sees a fixed number of frames."""

    num_scenes = 0

    def __init__(
        self, spec: EncoderSpec, config: VideoConfig, directory: Path, models: ModelsConfig, num_frames: int
    ) -> None:
        self._spec, self._config, self._directory, self._threads = spec, config, directory, models.threads
        # transformers 5 writes the first, earlier ones the second.
        file = next((name for name in _PREPROCESSING_FILES if (directory / name).is_file()), _PREPROCESSING_FILES[-1])
        self._preprocessing = ImagePreprocessing.from_directory(directory, file)
        self.num_even, self.short_side_px = num_frames, self._preprocessing.wanted_px
        self._network: Any = None
        self._device = "cpu"
        self._dtype = torch.float32

    def load(self, device: str) -> None:
        torch.set_num_threads(self._threads)
        self._dtype = compute_dtype(self._config.dtype, "video", device)
        self._device = device
        try:
            self._network = load_video_network(self._directory, self._dtype).to(device)
            dim = len(self._forward(np.zeros((self.num_even, *self._size, 3), np.uint8)))
        except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            raise EncoderError(
                f"Video encoder `{self._spec.id}`: `{self._directory}` must hold a model of video that takes "
                f"{self.num_even} frames of {' x '.join(map(str, self._size))} pixels, got: {error}."
            ) from None
        if self._spec.dim not in (None, dim):
            raise EncoderError(
                f"Video encoder `{self._spec.id}`: vectors of {self._spec.dim} numbers are needed, got {dim}."
            )

    def vector(self, video: VideoFrames) -> npt.NDArray[np.float32]:
        middle = (np.arange(self.num_even) + 0.5) / self.num_even * video.media_seconds
        fitted = [self._preprocessing.fit_array(frame) for frame in video.pixels]
        # A short video shows the same frame at several of the times.
        return self._forward(np.stack([fitted[index] for index in video.shown_at(middle)]))

    @property
    def _size(self) -> tuple[int, int]:
        return self._preprocessing.height_px, self._preprocessing.width_px

    def _forward(self, pixels_THWC: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        x_THWC = self._preprocessing.normalised(pixels_THWC)
        x_TCHW = torch.from_numpy(x_THWC).permute(0, 3, 1, 2).to(self._device, self._dtype)
        with torch.inference_mode():
            vector: npt.NDArray[np.float32] = self._network(x_TCHW[None])[0].float().cpu().numpy()
        return vector
