"""Sound as numbers: log-mel spectra, cepstra and their slopes, in NumPy.

The spectra are those that YAMNet was trained on (Hershey et al., CNN Architectures for Large-Scale Audio
Classification, 2017): magnitudes of 25 ms every 10 ms, 64 bands from 125 to 7,500 Hz.

Shape legend: S samples, T frames, M mel bands, C cepstral coefficients.
"""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt
from scipy.fft import dct

from mmrec_lib.media.audio import SAMPLE_RATE_HZ

FRAME_SAMPLES = 400
FRAME_HOP_SAMPLES = 160
NUM_BANDS = 64

_FFT_SAMPLES = 512
_LOW_HZ, _HIGH_HZ = 125.0, 7_500.0
_OFFSET = 1e-3
_SLOPE_FRAMES = 4

Floats = npt.NDArray[np.float32]


def log_mel(x_S: Floats) -> Floats:
    """Log-mel spectra of sound at 16 kHz: `[num_frames, 64] float32`; sound shorter than a frame is padded to one."""
    padded = np.pad(x_S, (0, max(0, FRAME_SAMPLES - len(x_S))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, FRAME_SAMPLES)[::FRAME_HOP_SAMPLES]
    magnitudes = np.abs(np.fft.rfft(frames * _hann(), _FFT_SAMPLES))
    bands: Floats = np.log(magnitudes @ _mel_bank() + _OFFSET).astype(np.float32)
    return bands


def cepstra(x_TM: Floats, num_coefficients: int) -> Floats:
    """Mel-frequency cepstral coefficients `[num_frames, num_coefficients]`.

    The first one tells the loudness (Davis and Mermelstein, Comparison of Parametric Representations for Monosyllabic
    Word Recognition, 1980).
    """
    coefficients: Floats = dct(x_TM, type=2, norm="ortho", axis=1)[:, :num_coefficients].astype(np.float32)
    return coefficients


def slopes(x_TC: Floats) -> Floats:
    """Change of features in time: the slope of a line fitted over nine frames; of the same shape."""
    padded = np.pad(x_TC, ((_SLOPE_FRAMES, _SLOPE_FRAMES), (0, 0)), mode="edge")
    num_frames = len(x_TC)
    total = np.zeros_like(x_TC)
    for step in range(1, _SLOPE_FRAMES + 1):
        later = padded[_SLOPE_FRAMES + step : _SLOPE_FRAMES + step + num_frames]
        earlier = padded[_SLOPE_FRAMES - step : _SLOPE_FRAMES - step + num_frames]
        total += step * (later - earlier)
    fitted: Floats = total / np.float32(2 * sum(step * step for step in range(1, _SLOPE_FRAMES + 1)))
    return fitted


@functools.cache
def _hann() -> npt.NDArray[np.float64]:
    # The periodic window: one sample longer, its last one left out.
    window: npt.NDArray[np.float64] = np.hanning(FRAME_SAMPLES + 1)[:-1]
    return window


@functools.cache
def _mel_bank() -> npt.NDArray[np.float64]:
    """Triangles on the mel scale: `[257, 64]`."""
    num_bins = _FFT_SAMPLES // 2 + 1
    bins = _mel(np.linspace(0.0, SAMPLE_RATE_HZ / 2, num_bins)[1:])[:, None]
    edges = np.linspace(_mel(np.float64(_LOW_HZ)), _mel(np.float64(_HIGH_HZ)), NUM_BANDS + 2)
    low, mid, high = edges[:-2], edges[1:-1], edges[2:]
    triangles = np.maximum(0.0, np.minimum((bins - low) / (mid - low), (high - bins) / (high - mid)))
    # The constant part of a sound belongs to no band.
    return np.vstack([np.zeros(NUM_BANDS), triangles])


def _mel(hz: npt.NDArray[np.float64] | np.float64) -> npt.NDArray[np.float64]:
    mels: npt.NDArray[np.float64] = 1127.0 * np.log1p(hz / 700.0)
    return mels
