"""Speech → text, with any Whisper model directory (Radford et al., Robust Speech Recognition, 2022)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration

from mmrec_lib.encoders.config import EncoderConfig, ModelsConfig
from mmrec_lib.encoders.errors import medium_missing
from mmrec_lib.encoders.loading import load_model, load_tokenizer, quiet_loading
from mmrec_lib.encoders.precision import compute_dtype
from mmrec_lib.encoders.spec import EncoderInput, EncoderSpec, Span, Words
from mmrec_lib.errors import EncoderError
from mmrec_lib.media.audio import SAMPLE_RATE_HZ, decode_audio
from mmrec_lib.media.errors import MediaError

# Below this root mean square a window is silence; Whisper hears "you" in it.
SILENCE_RMS = 1e-4

_SEARCH_SECONDS = 5.0
_PAUSE_SECONDS = 0.1
_TOKENS_PER_SECOND = 10


class WhisperExtractor:
    """Transcribes sound, given as the bytes of its file; see the `Extractor` protocol.

    Sound longer than the model's window (30 s) is cut at pauses. Each window is decoded greedily and on its own, so
    that a transcript does not depend on what else is in the batch.
    """

    def __init__(self, spec: EncoderSpec, config: EncoderConfig, directory: Path, models: ModelsConfig) -> None:
        self._spec, self._config, self._directory, self._threads = spec, config, directory, models.threads
        self._model: Any = None
        self._tokenizer: Any = None
        self._features: Any = None
        self._device = "cpu"

    @property
    def spec(self) -> EncoderSpec:
        """Identity."""
        return self._spec

    def load(self, device: str = "cpu") -> None:
        """Loads weights, tokenizer and feature extractor.

        Raises:
            EncoderError: When the directory holds no Whisper model.
        """
        torch.set_num_threads(self._threads)
        dtype = compute_dtype(self._config.dtype, "speech", device)
        try:
            model = load_model(WhisperForConditionalGeneration, self._directory, dtype)
            self._tokenizer = load_tokenizer(self._directory)
            self._features = WhisperFeatureExtractor.from_pretrained(self._directory, local_files_only=True)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise EncoderError(
                f"Speech model `{self._spec.id}`: `{self._directory}` must hold a Whisper model, got: {error}."
            ) from None
        self._model, self._device = model.to(device), device

    def extract(self, batch: Sequence[EncoderInput]) -> list[Words]:
        """Transcripts of sounds; what cannot be decoded is a row with an error, silence an empty text."""
        if self._model is None:
            raise EncoderError(f"Speech model `{self._spec.id}`: call load() before extract().")
        return [self._transcript(content) for content in batch]

    def _transcript(self, content: EncoderInput) -> Words:
        if not isinstance(content, bytes):
            return Words(None, error=medium_missing("sound"))
        try:
            samples = decode_audio(content, max_seconds=self._config.max_seconds)
        except MediaError as error:
            return Words(None, error=str(error))
        language = self._config.language
        spans: list[Span] = []
        start = 0
        for window in split_at_pauses(samples, self._features.n_samples):
            end = start + len(window)
            if float(np.sqrt(np.mean(np.square(window)))) >= SILENCE_RMS:
                features = self._features(window, sampling_rate=SAMPLE_RATE_HZ, return_tensors="pt").input_features
                features = features.to(self._device, self._model.dtype)
                # The language of the first words counts for all.
                language = language or self._language(features)
                text = " ".join(self._words(features, language, len(window) / SAMPLE_RATE_HZ).split())
                if text:
                    spans.append(Span(text, None, start / SAMPLE_RATE_HZ, end / SAMPLE_RATE_HZ))
            start = end
        return Words(" ".join(span.text for span in spans), language, None, tuple(spans))

    def _words(self, features: torch.Tensor, language: str | None, seconds: float) -> str:
        settings = self._model.generation_config
        asked = {"language": language, "task": "transcribe"} if _is_multilingual(settings) else {}
        # Nobody speaks faster; without the bound a repeating model would fill its whole window.
        most = min(16 + int(seconds * _TOKENS_PER_SECOND), self._model.config.max_target_positions - 8)
        with torch.inference_mode(), quiet_loading():
            ids = self._model.generate(features, num_beams=1, do_sample=False, max_new_tokens=most, **asked)
        return str(self._tokenizer.decode(ids[0], skip_special_tokens=True))

    def _language(self, features: torch.Tensor) -> str | None:
        settings = self._model.generation_config
        if not _is_multilingual(settings):
            return "en"
        with torch.inference_mode():
            found = int(self._model.detect_language(features)[0])
        tokens = {token_id: token for token, token_id in settings.lang_to_id.items()}
        return tokens[found].strip("<|>") if found in tokens else None


def _is_multilingual(settings: Any) -> bool:
    return bool(getattr(settings, "is_multilingual", False))


def split_at_pauses(samples: npt.NDArray[np.float32], window: int) -> list[npt.NDArray[np.float32]]:
    """Cuts sound into pieces of at most `window` samples, each cut at the quietest place near the window's end.

    Args:
        samples: `[num_samples] float32` at 16 kHz.
        window: Most samples a piece.

    Returns:
        Pieces that joined together give the samples.
    """
    pause = max(1, min(int(_PAUSE_SECONDS * SAMPLE_RATE_HZ), window // 4))
    search = max(pause, min(int(_SEARCH_SECONDS * SAMPLE_RATE_HZ), window // 2))
    pieces = []
    start = 0
    while len(samples) - start > window:
        tail = np.square(samples[start + window - search : start + window], dtype=np.float64)
        num_pauses = len(tail) // pause
        energy = tail[: num_pauses * pause].reshape(num_pauses, pause).sum(axis=1)
        cut = start + window - search + int(energy.argmin()) * pause + pause // 2
        pieces.append(samples[start:cut])
        start = cut
    pieces.append(samples[start:])
    return pieces
