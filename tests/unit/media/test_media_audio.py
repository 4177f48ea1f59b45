from __future__ import annotations

import io
import pickle
import struct

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from mmrec_lib.media.audio import check_audio, decode_audio
from mmrec_lib.media.errors import MEDIA_REASONS, MediaError


def tone(rate: int = 16_000, seconds: float = 0.5, channels: int = 1, kind: str = "WAV") -> bytes:
    wave = 0.5 * np.sin(2 * np.pi * 440 * np.arange(int(rate * seconds)) / rate)
    file = io.BytesIO()
    soundfile.write(file, np.repeat(wave[:, None], channels, axis=1), rate, format=kind)
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


@pytest.mark.parametrize("kind", ["WAV", "FLAC"])
def test_truncated_sound_is_found(kind: str) -> None:
    content = tone(kind=kind)
    assert reason_of(content[: len(content) // 2]) == "media_truncated"


def test_wav_that_was_streamed_with_unknown_size_is_read_to_its_end() -> None:
    content = bytearray(tone(seconds=0.5))
    position = content.index(b"data") + 4
    content[position : position + 4] = struct.pack("<I", 0xFFFFFFFF)
    assert check_audio(bytes(content)) == 0.5


def test_header_without_samples_is_truncated() -> None:
    assert reason_of(tone(seconds=0.0)) == "media_truncated"


def test_samples_that_are_no_numbers_are_refused() -> None:
    file = io.BytesIO()
    soundfile.write(file, np.array([0.0, np.nan, 0.1], np.float32), 16_000, format="WAV", subtype="FLOAT")
    assert reason_of(file.getvalue()) == "media_truncated"


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
