"""Config of the encoders of video; imports no network."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from mmrec_lib.encoders.encoder_config import Changes
from mmrec_lib.encoders.image.config import ImageNetworkConfig

# Mean and spread of the motion, see `VideoConfig.motion`.
MOTION_DIM = 2


class VideoConfig(ImageNetworkConfig):
    """A model of video, or any vision model over frames.

    Attributes:
        num_frames: Frames that a vision model sees of a video, evenly spread; models of video know their number.
        num_scenes: Most frames that it also sees because a scene begins with them.
        motion: Whether two statistics of motion are appended to the vector.
    """

    kind: Literal["video"] = "video"
    num_frames: Annotated[int, Changes.RESULTS] = Field(default=8, ge=1, le=64)
    num_scenes: Annotated[int, Changes.RESULTS] = Field(default=8, ge=0, le=64)
    motion: Annotated[bool, Changes.RESULTS] = False
