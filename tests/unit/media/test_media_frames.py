from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from mmrec_lib.media import containers
from mmrec_lib.media.child import DecoderChild
from mmrec_lib.media.errors import MEDIA_REASONS, MediaError
from mmrec_lib.media.frames import VideoFrames, sample_frames
from tests.unit.media.clips import RATE, SIZE, clip, scene

X264 = {"codec": "libx264", "options": {"preset": "ultrafast"}}


def reason_of(content: bytes) -> str:
    with pytest.raises(MediaError) as caught:
        sample_frames(content)
    return caught.value.reason


@pytest.mark.parametrize(
    ("container", "codec"),
    [("mp4", "mpeg4"), ("mp4", "libx264"), ("mov", "mpeg4"), ("matroska", "libx264"), ("avi", "mpeg4")],
)
def test_frames_are_spread_evenly_and_a_scene_is_found_where_it_begins(container: str, codec: str) -> None:
    video = sample_frames(clip(scene(0, 24) + scene(1, 24), container=container, codec=codec), num_even=4)
    assert np.allclose(video.seconds, [0.5, 1.5, 2.0, 2.5, 3.5])
    assert video.is_scene.tolist() == [False, False, True, False, False]
    assert video.media_seconds == pytest.approx(4.0)
    assert video.is_complete and video.num_decoded == 48


def test_a_frame_shows_what_was_filmed_at_its_time() -> None:
    filmed = scene(0, 24)
    video = sample_frames(clip(filmed, **X264), num_even=3)
    for pixels, seconds in zip(video.pixels, video.seconds, strict=True):
        errors = [np.abs(pixels.astype(int) - frame).mean() for frame in filmed]
        assert int(np.argmin(errors)) == round(seconds * RATE)


def test_webm_is_read() -> None:
    content = clip(scene(0, 6), container="webm", codec="libvpx", options={"deadline": "realtime"})
    assert len(sample_frames(content).seconds) == 6


def test_time_counts_where_the_frame_rate_varies() -> None:
    stamps = [*range(12), *range(36, 48)]
    video = sample_frames(clip(scene(0, 12) + scene(1, 12), stamps=stamps), num_even=4)
    # The frame shown at 1.5 and 2.5 seconds is the one of second 11/12, which stands until second 3.
    assert np.allclose(video.seconds, [0.5, 11 / 12, 3.0, 3.5])
    assert video.is_scene.tolist() == [False, False, True, False]


def test_a_still_image_is_one_frame_without_motion() -> None:
    video = sample_frames(clip(scene(0, 1)))
    assert video.pixels.shape[0] == 1 and video.seconds.tolist() == [0.0]
    assert video.motion_mean == video.motion_spread == 0.0
    standing = sample_frames(clip(scene(0, 1) * 24, **X264))
    assert standing.motion_mean < 0.001 and not standing.is_scene.any()


def test_faster_movement_is_more_motion() -> None:
    slow, fast = (sample_frames(clip(scene(0, 24, pan_px=step))).motion_mean for step in (1, 3))
    assert 1.5 * slow < fast < 1.0


def test_fast_movement_is_no_scene() -> None:
    assert not sample_frames(clip(scene(0, 36, pan_px=6))).is_scene.any()


def test_a_flash_is_no_scene() -> None:
    filmed = scene(0, 24)
    filmed[10] = np.full_like(filmed[10], 255)
    assert not sample_frames(clip(filmed)).is_scene.any()


