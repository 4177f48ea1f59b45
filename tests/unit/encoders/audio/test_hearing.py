from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mmrec_lib.encoders.audio.features import cepstra, log_mel, slopes
from mmrec_lib.encoders.audio.windows import is_silent, window_starts
from tests.unit.encoders.tiny_sound import tone


@given(st.integers(0, 10_000), st.integers(1, 500), st.integers(1, 500), st.integers(1, 40))
def test_windows_are_bounded_and_reach_from_the_first_sample_to_the_last(
    num_samples: int, window: int, hop: int, most: int
) -> None:
    starts = window_starts(num_samples, window, min(hop, window), most)
    assert 1 <= len(starts) <= most and starts[0] == 0
    assert starts == sorted(set(starts))
    assert most == 1 or starts[-1] + window >= num_samples


def test_tone_is_in_the_band_of_its_frequency() -> None:
    loudest = [int(log_mel(tone(0.5, hz).astype(np.float32)).mean(axis=0).argmax()) for hz in (200, 1_000, 4_000)]
    # (1127 ln(1 + hz / 700) - 185.2) / 39.84 - 1: bands are even on the mel scale from 125 to 7,500 Hz.
    assert loudest == [1, 19, 48]


def test_spectra_have_a_hundred_frames_a_second_and_one_at_least() -> None:
    assert log_mel(np.zeros(16_000, np.float32)).shape == (98, 64)
    assert log_mel(np.zeros(1, np.float32)).shape == (1, 64)


def test_first_cepstral_coefficient_tells_the_loudness_alone() -> None:
    bands = np.random.default_rng(0).standard_normal((5, 64)).astype(np.float32)
    quiet, loud = cepstra(bands, 20), cepstra(bands + 2, 20)
    assert np.allclose(loud[:, 0] - quiet[:, 0], 16.0, atol=1e-4) and np.allclose(loud[:, 1:], quiet[:, 1:], atol=1e-4)


def test_slope_of_a_line_is_its_step() -> None:
    line = np.arange(20, dtype=np.float32)[:, None] * np.array([3.0, -1.0], np.float32)
    assert np.allclose(slopes(line)[4:-4], [3.0, -1.0])


def test_nothing_and_rounding_noise_are_silent() -> None:
    assert is_silent(np.zeros(0, np.float32)) and is_silent(np.full(100, 1e-5, np.float32))
    assert not is_silent(tone(0.1).astype(np.float32))
