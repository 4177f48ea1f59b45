from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmrec_lib.media.errors import MEDIA_REASONS, MediaError
from mmrec_lib.media.kind import sniff
from mmrec_lib.media.probe import MediaInfo, probe
from tests.unit.encoders.tiny_models import image_bytes, sound_bytes


def box(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(body), name) + body


def movie(seconds: float = 2.5, width: int = 64, height: int = 48) -> bytes:
    header = struct.pack(">IIIII", 0, 0, 0, 1000, int(seconds * 1000)) + bytes(80)
    track = bytes(76) + struct.pack(">II", width << 16, height << 16)
    return (
        box(b"ftyp", b"isom" + bytes(8))
        + box(b"moov", box(b"mvhd", header) + box(b"trak", box(b"tkhd", track)))
        + box(b"mdat", bytes(100))
    )


def reason_of(content: bytes, expected: str | None = None) -> str:
    with pytest.raises(MediaError) as caught:
        probe(content, expected)
    return caught.value.reason


def test_image() -> None:
    assert probe(image_bytes(0, 60, 80, "JPEG"), "image") == MediaInfo("image", "image/jpeg", 60, 80)


def test_sound() -> None:
    assert probe(sound_bytes(0.5, kind="FLAC"), "audio") == MediaInfo("audio", "audio/flac", media_seconds=0.5)


def test_video_tells_size_and_length() -> None:
    assert probe(movie(), "video") == MediaInfo("video", "video/mp4", 64, 48, 2.5)


def test_video_that_ends_early_is_truncated() -> None:
    assert reason_of(movie()[:-50]) == "media_truncated"


def test_video_without_its_header_is_truncated() -> None:
    assert reason_of(box(b"ftyp", b"isom" + bytes(8)) + box(b"mdat", bytes(100))) == "media_truncated"


def test_matroska_is_known_by_its_first_bytes_and_must_hold_a_track() -> None:
    content = b"\x1a\x45\xdf\xa3" + b"....webm" + bytes(20)
    found = sniff(content)
    assert found is not None and found.mime == "video/webm"
    assert reason_of(content) == "media_truncated"


def test_content_counts_and_not_what_was_expected() -> None:
    assert reason_of(sound_bytes(0.1), "image") == "media_wrong_type"
    assert reason_of(image_bytes(0), "audio") == "media_wrong_type"


@pytest.mark.parametrize(
    ("content", "reason"), [(b"", "media_empty"), (b"<html>", "media_wrong_type"), (bytes(64), "media_wrong_type")]
)
def test_reason_for_what_is_no_medium(content: bytes, reason: str) -> None:
    assert reason_of(content) == reason


def test_image_with_too_many_pixels_is_oversized() -> None:
    with pytest.raises(MediaError) as caught:
        probe(image_bytes(0, 60, 80), "image", max_pixels=4_799)
    assert caught.value.reason == "media_oversized"


@given(st.binary(max_size=200))
@settings(deadline=None)
def test_arbitrary_bytes_never_crash(content: bytes) -> None:
    try:
        probe(content, None)
    except MediaError as error:
        assert error.reason in MEDIA_REASONS


@given(st.sampled_from([movie(), image_bytes(0, 8, 8), sound_bytes(0.01)]), st.data())
@settings(deadline=None)
def test_mutated_media_never_crash(content: bytes, data: st.DataObject) -> None:
    mutated = bytearray(content[: data.draw(st.integers(1, len(content)))])
    mutated[data.draw(st.integers(0, len(mutated) - 1))] = data.draw(st.integers(0, 255))
    try:
        probe(bytes(mutated), None, max_pixels=10_000)
    except MediaError as error:
        assert error.reason in MEDIA_REASONS


@pytest.mark.parametrize("kind", ["WAV", "WAVEX", "RF64", "FLAC", "OGG", "MP3", "AIFF"])
def test_every_format_of_sound_that_is_read_is_known(kind: str) -> None:
    assert probe(sound_bytes(0.5, 8_000, kind), "audio").media_kind == "audio"


def test_mpeg_audio_frame_is_sound_and_a_jpeg_is_not() -> None:
    found = sniff(b"\xff\xfb\x90\x00" + bytes(100))
    assert found is not None and found.mime == "audio/mpeg"
    found = sniff(b"\xff\xd8\xff\xe0" + bytes(100))
    assert found is not None and found.mime == "image/jpeg"
