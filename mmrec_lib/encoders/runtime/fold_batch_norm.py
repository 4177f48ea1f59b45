"""Fewer operations for the same result: batch norms folded into convolutions, gates that do nothing removed."""

from __future__ import annotations

import copy
from itertools import pairwise

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

# A squeeze-and-excitation gate with this bias and no weights multiplies by sigmoid(30), which is 1 in float32.
NEUTRAL_GATE_BIAS = 30.0

_TOLERANCE = 1e-3
# No map of features is that large.
_LARGE_PX = 256


def fold_batch_norm(model: nn.Module, example_BCHW: torch.Tensor) -> nn.Module:
    """A copy of a vision model that computes the same with fewer operations, or the model itself.

    A batch norm that stands right behind a convolution of as many channels is taken to follow it. Whether that is true
    for this model is tried on an example: when the pooled output differs, the model stays as it is.

    Args:
        model: In evaluation mode; takes `pixel_values` and returns vectors `[B, D]`.
        example_BCHW: Input to compare on.
    """
    candidate = copy.deepcopy(model)
    for module in list(candidate.modules()):
        _fold_batch_norms(module)
        gate = getattr(module, "squeeze_excite", None)
        if isinstance(gate, nn.Module) and is_neutral(gate):
            module.squeeze_excite = nn.Identity()
        _pool_whole_maps(module)
    with torch.inference_mode():
        expected, got = _pooled(model, example_BCHW), _pooled(candidate, example_BCHW)
    scale = expected.abs().max().clamp_min(1e-6)
    is_same = expected.shape == got.shape and bool(((expected - got).abs().max() / scale) < _TOLERANCE)
    return candidate if is_same else model


def _fold_batch_norms(module: nn.Module) -> None:
    children = list(module.named_children())
    for (first_name, first), (second_name, second) in pairwise(children):
        if (
            isinstance(first, nn.Conv2d)
            and isinstance(second, nn.BatchNorm2d)
            and first.out_channels == second.num_features
        ):
            setattr(module, first_name, fuse_conv_bn_eval(first, second))
            setattr(module, second_name, nn.Identity())


def _pool_whole_maps(module: nn.Module) -> None:
    """Windows that are larger than any map become the mean of the map, which converters understand."""
    for name, child in list(module.named_children()):
        if isinstance(child, nn.AvgPool2d) and isinstance(child.kernel_size, int) and child.kernel_size >= _LARGE_PX:
            setattr(module, name, nn.AdaptiveAvgPool2d(1))


def is_neutral(gate: nn.Module) -> bool:
    """Tell if a squeeze-and-excitation gate does nothing, as those of an EfficientNet-Lite."""
    expand = getattr(gate, "expand", None)
    return (
        isinstance(expand, nn.Conv2d)
        and expand.bias is not None
        and not bool(expand.weight.any())
        and bool((expand.bias >= NEUTRAL_GATE_BIAS).all())
    )


def _pooled(model: nn.Module, x_BCHW: torch.Tensor) -> torch.Tensor:
    pooled: torch.Tensor = model(pixel_values=x_BCHW)
    return pooled
