"""The families of sound models: each turns windows of samples into vectors, some into probabilities of named sounds.

Shape legend: N windows, D dimensions, K sounds that have a name, T frames.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from transformers import (
    ASTFeatureExtractor,
    ASTForAudioClassification,
    ClapAudioModelWithProjection,
    ClapFeatureExtractor,
    MobileNetV1ForImageClassification,
    WhisperFeatureExtractor,
    WhisperModel,
)

from mmrec_lib.encoders.audio.families import family_of
from mmrec_lib.encoders.audio.features import FRAME_HOP_SAMPLES, FRAME_SAMPLES, NUM_BANDS, Floats, log_mel
from mmrec_lib.encoders.audio.windows import Samples
from mmrec_lib.encoders.weights.loading import load_model
from mmrec_lib.media.audio import SAMPLE_RATE_HZ

_PATCH_FRAMES = 96
_CLASSIFIER = ("classifier",)


class SoundModel(Protocol):
    """One family.

    Attributes:
        sample_rate_hz: Rate of the samples that it takes.
        window_samples: Longest piece that it hears at once; shorter ones are padded as it was trained.
        hop_samples: From the beginning of one piece to that of the next.
        num_windows: Pieces that it takes together.
        has_spread: Whether the spread over the pieces is part of a sound's vector, behind the mean.
    """

    sample_rate_hz: int
    window_samples: int
    hop_samples: int
    num_windows: int
    has_spread: bool

    def vectors(self, windows: list[Samples]) -> Floats:
        """Vectors of pieces: `[N, D] float32`."""


class NamedSounds(SoundModel, Protocol):
    """A family that knows sounds by name.

    Attributes:
        names: Names of its sounds, length K.
    """

    names: list[str]

    def probabilities(self, windows: list[Samples]) -> Floats:
        """Probability of each sound in each piece: `[N, K] float32`."""


class Yamnet:
    """YAMNet, a MobileNetV1 over spectra of 0.96 seconds (Hershey et al., 2017), every 0.48 seconds."""

    sample_rate_hz = SAMPLE_RATE_HZ
    window_samples = (_PATCH_FRAMES - 1) * FRAME_HOP_SAMPLES + FRAME_SAMPLES
    hop_samples = _PATCH_FRAMES // 2 * FRAME_HOP_SAMPLES
    num_windows = 16
    has_spread = True

    def __init__(self, directory: Path, dtype: torch.dtype, device: str, *, with_names: bool) -> None:
        unused = () if with_names else _CLASSIFIER
        model = load_model(MobileNetV1ForImageClassification, directory, dtype, unused=unused)
        if model.config.num_channels != 1:
            raise ValueError(f"a MobileNet for images of {model.config.num_channels} colours")
        self._model = model.to(device=device, memory_format=torch.channels_last)
        self._device, self._dtype = device, dtype
        self.names = _names(model.config)

    def vectors(self, windows: list[Samples]) -> Floats:
        """Vectors of pieces: `[N, D] float32`."""
        with torch.inference_mode():
            return _array(self._pooled(windows))

    def probabilities(self, windows: list[Samples]) -> Floats:
        """Probability of each sound in each piece: `[N, K] float32`."""
        with torch.inference_mode():
            return _array(torch.sigmoid(self._model.classifier(self._pooled(windows)).float()))

    def _pooled(self, windows: list[Samples]) -> torch.Tensor:
        x_NTM = np.zeros((len(windows), _PATCH_FRAMES, NUM_BANDS), np.float32)
        for row, samples in enumerate(windows):
            x_NTM[row] = log_mel(np.pad(samples, (0, self.window_samples - len(samples))))
        x_NCTM = torch.from_numpy(x_NTM)[:, None].to(self._device, self._dtype)
        pooled: torch.Tensor = self._model.mobilenet_v1(x_NCTM).pooler_output
        return pooled


class SpectrogramTransformer:
    """AST, the Audio Spectrogram Transformer (Gong et al., 2021): the mean of its two class tokens."""

    hop_samples: int
    num_windows = 1
    has_spread = False

    def __init__(self, directory: Path, dtype: torch.dtype, device: str, *, with_names: bool) -> None:
        unused = () if with_names else _CLASSIFIER
        model = load_model(ASTForAudioClassification, directory, dtype, unused=unused)
        self._features = ASTFeatureExtractor.from_pretrained(directory, local_files_only=True)
        if (self._features.max_length, self._features.num_mel_bins) != (
            model.config.max_length,
            model.config.num_mel_bins,
        ):
            raise ValueError("a feature extractor whose spectra have another size than the model's")
        self._model, self._device, self._dtype = model.to(device), device, dtype
        self.sample_rate_hz = int(self._features.sampling_rate)
        # Frames of 10 ms, as its front end makes them.
        self.window_samples = self.hop_samples = int(self._features.max_length) * self.sample_rate_hz // 100
        self.names = _names(model.config)
        # Of AudioSet many sounds may be heard at once; a model of words that exclude each other says so.
        self._is_exclusive = model.config.problem_type == "single_label_classification"

    def vectors(self, windows: list[Samples]) -> Floats:
        """Vectors of pieces: `[N, D] float32`."""
        with torch.inference_mode():
            return _array(self._pooled(windows))

    def probabilities(self, windows: list[Samples]) -> Floats:
        """Probability of each sound in each piece: `[N, K] float32`."""
        with torch.inference_mode():
            logits = self._model.classifier(self._pooled(windows)).float()
            return _array(logits.softmax(-1) if self._is_exclusive else logits.sigmoid())

    def _pooled(self, windows: list[Samples]) -> torch.Tensor:
        # The front end wants at least one frame of 25 ms.
        least = self.sample_rate_hz // 40
        padded = [np.pad(samples, (0, max(0, least - len(samples)))) for samples in windows]
        made = self._features(padded, sampling_rate=self.sample_rate_hz, return_tensors="pt")
        x_NTM = made.input_values.to(self._device, self._dtype)
        pooled: torch.Tensor = self._model.audio_spectrogram_transformer(x_NTM).pooler_output
        return pooled


class ClapTower:
    """The sound side of CLAP (Wu et al., Large-Scale Contrastive Language-Audio Pretraining, 2023), projected."""

    num_windows = 1
    has_spread = False

    def __init__(self, directory: Path, dtype: torch.dtype, device: str, *, with_names: bool) -> None:
        if with_names:
            raise ValueError("a CLAP model, which has no names of sounds")
        self._model = load_model(ClapAudioModelWithProjection, directory, dtype).to(device)
        self._features = ClapFeatureExtractor.from_pretrained(directory, local_files_only=True)
        self._device, self._dtype = device, dtype
        self.sample_rate_hz = int(self._features.sampling_rate)
        self.window_samples = self.hop_samples = int(self._features.nb_max_samples)

    def vectors(self, windows: list[Samples]) -> Floats:
        """Vectors of pieces: `[N, D] float32`."""
        # One at a time: for several the feature extractor picks one at random that counts as long.
        with torch.inference_mode():
            return np.concatenate([_array(self._embedding(samples)) for samples in windows])

    def _embedding(self, samples: Samples) -> torch.Tensor:
        made = self._features(samples, sampling_rate=self.sample_rate_hz, return_tensors="pt")
        spectra = made.input_features.to(self._device, self._dtype)
        embedding: torch.Tensor = self._model(spectra, is_longer=made.is_longer.to(self._device)).audio_embeds
        return embedding


class WhisperSide:
    """The encoder of a Whisper (Radford et al., 2022): the mean over the frames that hold sound, not padding."""

    num_windows = 1
    has_spread = False

    def __init__(self, directory: Path, dtype: torch.dtype, device: str, *, with_names: bool) -> None:
        if with_names:
            raise ValueError("a Whisper model, which has no names of sounds")
        self._features = WhisperFeatureExtractor.from_pretrained(directory, local_files_only=True)
        self._encoder = load_model(WhisperModel, directory, dtype).encoder.to(device)
        self._device, self._dtype = device, dtype
        self.sample_rate_hz = int(self._features.sampling_rate)
        self.window_samples = self.hop_samples = int(self._features.n_samples)
        # Two frames of the spectrum become one of the encoder.
        self._frame_samples = 2 * int(self._features.hop_length)

    def vectors(self, windows: list[Samples]) -> Floats:
        """Vectors of pieces: `[N, D] float32`."""
        made = self._features(windows, sampling_rate=self.sample_rate_hz, return_tensors="pt")
        with torch.inference_mode():
            x_NTD = self._encoder(made.input_features.to(self._device, self._dtype)).last_hidden_state.float()
        lengths = [max(1, -(-len(samples) // self._frame_samples)) for samples in windows]
        return np.stack([_array(x_TD[:length].mean(0)) for x_TD, length in zip(x_NTD, lengths, strict=True)])


_CLASSES: Mapping[str, Any] = {
    "yamnet": Yamnet,
    "ast": SpectrogramTransformer,
    "clap": ClapTower,
    "whisper": WhisperSide,
}


def load_sound_model(
    directory: Path, settings: Mapping[str, Any], dtype: torch.dtype, device: str, *, with_names: bool
) -> Any:
    """The model of a directory, a `SoundModel`; with names a `NamedSounds`.

    Args:
        directory: Folder in transformers format.
        settings: Its config.json, which names the family.
        dtype: Dtype of the weights.
        device: cpu or cuda.
        with_names: Whether the names of sounds are needed, and therefore the classifier's weights.

    Raises:
        OSError: When files are missing.
        ValueError: When the family is not one of these, has no names of sounds, or weights are missing or damaged.
        KeyError: When the family of the model is unknown to transformers.
    """
    return _CLASSES[family_of(settings)](directory, dtype, device, with_names=with_names)


def _names(config: Any) -> list[str]:
    return [str(config.id2label[index]) for index in range(config.num_labels)]


def _array(x: torch.Tensor) -> npt.NDArray[np.float32]:
    array: npt.NDArray[np.float32] = x.float().cpu().numpy()
    return array
