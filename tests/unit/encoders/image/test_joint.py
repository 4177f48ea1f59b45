from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel, PreTrainedModel

from mmrec_lib.encoders.config import ModelsConfig
from mmrec_lib.encoders.errors import reason_of
from mmrec_lib.encoders.image.labels import ImageClassifier
from mmrec_lib.encoders.registry import encoder_spec, make_encoder
from mmrec_lib.encoders.spec import Encoder
from mmrec_lib.encoders.text.config import TextConfig
from mmrec_lib.encoders.text.transformer import TextEncoder
from mmrec_lib.errors import EncoderError
from tests.unit.encoders.tiny_models import image_bytes, make_text_model
from tests.unit.encoders.tiny_vision import LABELS, clip, make_vision_model, resnet_classifier, siglip, vit

TEXTS = ("red shoe", "old boot by the river", "stone")


def models_of(root: Path, **entry: object) -> ModelsConfig:
    encoders = {"it": {"kind": "joint", "dtype": "float32", **entry}}
    return ModelsConfig.model_validate({"root": str(root), "encoders": encoders, "backend": "torch", "threads": 1})


def encoder_of(models: ModelsConfig) -> Encoder:
    encoder = make_encoder(models.encoder("it", "joint"), models)
    encoder.load()
    return encoder


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    make_vision_model(folder / "clip", clip)
    make_vision_model(folder / "siglip", siglip)
    make_vision_model(folder / "resnet", resnet_classifier)
    (folder / "text").mkdir()
    make_text_model(folder / "text")
    return folder


@pytest.fixture(scope="module", params=["clip", "siglip", "conse"])
def models(root: Path, request: pytest.FixtureRequest) -> ModelsConfig:
    if request.param == "conse":
        return models_of(root, directory="resnet", text_directory="text")
    return models_of(root, directory=request.param)


@pytest.fixture(scope="module")
def encoder(models: ModelsConfig) -> Encoder:
    return encoder_of(models)


def test_texts_and_images_have_vectors_of_one_space(encoder: Encoder) -> None:
    batch = [TEXTS[0], image_bytes(0), None, "  ", b"no image", TEXTS[1], image_bytes(1)]
    result = encoder.encode(batch)
    assert [error is None for error in result.errors] == [True, True, False, False, False, True, True]
    assert result.vectors.shape == (7, encoder.spec.dim) and result.vectors.dtype == np.float32
    lengths = np.linalg.norm(result.vectors, axis=1)
    assert lengths == pytest.approx([1, 1, 0, 0, 0, 1, 1], abs=1e-5)
    assert (encoder.spec.modality, encoder.spec.input_kind) == ("joint", "text_or_image")


def test_a_vector_has_the_same_bits_whatever_is_in_the_batch(encoder: Encoder) -> None:
    batch = [*TEXTS, *(image_bytes(seed) for seed in range(4)), "light dress", "warm soft city"]
    alone = np.stack([encoder.encode([content]).vectors[0] for content in batch])
    assert np.array_equal(encoder.encode(batch[::-1]).vectors[::-1], alone)
    assert len(np.unique(alone.round(6), axis=0)) == len(batch)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "text_empty"),
        (" \n", "text_empty"),
        ("\x00\x00", "text_unknown"),
        ("\U0001f45f", "text_unknown"),
        ("\u05e0\u05e2\u05dc", "text_unknown"),
        ("x" * 2**20, "text_unknown"),
        ("red shoe " * 2**17, None),  # a megabyte in one line
        ("red \x00 shoe", None),
        ("red \ud83d shoe", None),  # half of a pair
    ],
)
def test_a_bad_text_is_a_vector_or_an_error_with_a_reason_in_bounded_time(
    encoder: Encoder, text: str, reason: str | None
) -> None:
    start = time.process_time()
    result = encoder.encode([text, "old boot"])
    assert time.process_time() - start < 1.5
    assert [error and reason_of(error) for error in result.errors] == [reason, None]
    assert np.linalg.norm(result.vectors, axis=1) == pytest.approx([float(reason is None), 1.0], abs=1e-5)


def test_text_vectors_that_are_not_finite_are_an_error_with_a_reason(root: Path) -> None:
    encoder = encoder_of(models_of(root, directory="clip"))
    (weights,) = (p for name, p in encoder._towers.texts.named_parameters() if name == "projection.weight")  # type: ignore[attr-defined]
    weights.data[:] = float("nan")
    result = encoder.encode(["red shoe", image_bytes(0)])
    assert reason_of(str(result.errors[0])) == "not_finite" and result.errors[1] is None
    assert not result.vectors[0].any()


def test_batches_of_nothing_have_the_right_shape(encoder: Encoder) -> None:
    assert encoder.encode([]).vectors.shape == (0, encoder.spec.dim)
    assert encoder.encode([None]).vectors.shape == (1, encoder.spec.dim)


@pytest.mark.parametrize("make", [clip, siglip])
def test_towers_give_what_transformers_gives(root: Path, make: Callable[[], PreTrainedModel]) -> None:
    model = AutoModel.from_pretrained(root / make.__name__).eval()
    encoder = encoder_of(models_of(root, directory=make.__name__))
    # [CLS] red shoe [SEP] and padding, as the tokenizer of the directory makes it.
    ids = torch.tensor([[2, 4, 7, 3] + [0] * 28])
    inputs = {"input_ids": ids, "attention_mask": (ids > 0).long()} if make is clip else {"input_ids": ids}
    with torch.inference_mode():
        pooled = model.text_model(**inputs).pooler_output
        expected = model.text_projection(pooled)[0] if make is clip else pooled[0]
    got = encoder.encode(["red shoe"]).vectors[0]
    assert np.allclose(got, (expected / expected.norm()).numpy(), atol=1e-5)


def test_long_texts_are_cut(root: Path) -> None:
    result = encoder_of(models_of(root, directory="clip")).encode(["stone " * 100])
    assert result.errors == [None]


def test_conse_is_the_mean_of_the_names_of_labels_weighted_with_their_probabilities(root: Path) -> None:
    models = models_of(root, directory="resnet", text_directory="text")
    config = models.encoder("it", "joint")
    spec = encoder_spec(config, models)
    classifier = ImageClassifier(spec, config, root / "resnet", models)
    texts = TextEncoder(spec, TextConfig(id="it", dtype=config.dtype), root / "text", models)
    classifier.load("cpu")
    texts.load()
    content = image_bytes(5)
    expected = classifier.classify([content]).of_labels[0] @ texts.encode(LABELS).vectors
    encoder = encoder_of(models)
    assert np.allclose(encoder.encode([content]).vectors[0], expected / np.linalg.norm(expected), atol=1e-5)
    assert np.allclose(encoder.encode(TEXTS).vectors, texts.encode(TEXTS).vectors, atol=1e-6)


def test_revision_follows_both_directories(root: Path) -> None:
    one = models_of(root, directory="resnet", text_directory="text")
    other = models_of(root, directory="resnet", text_directory="clip")
    specs = [encoder_spec(models.encoder("it", "joint"), models) for models in (one, other)]
    assert specs[0].revision != specs[1].revision
    assert specs[0].dim == 16


def test_models_without_a_joint_space_are_refused_with_a_reason(root: Path, tmp_path: Path) -> None:
    make_vision_model(tmp_path / "vit", vit)
    with pytest.raises(EncoderError, match="CLIP or SigLIP"):
        encoder_of(models_of(tmp_path, directory="vit"))
    with pytest.raises(EncoderError, match="transformers format"):
        encoder_of(models_of(root, directory="resnet", text_directory="nowhere"))
