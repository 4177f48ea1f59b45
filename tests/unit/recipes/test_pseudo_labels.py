"""Pseudo-labels: only sure predictions, only in train, and the round that validation prefers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

import mmrec_lib.recipes.fit_recipe as fit_module
from mmrec_lib.recipes.config import PseudoLabelConfig
from mmrec_lib.recipes.evaluate import LABELS_ALONE, PSEUDO_LABELS, RECIPE, value_of
from mmrec_lib.recipes.examples import Example, ExampleParts, divide_examples
from mmrec_lib.recipes.fit_recipe import Trained, train_recipe
from mmrec_lib.recipes.pseudo_labels import pseudo_labelled
from tests.unit.encoders.tiny_models import make_text_model
from tests.unit.recipes.test_recipe_training import colour_classes, colour_spans, recipe

NUM_LABELS = 32


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("models") / "tiny-text"
    directory.mkdir()
    make_text_model(directory)
    return directory


def unlabelled_of(found: list[Example]) -> list[Example]:
    return [Example(f"item:u{n}", f"{one.text} more") for n, one in enumerate(found)]


def few_labels() -> tuple[ExampleParts, list[Example]]:
    """Few examples of train, many of valid and test, and many without a label."""
    parts = divide_examples(colour_classes(480), recipe("classifier"))
    return replace(parts, train=parts.train[:NUM_LABELS]), unlabelled_of(list(parts.train[NUM_LABELS:]))


def fit(parts: ExampleParts, unlabelled: list[Example], encoder: Path, folder: Path, **more: Any) -> Trained:
    config = recipe("classifier", **more)
    return train_recipe(parts, config, encoder, checkpoints=folder, identity="x", unlabelled=unlabelled)


@pytest.mark.slow
def test_few_labels_gain_by_what_the_first_round_is_sure_of(encoder: Path, tmp_path: Path) -> None:
    parts, unlabelled = few_labels()
    pseudo = {"min_confidence": 0.7}
    one = fit(parts, unlabelled, encoder, tmp_path / "a", pseudo_labels=pseudo, max_epochs=10)
    alone = fit(parts, unlabelled, encoder, tmp_path / "b", max_epochs=10)
    for part in ("valid", "test"):
        assert value_of(one.figures[part], "accuracy", LABELS_ALONE) == value_of(alone.figures[part], "accuracy")
        assert value_of(one.figures[part], "accuracy") == value_of(one.figures[part], "accuracy", PSEUDO_LABELS)
    assert one.pseudo_labels and alone.pseudo_labels == ()
    assert one.value("accuracy") > alone.value("accuracy"), "on examples that neither round has seen"
    assert one.num_examples["train"] == NUM_LABELS + len(one.pseudo_labels)
    assert {name: one.num_examples[name] for name in ("valid", "test")} == {
        name: alone.num_examples[name] for name in ("valid", "test")
    }
    counts = {figure.label: figure.value for figure in one.figures["train"]}
    assert sum(counts.values()) == len(one.pseudo_labels) and set(counts) <= {"good", "bad"}
    again = fit(parts, unlabelled, encoder, tmp_path / "c", pseudo_labels=pseudo, max_epochs=10)
    assert again.curves == one.curves and again.pseudo_labels == one.pseudo_labels


@pytest.mark.slow
def test_a_second_round_that_is_no_better_on_validation_does_not_stand(
    encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts, unlabelled = few_labels()
    wrong = tuple(replace(one, label="bad" if "red" in one.text else "good", split="train") for one in unlabelled)
    monkeypatch.setattr(fit_module, "pseudo_labelled", lambda *_: wrong)
    one = fit(parts, unlabelled, encoder, tmp_path / "a", pseudo_labels={}, max_epochs=10)
    alone = fit(parts, unlabelled, encoder, tmp_path / "b", max_epochs=10)
    assert one.pseudo_labels == () and one.curves == alone.curves
    assert one.value("accuracy") == alone.value("accuracy")
    assert one.value("accuracy", PSEUDO_LABELS) < one.value("accuracy"), "the refused round is told"


def test_only_what_is_sure_and_has_no_label_anywhere_counts(encoder: Path, tmp_path: Path) -> None:
    parts = divide_examples(colour_classes(), recipe("classifier"))
    model = fit(parts, [], encoder, tmp_path / "a").model
    new = unlabelled_of(list(parts.train[:40]))
    known = [Example(f"item:k{n}", one.text) for n, one in enumerate((*parts.train, *parts.valid, *parts.test))]
    twice = [Example("item:v0", new[0].text)]
    config = PseudoLabelConfig(min_confidence=0.9)
    found = pseudo_labelled(model, [*new, *known, *twice], parts, config)
    assert found and {one.id for one in found} <= {one.id for one in new}
    assert all(one.split == "train" and one.label in parts.labels for one in found)
    chances = {one.id: float(p.confidence or 0) for one, p in zip(new, model.predict(new), strict=True)}
    assert {one.id for one in found} == {name for name, chance in chances.items() if chance >= 0.9}
    surest = pseudo_labelled(model, new, parts, PseudoLabelConfig(min_confidence=0.9, max_examples=3))
    assert {one.id for one in surest} == set(sorted(chances, key=lambda name: (-chances[name], name))[:3])
    assert pseudo_labelled(model, known, parts, config) == ()


def test_a_tagger_is_as_sure_as_of_its_least_certain_token(encoder: Path, tmp_path: Path) -> None:
    config = recipe("tagger")
    parts = divide_examples(colour_spans(), config)
    model = train_recipe(parts, config, encoder, checkpoints=tmp_path / "c", identity="x").model
    texts = [Example("item:a", "old stone blue shoe"), Example("item:b", "old stone city shoe"), Example("item:c", "")]
    found = pseudo_labelled(model, texts, parts, PseudoLabelConfig(min_confidence=0.6))
    assert [one.id for one in found] == ["item:a"], "texts without a part teach nothing about parts"
    assert [(span.start, span.end, span.label) for span in found[0].spans] == [(10, 14, "colour")]
    rows = model.network.prepare(texts[:1])
    from mmrec_lib.recipes.train import predict

    (chances,) = predict(model.network, rows, 8)
    least = float(np.min([chances[at].max() for at, (start, end) in enumerate(rows[0].offsets) if end > start]))
    above = PseudoLabelConfig(min_confidence=min(least + 1e-6, 1.0))
    assert pseudo_labelled(model, texts[:1], parts, above) == ()


def test_a_killed_second_round_goes_on(encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mmrec_lib.recipes.train as training

    parts, unlabelled = few_labels()
    more: dict[str, Any] = {"pseudo_labels": {"min_confidence": 0.55}, "max_epochs": 3}
    whole = fit(parts, unlabelled, encoder, tmp_path / "a", **more)
    judge, calls = training.Trainer._judge, []

    def killed(self: Any, part: Any) -> Any:
        calls.append(1)
        if len(calls) == 5:  # in the second epoch of the second round
            raise KeyboardInterrupt
        return judge(self, part)

    monkeypatch.setattr(training.Trainer, "_judge", killed)
    with pytest.raises(KeyboardInterrupt):
        fit(parts, unlabelled, encoder, tmp_path / "b", **more)
    assert (tmp_path / "b" / PSEUDO_LABELS / "epoch-1").exists()
    monkeypatch.setattr(training.Trainer, "_judge", judge)
    resumed = fit(parts, unlabelled, encoder, tmp_path / "b", **more)
    assert resumed.curves == whole.curves and resumed.figures == whole.figures


def test_without_a_sure_prediction_one_round_stands(encoder: Path, tmp_path: Path) -> None:
    parts, _ = few_labels()
    one = fit(parts, [], encoder, tmp_path / "a", pseudo_labels={}, max_epochs=1)
    assert one.pseudo_labels == () and not (tmp_path / "a" / PSEUDO_LABELS).exists()
    assert value_of(one.figures["test"], "accuracy", RECIPE) == value_of(one.figures["test"], "accuracy", LABELS_ALONE)


def test_pairs_have_no_pseudo_labels() -> None:
    with pytest.raises(ValidationError, match="of pairs there is no list"):
        recipe("pair", pseudo_labels={})
