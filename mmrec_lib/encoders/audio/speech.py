"""Speech → text, with any Whisper model directory (Radford et al., Robust Speech Recognition, 2022)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration

from mmrec_lib.encoders.audio.config import SpeechConfig
from mmrec_lib.encoders.audio.whisper import Token, WhisperNetwork, Written, num_repeated
from mmrec_lib.encoders.audio.windows import Samples, is_silent, samples_or_error
from mmrec_lib.encoders.config import ModelsConfig
from mmrec_lib.encoders.runtime.precision import compute_dtype
from mmrec_lib.encoders.spec import EncoderInput, EncoderSpec, ExtractedText, Span
from mmrec_lib.encoders.weights.loading import load_model, load_tokenizer
from mmrec_lib.errors import EncoderError
from mmrec_lib.media.audio import SAMPLE_RATE_HZ

_SEARCH_SECONDS = 5.0
_PAUSE_SECONDS = 0.1
_TOKENS_PER_SECOND = 10

# Whisper's own thresholds: it hears words in noise, but is then not sure of them.
_NO_SPEECH = 0.6
_LEAST_LOG_PROBABILITY = -1.0
# Below this the words are noise even where the model thinks that somebody speaks.
_LEAST_LOG_PROBABILITY_EVER = -2.0

# A shorter rest of a window behind the last words is not heard again.
_REST_SECONDS = 1.0

# In a short context a phrase that comes three times is taken for a loop; in a whole window only one that comes more
# often, because refrains are repeated too.
_PATIENCE, _LAST_PATIENCE = 3, 6


class WhisperExtractor:
    """Transcribes sound, given as the bytes of its file; see the `Extractor` protocol.

    Sound longer than the model's window (30 s) is cut at pauses. Each window is decoded greedily and on its own, so
    that a transcript does not depend on what else is in the batch. Of a short window the model hears
    `speech_padding_seconds` of silence behind the sound instead of all 30 seconds; when it then repeats itself, it
    hears the whole window, and what it still repeats is written once. Where nobody seems to speak, nothing is
    written: a window of silence, or words in which the model itself has no trust.
    """

    def __init__(self, spec: EncoderSpec, config: SpeechConfig, directory: Path, models: ModelsConfig) -> None:
        self._spec, self._config, self._directory, self._threads = spec, config, directory, models.threads
        self._network: WhisperNetwork | None = None
        self._tokenizer: Any = None
        self._features: Any = None

    @property
    def spec(self) -> EncoderSpec:
        """Identity."""
        return self._spec

    def load(self, device: str = "cpu") -> None:
        """Loads weights, tokenizer and feature extractor.

        Raises:
            EncoderError: When the directory holds no Whisper model, or none of the language.
        """
        torch.set_num_threads(self._threads)
        dtype = compute_dtype(self._config.dtype, "speech", device)
        try:
            model = load_model(WhisperForConditionalGeneration, self._directory, dtype)
            self._tokenizer = load_tokenizer(self._directory)
            self._features = WhisperFeatureExtractor.from_pretrained(self._directory, local_files_only=True)
            network = WhisperNetwork(model, device, self._tokenizer.get_vocab())
        except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
            raise EncoderError(
                f"Speech model `{self._spec.id}`: `{self._directory}` must hold a Whisper model, got: {error}."
            ) from None
        known = network.languages or {"en": 0}
        if self._config.language is not None and self._config.language not in known:
            raise EncoderError(
                f"Speech model `{self._spec.id}`: language must be one that it knows ({', '.join(sorted(known))}), got "
                f"{self._config.language}."
            )
        self._network = network

    def extract(self, batch: Sequence[EncoderInput]) -> list[ExtractedText]:
        """Transcripts of sounds; what cannot be decoded is a row with an error, silence an empty text."""
        if self._network is None:
            raise EncoderError(f"Speech model `{self._spec.id}`: call load() before extract().")
        return [self._transcript(self._network, content) for content in batch]

    def _transcript(self, network: WhisperNetwork, content: EncoderInput) -> ExtractedText:
        samples = samples_or_error(content, self._config.max_seconds)
        if isinstance(samples, str):
            return ExtractedText(None, error=samples)
        language = self._config.language if network.languages else "en"
        phrases: list[_Phrase] = []
        start = 0
        for window in split_at_pauses(samples, self._features.n_samples):
            found, language = self._listen(network, samples, start, start + len(window), language)
            phrases += found
            start += len(window)
        spans = tuple(Span(p.text, _confidence(p.tokens), p.start_seconds, p.end_seconds) for p in phrases)
        tokens = [token for phrase in phrases for token in phrase.tokens]
        return ExtractedText(
            " ".join(span.text for span in spans), language, _confidence(tokens) if tokens else None, spans
        )

    def _listen(
        self, network: WhisperNetwork, samples: Samples, start: int, end: int, language: str | None
    ) -> tuple[list[_Phrase], str | None]:
        """Speech from `start` to `end`, at most a window; and in which language, once something was said."""
        phrases: list[_Phrase] = []
        while not is_silent(window := samples[start:end]):
            heard = self._hear(network, window, self._config.speech_padding_seconds)
            spoken = language or network.language(heard)
            written = self._write(network, window, heard, spoken)
            found = self._phrases(network, written, start / SAMPLE_RATE_HZ, len(window) / SAMPLE_RATE_HZ)
            if not found:
                break
            # The language of the first words counts for all.
            language = spoken
            phrases += found
            # A model may end too early: what is behind its last time stamp is heard again.
            last = round(found[-1].end_seconds * SAMPLE_RATE_HZ)
            if written.is_loop or last <= start or end - last < _REST_SECONDS * SAMPLE_RATE_HZ:
                break
            start = last
        return phrases, language

    def _hear(self, network: WhisperNetwork, window: Samples, padding_seconds: float) -> torch.Tensor:
        seconds = math.ceil(len(window) / SAMPLE_RATE_HZ + padding_seconds)
        length = min(seconds * SAMPLE_RATE_HZ, int(self._features.n_samples))
        made = self._features(
            window, sampling_rate=SAMPLE_RATE_HZ, return_tensors="pt", padding="max_length", max_length=length
        )
        return network.hear(made.input_features)

    def _write(self, network: WhisperNetwork, window: Samples, heard: torch.Tensor, language: str | None) -> Written:
        # Nobody speaks faster; without the bound a repeating model would fill its whole window.
        num_tokens = 16 + int(len(window) / SAMPLE_RATE_HZ * _TOKENS_PER_SECOND)
        times = self._config.time_stamps and network.has_times
        written = network.write(heard, language, num_tokens, with_times=times, patience=_PATIENCE)
        if not written.is_loop:
            return written
        heard = self._hear(network, window, self._features.n_samples / SAMPLE_RATE_HZ)
        return network.write(heard, language, num_tokens, with_times=times, patience=_LAST_PATIENCE)

    def _phrases(self, network: WhisperNetwork, written: Written, start: float, seconds: float) -> list[_Phrase]:
        tokens = _once(network, written) if written.is_loop else list(written.tokens)
        words = [token for token in tokens if not network.is_time(token.id)]
        if not words or _is_unheard(words, written.no_speech):
            return []
        phrases = []
        begin, part = 0.0, []
        # A last part without its end lasts to the end of the window.
        for token in [*tokens, None]:
            if token is not None and not network.is_time(token.id):
                part.append(token)
                continue
            time = seconds if token is None else min(network.seconds(token.id), seconds)
            text = " ".join(self._tokenizer.decode([t.id for t in part], skip_special_tokens=True).split())
            if any(character.isalnum() for character in text):
                phrases.append(_Phrase(text, start + begin, start + max(begin, time), tuple(part)))
            begin, part = time, []
        return phrases


@dataclass(frozen=True)
class _Phrase:
    text: str
    start_seconds: float
    end_seconds: float
    tokens: tuple[Token, ...]


def _confidence(tokens: Sequence[Token]) -> float:
    return sum(token.probability for token in tokens) / len(tokens)


def _is_unheard(words: Sequence[Token], no_speech: float) -> bool:
    mean = sum(math.log(max(token.probability, 1e-9)) for token in words) / len(words)
    return mean < _LEAST_LOG_PROBABILITY_EVER or (no_speech > _NO_SPEECH and mean < _LEAST_LOG_PROBABILITY)


def _once(network: WhisperNetwork, written: Written) -> list[Token]:
    """The tokens up to the first time that the repeated phrase was written."""
    places = [place for place, token in enumerate(written.tokens) if not network.is_time(token.id)]
    ids = [written.tokens[place].id for place in places]
    length = num_repeated(ids, _LAST_PATIENCE)
    phrase = ids[-length:]
    end = len(ids)
    while end >= 2 * length and ids[end - 2 * length : end - length] == phrase:
        end -= length
    return list(written.tokens[: places[end - 1] + 1])


def split_at_pauses(samples: Samples, window: int) -> list[Samples]:
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
