"""The packaged models do what they are for; needs their weights."""

from __future__ import annotations

import numpy as np
import pytest

from mmrec_lib.encoders.config import ModelsConfig
from mmrec_lib.encoders.registry import make_encoder, make_extractor
from tests.unit.encoders.tiny_models import image_bytes, sound_bytes
from tests.unit.encoders.tiny_sound import tone, wave_bytes

pytestmark = pytest.mark.models

TEXTS = ("red running shoes", "sneakers for jogging", "cast iron skillet", "a warm coat for the winter, with a hood")


def test_texts_of_like_meaning_are_near(real_models: ModelsConfig) -> None:
    encoder = make_encoder(real_models.encoder("all-minilm-l6-v2", "text"), real_models)
    encoder.load()
    vectors = encoder.encode(TEXTS).vectors
    assert vectors.shape == (4, 384)
    assert vectors[0] @ vectors[1] == pytest.approx(0.683, abs=0.01)
    assert vectors[0] @ vectors[2] == pytest.approx(0.084, abs=0.01)


@pytest.mark.slow
def test_default_precision_is_as_good_as_float32_whatever_is_in_the_batch(real_models: ModelsConfig) -> None:
    config = real_models.encoder("all-minilm-l6-v2", "text")
    fast = make_encoder(config, real_models)
    exact = make_encoder(config.model_copy(update={"dtype": "float32"}), real_models)
    for encoder in (fast, exact):
        encoder.load()
    vectors = fast.encode(TEXTS).vectors
    assert ((vectors * exact.encode(TEXTS).vectors).sum(axis=1) > 0.998).all()
    for encoder in (fast, exact):
        together = encoder.encode(TEXTS).vectors
        assert np.array_equal(np.concatenate([encoder.encode([text]).vectors for text in TEXTS]), together)


def test_image_vector_has_the_known_length(real_models: ModelsConfig) -> None:
    encoder = make_encoder(real_models.encoder("efficientnet-lite0", "image"), real_models)
    encoder.load()
    result = encoder.encode([image_bytes(0, 300, 200, "JPEG")])
    assert result.errors == [None]
    assert result.vectors.shape == (1, 1280) and np.isfinite(result.vectors).all()


@pytest.mark.slow
def test_nobody_speaks_in_noise_silence_and_hum(real_models: ModelsConfig) -> None:
    extractor = make_extractor(real_models.encoder("whisper-tiny-en", "speech"), real_models)
    extractor.load()
    noise, silence, hum = extractor.extract(
        [sound_bytes(1.0), sound_bytes(1.0, loudness=0.0), wave_bytes(tone(2.0, 50.0))]
    )
    assert noise.error is None and noise.language == "en"
    assert [words.text for words in (noise, silence, hum)] == ["", "", ""]


def test_sounds_are_named(real_models: ModelsConfig) -> None:
    tagger = make_extractor(real_models.encoder("yamnet-tags", "tags"), real_models)
    tagger.load()
    wave, noise = tagger.extract([wave_bytes(tone(2.0, 600.0)), sound_bytes(2.0)])
    assert "Sine wave" in [span.text for span in wave.spans]
    assert not {"White noise", "Static", "Waterfall"}.isdisjoint(span.text for span in noise.spans)


def test_like_sounds_are_near(real_models: ModelsConfig) -> None:
    encoder = make_encoder(real_models.encoder("yamnet", "sound"), real_models)
    encoder.load()
    sounds = [wave_bytes(tone(2.0, 600.0)), wave_bytes(tone(3.0, 700.0, 0.1)), sound_bytes(2.0)]
    vectors = encoder.encode(sounds).vectors
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    assert vectors.shape == (3, 2048) and vectors[0] @ vectors[1] > 0.6 > vectors[0] @ vectors[2]
