from __future__ import annotations

import io
import pickle
import struct
import tracemalloc
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from mmrec_lib.media.audio import check_audio, decode_audio
from mmrec_lib.media.errors import MEDIA_REASONS, MediaError
from tests.data.mutate import originals


def wave(rate: int, seconds: float) -> npt.NDArray[np.float64]:
    return 0.5 * np.sin(2 * np.pi * 440 * np.arange(int(rate * seconds)) / rate)


def written(samples: npt.NDArray[Any], kind: str, subtype: str, rate: int = 16_000) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=kind, subtype=subtype)
    return file.getvalue()


def tone(rate: int = 16_000, seconds: float = 0.5, channels: int = 1, kind: str = "WAV") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, np.repeat(wave(rate, seconds)[:, None], channels, axis=1), rate, format=kind)
    return file.getvalue()


def reason_of(content: bytes, **limits: float) -> str:
    with pytest.raises(MediaError) as caught:
        check_audio(content, **limits)
    return caught.value.reason


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG", "MP3", "AIFF"])
@pytest.mark.parametrize("channels", [1, 2])
def test_any_format_rate_and_channels_become_mono_at_16_khz(kind: str, channels: int) -> None:
    samples = decode_audio(tone(44_100, 1.0, channels, kind))
    assert samples.dtype == np.float32
    assert abs(len(samples) - 16_000) < 1_600  # lossy formats add a little silence
    spectrum = np.abs(np.fft.rfft(samples[:16_000]))
    assert abs(int(spectrum.argmax()) - 440) <= 2


def test_length_is_told_in_seconds() -> None:
    assert check_audio(tone(8_000, 0.25)) == 0.25


@pytest.mark.parametrize("kind", ["WAV", "RF64", "FLAC", "OGG", "MP3", "AIFF"])
@pytest.mark.parametrize("cut", [0.3, 0.5, 0.9])
def test_truncated_sound_is_found(kind: str, cut: float) -> None:
    content = tone(kind=kind)
    assert reason_of(content[: int(len(content) * cut)]) == "media_truncated"


def test_wav_that_was_streamed_with_unknown_size_is_read_to_its_end() -> None:
    content = bytearray(tone(seconds=0.5))
    position = content.index(b"data") + 4
    content[position : position + 4] = struct.pack("<I", 0xFFFFFFFF)
    assert check_audio(bytes(content)) == 0.5


def test_header_without_samples_is_truncated() -> None:
    assert reason_of(tone(seconds=0.0)) == "media_truncated"


@pytest.mark.parametrize("kind", ["WAV", "AIFF"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38, 1e20])
def test_samples_that_are_no_numbers_or_louder_than_any_sound_are_refused(kind: str, value: float) -> None:
    samples = np.full((100, 8), 0.1, np.float32)
    samples[50] = value
    assert reason_of(written(samples, kind, "FLOAT")) == "media_truncated"


def test_infinities_that_cancel_between_channels_are_refused() -> None:
    samples = np.full((100, 2), 0.1, np.float32)
    samples[50] = (np.inf, -np.inf)
    assert reason_of(written(samples, "WAV", "FLOAT")) == "media_truncated"


def test_samples_that_come_again_behind_damage_do_not_count_twice() -> None:
    (whole,) = (medium.content for medium in originals() if medium.name.startswith("MP3"))
    damaged = whole[:1_500] + whole[1_872:]
    with soundfile.SoundFile(io.BytesIO(damaged)) as sound:
        assert len(sound.read(10**6)) + len(sound.read(10**6)) > sound.frames
    assert reason_of(damaged) == "media_truncated"


def test_a_header_that_makes_the_library_seek_before_the_beginning_is_damaged() -> None:
    content = written(wave(8_000, 0.3), "AIFF", "FLOAT", 8_000)
    start = content.index(b"SSND")
    assert reason_of(content[:start] + bytes(8) + content[start + 8 :]) == "media_truncated"


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW"])
def test_any_width_of_a_sample_gives_the_same_loudness(subtype: str) -> None:
    samples = decode_audio(written(wave(16_000, 0.5), "WAV", subtype))
    assert np.abs(samples - wave(16_000, 0.5)).max() < 0.02


def test_eight_channels_are_averaged() -> None:
    channels = np.tile(np.arange(8) / 10, (1_000, 1))
    assert np.allclose(decode_audio(written(channels, "WAV", "FLOAT")), 0.35, atol=1e-6)


@pytest.mark.parametrize("rate", [8_000, 11_025, 44_100, 96_000, 192_000])
def test_any_rate_is_resampled_block_by_block_with_the_bits_of_one_piece(rate: int) -> None:
    samples = np.random.default_rng(0).standard_normal(300_000).astype(np.float32) * 0.1
    whole = soxr.resample(samples, rate, 16_000, quality="HQ")
    assert np.array_equal(decode_audio(written(samples, "WAV", "FLOAT", rate)), whole)


def test_silence_is_sound() -> None:
    assert not decode_audio(written(np.zeros(16_000), "FLAC", "PCM_16")).any()


