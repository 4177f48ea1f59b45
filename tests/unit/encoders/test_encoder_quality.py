"""The packaged models do what they are for; needs their weights."""

from __future__ import annotations

import numpy as np
import pytest

from mmrec_lib.encoders.config import ModelsConfig
from mmrec_lib.encoders.registry import make_encoder, make_extractor
from tests.unit.encoders.tiny_models import picture_bytes, sound_bytes

pytestmark = pytest.mark.models

TEXTS = ("red running shoes", "sneakers for jogging", "cast iron skillet", "a warm coat for the winter, with a hood")


def test_texts_of_like_meaning_are_near(real_models: ModelsConfig) -> None:
    encoder = make_encoder(real_models.encoder("all-minilm-l6-v2", "text"), real_models)
    encoder.load()
    vectors = encoder.encode(TEXTS).vectors
    assert vectors.shape == (4, 384)
    assert vectors[0] @ vectors[1] == pytest.approx(0.683, abs=0.01)
    assert vectors[0] @ vectors[2] == pytest.approx(0.084, abs=0.01)


def test_default_precision_is_as_good_as_float32(real_models: ModelsConfig) -> None:
    config = real_models.encoder("all-minilm-l6-v2", "text")
    pairs = []
    for dtype in ("auto", "float32"):
        encoder = make_encoder(config.model_copy(update={"dtype": dtype}), real_models)
        encoder.load()
        pairs.append(encoder.encode(TEXTS).vectors)
    assert ((pairs[0] * pairs[1]).sum(axis=1) > 0.9998).all()


def test_picture_vector_has_the_known_length(real_models: ModelsConfig) -> None:
    encoder = make_encoder(real_models.encoder("efficientnet-lite0", "image"), real_models)
    encoder.load()
    result = encoder.encode([picture_bytes(0, 300, 200, "JPEG")])
    assert result.errors == [None]
    assert result.vectors.shape == (1, 1280) and np.isfinite(result.vectors).all()


def test_noise_is_no_error(real_models: ModelsConfig) -> None:
    extractor = make_extractor(real_models.encoder("whisper-tiny-en", "speech"), real_models)
    extractor.load()
    (words,) = extractor.extract([sound_bytes(1.0)])
    assert words.error is None and words.language == "en"
