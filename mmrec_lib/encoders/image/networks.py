"""Any vision model of a directory as one kind of network: `pixel_values [B, 3, H, W]` → vectors `[B, D]` or logits.

Taken are the families that transformers' `AutoModel` gives a pooled output (ViT, DINOv2, ResNet, EfficientNet, Swin,
ConvNeXt, …), the vision towers of full CLIP (Radford et al., 2021) and SigLIP (Zhai et al., 2023) directories, whose
vectors lie in one space with those of their text towers, and torchvision's networks, such as VGG; see
`torchvision_directory`.

Shape legend: B images, H and W pixels, L tokens, D dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import safe_open
from torch import nn

from mmrec_lib.encoders.weights.loading import load_model
from mmrec_lib.encoders.weights.torchvision_directory import is_torchvision, load_torchvision

# A transformer's last layer over the first token. Directories of classifiers come without it.
_POOLER = "pooler."

_IMAGES = "pixel_values"


@dataclass(frozen=True)
class Towers:
    """The two networks of a CLIP or SigLIP, in evaluation mode; both return vectors `[B, D]` of one space.

    Attributes:
        images: Takes `pixel_values [B, 3, H, W]`.
        texts: Takes what `text_inputs` names, each `[B, max_tokens]`.
        text_inputs: input_ids and, for CLIP, attention_mask: SigLIP was trained without.
        max_tokens: Length that every text is cut and padded to.
    """

    images: nn.Module
    texts: nn.Module
    text_inputs: tuple[str, ...]
    max_tokens: int


class _Output(nn.Module):
    """One output of a model of transformers as a plain tensor `[B, D]`."""

    def __init__(self, model: nn.Module, output: str) -> None:
        super().__init__()
        self.model = model
        self._output = output

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        found = getattr(self.model(pixel_values=pixel_values), self._output, None)
        if found is None:
            raise TypeError(f"a model of class {type(self.model).__name__}, which gives no {self._output}")
        vectors: torch.Tensor = found
        return vectors.flatten(1)


class _Projected(nn.Module):
    """The pooled output of a tower, projected into the space that it shares with another tower."""

    def __init__(self, tower: nn.Module, projection: nn.Module) -> None:
        super().__init__()
        self.tower = tower
        self.projection = projection

    def forward(self, **inputs: torch.Tensor) -> torch.Tensor:
        vectors_BD: torch.Tensor = self.projection(self.tower(**inputs).pooler_output)
        return vectors_BD


class _FirstToken(nn.Module):
    """The vector of a transformer's first token, `[B, L, D]` → `[B, D]`: what its classifier reads."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        hidden_BLD: torch.Tensor = self.model(pixel_values=pixel_values).last_hidden_state
        return hidden_BLD[:, 0]


def load_vision(directory: Path, dtype: torch.dtype) -> nn.Module:
    """The network of a directory that turns images into vectors, in evaluation mode.

    Args:
        directory: Model directory.
        dtype: Dtype of the weights.

    Returns:
        Takes `pixel_values [B, 3, H, W]`, returns `[B, D]`: the projected vector of a CLIP, the pooled output of any
        other model of transformers (of a ViT without pooling layer the first token), and what the classifier of a
        torchvision network reads.

    Raises:
        OSError: When files are missing.
        ValueError: When weights are missing or damaged, or the model takes no images.
        KeyError: When the family of the model is unknown.
    """
    if is_torchvision(directory):
        return load_torchvision(directory, dtype)
    model = load_model(transformers.AutoModel, directory, dtype, unused=(_POOLER,))
    if isinstance(model, transformers.CLIPModel | transformers.SiglipModel):
        return towers_of(model).images
    reads = getattr(model, "main_input_name", _IMAGES)
    if reads != _IMAGES:
        raise ValueError(f"a model of class {type(model).__name__}, which reads {reads}, not images")
    if _lacks_pooler(model, directory):
        # Its random weights would count as trained ones to whoever saves the model.
        model.pooler = None
        return _FirstToken(model).eval()
    return _Output(model, "pooler_output").eval()


def load_towers(directory: Path, dtype: torch.dtype) -> Towers:
    """The two networks of a CLIP or SigLIP directory; see `load_joint`."""
    return towers_of(load_joint(directory, dtype))


def load_joint(directory: Path, dtype: torch.dtype) -> Any:
    """The whole model of a CLIP or SigLIP directory.

    Args:
        directory: Model directory.
        dtype: Dtype of the weights.

    Raises:
        OSError: When files are missing.
        ValueError: When weights are missing or damaged, or the model is neither CLIP nor SigLIP.
        KeyError: When the family of the model is unknown.
    """
    model = load_model(transformers.AutoModel, directory, dtype)
    if not isinstance(model, transformers.CLIPModel | transformers.SiglipModel):
        raise ValueError(f"a model of class {type(model).__name__}, known are CLIPModel and SiglipModel")
    return model


def load_classifier(directory: Path, dtype: torch.dtype) -> nn.Module:
    """The network of a directory that turns images into the logits of its labels, in evaluation mode.

    Args:
        directory: Model directory with the weights of a classifier.
        dtype: Dtype of the weights.

    Returns:
        Takes `pixel_values [B, 3, H, W]`, returns `[B, num_labels]`.

    Raises:
        OSError: When files are missing.
        ValueError: When weights are missing or damaged, or the model is no classifier of images.
        KeyError: When the family of the model is unknown.
    """
    if is_torchvision(directory):
        return load_torchvision(directory, dtype, with_head=True)
    return _Output(load_model(transformers.AutoModelForImageClassification, directory, dtype), "logits").eval()


def towers_of(model: Any) -> Towers:
    """The two networks of a CLIP or SigLIP, made of its own modules as they are now."""
    nothing = nn.Identity()
    return Towers(
        images=_Projected(model.vision_model, getattr(model, "visual_projection", nothing)).eval(),
        texts=_Projected(model.text_model, getattr(model, "text_projection", nothing)).eval(),
        text_inputs=("input_ids", "attention_mask") if isinstance(model, transformers.CLIPModel) else ("input_ids",),
        max_tokens=model.config.text_config.max_position_embeddings,
    )


def _lacks_pooler(model: Any, directory: Path) -> bool:
    """Tell if the model has a pooling layer whose weights are not in the directory."""
    part = getattr(model, "pooler", None)
    if not isinstance(part, nn.Module) or not part.state_dict():
        return False
    for path in directory.glob("*.safetensors"):
        with safe_open(path, framework="pt") as weights:
            if any(name.startswith(_POOLER) or f".{_POOLER}" in name for name in weights.keys()):  # noqa: SIM118
                return False
    return True
