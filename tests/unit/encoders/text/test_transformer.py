from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModel, AutoTokenizer

from mmrec_lib.encoders.config import ModelsConfig
from mmrec_lib.encoders.errors import TEXT_UNKNOWN
from mmrec_lib.encoders.kinds import encoder_config
from mmrec_lib.encoders.registry import make_encoder
from mmrec_lib.encoders.runtime import backend
from mmrec_lib.encoders.runtime import machine_cache as memory
from mmrec_lib.encoders.runtime.precision import fast_dtypes
from mmrec_lib.encoders.spec import Encoder
from mmrec_lib.encoders.text import transformer as text_module
from mmrec_lib.encoders.text.transformer import padded_length
from mmrec_lib.errors import EncoderError
from tests.unit.encoders.tiny_models import WORDS


def loaded(models: ModelsConfig, **changes: object) -> Encoder:
    encoder = make_encoder(models.encoders["tiny-text"].model_copy(update=changes), models)
    encoder.load()
    return encoder


@pytest.fixture(scope="module")
def encoder(tiny_models: ModelsConfig) -> Encoder:
    return loaded(tiny_models, dtype="float32")


def test_vectors_have_the_promised_shape_type_and_length(encoder: Encoder) -> None:
    vectors = encoder.encode(["red shoe", "blue boot river"]).vectors
    assert vectors.shape == (2, 16) and vectors.dtype == np.float32
    assert encoder.spec.dim == 16
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-6)


def test_order_of_the_input_is_kept_although_lengths_are_sorted(encoder: Encoder) -> None:
    texts = ["red " * 20, "blue", "green shoe " * 5]
    together = encoder.encode(texts).vectors
    for row, text in enumerate(texts):
        assert np.array_equal(encoder.encode([text]).vectors[0], together[row])


def test_texts_that_cannot_be_encoded_are_rows_with_an_error(encoder: Encoder) -> None:
    result = encoder.encode(["red", None, " \t", b"bytes", "blue"])
    assert [error is None for error in result.errors] == [True, False, False, False, True]
    assert not result.vectors[1:4].any()


