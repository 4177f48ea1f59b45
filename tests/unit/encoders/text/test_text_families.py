from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from transformers import AutoModel, AutoTokenizer, T5EncoderModel

from mmrec_lib.encoders.config import ModelsConfig
from mmrec_lib.encoders.errors import TEXT_UNKNOWN
from mmrec_lib.encoders.registry import make_encoder
from mmrec_lib.encoders.spec import Encoder
from mmrec_lib.errors import EncoderError
from tests.unit.encoders.tiny_models import WORDS
from tests.unit.encoders.tiny_texts import DECODERS, FAMILIES, add_sentence_layout, make_families, make_text_model

SHORT, LONG = "red boot", "soft light cheap fine old new city river stone"


@pytest.fixture(scope="module")
def families(tmp_path_factory: pytest.TempPathFactory) -> ModelsConfig:
    return make_families(tmp_path_factory.mktemp("families"))


def loaded(models: ModelsConfig, family: str, **changes: object) -> Encoder:
    encoder = make_encoder(models.encoders[family].model_copy(update=changes), models)
    encoder.load()
    return encoder


def plain_states(directory: str, family: str, text: str) -> npt.NDArray[np.float32]:
    """Token vectors `[L, D]` of one text by a plain transformers call, without any padding."""
    tokenizer = AutoTokenizer.from_pretrained(directory)
    model = (T5EncoderModel if family == "t5" else AutoModel).from_pretrained(directory).eval()
    tokens = tokenizer(text, return_tensors="pt")
    with torch.inference_mode():
        # By name: tokenizers of transformers 4 also give token types, which these families do not know.
        states: npt.NDArray[np.float32] = model(tokens["input_ids"]).last_hidden_state[0].numpy()
    return states


def cosine(left: npt.NDArray[np.float32], right: npt.NDArray[np.float32]) -> float:
    return float(left @ right / (np.linalg.norm(left) * np.linalg.norm(right)))


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_a_vector_is_that_of_a_plain_call_for_each_pooling(families: ModelsConfig, family: str) -> None:
    of_tokens = {"mean": lambda states: states.mean(0), "cls": lambda states: states[0], "last": lambda s: s[-1]}
    for pooling, pool in of_tokens.items():
        encoder = loaded(families, family, pooling=pooling)
        assert encoder.spec.dim == 16
        vectors = encoder.encode([SHORT, LONG]).vectors
        for text, vector in zip((SHORT, LONG), vectors, strict=True):
            assert cosine(vector, pool(plain_states(f"{families.root}/{family}", family, text))) > 0.9999


@pytest.mark.parametrize("family", FAMILIES)
def test_a_vector_has_the_same_bits_in_any_batch(families: ModelsConfig, family: str) -> None:
    encoder = loaded(families, family, pooling="last" if family in DECODERS else None)
    generator = np.random.default_rng(0)
    texts = [" ".join(generator.choice(WORDS, generator.integers(1, 90))) for _ in range(20)]
    alone = np.stack([encoder.encode([text]).vectors[0] for text in texts])
    order = generator.permutation(len(texts))
    assert np.array_equal(encoder.encode([texts[index] for index in order]).vectors, alone[order])


@pytest.mark.parametrize("family", ["roberta", "xlm-roberta", "mpnet"])
def test_positions_behind_that_of_padding_are_all_that_a_window_has(families: ModelsConfig, family: str) -> None:
    # 34 positions hold 32 tokens, 30 of them words: one more word makes a second window.
    encoder = loaded(families, family, normalise=False)
    thirty, one = encoder.encode([" ".join(["red"] * 30), "boot"]).vectors
    both = encoder.encode([" ".join(["red"] * 30 + ["boot"])]).vectors[0]
    assert np.allclose(both, (32 * thirty + 3 * one) / 35, atol=1e-6)


def test_a_text_of_unknown_words_only_is_a_row_with_an_error(families: ModelsConfig) -> None:
    for family in FAMILIES.keys() - {"qwen2"}:
        result = loaded(families, family).encode(["\U0001f45f\U0001f45f", "red \U0001f45f", "\x00"])
        assert [error is None for error in result.errors] == [False, True, False]
        assert result.errors[0] == TEXT_UNKNOWN and not result.vectors[0].any()


def test_a_model_that_reads_bytes_tells_emoji_apart(families: ModelsConfig) -> None:
    result = loaded(families, "qwen2", pooling="last").encode(["\U0001f45f", "\U0001f460", "\x00", "\ud800"])
    assert result.errors == [None] * 4
    assert len(np.unique(result.vectors.round(4), axis=0)) == 4


