"""Low-rank adapters of linear layers, merged into the weights when training is done.

Hu, Shen, Wallis, Allen-Zhu, Li, Wang, Wang and Chen, "LoRA: Low-Rank Adaptation of Large Language Models" (2022). Only
the sum of a layer and its adapter is ever saved, so a directory stays a plain one in transformers format.
"""

from __future__ import annotations

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


def add_adapters(model: nn.Module, layers: nn.ModuleList, num_frozen: int, rank: int, scale: float) -> int:
    """Freeze a model and put adapters on the linear layers of its blocks; returns their number.

    Args:
        model: The whole model.
        layers: Its blocks, in order.
        num_frozen: First blocks that get none.
        rank: Rank of an update.
        scale: Factor of an update.

    Raises:
        RecipeError: When there is no linear layer in them.
    """
    model.requires_grad_(False)
    found = [
        (parent, name, child)
        for block in list(layers)[num_frozen:]
        for parent in block.modules()
        for name, child in parent.named_children()
        if isinstance(child, nn.Linear)
    ]
    if not found:
        raise RecipeError(
            f"Encoder of type {type(model).__name__}: linear layers to adapt are needed, got none. Train it whole "
            "(adaptation.rank: null)."
        )
    for parent, name, child in found:
        setattr(parent, name, LoraLinear(child, rank, scale))
    return len(found)


def merge_adapters(model: nn.Module) -> None:
    """Put plain layers that compute the same in the place of those with adapters."""
    found = [
        (parent, name, child)
        for parent in model.modules()
        for name, child in parent.named_children()
        if isinstance(child, LoraLinear)
    ]
    for parent, name, child in found:
        setattr(parent, name, child.merged())