@pytest.mark.slow
def test_weights_are_loaded_once_a_machine(
    tiny_models: ModelsConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (backend, memory):
        monkeypatch.setattr(module, "machine_cache", lambda: tmp_path)
    models = tiny_models.model_copy(update={"backend": "openvino"})
    texts = ["red shoe", "blue boot river " * 20]
    first = loaded(models, dtype="float32").encode(texts).vectors
    monkeypatch.setattr(text_module, "load_model", None)
    assert np.array_equal(loaded(models, dtype="float32").encode(texts).vectors, first)


def test_batches_of_nothing_have_the_right_shape(encoder: Encoder) -> None:
    assert encoder.encode([]).vectors.shape == (0, 16)
    assert encoder.encode([None]).vectors.shape == (1, 16)


def test_a_long_text_is_the_mean_over_the_tokens_of_its_windows(tiny_models: ModelsConfig) -> None:
    # 32 positions hold 30 words: 70 words are windows of 30, 30 and 10, each with two special tokens.
    encoder = loaded(tiny_models, dtype="float32", normalise=False)
    words = ["red"] * 30 + ["boot"] * 30 + ["river"] * 10
    parts = encoder.encode([" ".join(words[start : start + 30]) for start in (0, 30, 60)]).vectors
    whole = encoder.encode([" ".join(words)]).vectors[0]
    assert np.allclose(whole, np.array([32, 32, 12]) @ parts / 76, atol=1e-6)


def test_no_more_windows_are_read_than_configured(tiny_models: ModelsConfig) -> None:
    encoder = loaded(tiny_models, dtype="float32", max_windows=2)
    long = "red " * 60
    vectors = encoder.encode([long, long + "boot " * 40, long[:-4] + "boot "]).vectors
    assert np.array_equal(vectors[0], vectors[1]) and not np.allclose(vectors[0], vectors[2])


@pytest.mark.parametrize(
    ("text", "is_encoded"),
    [
        ("red shoe " * 2**17, True),  # a megabyte in one line
        ("x" * 2**20, False),  # a megabyte without a space is one word, and not a known one
        ("red \x00 shoe\x00", True),
        ("\x00\x00", False),
        ("\u202eshoe red\u202c", True),  # written from right to left
        ("\u05e0\u05e2\u05dc\u05d9 \u05e8\u05d9\u05e6\u05d4", False),
        ("\U0001f45f\U0001f45f", False),
        ("red \ud83d shoe \udc5f", True),  # halves of a pair
        ("\ud83d", False),
        ("red r" + "\u0301" * 2**16 + " shoe", True),  # a storm of accents
        ("\ufeffred", True),
        ("\u200b", False),
    ],
)
def test_a_bad_text_is_a_vector_or_an_error_in_bounded_time(encoder: Encoder, text: str, is_encoded: bool) -> None:
    start = time.process_time()
    result = encoder.encode([text, "blue boot"])
    assert time.process_time() - start < 2.0
    assert result.errors == [None if is_encoded else TEXT_UNKNOWN, None]
    assert np.linalg.norm(result.vectors, axis=1) == pytest.approx([float(is_encoded), 1.0])


def test_halves_of_a_pair_that_belong_together_are_one_character(encoder: Encoder) -> None:
    vectors = encoder.encode(["red \ud83d\udc5f shoe", "red \U0001f45f shoe"]).vectors
    assert np.array_equal(vectors[0], vectors[1])


def test_mean_pooling_does_not_see_the_padding(tiny_models: ModelsConfig) -> None:
    # Three tokens are padded to eight, nine to sixteen: the exact mean must come out in both cases.
    folder = f"{tiny_models.root}/tiny-text"
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    for text in ("red", "soft light cheap fine old new city"):
        with torch.inference_mode():
            hidden = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        expected = torch.nn.functional.normalize(hidden.mean(0), dim=0).numpy()
        got = loaded(tiny_models, dtype="float32").encode([text]).vectors[0]
        assert np.allclose(got, expected, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_vector_has_the_same_bits_whatever_is_in_the_batch(tiny_models: ModelsConfig, dtype: str) -> None:
    if dtype == "bfloat16" and "bfloat16" not in fast_dtypes("cpu", can_quantise=False):
        pytest.skip("this processor has no native bfloat16")
    encoder = loaded(tiny_models, dtype=dtype)
    generator = np.random.default_rng(0)
    texts = [" ".join(generator.choice(WORDS, generator.integers(1, 30))) for _ in range(60)]
    alone = np.stack([encoder.encode([text]).vectors[0] for text in texts])
    shuffled = generator.permutation(len(texts))
    together = encoder.encode([texts[index] for index in shuffled]).vectors
    assert np.array_equal(together, alone[shuffled])


def test_cls_pooling_and_raw_length_can_be_asked_for(tiny_models: ModelsConfig, encoder: Encoder) -> None:
    other = loaded(tiny_models, dtype="float32", pooling="cls", normalise=False)
    assert not np.allclose(other.encode(["red shoe"]).vectors, encoder.encode(["red shoe"]).vectors)
    assert other.spec.revision != encoder.spec.revision


@given(st.lists(st.text(max_size=40), max_size=6))
@settings(max_examples=30, deadline=None)
def test_any_text_gives_a_finite_vector_or_an_error(tiny_models: ModelsConfig, texts: list[str]) -> None:
    result = _shared(tiny_models).encode(texts)
    for vector, error in zip(result.vectors, result.errors, strict=True):
        assert np.isfinite(vector).all()
        assert (error is None) == bool(vector.any())


_encoders: dict[str, Encoder] = {}


def _shared(models: ModelsConfig) -> Encoder:
    if models.root not in _encoders:
        _encoders[models.root] = loaded(models, dtype="float32")
    return _encoders[models.root]


@given(st.integers(1, 256))
@settings(deadline=None)
def test_padding_is_bounded_and_never_cuts(num_tokens: int) -> None:
    padded = padded_length(num_tokens, 256)
    assert num_tokens <= padded <= 256
    assert padded - num_tokens < 32


def test_encoding_before_loading_says_what_to_do(tiny_models: ModelsConfig) -> None:
    with pytest.raises(EncoderError, match="call load"):
        make_encoder(tiny_models.encoders["tiny-text"], tiny_models).encode(["red"])


@pytest.mark.parametrize("directory", ["tiny-speech", "tiny-image"])
def test_model_of_another_kind_is_refused_by_name(tiny_models: ModelsConfig, directory: str) -> None:
    config = encoder_config(id="wrong", kind="text", directory=directory)
    with pytest.raises(EncoderError, match="wrong"):
        make_encoder(config, tiny_models).load()
