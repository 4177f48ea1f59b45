"""Where a new scene begins in a video: peaks of the step between consecutive small grey frames."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

T = TypeVar("T")

_MIN_STEP = 0.05
_RATIO = 2.0
_REACH = 2


@dataclass(frozen=True)
class SceneStart(Generic[T]):
    """A frame that begins a scene.

    Attributes:
        frame: What came with it.
        step: From 0 to 1, how much it differs from the frame before.
    """

    frame: T
    step: float


class SceneDetector(Generic[T]):
    """Finds hard cuts while frames come by, two frames late.

    A cut is a step of at least .05 that is also twice any other within two frames before and after it, so that
    neither fast motion nor a flash counts (the sliding window of Yeo and Liu, Rapid Scene Analysis on Compressed
    Videos, 1995, on the pixel steps of Zhang, Kankanhalli and Smoliar, Automatic Partitioning of Full-Motion Video,
    1993). Cross-fades are not found. At most three frames are held.
    """

    def __init__(self) -> None:
        """Begin with nothing seen."""
        self._last: npt.NDArray[np.uint8] | None = None
        self._steps: deque[float] = deque(maxlen=2 * _REACH + 1)
        self._frames: deque[T | None] = deque(maxlen=_REACH + 1)

    def push(self, thumbnail: npt.NDArray[np.uint8], frame: T) -> SceneStart[T] | None:
        """Takes the next frame and tells whether a scene began two frames ago.

        Args:
            thumbnail: `[height, width] uint8`, the frame small and grey.
            frame: What a caller wants back when a scene begins with it.
        """
        step = 0.0 if self._last is None else step_between(self._last, thumbnail)
        self._last = thumbnail
        return self._advance(step, frame)

    def flush(self) -> list[SceneStart[T]]:
        """The scenes that began with the last two frames; the detector is then as new."""
        found = [self._advance(0.0, None) for _ in range(_REACH)]
        self._last = None
        self._steps.clear()
        self._frames.clear()
        return [start for start in found if start is not None]

    def _advance(self, step: float, frame: T | None) -> SceneStart[T] | None:
        self._steps.append(step)
        self._frames.append(frame)
        if len(self._frames) <= _REACH:
            return None
        middle, centre = self._frames[0], self._steps[-1 - _REACH]
        others = [*self._steps]
        del others[-1 - _REACH]
        if middle is None or centre < _MIN_STEP or centre < _RATIO * max(others):
            return None
        return SceneStart(middle, centre)


def step_between(first: npt.NDArray[np.uint8], second: npt.NDArray[np.uint8]) -> float:
    """Mean absolute difference of two grey images of the same shape, as a share of the range: 0 to 1."""
    return float(np.abs(first.astype(np.int16) - second).mean()) / 255
