"""Small video clips, made on the spot."""

from __future__ import annotations

import io
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from PIL import Image

RATE = 12
SIZE = (96, 64)
TONE_HZ = 440


def scene(seed: int, num_frames: int, pan_px: int = 1, size: tuple[int, int] = SIZE) -> list[npt.NDArray[np.uint8]]:
    """A camera that pans over a blurred random image: `[height, width, 3] uint8` each."""
    width, height = size
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 24, 3), dtype=np.uint8)
    wide = np.asarray(Image.fromarray(coarse).resize((width * 4, height), Image.Resampling.BICUBIC))
    return [wide[:, k * pan_px % (3 * width) :][:, :width] for k in range(num_frames)]


def clip(
    frames: Sequence[npt.NDArray[np.uint8]],
    *,
    container: str = "mp4",
    codec: str = "mpeg4",
    stamps: Sequence[int] | None = None,
    key_every: int = 250,
    sound_seconds: float = 0.0,
    rotation: int = 0,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
) -> bytes:
    """The bytes of a video.

    Args:
        frames: Images of one size; none for sound only.
        container: FFmpeg's name of the format.
        codec: FFmpeg's name of the encoder.
        stamps: When each frame is shown, in frames of a constant rate; None shows them one after the other.
        key_every: Longest way from one key frame to the next; a key frame is also where a scene changes.
        sound_seconds: Length of a tone beside it.
        rotation: Degrees that a player turns it counter-clockwise.
        options: Of the encoder.
        container_options: Of the container.
    """
    file = io.BytesIO()
    with av.open(file, "w", format=container, container_options=container_options or {}) as output:
        video: Any = None
        if frames:
            height, width = frames[0].shape[:2]
            video = output.add_stream(codec, rate=RATE, options=options or {})
            video.width, video.height, video.pix_fmt = width, height, "yuv420p"
            video.codec_context.gop_size = key_every
            if rotation:
                video.set_display_rotation(rotation)
        audio: Any = output.add_stream("aac", rate=44_100, layout="stereo") if sound_seconds else None
        for number, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            frame.pts, frame.time_base = (number if stamps is None else stamps[number]), Fraction(1, RATE)
            output.mux(video.encode(frame))
        if video is not None:
            output.mux(video.encode(None))
        if audio is not None:
            wave = 0.5 * np.sin(2 * np.pi * TONE_HZ * np.arange(int(sound_seconds * 44_100)) / 44_100)
            sound = av.AudioFrame.from_ndarray(np.stack([wave, wave]).astype(np.float32), "fltp", "stereo")
            sound.rate, sound.pts = 44_100, 0
            output.mux(audio.encode(sound))
            output.mux(audio.encode(None))
    return file.getvalue()
