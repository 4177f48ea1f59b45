"""Sound: bytes → mono samples at 16 kHz."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from mmrec_lib.media.containers import CONTAINER_MIMES
from mmrec_lib.media.errors import MediaError
from mmrec_lib.media.kind import sniff
from mmrec_lib.media.tracks import BLOCK_NUMBERS, Downmix, SoundTrack, open_track, refuse_longer

SAMPLE_RATE_HZ = 16_000
MAX_SECONDS = 4 * 3600.0

# libsndfile's names of what is taken; raw formats are not, because anything at all could be raw.
FORMATS = ("WAV", "WAVEX", "RF64", "FLAC", "OGG", "MP3", "AIFF")

_MAGIC = (b"RIFF", b"fLaC", b"OggS", b"FORM")

_STREAMED_SIZES = (0, 0xFFFFFFFF, 0x7FFFFFFF)

# Bytes 0..3 and 8..11 of a file → the chunk that holds its samples, and how a chunk begins.
_SAMPLE_CHUNKS = {
    (b"RIFF", b"WAVE"): (b"data", struct.Struct("<4sI")),
    (b"RF64", b"WAVE"): (b"data", struct.Struct("<4sI")),
    (b"FORM", b"AIFF"): (b"SSND", struct.Struct(">4sI")),
    (b"FORM", b"AIFC"): (b"SSND", struct.Struct(">4sI")),
}


class _Bytes(io.BytesIO):
    """A file in memory for libsndfile, which seeks before the beginning of damaged files and knows no exceptions."""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """As in a file; a place before the beginning is not gone to."""
        try:
            return super().seek(offset, whence)
        except ValueError:
            return self.tell()


def decode_audio(
    content: bytes, *, max_seconds: float = MAX_SECONDS, sample_rate_hz: int = SAMPLE_RATE_HZ
) -> npt.NDArray[np.float32]:
    """Decodes sound to one channel at a fixed rate.

    Channels are mixed to their mean, those that would cancel others being turned first (`tracks.Downmix`). The rate is
    changed by a band-limited resampler (soxr, high quality).

    Args:
        content: Bytes of a WAV, FLAC, OGG, MP3 or AIFF file, or of a container with a sound track: M4A, AAC and video
            (MP4, QuickTime, Matroska, WebM, AVI).
        max_seconds: Longest sound that will be decoded; a small file can hold days of silence.
        sample_rate_hz: Rate of the result.

    Returns:
        `[num_samples] float32`, within about -1 to 1.

    Raises:
        MediaError: When the bytes are no sound, are damaged, or too long; `media_no_sound` for a video without sound.
    """
    with _open(content, max_seconds) as sound:
        # What is held is the result and one block: an hour takes 230 MB, whatever rate and channels it came with.
        samples, num_samples = np.empty(BLOCK_NUMBERS, np.float32), 0
        for block in _resampled(sound.blocks, sound.rate_hz, sample_rate_hz):
            if num_samples + len(block) > len(samples):
                # Large arrays grow in place: nothing is held twice.
                samples.resize(num_samples + len(block) + len(samples) // 8, refcheck=False)
            samples[num_samples : num_samples + len(block)] = block
            num_samples += len(block)
    if not num_samples:
        raise MediaError("media_truncated", f"the sound is shorter than one sample at {sample_rate_hz:,} Hz")
    samples.resize(num_samples, refcheck=False)
    return samples


def check_audio(content: bytes, max_seconds: float = MAX_SECONDS) -> float:
    """Decodes sound only to know that it can be decoded, block by block.

    Returns:
        Length in seconds.

    Raises:
        MediaError: As `decode_audio`.
    """
    with _open(content, max_seconds) as sound:
        return sum(len(block) for block in sound.blocks) / float(sound.rate_hz)


@contextmanager
def _open(content: bytes, max_seconds: float) -> Iterator[SoundTrack]:
    if not content:
        raise MediaError("media_empty", "the sound has 0 bytes")
    found = sniff(content)
    if found is not None and found.mime in CONTAINER_MIMES:
        with open_track(content, max_seconds) as track:
            yield track
        return
    with _open_file(content, max_seconds) as sound:
        yield SoundTrack(sound.samplerate, _blocks(sound))


def _open_file(content: bytes, max_seconds: float) -> soundfile.SoundFile:
    _check_size(content)
    try:
        sound = soundfile.SoundFile(_Bytes(content))
    except MemoryError:
        raise MediaError("media_oversized", "the sound needs more memory than there is") from None
    except Exception as error:
        # libsndfile's own errors, and whatever reading from memory raises for absurd headers.
        found = sniff(content)
        if content.startswith(_MAGIC) if found is None else found.kind == "audio":
            raise MediaError("media_truncated", f"the sound's header is damaged: {_why(error)}") from None
        raise MediaError("media_wrong_type", f"no sound that can be read: {_why(error)}") from None
    if sound.format not in FORMATS:
        raise MediaError("media_wrong_type", f"sound format {sound.format}, one of {', '.join(FORMATS)} is needed")
    if not 1_000 <= sound.samplerate <= 768_000 or not 1 <= sound.channels <= 64:
        raise MediaError(
            "media_wrong_type", f"{sound.channels} channels at {sound.samplerate} Hz is no sound that can be read"
        )
    if sound.frames < 1:
        raise MediaError("media_truncated", "the sound has a header and no samples")
    refuse_longer(sound.frames / sound.samplerate, max_seconds)
    return sound


def _blocks(sound: soundfile.SoundFile) -> Iterator[npt.NDArray[np.float32]]:
    """Mono blocks; fails when not as many frames come as the header promised, or samples that are no numbers."""
    num_frames, most, downmix = 0, BLOCK_NUMBERS // sound.channels + 1, Downmix()
    is_over = False
    while not is_over:
        try:
            block = sound.read(most, dtype="float32", always_2d=True)
        except MemoryError:
            raise MediaError("media_oversized", "the sound needs more memory than there is") from None
        except Exception as error:
            # As in _open_file: a damaged frame ends the sound, whatever libsndfile calls it.
            raise MediaError("media_truncated", f"the sound is truncated or damaged: {_why(error)}") from None
        # After the damage that ended a block early, libsndfile gives the same samples again.
        is_over = len(block) < most
        num_frames += len(block)
        if len(block):
            yield downmix.mixed(block)
    if num_frames != sound.frames:
        raise MediaError("media_truncated", f"{num_frames:,} of {sound.frames:,} samples could be read")


def _resampled(
    blocks: Iterable[npt.NDArray[np.float32]], from_hz: int, to_hz: int
) -> Iterator[npt.NDArray[np.float32]]:
    """The same sound at another rate, with the same bits as if it were resampled in one piece."""
    if from_hz == to_hz:
        yield from blocks
        return
    stream = soxr.ResampleStream(from_hz, to_hz, 1, dtype="float32", quality="HQ")
    for block in blocks:
        yield stream.resample_chunk(block)
    yield stream.resample_chunk(np.empty(0, np.float32), last=True)


def _why(error: Exception) -> str:
    """Message of an error without the memory addresses that soundfile puts into its messages."""
    return str(getattr(error, "error_string", error))


def _check_size(content: bytes) -> None:
    """Fails when the samples of a WAV or AIFF end after the file; libsndfile would read what there is, silently."""
    found = _SAMPLE_CHUNKS.get((content[:4], content[8:12]))
    if found is None:
        return
    chunk, header = found
    position, long_size = 12, None
    while position + 8 <= len(content):
        name, size = header.unpack_from(content, position)
        if name == b"ds64" and position + 24 <= len(content):
            # The sizes of an RF64 file (EBU Tech 3306), of the whole and of its samples.
            (long_size,) = struct.unpack_from("<Q", content, position + 16)
        if name == chunk:
            size = long_size if long_size is not None and size in _STREAMED_SIZES else size
            rest = len(content) - position - 8
            if size > rest and size not in _STREAMED_SIZES:
                raise MediaError("media_truncated", f"{rest:,} of {size:,} bytes of sound are there")
            return
        position += 8 + size + size % 2