def test_only_the_strongest_scenes_are_kept() -> None:
    weak = [frame // 2 for frame in scene(0, 12)]
    weaker = [frame // 2 + 30 for frame in scene(0, 12)]
    video = sample_frames(clip(weak + weaker + scene(7, 12)), num_even=1, num_scenes=1)
    assert video.seconds[video.is_scene].tolist() == [2.0]


def test_a_turned_video_comes_upright() -> None:
    wide = scene(0, 3)
    upright = sample_frames(clip(wide, rotation=90)).pixels
    assert upright.shape[1:] == (SIZE[0], SIZE[1], 3)
    assert np.abs(upright[0].astype(int) - np.rot90(wide[0])).mean() < 12


def test_frames_are_made_smaller_but_never_larger() -> None:
    content = clip(scene(0, 2, size=(320, 240)))
    assert sample_frames(content, short_side_px=120).pixels.shape[1:] == (120, 160, 3)
    assert sample_frames(content, short_side_px=1000).pixels.shape[1:] == (240, 320, 3)


def test_a_long_video_is_decoded_only_around_the_wanted_times() -> None:
    content = clip(scene(0, 96), key_every=6, **X264)
    most = 40 * SIZE[0] * SIZE[1]
    video = sample_frames(content, num_even=4, max_decoded_pixels=most)
    assert video.num_decoded <= 40
    # No later than wanted, and at most one group of frames earlier.
    assert all(0 <= wanted - got <= 0.5 for wanted, got in zip([1.0, 3.0, 5.0, 7.0], video.seconds, strict=True))
    assert 0 < video.motion_mean < 0.1 and not video.is_scene.any()


def test_work_is_bounded_without_a_key_frame_in_the_middle() -> None:
    content = clip(scene(0, 96), key_every=1000, **X264)
    video = sample_frames(content, num_even=4, max_decoded_pixels=40 * SIZE[0] * SIZE[1])
    assert video.num_decoded == 40
    assert video.seconds.tolist()[:2] == [1.0, 3.0] and video.seconds[-1] == pytest.approx(39 / RATE)
    everything = sample_frames(content, num_even=4)
    assert everything.num_decoded == 96 and everything.seconds.tolist() == [1.0, 3.0, 5.0, 7.0]


@pytest.mark.parametrize(
    ("container", "options"),
    [("matroska", {}), ("avi", {}), ("mp4", {"movflags": "frag_keyframe+empty_moov"})],
)
def test_of_a_truncated_video_what_is_there_counts(container: str, options: dict[str, str]) -> None:
    content = clip(scene(0, 48), container=container, key_every=6, container_options=options)
    video = sample_frames(content[: len(content) * 3 // 4])
    assert not video.is_complete
    assert 0.5 < video.media_seconds < 3.5 and video.num_decoded < 45


def test_a_truncated_matroska_with_sound_is_known_as_such() -> None:
    content = clip(scene(0, 48), container="matroska", sound_seconds=4.0)
    assert sample_frames(content).is_complete
    assert not sample_frames(content[: len(content) // 2]).is_complete


def test_a_video_without_its_index_is_truncated() -> None:
    content = clip(scene(0, 24))
    assert reason_of(content[: len(content) // 2]) == "media_truncated"


def test_a_container_without_frames_is_truncated() -> None:
    content = clip(scene(0, 24), container="matroska", **X264)
    # The first frame begins with the encoder's name.
    assert reason_of(content[: content.index(b"x264 - core")]) == "media_truncated"


def test_damaged_frames_do_not_take_the_others_along() -> None:
    content = bytearray(clip(scene(0, 48), container="avi", key_every=6))
    middle = len(content) // 2
    content[middle : middle + 1500] = bytes(1500)
    video = sample_frames(bytes(content))
    assert not video.is_complete and video.num_decoded >= 20


@pytest.mark.parametrize(
    ("content", "reason"), [(b"", "media_empty"), (b"hello" * 20, "media_wrong_type"), (b"RIFF", "media_wrong_type")]
)
def test_reason_for_what_is_no_video(content: bytes, reason: str) -> None:
    assert reason_of(content) == reason


def test_video_of_sound_only_has_no_frames() -> None:
    assert reason_of(clip([], sound_seconds=0.2)) == "media_no_video"


def test_playlists_are_not_followed(tmp_path: object) -> None:
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{tmp_path}/clip.mp4\n".encode()
    assert reason_of(playlist) == "media_wrong_type"


def test_frames_larger_than_any_standard_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    content = clip(scene(0, 2, size=(320, 240)))
    monkeypatch.setattr(containers, "MAX_FRAME_PIXELS", 2 * 320 * 240)
    assert len(sample_frames(content).pixels) == 2
    monkeypatch.setattr(containers, "MAX_FRAME_PIXELS", 320 * 240 - 1)
    assert reason_of(content) == "media_oversized"


def test_a_child_process_finds_the_same_frames() -> None:
    content = clip(scene(0, 12) + scene(1, 12))
    with DecoderChild() as child:
        found = child.call(sample_frames, content, num_even=4)
        with pytest.raises(MediaError, match="media_no_video"):
            child.call(sample_frames, clip([], sound_seconds=0.2))
    expected = sample_frames(content, num_even=4)
    for field in dataclasses.fields(VideoFrames):
        assert np.array_equal(getattr(found, field.name), getattr(expected, field.name))


def test_frames_that_are_shown_at_a_time() -> None:
    video = sample_frames(clip(scene(0, 24)), num_even=4)
    assert np.allclose(video.seconds, [0.25, 0.75, 1.25, 1.75])
    assert video.shown_at(np.array([0.0, 0.3, 0.75, 9.0])).tolist() == [0, 0, 1, 3]


def test_mutated_videos_decode_or_say_why_and_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    random = np.random.default_rng(0)
    bases = [clip(scene(0, 8), container=name, key_every=3, **X264) for name in ("mp4", "matroska")]
    for number in range(60):
        content = bytearray(bases[number % 2])
        for place in random.integers(0, len(content), 12).tolist():
            content[place] = int(random.integers(0, 256))
        try:
            video = sample_frames(bytes(content))
        except MediaError as error:
            assert error.reason in MEDIA_REASONS
        else:
            assert isinstance(video, VideoFrames) and len(video.pixels) == len(video.seconds) > 0
    assert capfd.readouterr().err == ""
