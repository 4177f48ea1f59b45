"""Networks of torchvision (VGG, 3D convolutional nets, …) as model directories.

transformers does not know these families. Their directory looks like one of its own: `model.safetensors` with
torchvision's names of weights, `preprocessor_config.json`, and a `config.json` such as::

    {"model_type": "torchvision", "architecture": "vgg16", "hidden_size": 4096}

which may also have `output_layer` (the layer whose output is the vector; without it, it is what the last layer, the
classifier's, reads: fc7 of a VGG), `num_labels` or `id2label` (where the last layer has another size than torchvision's
default).

Shape legend: B inputs, D dimensions.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from mmrec_lib.encoders.weights.directory import read_model_config

MODEL_TYPE = "torchvision"

WEIGHTS_FILE = "model.safetensors"

_OUTPUT = "pooled"


def is_torchvision(directory: Path) -> bool:
    """Tell if a model directory holds a network of torchvision."""
    return read_model_config(directory).get("model_type") == MODEL_TYPE


def load_torchvision(directory: Path, dtype: torch.dtype, *, with_head: bool = False) -> nn.Module:
    """The network of a directory, in evaluation mode.

    Takes images `[B, 3, H, W]`, or `[B, 3, T, H, W]` where the architecture is one for video.

    Args:
        directory: Folder as described above.
        dtype: Dtype of the weights.
        with_head: Whether it gives the classifier's logits `[B, num_labels]` instead of vectors `[B, D]`.

    Raises:
        OSError: When the weights are missing.
        ValueError: When the architecture or the output layer is unknown, or the weights are damaged or of another
            architecture.
    """
    settings = read_model_config(directory)
    # On the device `meta` weights have shapes only: nothing is drawn that would be thrown away.
    with torch.device("meta"):
        model = _build(settings)
    known = model.state_dict()
    if not with_head:
        model = _Pooled(_without_head(model, settings.get("output_layer")))
    return _fill(model, known, directory / WEIGHTS_FILE).to(dtype).eval()


class _Pooled(nn.Module):
    """The mean over places (and times), where the network leaves any: `[B, D, …]` → `[B, D]`."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        output = self.network(pixel_values)
        features: torch.Tensor = output[_OUTPUT] if isinstance(output, dict) else output
        return features.flatten(2).mean(2) if features.dim() > 2 else features


def _build(settings: Mapping[str, Any]) -> nn.Module:
    import torchvision  # It takes seconds, and most workers do not need it.

    name = settings.get("architecture")
    # Detection and segmentation are left out: they give no vector, and fetch weights of their own.
    known = torchvision.models.list_models(torchvision.models)
    known += torchvision.models.list_models(torchvision.models.video)
    if name not in known:
        raise ValueError(f"architecture {name!r} in config.json, known are {', '.join(sorted(known))}")
    labels = settings.get("id2label")
    num_labels = len(labels) if isinstance(labels, Mapping) else settings.get("num_labels")
    sizes = {} if num_labels is None else {"num_classes": int(num_labels)}
    model: nn.Module = torchvision.models.get_model(name, weights=None, **sizes)
    return model.eval()


def _without_head(model: nn.Module, output_layer: object) -> nn.Module:
    from torchvision.models.feature_extraction import create_feature_extractor

    if output_layer is not None:
        if output_layer not in dict(model.named_modules()):
            raise ValueError(f"output_layer {output_layer!r} in config.json is no layer of the architecture")
        part: nn.Module = create_feature_extractor(model, {str(output_layer): _OUTPUT})
        return part
    last = [name for name, part in model.named_modules() if isinstance(part, nn.Linear | nn.Conv2d | nn.Conv3d)][-1]
    model.set_submodule(last, nn.Identity())
    return model


def _fill(model: nn.Module, known: Mapping[str, torch.Tensor], path: Path) -> nn.Module:
    """Puts the weights of a file into a model that has only shapes; parts that are not used may be missing or there."""
    try:
        weights = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"weights that cannot be read: {error}") from None
    strange = sorted(set(weights) - set(known))
    if strange:
        raise ValueError(f"weights that the architecture does not have, such as {strange[0]}")
    prefix = "network." if isinstance(model, _Pooled) else ""
    needed = {name: name.removeprefix(prefix) for name in model.state_dict()}
    missing = sorted(set(needed.values()) - set(weights))
    if missing:
        raise ValueError(f"weights without {len(missing)} of the model's parts, such as {missing[0]}")
    try:
        model.load_state_dict({name: weights[source] for name, source in needed.items()}, strict=True, assign=True)
    except RuntimeError as error:
        raise ValueError(f"weights of other shapes: {error}") from None
    return model
