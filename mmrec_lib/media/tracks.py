"""Sound tracks: the container of a video or an M4A → blocks of mono samples."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import av
import av.error
import numpy as np
import numpy.typing as npt

from mmrec_lib.media.containers import declared_seconds, open_container, sound_stream, why
from mmrec_lib.media.errors import MediaError

# Numbers of all channels that are mixed as one block: a few seconds. A packet of a track holds a fiftieth of a second,
# and for so long any two channels may be opposite by chance.
BLOCK_NUMBERS = 1 << 18

# A tail of this length may be missing: encoders pad, and players cut that off again.
_MISSING_SECONDS = 0.5

# Files of floating point samples may have the range of integers, and nothing beyond.
_LOUDEST = 2.0**31

# Channels whose cosine is below this cancel each other to a tenth of their power or less.
_OPPOSITE = -0.8
_SILENT_POWER = 1e-8


@dataclass(frozen=True)
class SoundTrack:
    """An open sound track.

    Attributes:
        rate_hz: Samples a second.
        blocks: Mono blocks `[num_samples] float32`, to be read once; fails as `open_track` does.
    """

    rate_hz: int
    blocks: Iterator[npt.NDArray[np.float32]]


@contextmanager
def open_track(content: bytes, max_seconds: float) -> Iterator[SoundTrack]:
    """Opens the first sound track of a container; channels are mixed, see `Downmix`.

    Args:
        content: Bytes of one of `containers.CONTAINER_MIMES`.
        max_seconds: Longest sound that will be decoded.

    Raises:
        MediaError: `media_no_sound` when there is no sound track, `media_oversized` when it is longer,
            `media_truncated` when it is damaged or shorter than promised, `media_wrong_type` for other bytes.
    """
    with open_container(content) as container:
        stream = sound_stream(container)
        rate = stream.codec_context.sample_rate
        if not 1_000 <= rate <= 768_000:
            raise MediaError("media_wrong_type", f"a sound track at {rate} Hz is none that can be read")
        yield SoundTrack(rate, _mixed(_parts(container, stream, rate, max_seconds)))


def _mixed(parts: Iterable[npt.NDArray[np.float32]]) -> Iterator[npt.NDArray[np.float32]]:
    """Mono blocks of parts `[num_samples, num_channels]`, gathered to as many samples as a file's block has."""
    downmix, waiting, num_waiting = Downmix(), list[npt.NDArray[np.float32]](), 0
    for part in parts:
        is_other = bool(waiting) and waiting[0].shape[1] != part.shape[1]
        if is_other or num_waiting * part.shape[1] > BLOCK_NUMBERS:
            yield downmix.mixed(np.concatenate(waiting))
            waiting, num_waiting = [], 0
        waiting.append(part)
        num_waiting += len(part)
    if waiting:
        yield downmix.mixed(np.concatenate(waiting))


def _parts(
    container: av.container.InputContainer, stream: av.AudioStream, rate: int, max_seconds: float
) -> Iterator[npt.NDArray[np.float32]]:
    promised = declared_seconds(container, stream)
    if promised is not None:
        refuse_longer(promised, max_seconds)
    num_samples = 0
    shape: tuple[str, str, int] | None = None
    resampler: av.AudioResampler | None = None
    try:
        for frame in container.decode(stream):
            # A stream may change its channels on the way; each kind of frame needs a converter of its own.
            if resampler is None or shape != (frame.format.name, frame.layout.name, frame.sample_rate):
                shape = frame.format.name, frame.layout.name, frame.sample_rate
                resampler = av.AudioResampler("fltp", frame.layout, rate)
            for part in resampler.resample(frame):
                num_samples += part.samples
                refuse_longer(num_samples / rate, max_seconds)
                yield np.asarray(part.to_ndarray(), np.float32).T
    except (av.error.FFmpegError, ValueError) as error:
        raise MediaError("media_truncated", f"the sound track is truncated or damaged: {why(error)}") from None
    if not num_samples:
        raise MediaError("media_truncated", "the sound track has no samples")
    if promised is not None and num_samples / rate < promised - _MISSING_SECONDS:
        raise MediaError(
            "media_truncated", f"{num_samples / rate:,.1f} of {promised:,.1f} seconds of sound could be read"
        )


class Downmix:
    """Mixes the channels of one sound into one, block by block: their mean.

    A channel with the opposite sign of the others (microphones wired the wrong way round, "surround" effects) would
    cancel them. Where it does, its sign is turned back; sounds without such channels have the bits of a plain mean.
    """

    def __init__(self) -> None:
        """Begin with no channel turned."""
        self._signs: npt.NDArray[np.float32] = np.ones(0, np.float32)

    def mixed(self, samples: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The next block: `[num_samples, num_channels]` → `[num_samples]`.

        Raises:
            MediaError: When samples are not finite, or louder than any sound.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            if samples.shape[1] > 1:
                self._look_at(samples)
                if (self._signs < 0).any():
                    samples = samples * self._signs
            mono: npt.NDArray[np.float32] = samples.mean(axis=1, dtype=np.float32)
        if not np.abs(mono).max(initial=0) <= _LOUDEST:  # nor with NaN
            raise MediaError("media_truncated", "the sound has samples that are not finite or louder than any sound")
        return mono

    def _look_at(self, samples: npt.NDArray[np.float32]) -> None:
        """Brings the signs up to date: each channel against the sum of those before it."""
        if len(self._signs) != samples.shape[1]:
            self._signs = np.ones(samples.shape[1], np.float32)
        total = samples[:, 0].astype(np.float64)
        for channel in range(1, samples.shape[1]):
            one = samples[:, channel].astype(np.float64)
            loudness = float(np.sqrt((total @ total) * (one @ one)))
            # In silence, and between the two bounds, a channel keeps its sign: each change is a step in the sound.
            if loudness > _SILENT_POWER * len(samples):
                cosine = float(total @ one) / loudness
                if cosine < _OPPOSITE:
                    self._signs[channel] = -1
                elif cosine > 0:
                    self._signs[channel] = 1
            total += self._signs[channel] * one


def refuse_longer(seconds: float, max_seconds: float) -> None:
    """Refuses sound that is too long.

    Raises:
        MediaError: `media_oversized` when it is longer.
    """
    if seconds > max_seconds:
        raise MediaError("media_oversized", f"{seconds:,.0f} seconds of sound, at most {max_seconds:,.0f} are allowed")
