from __future__ import annotations

import io

import av
import numpy as np
import pytest
import soundfile

from mmrec_lib.media.audio import SAMPLE_RATE_HZ, check_audio, decode_audio
from mmrec_lib.media.errors import MEDIA_REASONS, MediaError
from mmrec_lib.media.kind import sniff
from mmrec_lib.media.probe import probe
from tests.unit.media.clips import TONE_HZ, clip, scene


def reason_of(content: bytes, **limits: float) -> str:
    with pytest.raises(MediaError) as caught:
        decode_audio(content, **limits)
    return caught.value.reason


@pytest.mark.parametrize("container", ["mp4", "mov", "ipod", "matroska", "avi", "adts"])
@pytest.mark.parametrize("num_frames", [0, 6])
def test_sound_of_a_container_becomes_mono_at_16_khz(container: str, num_frames: int) -> None:
    if container in ("ipod", "adts"):
        num_frames = 0  # sound only
    samples = decode_audio(clip(scene(0, num_frames), container=container, sound_seconds=1.0))
    assert samples.dtype == np.float32 and samples.ndim == 1
    assert abs(len(samples) - SAMPLE_RATE_HZ) < 0.05 * SAMPLE_RATE_HZ  # AAC adds a little silence
    assert abs(float(np.abs(samples).max()) - 0.5) < 0.05
    spectrum = np.abs(np.fft.rfft(samples[:SAMPLE_RATE_HZ]))
    assert int(spectrum.argmax()) == TONE_HZ


def test_m4a_and_aac_are_sound_by_their_first_bytes() -> None:
    for container, mime in (("ipod", "audio/mp4"), ("adts", "audio/aac")):
        content = clip([], container=container, sound_seconds=0.5)
        found = probe(content, "audio")
        assert found.mime == mime and found.media_seconds == pytest.approx(0.5, abs=0.06)


def test_utf_16_text_is_no_aac() -> None:
    assert sniff("\ufeffhello".encode("utf-16-le")) is None


def test_video_without_sound_has_no_sound() -> None:
    assert reason_of(clip(scene(0, 3))) == "media_no_sound"


@pytest.mark.parametrize("container", ["ipod", "matroska"])
def test_too_long_sound_tracks_are_refused(container: str) -> None:
    assert reason_of(clip([], container=container, sound_seconds=1.0), max_seconds=0.9) == "media_oversized"


def test_sound_that_ends_early_is_truncated() -> None:
    content = clip([], container="matroska", sound_seconds=3.0)
    assert check_audio(content) == pytest.approx(3.0, abs=0.1)
    assert reason_of(content[: len(content) // 2]) == "media_truncated"


def test_damaged_sound_is_truncated() -> None:
    content = bytearray(clip([], container="ipod", sound_seconds=1.0))
    start = content.index(b"mdat") + 2_000
    content[start : start + 3_000] = np.random.default_rng(0).bytes(3_000)
    assert reason_of(bytes(content)) == "media_truncated"


def test_mutated_tracks_decode_or_say_why_and_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    random = np.random.default_rng(0)
    bases = [clip(scene(0, 3), container=name, sound_seconds=0.3) for name in ("mp4", "matroska")]
    for number in range(40):
        content = bytearray(bases[number % 2])
        for place in random.integers(0, len(content), 8).tolist():
            content[place] = int(random.integers(0, 256))
        content[:16] = bases[number % 2][:16]
        try:
            samples = decode_audio(bytes(content), max_seconds=60.0)
        except MediaError as error:
            assert error.reason in MEDIA_REASONS
        else:
            assert np.isfinite(samples).all()
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("container", ["matroska", "mov"])
def test_channels_that_are_opposite_for_a_moment_are_mixed_as_in_a_file_of_sound(container: str) -> None:
    rng = np.random.default_rng(0)
    common, own = 0.1 * rng.standard_normal((2, 32_000)).astype(np.float32)
    channels = np.stack([common, common + own], axis=1)
    channels[12_000:14_400, 1] = -channels[12_000:14_400, 0]  # 150 ms, longer than a packet
    sink = io.BytesIO()
    soundfile.write(sink, channels, SAMPLE_RATE_HZ, "PCM_16", format="WAV")
    of_file = decode_audio(sink.getvalue())
    assert np.allclose(of_file, channels.mean(axis=1), atol=1e-4)
    assert np.array_equal(decode_audio(remuxed(sink.getvalue(), container)), of_file)


def remuxed(sound: bytes, container: str) -> bytes:
    """The sound of a WAV file in a container, as it is."""
    file = io.BytesIO()
    with av.open(io.BytesIO(sound)) as source, av.open(file, "w", format=container) as output:
        stream = output.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux(source.streams.audio[0]):
            if packet.dts is not None:
                packet.stream = stream
                output.mux(packet)
    return file.getvalue()
