"""Video: bytes → a few frames, upright and small, with their time stamps, and how much moves."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import av
import av.error
import numpy as np
import numpy.typing as npt

from mmrec_lib.media.containers import declared_seconds, open_container, video_stream
from mmrec_lib.media.errors import MediaError
from mmrec_lib.media.sampling import FrameSampler
from mmrec_lib.media.schedule import Packets, Schedule

# Work on one video: about ten seconds of a core for H.264. Counted in pixels and not in seconds, so that the result
# depends on the file alone.
MAX_DECODED_PIXELS = 4_000_000_000
MAX_DECODED_FRAMES = 20_000
MAX_PACKETS = 2_000_000


@dataclass(frozen=True)
class VideoFrames:
    """A few frames of a video, in the order of time.

    Attributes:
        pixels: `[num_frames, height, width, 3] uint8`, at least one frame.
        seconds: `[num_frames] float64`, when each is shown, from the first frame on.
        is_scene: `[num_frames] bool`, whether a scene begins with it.
        media_seconds: Length of what can be read.
        motion_mean: From 0 to 1, mean step between small grey frames a tenth of a second (or one frame) apart; 0 for a
            still image.
        motion_spread: Standard deviation of these steps.
        num_decoded: Frames that were decoded to find these.
        is_complete: False when a part is damaged or missing: then the frames are of what could be read.
    """

    pixels: npt.NDArray[np.uint8]
    seconds: npt.NDArray[np.float64]
    is_scene: npt.NDArray[np.bool_]
    media_seconds: float
    motion_mean: float
    motion_spread: float
    num_decoded: int
    is_complete: bool

    def shown_at(self, seconds: npt.NDArray[np.float64]) -> npt.NDArray[np.intp]:
        """Indices of the frames that are shown at some times, of those that are here: `[len(seconds)]`."""
        return np.clip(np.searchsorted(self.seconds, seconds, side="right") - 1, 0, None)


def sample_frames(
    content: bytes,
    *,
    num_even: int = 8,
    num_scenes: int = 8,
    short_side_px: int = 256,
    max_decoded_pixels: int = MAX_DECODED_PIXELS,
) -> VideoFrames:
    """Decodes a video and keeps frames that are spread evenly over its time, and those that scenes begin with.

    Frames are shown upright and scaled down, never up. The time line counts, not the number of frames, so that a
    variable frame rate is no matter. A video of more than `max_decoded_pixels` (or 20,000 frames) is decoded only
    around the evenly spread times, each from the key frame before it; scenes are then found only there. Where it has
    too few key frames for that, its beginning counts.

    Args:
        content: Bytes of an MP4, QuickTime, Matroska, WebM or AVI file.
        num_even: Frames at the middle of so many equal parts of the time; fewer where the video has fewer.
        num_scenes: Most frames for beginnings of scenes; the strongest cuts count.
        short_side_px: Length of a frame's shorter side.
        max_decoded_pixels: Bound of the work.

    Raises:
        MediaError: `media_no_video` when there is sound only, `media_truncated` when not one frame can be decoded,
            `media_oversized` when frames have more pixels than any standard knows, `media_empty` or
            `media_wrong_type` when it is no video.
    """
    with open_container(content) as container:
        stream = video_stream(container)
        num_pixels = stream.codec_context.width * stream.codec_context.height
        packets = _read_packets(container, stream)
    most = min(MAX_DECODED_FRAMES, max(num_even, max_decoded_pixels // num_pixels))
    schedule = Schedule.plan(packets, num_even, most)
    sampler = FrameSampler(schedule.targets, num_scenes, short_side_px)
    num_damaged = _decode(content, packets, schedule, sampler)
    kept = sampler.finish()
    if not kept.times:
        raise MediaError("media_truncated", "not one frame of the video can be decoded")
    return VideoFrames(
        pixels=np.stack(kept.pixels),
        seconds=np.asarray(kept.times, np.float64),
        is_scene=np.asarray(kept.is_scene, np.bool_),
        media_seconds=packets.end - packets.start,
        motion_mean=float(np.mean(kept.motion)) if kept.motion else 0.0,
        motion_spread=float(np.std(kept.motion)) if kept.motion else 0.0,
        num_decoded=kept.num_seen,
        is_complete=packets.is_complete and not num_damaged,
    )


def _read_packets(container: av.container.InputContainer, stream: av.VideoStream) -> Packets:
    """Number, rate and duration of frames as the container tells them, without decoding them."""
    rate = stream.average_rate or stream.guessed_rate
    frame_seconds = float(1 / rate) if rate else 0.04
    times: list[float] = []
    keys: list[bool] = []
    end, is_whole = 0.0, True
    try:
        for packet in itertools.islice(container.demux(stream), MAX_PACKETS):
            if not packet.size:
                continue
            stamp = packet.dts if packet.pts is None else packet.pts
            time = len(times) * frame_seconds if stamp is None else float(stamp * packet.time_base)
            times.append(time)
            keys.append(packet.is_keyframe)
            is_whole = is_whole and not packet.is_corrupt
            length = float(packet.duration * packet.time_base) if packet.duration else frame_seconds
            end = time + length if len(times) == 1 else max(end, time + length)
    except av.error.FFmpegError:
        is_whole = False
    declared = declared_seconds(container, stream)
    start = min(times, default=0.0)
    is_short = declared is not None and end - start < 0.9 * declared - 0.5
    return Packets(times, keys, start, end, frame_seconds, is_whole and not is_short)


def _decode(content: bytes, packets: Packets, schedule: Schedule, sampler: FrameSampler) -> int:
    """Decodes what is scheduled; returns the number of packets and frames that are damaged."""
    num_damaged = 0
    with open_container(content) as container:
        stream = video_stream(container)
        decoder = stream.codec_context
        for packet, is_last_of_run in _scheduled(container, stream, schedule.runs):
            for part in (packet, None) if is_last_of_run else (packet,):
                try:
                    frames = decoder.decode(part)
                except av.error.FFmpegError:
                    num_damaged += 1
                    continue
                for frame in frames:
                    if frame.is_corrupt:
                        num_damaged += 1
                        continue
                    stamp = frame.dts if frame.pts is None else frame.pts
                    base = frame.time_base or stream.time_base
                    time = None if stamp is None or base is None else float(stamp * base) - packets.start
                    sampler.push(frame, time, packets.frame_seconds)
            if is_last_of_run:
                decoder.flush_buffers()
                sampler.skip()
    return num_damaged


def _scheduled(
    container: av.container.InputContainer, stream: av.VideoStream, runs: Sequence[tuple[int, int]]
) -> Iterator[tuple[av.Packet[av.VideoStream], bool]]:
    """The packets of the runs, and whether each is the last one of its run."""
    waiting = iter(runs)
    run = next(waiting, None)
    number = -1
    try:
        for packet in container.demux(stream):
            if not packet.size:
                continue
            number += 1
            if run is None:
                return
            start, end = run
            if number < start:
                continue
            is_last = number == end - 1
            yield packet, is_last
            if is_last:
                run = next(waiting, None)
    except av.error.FFmpegError:
        # What cannot be read was counted when the packets were.
        return
