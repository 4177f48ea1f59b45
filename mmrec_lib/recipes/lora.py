"""Low-rank adapters of linear and convolutional layers, merged into the weights when training is done.

Hu, Shen, Wallis, Allen-Zhu, Li, Wang, Wang and Chen, "LoRA: Low-Rank Adaptation of Large Language Models" (2022). Only
the sum of a layer and its adapter is ever saved, so a directory stays a plain one in transformers format.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from mmrec_lib.errors import RecipeError


class LoraLinear(nn.Module):
    """A frozen linear layer with a trained update of low rank, which is zero at first."""

    def __init__(self, layer: nn.Linear, rank: int, scale: float) -> None:
        super().__init__()
        self.layer = layer.requires_grad_(False)
        self.scale = scale
        self.down = nn.Parameter(torch.randn(rank, layer.in_features) / layer.in_features**0.5)
        self.up = nn.Parameter(torch.zeros(layer.out_features, rank))

    def forward(self, x: Tensor) -> Tensor:
        """The layer's output and the update's: `[…, in] → […, out]`."""
        result: Tensor = self.layer(x) + self.scale * (x @ self.down.T) @ self.up.T
        return result

    def merged(self) -> nn.Linear:
        """A linear layer that computes the same."""
        with torch.no_grad():
            self.layer.weight += self.scale * self.up @ self.down
        return self.layer


class LoraConv(nn.Module):
    """A frozen convolution with a trained update of low rank: a convolution to `rank` channels, then one of 1 x 1."""

    def __init__(self, layer: nn.Conv2d, rank: int, scale: float) -> None:
        super().__init__()
        self.layer = layer.requires_grad_(False)
        self.scale = scale
        shape = layer.weight.shape[1:]
        self.down = nn.Parameter(torch.randn(rank, *shape) / shape.numel() ** 0.5)
        self.up = nn.Parameter(torch.zeros(layer.out_channels, rank))

    def forward(self, x: Tensor) -> Tensor:
        """The layer's output and the update's: `[B, in, H, W] → [B, out, H', W']`."""
        layer = self.layer
        low = nn.functional.conv2d(x, self.down, None, layer.stride, layer.padding, layer.dilation)
        result: Tensor = layer(x) + self.scale * nn.functional.conv2d(low, self.up[:, :, None, None])
        return result

    def merged(self) -> nn.Conv2d:
        """A convolution that computes the same."""
        with torch.no_grad():
            self.layer.weight += self.scale * torch.einsum("or,rihw->oihw", self.up, self.down)
        return self.layer


def add_adapters(
    model: nn.Module, parts: Iterable[nn.Module], rank: int, scale: float, *, besides: Iterable[nn.Module] = ()
) -> int:
    """Freeze a model and put adapters on linear layers and whole convolutions of some of its parts.

    Convolutions in groups, as depthwise ones, have few weights and get none.

    Args:
        model: The whole model.
        parts: Its modules, such as its last blocks, whose layers get adapters.
        rank: Rank of an update.
        scale: Factor of an update.
        besides: Modules inside of them that get none.

    Returns:
        Number of adapters.

    Raises:
        RecipeError: When there is no such layer in them.
    """
    model.requires_grad_(False)
    inside, left = ({id(one) for part in of for one in part.modules()} for of in (parts, besides))
    chosen = inside - left
    found = [
        (parent, name, child)
        for parent in model.modules()
        for name, child in parent.named_children()
        if id(child) in chosen and _is_adaptable(child)
    ]
    if not found:
        raise RecipeError(
            f"Encoder of type {type(model).__name__}: linear layers or convolutions to adapt are needed, got none. "
            "Train it whole (adaptation.rank: null)."
        )
    for parent, name, child in found:
        setattr(parent, name, _with_adapter(child, rank, scale))
    return len(found)


def merge_adapters(model: nn.Module) -> None:
    """Put plain layers that compute the same in the place of those with adapters."""
    found = [
        (parent, name, child)
        for parent in model.modules()
        for name, child in parent.named_children()
        if isinstance(child, LoraLinear | LoraConv)
    ]
    for parent, name, child in found:
        setattr(parent, name, child.merged())


def _is_adaptable(layer: nn.Module) -> bool:
    if isinstance(layer, nn.Conv2d):
        return layer.groups == 1 and layer.padding_mode == "zeros"
    return isinstance(layer, nn.Linear)


def _with_adapter(layer: nn.Module, rank: int, scale: float) -> nn.Module:
    if isinstance(layer, nn.Conv2d):
        return LoraConv(layer, rank, scale)
    assert isinstance(layer, nn.Linear)
    return LoraLinear(layer, rank, scale)
