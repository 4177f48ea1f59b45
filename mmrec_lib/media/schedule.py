"""Schedule of the parts of a video that are decoded, so that the work is bounded whatever its length."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass

# Frames are stored in another order than they are shown; so many more are read after a wanted one.
_REORDERED = 8


@dataclass(frozen=True)
class Packets:
    """The stored frames of a video, in the order of the file.

    Attributes:
        times: When each is shown, in seconds.
        is_key: Whether it can be decoded without others.
        start: When the first one is shown.
        end: When the last one ends.
        frame_seconds: How long a frame is shown, on average.
        is_complete: Whether all that the container promises is there.
    """

    times: Sequence[float]
    is_key: Sequence[bool]
    start: float
    end: float
    frame_seconds: float
    is_complete: bool


@dataclass(frozen=True)
class Schedule:
    """Parts that are decoded.

    Attributes:
        targets: Times at which frames are wanted, in seconds from the first frame on, rising.
        runs: Packets that are decoded, as (first, after the last), rising and apart.
    """

    targets: tuple[float, ...]
    runs: tuple[tuple[int, int], ...]

    @classmethod
    def plan(cls, packets: Packets, num_targets: int, max_frames: int) -> Schedule:
        """Times in the middle of equal parts of a video, and what to decode for them.

        Args:
            packets: The video's frames.
            num_targets: Number of times.
            max_frames: Most frames that are decoded, about: everything when there are fewer, else the way from the key
                frame before each time.
        """
        length = packets.end - packets.start
        targets = tuple((k + 0.5) / num_targets * length for k in range(num_targets))
        num_packets = len(packets.times)
        if num_packets <= max_frames:
            return cls(targets, ((0, num_packets),) if num_packets else ())
        keys = [number for number, is_key in enumerate(packets.is_key) if is_key] or [0]
        order = sorted(range(num_packets), key=lambda number: packets.times[number])
        times = [packets.times[number] for number in order]
        wanted_after: dict[int, list[int]] = {}
        for target in targets:
            wanted = order[max(bisect.bisect_right(times, target + packets.start) - 1, 0)]
            wanted_after.setdefault(keys[max(bisect.bisect_right(keys, wanted) - 1, 0)], []).append(wanted)
        share = max(max_frames // num_targets, 1)
        runs: list[tuple[int, int]] = []
        for key, group in sorted(wanted_after.items()):
            # Times after the same key frame share the way, and put their shares of the work together.
            end = min(max(group) + 1 + _REORDERED, key + share * len(group), num_packets)
            if runs and key <= runs[-1][1]:
                runs[-1] = (runs[-1][0], max(runs[-1][1], end))
            else:
                runs.append((key, end))
        return cls(targets, tuple(runs))