@pytest.fixture
def sentence_model(tmp_path: Path) -> ModelsConfig:
    (tmp_path / "sentence").mkdir()
    make_text_model(tmp_path / "sentence", "bert")
    encoders = {"sentence": {"kind": "text", "dtype": "float32"}}
    return ModelsConfig.model_validate({"root": str(tmp_path), "encoders": encoders, "backend": "torch"})


def folder(models: ModelsConfig) -> Path:
    return Path(models.root, "sentence")


def test_pooling_and_length_are_as_the_directory_says(sentence_model: ModelsConfig) -> None:
    add_sentence_layout(folder(sentence_model), pooling="pooling_mode_cls_token", steps=("Pooling",))
    states = plain_states(str(folder(sentence_model)), "bert", LONG)
    as_said = loaded(sentence_model, "sentence").encode([LONG]).vectors[0]
    assert np.allclose(as_said, states[0], atol=1e-5)
    as_set = loaded(sentence_model, "sentence", pooling="mean", normalise=True).encode([LONG]).vectors[0]
    assert np.allclose(as_set, states.mean(0) / np.linalg.norm(states.mean(0)), atol=1e-5)


def test_a_dense_step_changes_the_length_of_the_vectors(sentence_model: ModelsConfig) -> None:
    add_sentence_layout(folder(sentence_model), steps=("Pooling", "Dense", "Normalize"))
    encoder = loaded(sentence_model, "sentence")
    torch.manual_seed(1)
    weight, bias = torch.randn(4, 16).numpy(), torch.randn(4).numpy()
    expected = np.tanh(weight @ plain_states(str(folder(sentence_model)), "bert", LONG).mean(0) + bias)
    (vector,) = encoder.encode([LONG]).vectors
    assert encoder.spec.dim == 4
    assert np.allclose(vector, expected / np.linalg.norm(expected), atol=1e-5)


def test_windows_are_as_long_as_the_directory_says(sentence_model: ModelsConfig) -> None:
    add_sentence_layout(folder(sentence_model), steps=("Pooling",), max_seq_length=12)
    encoder = loaded(sentence_model, "sentence")
    ten, one, both = encoder.encode(["red " * 10, "boot", "red " * 10 + "boot"]).vectors
    assert np.allclose(both, (12 * ten + 3 * one) / 15, atol=1e-6)


def test_a_prompt_stands_before_the_text(sentence_model: ModelsConfig) -> None:
    plain = loaded(sentence_model, "sentence")
    prompted = loaded(sentence_model, "sentence", prompt="warm ")
    assert np.array_equal(prompted.encode(["red boot"]).vectors, plain.encode(["warm red boot"]).vectors)
    assert prompted.spec.revision != plain.spec.revision
    # The prompt's own words say nothing about the text.
    assert prompted.encode(["\U0001f45f"]).errors != [None]


def test_the_default_prompt_is_the_one_of_the_directory(sentence_model: ModelsConfig) -> None:
    prompts = {"query": "warm ", "document": "old "}
    add_sentence_layout(folder(sentence_model), prompts=prompts, default_prompt="document")
    as_said, without = loaded(sentence_model, "sentence"), loaded(sentence_model, "sentence", prompt="")
    assert np.array_equal(as_said.encode(["red"]).vectors, without.encode(["old red"]).vectors)


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        ({"steps": ("Pooling", "WordWeights")}, "WordWeights"),
        ({"pooling": "pooling_mode_max_tokens"}, "pooling_mode_max_tokens"),
        ({"pooling": "other"}, "got none"),
    ],
)
def test_a_step_that_is_not_supported_is_refused_by_name(
    sentence_model: ModelsConfig, layout: dict[str, object], message: str
) -> None:
    add_sentence_layout(folder(sentence_model), **layout)  # type: ignore[arg-type]
    with pytest.raises(EncoderError, match=message):
        make_encoder(sentence_model.encoders["sentence"], sentence_model)


def test_a_dense_step_as_a_pickle_is_refused(sentence_model: ModelsConfig) -> None:
    add_sentence_layout(folder(sentence_model), steps=("Pooling", "Dense"))
    weights = folder(sentence_model) / "2_Dense" / "model.safetensors"
    shutil.move(weights, weights.with_name("pytorch_model.bin"))
    with pytest.raises(EncoderError, match="pickles are never read"):
        loaded(sentence_model, "sentence")


def test_a_layout_that_is_no_json_is_refused(sentence_model: ModelsConfig) -> None:
    (folder(sentence_model) / "modules.json").write_text("[{", encoding="utf-8")
    with pytest.raises(EncoderError, match="JSON is needed"):
        make_encoder(sentence_model.encoders["sentence"], sentence_model)
