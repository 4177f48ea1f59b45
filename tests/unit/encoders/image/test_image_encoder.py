from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from transformers import AutoImageProcessor, AutoModel, EfficientNetConfig, EfficientNetModel

from mmrec_lib.encoders.config import ModelsConfig
from mmrec_lib.encoders.image.networks import load_vision
from mmrec_lib.encoders.image.preprocessing import ImagePreprocessing
from mmrec_lib.encoders.registry import make_encoder
from mmrec_lib.encoders.runtime.fold_batch_norm import NEUTRAL_GATE_BIAS, fold_batch_norm
from mmrec_lib.encoders.spec import Encoder
from mmrec_lib.errors import EncoderError
from tests.unit.encoders.tiny_models import image_bytes


@pytest.fixture(scope="module")
def encoder(tiny_models: ModelsConfig) -> Encoder:
    made = make_encoder(tiny_models.encoders["tiny-image"], tiny_models)
    made.load()
    return made


def test_vectors_have_the_promised_shape_and_type(encoder: Encoder) -> None:
    vectors = encoder.encode([image_bytes(seed) for seed in range(5)]).vectors
    assert vectors.shape == (5, 16) and vectors.dtype == np.float32
    assert encoder.spec.dim == 16


def test_vector_is_the_pooled_output_of_the_model(tiny_models: ModelsConfig, encoder: Encoder) -> None:
    content = image_bytes(1)
    pixels = ImagePreprocessing.from_directory(_folder(tiny_models)).fit(content)
    x = (torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255 - 0.5) / 0.5
    with torch.inference_mode():
        expected = AutoModel.from_pretrained(_folder(tiny_models)).eval()(pixel_values=x).pooler_output[0].numpy()
    assert np.allclose(encoder.encode([content]).vectors[0], expected, atol=1e-5)


@pytest.mark.parametrize("batch_images", [1, 3, 4])
def test_images_that_cannot_be_decoded_are_rows_with_an_error(tiny_models: ModelsConfig, batch_images: int) -> None:
    config = tiny_models.encoders["tiny-image"].model_copy(update={"batch_images": batch_images})
    encoder = make_encoder(config, tiny_models)
    encoder.load()
    good = image_bytes(0)
    result = encoder.encode([good, b"", None, b"no image", good[: len(good) // 2], good, "text"])
    assert [error is None for error in result.errors] == [True, False, False, False, False, True, False]
    assert np.array_equal(result.vectors[0], result.vectors[5])
    assert not result.vectors[1:5].any()
    assert "media_truncated" in str(result.errors[4])


def test_batches_of_nothing_have_the_right_shape(encoder: Encoder) -> None:
    assert encoder.encode([]).vectors.shape == (0, 16)
    assert encoder.encode([None]).vectors.shape == (1, 16)


def test_a_vector_has_the_same_bits_whatever_is_in_the_batch(tiny_models: ModelsConfig) -> None:
    config = tiny_models.encoders["tiny-image"].model_copy(update={"batch_images": 4})
    encoder = make_encoder(config, tiny_models)
    encoder.load()
    images = [image_bytes(seed) for seed in range(7)]
    alone = np.stack([encoder.encode([image]).vectors[0] for image in images])
    assert np.array_equal(encoder.encode(images[::-1]).vectors[::-1], alone)


def test_centre_is_cropped_after_the_short_side_is_resized(tiny_models: ModelsConfig) -> None:
    pixels = np.zeros((100, 300, 3), np.uint8)
    pixels[:, 100:200] = 255  # only the middle third is white
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    fitted = ImagePreprocessing.from_directory(_folder(tiny_models)).fit(file.getvalue())
    assert fitted.shape == (32, 32, 3)
    assert (fitted == 255).all()


@pytest.mark.parametrize("size", [(1, 5_000), (5_000, 1), (1, 1), (33, 31)])
def test_images_of_any_shape_fit(tiny_models: ModelsConfig, size: tuple[int, int]) -> None:
    content = image_bytes(0, *size)
    assert ImagePreprocessing.from_directory(_folder(tiny_models)).fit(content).shape == (32, 32, 3)


@pytest.mark.models
def test_preprocessing_does_what_transformers_does(real_models: ModelsConfig) -> None:
    folder = f"{real_models.root}/efficientnet-lite0"
    spec_ = ImagePreprocessing.from_directory(Path(folder))
    smooth = Image.fromarray(np.random.default_rng(0).integers(0, 256, (12, 9, 3), dtype=np.uint8)).resize((400, 533))
    file = io.BytesIO()
    smooth.save(file, "PNG")
    theirs = AutoImageProcessor.from_pretrained(folder)(images=[smooth], return_tensors="np")["pixel_values"][0]
    ours = (spec_.fit(file.getvalue()).transpose(2, 0, 1) / 255 - 0.5) / 0.5
    assert np.abs(ours - theirs).max() < 0.02


def test_fusion_computes_the_same_with_fewer_operations(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = EfficientNetConfig(
        image_size=32,
        width_coefficient=0.25,
        depth_coefficient=0.25,
        hidden_dim=320,
        hidden_act="relu6",
        initializer_range=0.5,
    )
    model = EfficientNetModel(config).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
        gate = getattr(module, "squeeze_excite", None)
        if gate is not None:
            nn.init.zeros_(gate.expand.weight)
            nn.init.constant_(gate.expand.bias, NEUTRAL_GATE_BIAS)
    model.save_pretrained(tmp_path)
    model = load_vision(tmp_path, torch.float32)
    example = torch.rand(1, 3, 32, 32)
    quick = fold_batch_norm(model, example)
    assert quick is not model
    assert not any(isinstance(module, nn.BatchNorm2d) for module in quick.modules())
    x = torch.rand(2, 3, 32, 32)
    with torch.inference_mode():
        assert torch.allclose(model(x), quick(x), atol=1e-4)


class _Misleading(nn.Module):
    """The batch norm stands behind the convolution and is applied before it."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 3, 3, padding=1)
        self.norm = nn.BatchNorm2d(3)
        nn.init.constant_(self.norm.running_mean, 0.7)

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        return self.convolution(self.norm(pixel_values)).mean((2, 3))


def test_fusion_leaves_a_model_alone_that_would_change() -> None:
    model = _Misleading().eval()
    assert fold_batch_norm(model, torch.rand(1, 3, 8, 8)) is model


def test_directory_without_image_settings_is_refused_by_name(tiny_models: ModelsConfig) -> None:
    config = tiny_models.encoders["tiny-image"].model_copy(update={"directory": "tiny-text"})
    with pytest.raises(EncoderError, match="preprocessor_config"):
        make_encoder(config, tiny_models)


def _folder(models: ModelsConfig) -> Path:
    return Path(models.root, "tiny-image")