def test_sound_of_less_than_a_sample_is_refused() -> None:
    with pytest.raises(MediaError, match="shorter than one sample") as caught:
        decode_audio(written(np.zeros(1), "WAV", "PCM_16", 192_000))
    assert caught.value.reason == "media_truncated"


def test_what_is_held_of_a_long_sound_is_its_samples_and_a_block() -> None:
    content = written(np.zeros((48_000 * 60, 2), np.int16), "FLAC", "PCM_16", 48_000)
    tracemalloc.start()
    try:
        num_bytes = decode_audio(content).nbytes
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert num_bytes == 60 * 16_000 * 4
    assert peak < num_bytes + 8 * 2**20


def with_field(content: bytes, name: bytes, offset: int, form: str, value: int) -> bytes:
    """The bytes with a number written at an offset from a chunk's name."""
    changed = bytearray(content)
    struct.pack_into(form, changed, content.index(name) + offset, value)
    return bytes(changed)


@pytest.mark.parametrize(
    "content",
    [
        with_field(tone(), b"data", 4, "<I", 0),
        with_field(tone(), b"data", 4, "<I", 10**9),
        with_field(tone(), b"data", 4, "<I", 0xFFFFFFF0),
        with_field(tone(), b"fmt ", 4, "<I", 0),
        with_field(tone(), b"fmt ", 4, "<I", 2**20),
        with_field(tone(kind="AIFF"), b"SSND", 4, ">I", 10**9),
        with_field(tone(kind="AIFF"), b"COMM", 4, ">I", 0),
    ],
)
def test_sizes_of_a_header_that_cannot_be_are_found(content: bytes) -> None:
    assert reason_of(content) == "media_truncated"


@pytest.mark.parametrize("size", [0, 4, 10**9])
def test_wrong_size_of_the_whole_file_does_not_matter(size: int) -> None:
    assert check_audio(with_field(tone(), b"RIFF", 4, "<I", size)) == 0.5


@pytest.mark.parametrize(("offset", "value"), [(10, 1024), (12, 1), (12, 2**31 - 1)])
def test_absurd_channels_and_rates_are_refused(offset: int, value: int) -> None:
    form = "<H" if offset == 10 else "<I"
    assert reason_of(with_field(tone(), b"fmt ", offset, form, value)) in {"media_wrong_type", "media_truncated"}


def test_too_long_sound_is_refused_before_it_is_decoded() -> None:
    assert reason_of(tone(kind="FLAC", seconds=2.0), max_seconds=1.0) == "media_oversized"


@pytest.mark.parametrize(("content", "reason"), [(b"", "media_empty"), (b"hello" * 20, "media_wrong_type")])
def test_reason_for_what_is_no_sound(content: bytes, reason: str) -> None:
    assert reason_of(content) == reason


def test_message_of_an_error_is_the_same_each_time() -> None:
    content = tone()[:40]
    messages = set()
    for _ in range(3):
        with pytest.raises(MediaError) as caught:
            decode_audio(content)
        messages.add(str(caught.value))
    assert len(messages) == 1


def test_error_survives_the_way_between_processes() -> None:
    error = pickle.loads(pickle.dumps(MediaError("media_empty", "no bytes")))
    assert (error.reason, error.detail, str(error)) == ("media_empty", "no bytes", "media_empty: no bytes")


@given(st.sampled_from(["WAV", "FLAC", "OGG"]), st.data())
@settings(deadline=None)
def test_damaged_sound_decodes_or_says_why(kind: str, data: st.DataObject) -> None:
    content = bytearray(tone(seconds=0.05, kind=kind))
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        samples = decode_audio(bytes(content), max_seconds=60.0)
    except MediaError as error:
        assert error.reason in MEDIA_REASONS
    else:
        assert np.isfinite(samples).all()


@pytest.mark.parametrize("second", [-1.0, -0.5, -0.95])
def test_channels_of_opposite_sign_are_heard(second: float) -> None:
    tone_N = wave(16_000, 1.0)
    mono = decode_audio(written(np.stack([tone_N, second * tone_N], axis=1), "WAV", "FLOAT"))
    assert np.allclose(mono, tone_N * (1 - second) / 2, atol=1e-6)


def test_opposite_channels_of_surround_sound_are_heard_and_silence_between_changes_nothing() -> None:
    tone_N = np.concatenate([wave(16_000, 20.0), np.zeros(400_000, np.float32), wave(16_000, 20.0)])
    channels = np.stack([tone_N, 0 * tone_N, -tone_N, tone_N, -tone_N, tone_N], axis=1).astype(np.float32)
    assert np.allclose(decode_audio(written(channels, "WAV", "FLOAT")), tone_N * 5 / 6, atol=1e-6)


def test_other_channels_have_the_bits_of_their_mean() -> None:
    rng = np.random.default_rng(0)
    left, right = rng.standard_normal((2, 50_000)).astype(np.float32) * 0.1
    for other in (left, right, 0.5 * right - 0.4 * left):
        channels = np.stack([left, other], axis=1).astype(np.float32)
        assert np.array_equal(decode_audio(written(channels, "WAV", "FLOAT")), channels.mean(axis=1, dtype=np.float32))
