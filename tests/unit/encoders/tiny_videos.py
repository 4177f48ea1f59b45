"""Tiny random models of video as directories, one of every family that is taken."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torchvision.models import video
from transformers import VideoMAEConfig, VideoMAEModel, XCLIPConfig, XCLIPModel

NUM_FRAMES = 4
SIZE_PX = 32

_LAYERS = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}


def make_videomae(directory: Path) -> None:
    """A VideoMAE of 16 dimensions."""
    torch.manual_seed(0)
    config = VideoMAEConfig(image_size=SIZE_PX, patch_size=16, num_frames=NUM_FRAMES, tubelet_size=2, **_LAYERS)
    VideoMAEModel(config).save_pretrained(directory)
    _write_preprocessing(directory, "preprocessor_config.json")


def make_xclip(directory: Path) -> None:
    """An X-CLIP whose texts and videos meet in 16 dimensions."""
    torch.manual_seed(0)
    integration = {f"mit_{name}": value for name, value in _LAYERS.items()}
    config = XCLIPConfig(
        text_config={"vocab_size": 30, "max_position_embeddings": 8, "eos_token_id": 2, **_LAYERS},
        vision_config={"image_size": SIZE_PX, "patch_size": 16, "num_frames": NUM_FRAMES, **_LAYERS, **integration},
        projection_dim=16,  # as many as mit_hidden_size, as X-CLIP wants
    )
    XCLIPModel(config).save_pretrained(directory)
    _write_preprocessing(directory, "video_preprocessor_config.json")


def make_convolutions(directory: Path) -> None:
    """A 3D convolutional net of torchvision, MC3-18, of 512 dimensions."""
    torch.manual_seed(0)
    save_file(video.mc3_18(weights=None, num_classes=2).state_dict(), directory / "model.safetensors")
    settings = {"model_type": "torchvision", "architecture": "mc3_18", "num_labels": 2, "num_frames": NUM_FRAMES}
    (directory / "config.json").write_text(json.dumps(settings), encoding="utf-8")
    _write_preprocessing(directory, "preprocessor_config.json")


MAKERS = {"videomae": make_videomae, "xclip": make_xclip, "convolutions": make_convolutions}


def _write_preprocessing(directory: Path, file: str) -> None:
    settings = {
        "size": {"shortest_edge": SIZE_PX},
        "crop_size": {"height": SIZE_PX, "width": SIZE_PX},
        "do_center_crop": True,
        "resample": 2,
        "image_mean": [0.45, 0.45, 0.45],
        "image_std": [0.25, 0.25, 0.25],
    }
    (directory / file).write_text(json.dumps(settings), encoding="utf-8")
