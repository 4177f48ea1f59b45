"""What is inside a container decides what it is, whatever its brand says."""

from __future__ import annotations

import io
import struct

import av
import numpy as np
import pytest

from mmrec_lib.encoders.audio.windows import samples_or_error
from mmrec_lib.media.errors import MediaError
from mmrec_lib.media.frames import sample_frames
from mmrec_lib.media.probe import MediaInfo, probe
from tests.unit.encoders.tiny_models import sound_bytes
from tests.unit.media.clips import RATE, clip, scene

SECONDS = 2.0
FRAMES = scene(0, int(SECONDS * RATE))


def branded(content: bytes, brand: bytes) -> bytes:
    assert content[4:8] == b"ftyp"
    return content[:8] + brand + content[12:]


def theora() -> bytes:
    """An Ogg file whose first stream is sound and whose second is Theora by its header; no frame can be decoded."""

    def page(serial: int, packet: bytes) -> bytes:
        return b"OggS" + struct.pack("<BBqIIIB", 0, 2, 0, serial, 0, 0, 1) + bytes([len(packet)]) + packet

    return page(1, b"\x01vorbis" + bytes(23)) + page(2, b"\x80theora" + bytes(35))


def reason_of(content: bytes, expected: str | None) -> str:
    with pytest.raises(MediaError) as caught:
        probe(content, expected)
    return caught.value.reason


SOUND_ONLY = {
    "mp4 of a video's brand": (clip([], sound_seconds=SECONDS), "audio/mp4"),
    "m4a of brand mp42": (branded(clip([], sound_seconds=SECONDS, container="ipod"), b"mp42"), "audio/mp4"),
    "m4a": (clip([], sound_seconds=SECONDS, container="ipod"), "audio/mp4"),
    "quicktime": (clip([], sound_seconds=SECONDS, container="mov"), "audio/mp4"),
    "matroska": (clip([], sound_seconds=SECONDS, container="matroska"), "audio/x-matroska"),
    "riff": (clip([], sound_seconds=SECONDS, container="avi"), "audio/x-msvideo"),
    "wav": (sound_bytes(SECONDS, kind="WAV"), "audio/wav"),
    "ogg": (sound_bytes(SECONDS, kind="OGG"), "audio/ogg"),
}


@pytest.mark.parametrize(("content", "mime"), SOUND_ONLY.values(), ids=SOUND_ONLY.keys())
def test_sound_is_sound_in_any_container(content: bytes, mime: str) -> None:
    for expected in ("audio", None):
        info = probe(content, expected)
        assert (info.media_kind, info.mime, info.width_px) == ("audio", mime, None)
        assert info.media_seconds == pytest.approx(SECONDS, abs=0.1)
    assert reason_of(content, "video") in ("media_no_video", "media_wrong_type")
    assert reason_of(content, "image") == "media_wrong_type"
    samples = samples_or_error(content, 60.0)
    assert isinstance(samples, np.ndarray) and abs(len(samples) / 16_000 - SECONDS) < 0.1


def moving(container: str = "mp4", sound_seconds: float = 0.0, **options: str) -> bytes:
    return clip(FRAMES, container=container, sound_seconds=sound_seconds, container_options=options)


VIDEOS = {
    "mp4": (moving(), "video/mp4"),
    "mp4 of a sound's brand": (branded(moving(sound_seconds=SECONDS), b"M4A "), "video/mp4"),
    "m4b": (branded(moving(), b"M4B "), "video/mp4"),
    "quicktime": (moving("mov"), "video/quicktime"),
    "fragmented mp4": (moving(movflags="frag_keyframe+empty_moov+default_base_moof"), "video/mp4"),
    "matroska": (moving("matroska"), "video/x-matroska"),
    "streamed matroska": (moving("matroska", sound_seconds=SECONDS, live="1"), "video/x-matroska"),
    "riff": (moving("avi"), "video/x-msvideo"),
}


@pytest.mark.parametrize(("content", "mime"), VIDEOS.values(), ids=VIDEOS.keys())
def test_a_video_is_a_video_of_its_size_and_length_in_any_container(content: bytes, mime: str) -> None:
    for expected in ("video", None):
        info = probe(content, expected)
        assert (info.media_kind, info.mime, info.width_px, info.height_px) == ("video", mime, 96, 64)
        assert info.media_seconds == pytest.approx(SECONDS, abs=0.15)
    assert len(sample_frames(content, num_even=2).pixels) >= 2


def test_fragmented_sound_has_a_length() -> None:
    content = clip([], sound_seconds=SECONDS, container_options={"movflags": "frag_keyframe+empty_moov+dash"})
    info = probe(content, "audio")
    assert (info.media_kind, info.mime) == ("audio", "audio/mp4")
    assert info.media_seconds == pytest.approx(SECONDS, abs=0.1)


@pytest.mark.parametrize("container", ["mp4", "mov"])
@pytest.mark.parametrize(("rotation", "size"), [(0, (96, 64)), (90, (64, 96)), (180, (96, 64)), (270, (64, 96))])
def test_size_and_frames_are_those_that_a_player_shows(container: str, rotation: int, size: tuple[int, int]) -> None:
    content = clip(FRAMES, container=container, rotation=rotation)
    info = probe(content, "video")
    assert (info.width_px, info.height_px) == size
    assert sample_frames(content, num_even=1).pixels.shape[1:3] == size[::-1]


def test_a_field_of_sound_takes_a_video_for_its_sound_track_and_no_silent_one() -> None:
    with_sound, silent = moving(sound_seconds=SECONDS), moving()
    assert probe(with_sound, "audio") == MediaInfo("video", "video/mp4", 96, 64, pytest.approx(SECONDS, abs=0.1))
    assert reason_of(silent, "audio") == "media_no_sound"
    # All of the sound that is asked for is decoded.
    damaged = bytearray(with_sound)
    start = with_sound.rindex(b"mdat")
    damaged[start + 4 :] = bytes(len(damaged) - start - 4)
    assert reason_of(bytes(damaged), "audio") == "media_truncated"


def test_ogg_with_a_stream_of_video_is_a_video() -> None:
    from mmrec_lib.media.kind import sniff

    found = sniff(theora())
    assert found is not None and (found.kind, found.mime) == ("video", "video/ogg")
    found = sniff(sound_bytes(0.1, kind="OGG"))
    assert found is not None and (found.kind, found.mime) == ("audio", "audio/ogg")
    content = ogg_video()
    info = probe(content, "video")
    assert (info.media_kind, info.mime, info.width_px, info.height_px) == ("video", "video/ogg", 96, 64)
    assert reason_of(content, "audio") == "media_no_sound"


def ogg_video() -> bytes:
    """VP8 in Ogg."""
    file = io.BytesIO()
    with av.open(file, "w", format="ogg") as output:
        video = output.add_stream("libvpx", rate=RATE)
        video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
        for pixels in FRAMES:
            output.mux(video.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")))
        output.mux(video.encode(None))
    return file.getvalue()


def test_covers_of_music_are_no_video() -> None:
    assert probe(with_cover(), None).media_kind == "audio"


def with_cover() -> bytes:
    """An M4A with a cover."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as output:
        sound = output.add_stream("aac", rate=16_000, layout="mono")
        cover = output.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 96, 64, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        output.mux(cover.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(FRAMES[0]), format="rgb24")))
        output.mux(cover.encode(None))
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 16_000), np.float32), format="fltp", layout="mono")
        samples.sample_rate = 16_000
        output.mux(sound.encode(samples))
        output.mux(sound.encode(None))
    return file.getvalue()
