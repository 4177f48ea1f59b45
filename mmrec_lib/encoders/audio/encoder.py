"""Sound → vectors, with any directory of a family of `sound_models`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mmrec_lib.encoders.audio.config import SoundConfig, TagsConfig
from mmrec_lib.encoders.audio.features import Floats
from mmrec_lib.encoders.audio.networks import SoundModel, load_sound_model
from mmrec_lib.encoders.audio.windows import Samples, samples_or_error, window_starts, windows
from mmrec_lib.encoders.config import ModelsConfig
from mmrec_lib.encoders.errors import NOT_FINITE
from mmrec_lib.encoders.runtime.precision import compute_dtype
from mmrec_lib.encoders.spec import EncodeResult, EncoderInput, EncoderSpec
from mmrec_lib.encoders.weights.directory import read_model_config
from mmrec_lib.errors import EncoderError


class SoundEncoder:
    """Encodes sound, given as the bytes of its file; see the `Encoder` protocol.

    A sound is heard in windows of the model's length (0.96 seconds for YAMNet, 10 for AST and CLAP, 30 for Whisper),
    and its vector is the mean of theirs, each weighted by the sound that it holds; for YAMNet the spread (standard
    deviation) follows the mean. Of sound longer than `heard_seconds`, windows are taken spread evenly, so that an hour
    takes no more work than ten minutes; what is held beside the samples themselves is one vector a window.
    """

    def __init__(self, spec: EncoderSpec, config: SoundConfig, directory: Path, models: ModelsConfig) -> None:
        self._spec, self._config, self._directory, self._threads = spec, config, directory, models.threads
        self._model: SoundModel | None = None

    @property
    def spec(self) -> EncoderSpec:
        """Identity."""
        return self._spec

    def load(self, device: str = "cpu") -> None:
        """Loads the weights.

        Raises:
            EncoderError: When the directory holds no sound model of a known family.
        """
        self._model = load_named(self._spec, self._config, self._directory, self._threads, device, with_names=False)

    def encode(self, batch: Sequence[EncoderInput]) -> EncodeResult:
        """Vectors of sounds: `[n, dim] float32`; what cannot be decoded is a row with an error."""
        if self._model is None:
            raise EncoderError(f"Sound encoder `{self._spec.id}`: call load() before encode().")
        errors: list[str | None] = [None] * len(batch)
        found: dict[int, Floats] = {}
        for row, content in enumerate(batch):
            samples = samples_or_error(content, self._config.max_seconds, self._model.sample_rate_hz)
            if isinstance(samples, str):
                errors[row] = samples
                continue
            vector = _vector(self._model, samples, self._config.heard_seconds)
            if np.isfinite(vector).all():
                found[row] = vector
            else:
                errors[row] = NOT_FINITE
        dim = self._spec.dim or next((len(vector) for vector in found.values()), 0)
        vectors = np.zeros((len(batch), dim), np.float32)
        for row, vector in found.items():
            vectors[row] = vector
        return EncodeResult(vectors, errors)


def load_named(
    spec: EncoderSpec, config: SoundConfig | TagsConfig, directory: Path, threads: int, device: str, *, with_names: bool
) -> Any:
    """The sound model of a config entry, see `load_sound_model`.

    Raises:
        EncoderError: When the directory holds no sound model of a known family, or one without names that are needed.
    """
    torch.set_num_threads(threads)
    dtype = compute_dtype(config.dtype, "sound", device)
    try:
        return load_sound_model(directory, read_model_config(directory), dtype, device, with_names=with_names)
    except (OSError, ValueError, KeyError) as error:
        raise EncoderError(f"Sound model `{spec.id}`: `{directory}` must hold a sound model, got: {error}.") from None


def heard_windows(model: SoundModel, num_samples: int, heard_seconds: float) -> list[int]:
    """Where the windows begin that a model hears of a sound, see `window_starts`."""
    most = max(1, int(heard_seconds * model.sample_rate_hz / model.hop_samples))
    return window_starts(num_samples, model.window_samples, model.hop_samples, most)


def _vector(model: SoundModel, samples: Samples, heard_seconds: float) -> Floats:
    starts = heard_windows(model, len(samples), heard_seconds)
    parts = windows(samples, starts, model.window_samples, model.num_windows)
    x_ND = np.concatenate([model.vectors(part) for part in parts]).astype(np.float64)
    lengths = [min(model.window_samples, len(samples) - start) for start in starts]
    weights = np.maximum(np.asarray(lengths, np.float64), 1.0)[:, None]
    weights /= weights.sum()
    mean = (weights * x_ND).sum(axis=0)
    parts_of_vector = [mean]
    if model.has_spread:
        parts_of_vector.append(np.sqrt((weights * np.square(x_ND - mean)).sum(axis=0)))
    vector: Floats = np.concatenate(parts_of_vector).astype(np.float32)
    return vector
