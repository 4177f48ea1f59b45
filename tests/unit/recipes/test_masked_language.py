"""Masked language: what is hidden and how, the encoder's own head or a tied one, and the step before behaviour."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from mmrec_lib.encoders.text.sentence_layout import SentenceLayout
from mmrec_lib.errors import RecipeError
from mmrec_lib.recipes import epochs
from mmrec_lib.recipes.adapt import TextAdapter
from mmrec_lib.recipes.adapt_config import AdaptationConfig
from mmrec_lib.recipes.behaviour import co_visits
from mmrec_lib.recipes.checkpoints import EpochCheckpoints
from mmrec_lib.recipes.masked_language import (
    NOT_ASKED,
    Masking,
    OwnHead,
    TiedHead,
    Tokens,
    fit_masked_language,
    load_head,
)
from tests.unit.encoders.tiny_models import WORDS, make_text_model
from tests.unit.recipes.test_adaptation import FAST, planted

MASK_ID, NUM_SPECIAL = 4 + len(WORDS), 4


def pairs_of_words(num: int = 160, seed: int = 0) -> list[str]:
    """Texts in which every second word follows from the one before it."""
    rng = np.random.default_rng(seed)
    follows = {word: WORDS[(n + 1) % len(WORDS)] for n, word in enumerate(WORDS)}
    return [" ".join(f"{word} {follows[word]}" for word in map(str, rng.choice(WORDS, 4))) for _ in range(num)]


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    found = {}
    for name, settings in (
        ("without_mask", {}),
        ("without_head", {"with_mask": True}),
        ("with_head", {"with_mask": True, "with_head": True}),
    ):
        found[name] = folder / name
        found[name].mkdir()
        make_text_model(found[name], **settings)
    return found


def adapter_of(directory: Path, **changes: object) -> TextAdapter:
    step = {"max_epochs": 6, "patience": 6, "learning_rate": 2e-2}
    settings = {**FAST, "steps": ["masked_language"], "masked_language": step, "trained_layers": None, **changes}
    return TextAdapter(directory, AdaptationConfig.model_validate(settings), SentenceLayout())


def test_of_the_chosen_tokens_most_become_the_mask_some_any_token_and_some_stay(encoders: dict[str, Path]) -> None:
    masking = Masking(adapter_of(encoders["without_head"]).tokenizer, 0.25)
    text = Tokens([2, *range(5, 15), 3], [[place] for place in range(1, 11)])
    rng = np.random.default_rng(0)
    became: list[str] = []
    asked = np.zeros(12)
    for _ in range(2_000):
        ids, right = masking.hidden(text, rng)
        for place, (before, shown, target) in enumerate(zip(text.ids, ids, right, strict=True)):
            if target == NOT_ASKED:
                assert shown == before
                continue
            assert target == before
            asked[place] += 1
            became.append("mask" if shown == MASK_ID else "same" if shown == before else "other")
            assert shown == MASK_ID or shown >= NUM_SPECIAL, "no special token stands for a word"
    assert asked[[0, 11]].sum() == 0, "special tokens are not asked for"
    assert asked.sum() == 2_000 * 2, "a quarter of ten tokens, rounded"
    shares = {name: became.count(name) / len(became) for name in ("mask", "same", "other")}
    assert shares["mask"] == pytest.approx(0.8, abs=0.02)
    # One in sixteen of the drawn tokens is the right one.
    assert shares["same"] == pytest.approx(0.1 + 0.1 / 16, abs=0.02)


def test_a_word_is_hidden_whole_or_not_at_all(encoders: dict[str, Path]) -> None:
    masking = Masking(adapter_of(encoders["without_head"]).tokenizer, 0.4)
    text = Tokens(list(range(4, 14)), [[0, 1, 2], [3], [4, 5], [6, 7, 8, 9]])
    rng = np.random.default_rng(0)
    for _ in range(200):
        _, right = masking.hidden(text, rng)
        is_asked = [target != NOT_ASKED for target in right]
        assert all(len({is_asked[place] for place in word}) == 1 for word in text.words)
        assert 1 <= sum(is_asked) <= 4, "no more than the share"


def test_a_text_that_the_tokenizer_takes_for_one_word_is_hidden_token_by_token(encoders: dict[str, Path]) -> None:
    class OneWord(dict[str, list[list[int]]]):
        def word_ids(self, number: int) -> list[int | None]:
            return [None, 0, 0, 0, None]

    (text,) = Masking(adapter_of(encoders["without_head"]).tokenizer, 0.4).tokens(OneWord(input_ids=[[2, 5, 6, 7, 3]]))
    assert text.words == [[1], [2], [3]]


def test_the_own_head_computes_what_its_family_does(encoders: dict[str, Path]) -> None:
    from transformers import BertForMaskedLM

    adapter = adapter_of(encoders["with_head"])
    head = load_head(adapter)
    assert isinstance(head, OwnHead)
    whole = BertForMaskedLM.from_pretrained(encoders["with_head"]).eval()
    ids_BL, mask_BL = adapter.padded(adapter.tokens(["red boot", "old stone city river"]))
    with torch.no_grad():
        wanted = whole(input_ids=ids_BL, attention_mask=mask_BL).logits
        found = head(adapter.hidden(ids_BL, mask_BL)[mask_BL.bool()])
    torch.testing.assert_close(found, wanted[mask_BL.bool()])
    names = {name for name, _ in head.named_parameters() if "decoder.weight" in name}
    decoder = dict(head.named_parameters())[names.pop()]
    assert decoder is adapter.model.get_input_embeddings().weight, "tied, also while both are trained"


@pytest.mark.parametrize("rank", [4, None])
@pytest.mark.parametrize("kind", ["with_head", "without_head"])
def test_hidden_words_are_told_better_after_training(encoders: dict[str, Path], kind: str, rank: int | None) -> None:
    rate = 2e-2 if rank else 5e-3
    step = {"max_epochs": 6, "patience": 6, "learning_rate": rate}
    adapter = adapter_of(encoders[kind], rank=rank, masked_language=step)
    assert isinstance(load_head(adapter), OwnHead if kind == "with_head" else TiedHead)
    before = adapter.model.get_input_embeddings().weight.detach().clone()
    course = fit_masked_language(adapter, pairs_of_words(), pairs_of_words(60, seed=1))
    assert course.best_epoch > 0 and course.scores[course.best_epoch] > course.scores[0] + 0.07
    after = adapter.model.get_input_embeddings().weight
    assert torch.equal(before, after) == (rank is not None), "with adapters word embeddings stay"


def test_a_killed_step_ends_with_the_encoder_of_one_that_was_not(
    encoders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts, valid = pairs_of_words(), pairs_of_words(40, seed=1)

    def vectors(adapter: TextAdapter) -> np.ndarray:
        adapter.read(texts[:20])
        return adapter.encode(range(20))

    whole = adapter_of(encoders["without_head"])
    course = fit_masked_language(whole, texts, valid, EpochCheckpoints(tmp_path / "a", "x"))
    take, calls = epochs.Steps.take, []

    def killed(self: epochs.Steps, loss: object) -> float:
        calls.append(1)
        if len(calls) == 25:  # in the third epoch of ten steps each
            raise KeyboardInterrupt
        return take(self, loss)

    monkeypatch.setattr(epochs.Steps, "take", killed)
    with pytest.raises(KeyboardInterrupt):
        fit_masked_language(adapter_of(encoders["without_head"]), texts, valid, EpochCheckpoints(tmp_path / "b", "x"))
    monkeypatch.setattr(epochs.Steps, "take", take)
    done = {path.name for path in (tmp_path / "b").iterdir()}
    assert "epoch-2" in done and "epoch-3" not in done
    resumed = adapter_of(encoders["without_head"])
    assert fit_masked_language(resumed, texts, valid, EpochCheckpoints(tmp_path / "b", "x")) == course
    np.testing.assert_array_equal(vectors(resumed), vectors(whole))
    again = adapter_of(encoders["without_head"])
    assert fit_masked_language(again, texts, valid) == course, "the same seed gives the same encoder"
    np.testing.assert_array_equal(vectors(again), vectors(whole))


def test_behaviour_goes_on_from_what_the_words_taught(encoders: dict[str, Path]) -> None:
    behaviour = planted(80, 40)
    adapter = adapter_of(encoders["without_head"], steps=["masked_language", "behaviour"], trained_layers=1)
    adapter.read(behaviour.contents)
    as_it_was = adapter.encode(range(20))
    fit_masked_language(adapter, pairs_of_words(), pairs_of_words(40, seed=1))
    taught = adapter.encode(range(20))
    assert np.abs(taught - as_it_was).max() > 1e-3
    adapter.renew()
    np.testing.assert_allclose(adapter.encode(range(20)), taught, atol=1e-5)
    course = adapter.fit(co_visits(behaviour, 20, 1.0), iter([0.0, 1.0, 0.5, 0.5]).__next__)
    assert course.best_epoch == 1
    assert np.abs(adapter.encode(range(20)) - taught).max() > 1e-3


def test_what_cannot_be_masked_is_refused(encoders: dict[str, Path]) -> None:
    with pytest.raises(RecipeError, match=r"a tokenizer with a mask token is needed.*steps: \[behaviour\]"):
        fit_masked_language(adapter_of(encoders["without_mask"]), ["red"], ["blue"])
    with pytest.raises(RecipeError, match="among the items of train and valid, got 1 and 0"):
        fit_masked_language(adapter_of(encoders["without_head"]), ["red"], [])


@pytest.mark.parametrize("steps", [["behaviour", "masked_language"], ["behaviour", "behaviour"], []])
def test_steps_come_in_one_order(steps: list[str]) -> None:
    with pytest.raises(ValidationError):
        AdaptationConfig.model_validate({"steps": steps})
