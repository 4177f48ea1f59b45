"""Sound → vectors without any weights: statistics of its spectra and cepstra over time.

The classic description of timbre for retrieval (Tzanetakis and Cook, Musical Genre Classification of Audio Signals,
2002): what a learned encoder has to beat, and what there is where no weights may be had.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmrec_lib.encoders.audio.config import SoundStatisticsConfig
from mmrec_lib.encoders.audio.families import STATISTICS_DIM
from mmrec_lib.encoders.audio.features import Floats, cepstra, log_mel, slopes
from mmrec_lib.encoders.audio.windows import Samples, samples_or_error, window_starts
from mmrec_lib.encoders.config import ModelsConfig
from mmrec_lib.encoders.spec import EncodeResult, EncoderInput, EncoderSpec
from mmrec_lib.media.audio import SAMPLE_RATE_HZ

_NUM_CEPSTRA = 20
_QUANTILES = (0.1, 0.5, 0.9)
_WINDOW_SAMPLES = 10 * SAMPLE_RATE_HZ


class SoundStatistics:
    """Encodes sound, given as the bytes of its file; see the `Encoder` protocol.

    A vector holds mean and spread of the 64 log-mel bands; mean, spread and quantiles (10, 50, 90 %) of 20 cepstral
    coefficients; mean and spread of their slopes and of the slopes' slopes. All are in their natural units, so that
    the vector of a sound does not depend on other sounds. Of sound longer than `heard_seconds`, pieces of 10 seconds
    are heard, spread evenly.
    """

    def __init__(self, spec: EncoderSpec, config: SoundStatisticsConfig, directory: None, models: ModelsConfig) -> None:
        self._spec, self._config = spec, config

    @property
    def spec(self) -> EncoderSpec:
        """Identity."""
        return self._spec

    def load(self, device: str = "cpu") -> None:
        """Does nothing: there are no weights, and all devices give what the processor computes."""

    def encode(self, batch: Sequence[EncoderInput]) -> EncodeResult:
        """Vectors of sounds: `[n, dim] float32`; what cannot be decoded is a row with an error."""
        errors: list[str | None] = [None] * len(batch)
        vectors = np.zeros((len(batch), STATISTICS_DIM), np.float32)
        for row, content in enumerate(batch):
            samples = samples_or_error(content, self._config.max_seconds)
            if isinstance(samples, str):
                errors[row] = samples
            else:
                vectors[row] = self._statistics(samples)
        return EncodeResult(vectors, errors)

    def _statistics(self, samples: Samples) -> Floats:
        most = max(1, int(self._config.heard_seconds * SAMPLE_RATE_HZ / _WINDOW_SAMPLES))
        starts = window_starts(len(samples), _WINDOW_SAMPLES, _WINDOW_SAMPLES, most)
        parts = [_features(samples[start : start + _WINDOW_SAMPLES]) for start in starts]
        bands, coefficients, first, second = (np.concatenate(part) for part in zip(*parts, strict=True))
        statistics = [
            *_mean_and_spread(bands),
            *_mean_and_spread(coefficients),
            np.quantile(coefficients, _QUANTILES, axis=0).ravel(),
            *_mean_and_spread(first),
            *_mean_and_spread(second),
        ]
        return np.concatenate(statistics).astype(np.float32)


def _features(samples: Samples) -> tuple[Floats, Floats, Floats, Floats]:
    bands = log_mel(samples)
    coefficients = cepstra(bands, _NUM_CEPSTRA)
    first = slopes(coefficients)
    return bands, coefficients, first, slopes(first)


def _mean_and_spread(x_TC: Floats) -> tuple[Floats, Floats]:
    return x_TC.mean(axis=0), x_TC.std(axis=0)
