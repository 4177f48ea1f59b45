from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmrec_lib.encoders.config import ModelsConfig
from mmrec_lib.encoders.errors import TEXT_UNKNOWN
from mmrec_lib.encoders.registry import encoder_spec, make_encoder
from mmrec_lib.encoders.spec import Encoder
from mmrec_lib.encoders.text.word_model import save_word_model
from mmrec_lib.errors import EncoderError

VOCABULARY = ["red", "shoe", "river", "赤い"]
VECTORS = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0]], np.float32)
WEIGHTS = np.array([1, 2, 3, 1], np.float32)
SETTINGS = {"method": "tfidf", "max_characters": 60}


@pytest.fixture
def models(tmp_path: Path) -> ModelsConfig:
    save_word_model(tmp_path / "own", VOCABULARY, VECTORS, WEIGHTS, SETTINGS)
    return ModelsConfig.model_validate({"root": str(tmp_path), "encoders": {"own": {"kind": "tfidf"}}})


def loaded(models: ModelsConfig, **changes: object) -> Encoder:
    encoder = make_encoder(models.encoders["own"].model_copy(update=changes), models)
    encoder.load()
    return encoder


def test_a_vector_is_the_weighted_mean_of_the_known_words(models: ModelsConfig) -> None:
    encoder = loaded(models, normalise=False)
    (vector,) = encoder.encode(["Red, unknown SHOE red"]).vectors
    twice = 1 + np.log(2)
    assert vector == pytest.approx(np.array([twice, 2, 0]) / (twice + 2), abs=1e-6)
    (unit,) = loaded(models).encode(["Red, unknown SHOE red"]).vectors
    assert unit == pytest.approx(vector / np.linalg.norm(vector), abs=1e-6)


def test_its_identity_is_what_the_directory_holds(models: ModelsConfig) -> None:
    spec = encoder_spec(models.encoders["own"], models)
    assert (spec.id, spec.modality, spec.input_kind, spec.dim) == ("own", "text", "text", 3)
    save_word_model(Path(models.root, "own"), VOCABULARY, VECTORS, WEIGHTS, SETTINGS)
    assert encoder_spec(models.encoders["own"], models) == spec
    save_word_model(Path(models.root, "own"), VOCABULARY, VECTORS[:, ::-1], WEIGHTS, SETTINGS)
    assert encoder_spec(models.encoders["own"], models).revision != spec.revision
    assert not list(Path(models.root).glob(".making-*"))


def test_texts_without_a_known_word_are_rows_with_an_error(models: ModelsConfig) -> None:
    texts = ["red", None, " ", b"red", "boot", "😀", "\ud800", "\x00", "赤い靴", "\u202ered", "red\ud800"]
    result = loaded(models).encode(texts)
    is_encoded = [True, False, False, False, False, False, False, False, True, True, True]
    assert [error is None for error in result.errors] == is_encoded
    assert np.linalg.norm(result.vectors, axis=1) == pytest.approx(np.array(is_encoded, float), abs=1e-6)
    assert result.errors[4] == TEXT_UNKNOWN


def test_what_is_behind_the_limit_does_not_count(models: ModelsConfig) -> None:
    vectors = loaded(models).encode(["red " * 15, "red " * 15 + "river " * 10**5]).vectors
    assert np.array_equal(vectors[0], vectors[1])


def test_a_vector_has_the_same_bits_in_any_batch(models: ModelsConfig) -> None:
    encoder, generator = loaded(models), np.random.default_rng(0)
    texts = [" ".join(generator.choice(VOCABULARY, generator.integers(1, 9))) for _ in range(50)]
    together = encoder.encode(texts).vectors
    assert np.array_equal(together, np.concatenate([encoder.encode([text]).vectors for text in texts]))
    assert encoder.encode([]).vectors.shape == (0, 3)


def test_a_directory_of_another_kind_or_an_older_segmentation_is_refused(models: ModelsConfig) -> None:
    for settings in ({"segmentation": 0}, {"model_type": "bert"}):
        save_word_model(Path(models.root, "own"), VOCABULARY, VECTORS, WEIGHTS, {**SETTINGS, **settings})
        with pytest.raises(EncoderError, match="fit_word_model"):
            loaded(models)
    # What stands there now is no words model, and is not written over.
    before = sorted(p.name for p in Path(models.root, "own").iterdir())
    with pytest.raises(EncoderError, match="would be lost"):
        save_word_model(Path(models.root, "own"), VOCABULARY, VECTORS, WEIGHTS, SETTINGS)
    assert sorted(p.name for p in Path(models.root, "own").iterdir()) == before


def test_a_directory_whose_parts_do_not_belong_together_is_refused(models: ModelsConfig) -> None:
    save_word_model(Path(models.root, "own"), VOCABULARY[:2], VECTORS, WEIGHTS, SETTINGS)
    with pytest.raises(EncoderError, match="each of 2 words"):
        loaded(models)
    (Path(models.root, "own") / "vocabulary.json").unlink()
    with pytest.raises(EncoderError, match=r"vocabulary\.json"):
        loaded(models)


def test_encoding_before_loading_says_what_to_do(models: ModelsConfig) -> None:
    with pytest.raises(EncoderError, match="call load"):
        make_encoder(models.encoders["own"], models).encode(["red"])
