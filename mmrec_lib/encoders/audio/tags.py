"""Sound → tags: the names of what can be heard, with a classifier of sounds (AudioSet: Gemmeke et al., 2017)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import numpy as np

from mmrec_lib.encoders.audio.config import TagsConfig
from mmrec_lib.encoders.audio.encoder import heard_windows, load_named
from mmrec_lib.encoders.audio.features import Floats
from mmrec_lib.encoders.audio.networks import NamedSounds
from mmrec_lib.encoders.audio.windows import Samples, is_silent, samples_or_error, windows
from mmrec_lib.encoders.config import ModelsConfig
from mmrec_lib.encoders.errors import NOT_FINITE
from mmrec_lib.encoders.spec import EncoderInput, EncoderSpec, ExtractedText, Span
from mmrec_lib.errors import EncoderError

# AudioSet has a name for what is no sound.
_NO_SOUND = frozenset({"Silence"})


class SoundTagger:
    """Names the sounds in a medium, given as the bytes of its file; see the `Extractor` protocol.

    A tag is given when its probability reaches `min_tag_confidence` in a window. Its span is the run of such windows
    with the greatest sum of probabilities, its confidence the mean over that run. Tags that fill more of the sound
    come first (by that sum), `max_tags` at most; the text is their names joined by ", ".
    """

    def __init__(self, spec: EncoderSpec, config: TagsConfig, directory: Path, models: ModelsConfig) -> None:
        self._spec, self._config, self._directory, self._threads = spec, config, directory, models.threads
        self._model: NamedSounds | None = None

    @property
    def spec(self) -> EncoderSpec:
        """Identity."""
        return self._spec

    def load(self, device: str = "cpu") -> None:
        """Loads the weights.

        Raises:
            EncoderError: When the directory holds no sound model that knows names.
        """
        self._model = load_named(self._spec, self._config, self._directory, self._threads, device, with_names=True)

    def extract(self, batch: Sequence[EncoderInput]) -> list[ExtractedText]:
        """Tags of sounds; what cannot be decoded is a row with an error, silence an empty text."""
        if self._model is None:
            raise EncoderError(f"Sound tagger `{self._spec.id}`: call load() before extract().")
        return [self._words(self._model, content) for content in batch]

    def _words(self, model: NamedSounds, content: EncoderInput) -> ExtractedText:
        samples = samples_or_error(content, self._config.max_seconds, model.sample_rate_hz)
        if isinstance(samples, str):
            return ExtractedText(None, error=samples)
        starts, chances_NK = _chances(model, samples, self._config.heard_seconds)
        if not np.isfinite(chances_NK).all():
            return ExtractedText(None, error=NOT_FINITE)
        ranked: list[tuple[float, Span]] = []
        for sound in np.flatnonzero((chances_NK >= self._config.min_tag_confidence).any(axis=0)).tolist():
            if model.names[sound] not in _NO_SOUND:
                chances = chances_NK[:, sound]
                first, last = _strongest_run(chances, self._config.min_tag_confidence)
                start = starts[first] / model.sample_rate_hz
                end = min(starts[last] + model.window_samples, len(samples)) / model.sample_rate_hz
                run = chances[first : last + 1]
                ranked.append((float(run.sum()), Span(model.names[sound], float(run.mean()), start, end)))
        ranked.sort(key=lambda tag: (-tag[0], tag[1].text))
        spans = tuple(span for _, span in ranked[: self._config.max_tags])
        confidence = float(np.mean([span.confidence for span in spans])) if spans else None
        return ExtractedText(", ".join(span.text for span in spans), "en", confidence, spans)


def _chances(model: NamedSounds, samples: Samples, heard_seconds: float) -> tuple[list[int], Floats]:
    """Where windows begin, and the probabilities of sounds in them: `[N, K]`, zero in silence."""
    starts = heard_windows(model, len(samples), heard_seconds)
    chances = []
    for part in windows(samples, starts, model.window_samples, model.num_windows):
        is_heard = np.array([not is_silent(window) for window in part])
        chances.append(model.probabilities(part) * is_heard[:, None])
    return starts, np.concatenate(chances)


def _strongest_run(chances: Floats, least: float) -> tuple[int, int]:
    """First and last window of the run above a threshold with the greatest sum; the earlier one of equal runs."""
    runs = [
        list(run) for is_above, run in groupby(range(len(chances)), lambda i: bool(chances[i] >= least)) if is_above
    ]
    best = max(runs, key=lambda run: float(chances[run].sum()))
    return best[0], best[-1]
