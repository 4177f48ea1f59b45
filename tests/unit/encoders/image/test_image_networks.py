from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel, PreTrainedModel, ViTMAEConfig, ViTMAEModel

from mmrec_lib.encoders.config import ModelsConfig
from mmrec_lib.encoders.image.networks import load_classifier, load_towers, load_vision
from mmrec_lib.encoders.image.preprocessing import ImagePreprocessing
from mmrec_lib.encoders.registry import make_encoder
from mmrec_lib.encoders.spec import Encoder
from mmrec_lib.errors import EncoderError
from tests.unit.encoders.tiny_models import image_bytes
from tests.unit.encoders.tiny_vision import (
    clip,
    dinov2,
    efficientnet,
    make_vgg,
    make_vision_model,
    resnet,
    siglip,
    vit,
    vit_classifier,
    write_preprocessing,
)

# What transformers itself says the vector of an image is.
FAMILIES: list[tuple[Callable[[], PreTrainedModel], Callable[..., torch.Tensor]]] = [
    (vit, lambda model, x: model(x).pooler_output),
    (vit_classifier, lambda model, x: model.vit(x).last_hidden_state[:, 0]),
    (resnet, lambda model, x: model(x).pooler_output.flatten(1)),
    (dinov2, lambda model, x: model(x).pooler_output),
    (efficientnet, lambda model, x: model(x).pooler_output),
    (clip, lambda model, x: model.visual_projection(model.vision_model(x).pooler_output)),
    (siglip, lambda model, x: model.vision_model(x).pooler_output),
]


def encoder_of(directory: Path) -> Encoder:
    models = ModelsConfig.model_validate(
        {
            "root": str(directory.parent),
            "encoders": {"it": {"kind": "image", "directory": directory.name, "dtype": "float32"}},
            "backend": "torch",
        }
    )
    encoder = make_encoder(models.encoders["it"], models)
    encoder.load()
    return encoder


def pixels(directory: Path, content: bytes) -> torch.Tensor:
    fitted = torch.from_numpy(ImagePreprocessing.from_directory(directory).fit(content).copy())
    return (fitted.permute(2, 0, 1)[None].float() / 255 - 0.5) / 0.5


@pytest.mark.parametrize(("make", "expected"), FAMILIES, ids=lambda value: getattr(value, "__name__", ""))
def test_every_family_gives_its_vector(
    tmp_path: Path, make: Callable[[], PreTrainedModel], expected: Callable[..., torch.Tensor]
) -> None:
    model = make_vision_model(tmp_path / "model", make)
    encoder = encoder_of(tmp_path / "model")
    contents = [image_bytes(0), image_bytes(1)]
    result = encoder.encode(contents)
    with torch.inference_mode():
        wanted = torch.cat([expected(model, pixels(tmp_path / "model", content)) for content in contents])
    assert encoder.spec.dim == result.vectors.shape[1]
    assert np.allclose(result.vectors, wanted.numpy(), atol=1e-4)
    assert not np.allclose(result.vectors[0], result.vectors[1], atol=1e-6)


def test_vgg_gives_the_mean_of_its_output_layer(tmp_path: Path) -> None:
    network = make_vgg(tmp_path / "vgg")
    encoder = encoder_of(tmp_path / "vgg")
    content = image_bytes(3)
    with torch.inference_mode():
        wanted = network(pixels(tmp_path / "vgg", content)).mean((2, 3))[0].numpy()
    assert encoder.spec.dim == 128
    assert np.allclose(encoder.encode([content]).vectors[0], wanted, atol=1e-5)


def test_models_of_other_families_are_refused_with_a_reason(tmp_path: Path) -> None:
    layers = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    reads_text = BertModel(BertConfig(vocab_size=20, **layers))
    pools_nothing = ViTMAEModel(
        ViTMAEConfig(image_size=32, patch_size=8, decoder_hidden_size=16, decoder_num_hidden_layers=1, **layers)
    )
    for name, model, reason in (("bert", reads_text, "not images"), ("mae", pools_nothing, "no pooler_output")):
        model.save_pretrained(tmp_path / name)
        write_preprocessing(tmp_path / name)
        with pytest.raises(EncoderError, match=reason):
            encoder_of(tmp_path / name)


def test_vectors_and_labels_need_the_right_part_of_a_model(tmp_path: Path) -> None:
    make_vision_model(tmp_path / "vit", vit)
    with pytest.raises(ValueError, match="classifier"):
        load_classifier(tmp_path / "vit", torch.float32)
    with pytest.raises(ValueError, match="CLIPModel and SiglipModel"):
        load_towers(tmp_path / "vit", torch.float32)
    assert load_vision(tmp_path / "vit", torch.float32)(torch.rand(2, 3, 32, 32)).shape == (2, 16)
