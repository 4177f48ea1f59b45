"""Keeps a few of the frames that come by: those shown at given times, and those that scenes begin with."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import av
import numpy as np
import numpy.typing as npt
from av.video.reformatter import Interpolation, VideoReformatter

from mmrec_lib.media.scenes import SceneDetector, SceneStart, step_between

_THUMBNAIL_PX = 32
# A tenth of a second, and what rounding takes of it.
_MOTION_SECONDS = 0.0999
# Two cuts in less than this are one scene.
_SCENE_SECONDS = 0.5
# A frame of 8,192 x 16 pixels is not made small by making its shorter side small.
_MAX_KEPT_PIXELS = 1 << 22


@dataclass
class KeptFrames:
    """Frames that a sampler kept, in the order of time.

    Attributes:
        pixels: `[height, width, 3] uint8` each, all of one shape.
        times: Seconds from the first frame on.
        is_scene: Whether a scene begins with it.
        motion: Steps between frames, see `VideoFrames.motion_mean`.
        num_seen: Frames that came by.
    """

    pixels: list[npt.NDArray[np.uint8]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    is_scene: list[bool] = field(default_factory=list)
    motion: list[float] = field(default_factory=list)
    num_seen: int = 0


@dataclass(frozen=True)
class _Shown:
    frame: av.VideoFrame
    time: float


class FrameSampler:
    """Sees the frames of a video once, in order, and holds only what it keeps.

    Args:
        targets: Times at which the shown frame is kept, rising, in seconds.
        num_scenes: Most frames that are kept because a scene begins with them.
        short_side_px: Length of the shorter side of a kept frame; smaller ones stay as they are.
    """

    def __init__(self, targets: Sequence[float], num_scenes: int, short_side_px: int) -> None:
        """Begin with nothing seen."""
        self._targets = deque(targets)
        self._num_scenes, self._short_side_px = num_scenes, short_side_px
        self._thumbnails, self._images = VideoReformatter(), VideoReformatter()
        self._detector: SceneDetector[_Shown] = SceneDetector()
        self._before: _Shown | None = None
        self._moved_from: tuple[npt.NDArray[np.uint8], float] | None = None
        self._size: tuple[int, int] | None = None
        self._even: dict[float, npt.NDArray[np.uint8]] = {}
        self._scenes: list[tuple[float, float, npt.NDArray[np.uint8]]] = []
        self._motion: list[float] = []
        self._num_seen = 0

    def push(self, frame: av.VideoFrame, time: float | None, frame_seconds: float) -> None:
        """Takes the next frame.

        Args:
            frame: As decoded.
            time: When it is shown; None where the file does not tell.
            frame_seconds: How long a frame is shown, for those without a time.
        """
        before = self._before
        if time is None:
            time = 0.0 if before is None else before.time + frame_seconds
        # Damaged time stamps may run backwards.
        shown = _Shown(frame, time if before is None else max(time, before.time))
        self._num_seen += 1
        while self._targets and self._targets[0] < shown.time:
            self._targets.popleft()
            self._keep(before or shown)
        self._before = shown
        thumbnail = self._thumbnail(frame)
        start = self._detector.push(thumbnail, shown)
        if start is not None:
            self._add_scene(start)
        if self._moved_from is None or shown.time - self._moved_from[1] >= _MOTION_SECONDS:
            if self._moved_from is not None:
                self._motion.append(step_between(self._moved_from[0], thumbnail))
            self._moved_from = thumbnail, shown.time

    def skip(self) -> None:
        """Tells that the next frame does not follow the last one, so that what differs is neither cut nor motion."""
        for start in self._detector.flush():
            self._add_scene(start)
        self._moved_from = None

    def finish(self) -> KeptFrames:
        """Frames that were kept; those for times after the last one are the last one."""
        self.skip()
        if self._targets and self._before is not None:
            self._keep(self._before)
        scenes = {time: pixels for _, time, pixels in self._scenes}
        kept = KeptFrames(motion=self._motion, num_seen=self._num_seen)
        for time, pixels in sorted((self._even | scenes).items()):
            kept.times.append(time)
            kept.pixels.append(pixels)
            kept.is_scene.append(time in scenes)
        return kept

    def _keep(self, shown: _Shown) -> None:
        if shown.time not in self._even:
            self._even[shown.time] = self._image(shown.frame)

    def _add_scene(self, start: SceneStart[_Shown]) -> None:
        if not self._num_scenes:
            return
        time = start.frame.time
        if self._scenes and time - self._scenes[-1][1] < _SCENE_SECONDS:
            if self._scenes[-1][0] >= start.step:
                return
            self._scenes.pop()
        elif len(self._scenes) == self._num_scenes:
            weakest = min(self._scenes, key=lambda scene: scene[0])
            if weakest[0] >= start.step:
                return
            self._scenes.remove(weakest)
        self._scenes.append((start.step, time, self._image(start.frame.frame)))

    def _thumbnail(self, frame: av.VideoFrame) -> npt.NDArray[np.uint8]:
        small = self._thumbnails.reformat(frame, _THUMBNAIL_PX, _THUMBNAIL_PX, "gray", interpolation=Interpolation.AREA)
        return np.asarray(small.to_ndarray(), np.uint8)

    def _image(self, frame: av.VideoFrame) -> npt.NDArray[np.uint8]:
        """The frame upright, in the size that the first one got."""
        turns = round(frame.rotation / 90) % 4
        if self._size is None:
            self._size = _fitted(frame.width, frame.height, self._short_side_px, turns)
        width, height = self._size[::-1] if turns % 2 else self._size
        small = self._images.reformat(frame, width, height, "rgb24", interpolation=Interpolation.AREA)
        # FFmpeg and numpy both turn counter-clockwise.
        return np.ascontiguousarray(np.rot90(small.to_ndarray(), turns), np.uint8)


def _fitted(width: int, height: int, short_side_px: int, turns: int) -> tuple[int, int]:
    """Width and height of a kept frame, upright."""
    scale = min(1.0, short_side_px / min(width, height), (_MAX_KEPT_PIXELS / (width * height)) ** 0.5)
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    return size[::-1] if turns % 2 else size
