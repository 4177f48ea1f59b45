from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torchvision import models

from mmrec_lib.encoders.weights.torchvision_directory import is_torchvision, load_torchvision

SETTINGS = {"model_type": "torchvision", "architecture": "squeezenet1_1"}


@pytest.fixture(scope="module")
def squeezenet() -> torch.nn.Module:
    torch.manual_seed(0)
    return models.squeezenet1_1(weights=None, num_classes=5).eval()


def write(directory: Path, model: torch.nn.Module, **settings: object) -> Path:
    (directory / "config.json").write_text(json.dumps({**SETTINGS, "num_labels": 5, **settings}), encoding="utf-8")
    save_file(model.state_dict(), directory / "model.safetensors")
    return directory


def test_vector_is_what_the_classifier_reads(squeezenet: torch.nn.Module, tmp_path: Path) -> None:
    directory = write(tmp_path, squeezenet)
    x = torch.rand(2, 3, 48, 48)
    with torch.inference_mode():
        expected = squeezenet.features(x).relu().mean((2, 3))
        got = load_torchvision(directory, torch.float32)(x)
    assert is_torchvision(directory)
    assert got.shape == (2, 512) and torch.allclose(got, expected, atol=1e-6)


def test_head_gives_the_logits_of_the_whole_network(squeezenet: torch.nn.Module, tmp_path: Path) -> None:
    x = torch.rand(2, 3, 48, 48)
    with torch.inference_mode():
        got = load_torchvision(write(tmp_path, squeezenet), torch.float32, with_head=True)(x)
        assert torch.allclose(got, squeezenet(x), atol=1e-6)


def test_output_layer_is_pooled_and_what_is_behind_it_is_not_needed(
    squeezenet: torch.nn.Module, tmp_path: Path
) -> None:
    directory = write(tmp_path, squeezenet, output_layer="features.4")
    save_file(squeezenet.features[:5].state_dict(prefix="features."), directory / "model.safetensors")
    x = torch.rand(2, 3, 48, 48)
    with torch.inference_mode():
        got = load_torchvision(directory, torch.float32)(x)
        assert torch.allclose(got, squeezenet.features[:5](x).mean((2, 3)), atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"architecture": "fasterrcnn_resnet50_fpn"}, "known are"),
        ({"architecture": None}, "known are"),
        ({"output_layer": "features.99"}, "no layer"),
        ({"num_labels": 7}, "other shapes"),
        ({"architecture": "alexnet"}, "does not have"),
    ],
)
def test_wrong_settings_are_refused_with_a_reason(
    squeezenet: torch.nn.Module, tmp_path: Path, settings: dict[str, object], message: str
) -> None:
    directory = write(tmp_path, squeezenet, **settings)
    with pytest.raises(ValueError, match=message):
        load_torchvision(directory, torch.float32, with_head="num_labels" in settings)


def test_missing_and_damaged_weights_are_refused(squeezenet: torch.nn.Module, tmp_path: Path) -> None:
    directory = write(tmp_path, squeezenet)
    weights = squeezenet.state_dict()
    save_file({name: weights[name] for name in list(weights)[1:]}, directory / "model.safetensors")
    with pytest.raises(ValueError, match="without 1 of"):
        load_torchvision(directory, torch.float32)
    (directory / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(ValueError, match="cannot be read"):
        load_torchvision(directory, torch.float32)


def test_network_for_video_takes_frames(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = models.video.s3d(weights=None, num_classes=3).half()
    directory = write(tmp_path, model, architecture="s3d", num_labels=3, output_layer="features.4")
    vectors = load_torchvision(directory, torch.float32)(torch.rand(1, 3, 8, 32, 32))
    assert vectors.shape == (1, 192) and vectors.dtype == torch.float32
