"""Tiny random vision models of every family, as model directories for images of 32 x 32 pixels."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn
from torchvision.models import vgg11
from transformers import (
    CLIPConfig,
    CLIPModel,
    Dinov2Config,
    Dinov2Model,
    EfficientNetConfig,
    EfficientNetModel,
    PreTrainedModel,
    ResNetConfig,
    ResNetForImageClassification,
    ResNetModel,
    SiglipConfig,
    SiglipModel,
    ViTConfig,
    ViTForImageClassification,
    ViTModel,
)

from tests.unit.encoders.tiny_models import make_text_model

LABELS = ("red shoe", "old boot", "warm dress", "river", "stone")

_LAYERS = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "hidden_size": 16}
_PATCHES = {"image_size": 32, "patch_size": 8}
_WORDS = {"vocab_size": 20, "max_position_embeddings": 32, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}


def write_preprocessing(directory: Path) -> None:
    """How images become 32 x 32 pixels between -1 and 1."""
    settings = {
        "size": {"height": 32, "width": 32},
        "resample": 3,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    }
    (directory / "preprocessor_config.json").write_text(json.dumps(settings), encoding="utf-8")


def vit() -> ViTModel:
    """A vision transformer with its pooling layer."""
    return ViTModel(ViTConfig(**_LAYERS, **_PATCHES))


def vit_classifier() -> ViTForImageClassification:
    """A vision transformer without pooling layer, with labels."""
    return ViTForImageClassification(ViTConfig(**_LAYERS, **_PATCHES, id2label=dict(enumerate(LABELS))))


def resnet() -> ResNetModel:
    """A ResNet of two stages."""
    return ResNetModel(ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1]))


def resnet_classifier() -> ResNetForImageClassification:
    """A ResNet with labels that it is sure of."""
    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], id2label=dict(enumerate(LABELS)))
    model = ResNetForImageClassification(config)
    nn.init.normal_(model.classifier[1].weight, std=4.0)
    return model


def dinov2() -> Dinov2Model:
    """A DINOv2."""
    return Dinov2Model(
        Dinov2Config(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, mlp_ratio=2, **_PATCHES)
    )


def efficientnet() -> EfficientNetModel:
    """An EfficientNet of a quarter of the width and depth."""
    return EfficientNetModel(
        EfficientNetConfig(
            image_size=32, width_coefficient=0.25, depth_coefficient=0.25, hidden_dim=320, initializer_range=0.5
        )
    )


def clip() -> CLIPModel:
    """A CLIP, both towers, in a space of 12 dimensions."""
    return CLIPModel(
        CLIPConfig(text_config={**_LAYERS, **_WORDS}, vision_config={**_LAYERS, **_PATCHES}, projection_dim=12)
    )


def siglip() -> SiglipModel:
    """A SigLIP, both towers."""
    return SiglipModel(SiglipConfig(text_config={**_LAYERS, **_WORDS}, vision_config={**_LAYERS, **_PATCHES}))


def make_vision_model(directory: Path, make: Callable[[], PreTrainedModel]) -> PreTrainedModel:
    """Writes a model; two towers get a tokenizer too."""
    torch.manual_seed(0)
    directory.mkdir()
    if make in (clip, siglip):
        make_text_model(directory)
    model = make().eval()
    model.save_pretrained(directory)
    write_preprocessing(directory)
    return model


def make_vgg(directory: Path) -> nn.Module:
    """Writes the first half of a VGG: its classifier alone would take half a gigabyte."""
    torch.manual_seed(0)
    directory.mkdir()
    with torch.device("meta"):
        network = vgg11(weights=None, init_weights=False)
    part = network.features[:6].to_empty(device="cpu").eval()
    for parameter in part.parameters():
        nn.init.normal_(parameter, std=0.05)
    settings = {"model_type": "torchvision", "architecture": "vgg11", "output_layer": "features.5", "hidden_size": 128}
    (directory / "config.json").write_text(json.dumps(settings), encoding="utf-8")
    save_file(part.state_dict(prefix="features."), directory / "model.safetensors")
    write_preprocessing(directory)
    return part
