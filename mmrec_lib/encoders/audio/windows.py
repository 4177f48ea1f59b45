"""Input of models of sound: bytes to samples, and the windows that are heard of them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from mmrec_lib.encoders.errors import medium_missing
from mmrec_lib.encoders.runtime.decoders import isolated
from mmrec_lib.encoders.spec import EncoderInput
from mmrec_lib.media.audio import SAMPLE_RATE_HZ, decode_audio
from mmrec_lib.media.containers import CONTAINER_MIMES
from mmrec_lib.media.errors import MediaError
from mmrec_lib.media.kind import sniff

# Below this root mean square a window is silence.
SILENCE_RMS = 1e-4

Samples = npt.NDArray[np.float32]


def samples_or_error(content: EncoderInput, max_seconds: float, sample_rate_hz: int = SAMPLE_RATE_HZ) -> Samples | str:
    """Mono samples of a sound, or why there are none."""
    if not isinstance(content, bytes):
        return medium_missing("sound")
    found = sniff(content)
    try:
        if found is not None and found.mime in CONTAINER_MIMES:
            # Of a video only the container was looked at when it arrived, and only its tracks tell whether it is one.
            return isolated(decode_audio, content, max_seconds=max_seconds, sample_rate_hz=sample_rate_hz)
        return decode_audio(content, max_seconds=max_seconds, sample_rate_hz=sample_rate_hz)
    except MediaError as error:
        return str(error)


def is_silent(samples: Samples) -> bool:
    """Tell if nothing can be heard in a window."""
    return len(samples) == 0 or float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)))) < SILENCE_RMS


def window_starts(num_samples: int, window: int, hop: int, most: int) -> list[int]:
    """Where the windows begin that are heard of a sound.

    Windows of a fixed length follow each other at a fixed distance until the last sample is heard. When there are more
    than `most`, so many of them are taken, spread evenly from the first to the last: the work for a sound is bounded
    whatever its length.

    Args:
        num_samples: Length of the sound.
        window: Samples a window.
        hop: Samples from one window to the next.
        most: Windows that are heard at most.

    Returns:
        Positions in samples, ascending; at least one.
    """
    num_windows = 1 + max(0, -(-(num_samples - window) // hop))
    chosen = np.linspace(0, num_windows - 1, min(num_windows, most)).round().astype(np.int64)
    return [int(index) * hop for index in chosen]


def windows(samples: Samples, starts: list[int], window: int, size: int) -> Iterator[list[Samples]]:
    """Pieces of a sound, `size` at a time; the last one may be shorter than a window."""
    for first in range(0, len(starts), size):
        yield [samples[start : start + window] for start in starts[first : first + size]]
