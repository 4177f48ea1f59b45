"""Any video model of a directory as one kind of network: `pixel_values [B, T, 3, H, W]` → vectors `[B, D]`.

Taken are VideoMAE (Tong et al., 2022), X-CLIP (Ni et al., Expanding Language-Image Pretrained Models for General Video
Recognition, 2022; its vectors lie in one space with those of its texts) and torchvision's networks for video, such as
R3D-18 (Tran et al., A Closer Look at Spatiotemporal Convolutions, 2018); see `torchvision_directory`.

Shape legend: B videos, T frames, H and W pixels, L tokens, D dimensions.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import nn
from transformers import AutoModel

from mmrec_lib.encoders.weights.directory import read_model_config
from mmrec_lib.encoders.weights.loading import load_model
from mmrec_lib.encoders.weights.torchvision_directory import MODEL_TYPE, load_torchvision

# What torchvision's weights were trained with.
_TORCHVISION_FRAMES = 16


class _TokenMean(nn.Module):
    """The mean over a transformer's tokens, `[B, L, D]` → `[B, D]`: what VideoMAE's classifier reads."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        hidden_BLD: torch.Tensor = self.model(pixel_values=pixel_values).last_hidden_state
        return hidden_BLD.mean(1)


class _XClipVideo(nn.Module):
    """The video side of an X-CLIP."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        # `get_video_features` returns other things in transformers 4 and 5, and fails in 4.57; its parts do not.
        network: Any = self.model
        num_videos, num_frames = pixel_values.shape[:2]
        pooled_FD = network.vision_model(pixel_values=pixel_values.flatten(0, 1))[1]
        frames_BTD = network.visual_projection(pooled_FD).view(num_videos, num_frames, -1)
        vectors_BD: torch.Tensor = network.mit(frames_BTD)[1]
        return vectors_BD


class _ColoursFirst(nn.Module):
    """A network that wants `[B, 3, T, H, W]`."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        vectors_BD: torch.Tensor = self.network(pixel_values.transpose(1, 2))
        return vectors_BD


def frames_of_network(directory: Path) -> int | None:
    """Number of frames that the video model of a directory sees, or None when it is no video model.

    The directory of a torchvision network may tell it as `num_frames` in `config.json`; without, it is 16.

    Raises:
        ValueError: When it is a video model and does not tell.
    """
    settings = read_model_config(directory)
    family = settings.get("model_type")
    if family == MODEL_TYPE:
        if settings.get("architecture") not in torchvision.models.list_models(torchvision.models.video):
            return None
        num_frames = settings.get("num_frames", _TORCHVISION_FRAMES)
    elif family == "videomae":
        num_frames = settings.get("num_frames")
    elif family == "xclip":
        vision = settings.get("vision_config")
        num_frames = vision.get("num_frames") if isinstance(vision, Mapping) else None
    else:
        return None
    if not isinstance(num_frames, int) or num_frames < 1:
        raise ValueError(f"num_frames {num_frames!r} in config.json, a number of frames is needed")
    return num_frames


def load_video_network(directory: Path, dtype: torch.dtype) -> nn.Module:
    """The network of a directory that turns videos into vectors, in evaluation mode.

    Args:
        directory: Model directory for which `frames_of_network` is not None.
        dtype: Dtype of the weights.

    Returns:
        Takes `pixel_values [B, T, 3, H, W]`, returns `[B, D]`: the mean of a VideoMAE's tokens, the projected vector of
        an X-CLIP, and what the classifier of a torchvision network reads.

    Raises:
        OSError: When files are missing.
        ValueError: When weights are missing or damaged.
        KeyError: When the family of the model is unknown.
    """
    family = read_model_config(directory).get("model_type")
    if family == MODEL_TYPE:
        return _ColoursFirst(load_torchvision(directory, dtype)).eval()
    model = load_model(AutoModel, directory, dtype)
    return (_XClipVideo(model) if family == "xclip" else _TokenMean(model)).eval()
