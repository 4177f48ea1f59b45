"""Training: what is planted is learned, a seed decides all, and a killed run ends as one that was not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import mmrec_lib.recipes.train as training
from mmrec_lib.errors import RecipeError
from mmrec_lib.recipes.config import RecipeConfig
from mmrec_lib.recipes.evaluate import MAJORITY, RECIPE, SHUFFLED_IMAGES
from mmrec_lib.recipes.examples import Example, ExampleParts, TextSpan, divide_examples
from mmrec_lib.recipes.fit_recipe import Trained, identity_of, train_recipe
from mmrec_lib.recipes.frozen_layers import FrozenLayers, encoder_layers
from mmrec_lib.recipes.recipe import load_recipe
from mmrec_lib.recipes.small_network import learn_vocabulary
from tests.unit.encoders.tiny_models import WORDS, make_text_model

FAST = {"min_examples": 10, "max_epochs": 8, "batch_size": 8, "max_tokens": 16, "trained_layers": None, "patience": 8}
RATES = {"learning_rate": 5e-3, "head_learning_rate": 2e-2}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("models") / "tiny-text"
    directory.mkdir()
    make_text_model(directory)
    return directory


def recipe(kind: str, **more: Any) -> RecipeConfig:
    return RecipeConfig.model_validate({"name": "r", "kind": kind, **FAST, **RATES, **more})


def words(rng: np.random.Generator, num: int = 4) -> list[str]:
    return [str(word) for word in rng.choice(WORDS, num)]


def colour_classes(num: int = 160) -> list[Example]:
    """The class is good where the text has the word red."""
    rng = np.random.default_rng(0)
    texts = [" ".join([*words(rng), "red" if n % 2 else "blue", str(n)]) for n in range(num)]
    return [Example(f"l{n}", text, label="good" if "red" in text else "bad") for n, text in enumerate(texts)]


def colour_spans(num: int = 160) -> list[Example]:
    rng = np.random.default_rng(1)
    found = []
    for n in range(num):
        before = " ".join(word for word in words(rng, 3) if word not in ("red", "blue"))
        start = len(before) + 1
        colour = "red" if n % 2 else "blue"
        found.append(
            Example(f"l{n}", f"{before} {colour} shoe {n}", spans=(TextSpan(start, start + len(colour), "colour"),))
        )
    return found


def clicks(image: Any, num: int = 160) -> list[Example]:
    """A click needs the word red and a light image."""
    rng = np.random.default_rng(2)
    found = []
    for n in range(num):
        is_red, is_light = bool(rng.random() < 0.7), bool(rng.random() < 0.6)
        label = "click" if is_red and is_light else "skip"
        text = f"{'red' if is_red else 'blue'} shoe city {n}"
        found.append(Example(f"l{n}", text, image=image(rng, is_light), image_id=f"i{n}", label=label))
    return found


def trained(found: list[Example], config: RecipeConfig, encoder: Path | None, folder: Path) -> Trained:
    return train_recipe(divide_examples(found, config), config, encoder, checkpoints=folder, identity="x")


def weights(one: Trained) -> dict[str, torch.Tensor]:
    return {name: weight.clone() for name, weight in one.model.network.state_dict().items()}


@pytest.mark.slow
def test_a_classifier_learns_and_is_read_back_from_its_directory(encoder: Path, tmp_path: Path) -> None:
    config = recipe("classifier")
    found = trained(colour_classes(), config, encoder, tmp_path / "c")
    assert found.value("accuracy") > 0.9 > found.value("accuracy", MAJORITY) + 0.2
    assert found.curves.best_epoch >= 1 and len(found.curves.train_loss) == len(found.curves.valid_loss)
    found.model.save(tmp_path / "recipe-r", "x", {})
    files = {path.name for path in (tmp_path / "recipe-r").iterdir()}
    assert {"model.safetensors", "recipe.json", "config.json"} <= files
    assert not {path.suffix for path in (tmp_path / "recipe-r").iterdir()} & {".bin", ".pt", ".pkl"}
    questions = [Example("q1", "red boot"), Example("q2", "blue boot"), Example("q3", "")]
    again = load_recipe(tmp_path / "recipe-r").predict(questions)
    assert [(one.label, one.confidence) for one in again] == [
        (one.label, pytest.approx(one.confidence)) for one in found.model.predict(questions)
    ]
    assert [one.label for one in again[:2]] == ["good", "bad"]


def test_a_tagger_finds_parts_of_texts_it_has_not_seen(encoder: Path, tmp_path: Path) -> None:
    found = trained(colour_spans(), recipe("tagger"), encoder, tmp_path / "c")
    assert found.value("f1") > 0.9
    assert found.value("f1", MAJORITY) == 0.0
    (one,) = found.model.predict([Example("q", "old stone blue shoe")])
    assert [(span.start, span.end, span.label) for span, _ in one.spans] == [(10, 14, "colour")]


@pytest.mark.slow
def test_a_pair_model_reads_both_texts(encoder: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    found = []
    for n in range(240):
        user, item = ("red", "blue")[n % 2], ("red", "blue")[int(rng.integers(2))]
        level = 1 + 6 * (item == "red") + 2 * (user == "red")
        found.append(Example(f"l{n}", f"{user} city {n}", other=f"{item} shoe", label=str(level)))
    one = trained(found, recipe("pair", max_epochs=10), encoder, tmp_path / "c")
    assert one.model.has_levels and one.model.labels == ("1", "3", "7", "9")
    assert one.value("accuracy") > 0.9
    assert one.value("mae") < one.value("mae", MAJORITY) / 2


@pytest.mark.slow
def test_the_image_reaches_the_decision_of_text_and_image(encoder: Path, tmp_path: Path) -> None:
    found = clicks(lambda rng, is_light: rng.normal(2.0 * is_light, 0.3, 6).astype(np.float32))
    one = trained(found, recipe("text_image"), encoder, tmp_path / "c")
    assert one.value("accuracy") > 0.9
    assert one.value("accuracy", SHUFFLED_IMAGES) < one.value("accuracy") - 0.15


@pytest.mark.slow
def test_a_small_network_learns_words_and_images_from_nothing(tmp_path: Path) -> None:
    def image(rng: np.random.Generator, is_light: bool) -> Any:
        return np.clip(rng.normal(180 if is_light else 60, 20, (3, 32, 32)), 0, 255).astype(np.uint8)

    config = recipe("from_nothing", image_px=32, max_epochs=12, head_learning_rate=5e-3)
    one = trained(clicks(image), config, None, tmp_path / "c")
    assert one.value("accuracy") > 0.85
    assert one.value("accuracy", SHUFFLED_IMAGES) < one.value("accuracy") - 0.15
    assert one.model.network.is_binary
    one.model.save(tmp_path / "recipe-r", "x", {})
    questions = [Example("q", "red shoe", image=np.full((3, 32, 32), 200, np.uint8)), Example("r", "red shoe")]
    again = load_recipe(tmp_path / "recipe-r").predict(questions)
    assert [one.confidence for one in again] == pytest.approx([p.confidence for p in one.model.predict(questions)])


def test_words_without_spaces_are_segmented() -> None:
    assert learn_vocabulary(["新作 限定", "新作 入荷", "red hat", "Red"], 10) == ["red", "新作"]


def test_the_same_seed_gives_the_same_model_and_another_seed_another(encoder: Path, tmp_path: Path) -> None:
    config = recipe("classifier", max_epochs=2)
    one, two = (trained(colour_classes(), config, encoder, tmp_path / name) for name in "ab")
    assert all(torch.equal(weight, weights(two)[name]) for name, weight in weights(one).items())
    other = trained(colour_classes(), config.model_copy(update={"seed": 1}), encoder, tmp_path / "c")
    assert not torch.equal(weights(one)["head.1.weight"], weights(other)["head.1.weight"])


@pytest.mark.parametrize("kind", ["classifier", "from_nothing"])
def test_a_killed_training_ends_with_the_weights_of_one_that_was_not(
    encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    config = recipe(kind, max_epochs=4, uses_images=False)
    whole = trained(colour_classes(), config, encoder, tmp_path / "a")
    judge, calls = training.Trainer._judge, []

    def killed(self: Any, part: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return judge(self, part)

    monkeypatch.setattr(training.Trainer, "_judge", killed)
    with pytest.raises(KeyboardInterrupt):
        trained(colour_classes(), config, encoder, tmp_path / "b")
    monkeypatch.setattr(training.Trainer, "_judge", judge)
    epochs = sorted(path.name for path in (tmp_path / "b").iterdir())
    assert epochs[-1] == "epoch-2"
    resumed = trained(colour_classes(), config, encoder, tmp_path / "b")
    assert resumed.curves == whole.curves
    assert all(torch.equal(weight, weights(whole)[name]) for name, weight in weights(resumed).items())


def test_a_checkpoint_of_other_labels_is_not_gone_on_from(encoder: Path, tmp_path: Path) -> None:
    config = recipe("classifier", max_epochs=1)
    parts = divide_examples(colour_classes(), config)
    train_recipe(parts, config, encoder, checkpoints=tmp_path / "c", identity="x")
    progress = json.loads((tmp_path / "c" / "epoch-1" / "progress.json").read_text())
    assert progress["identity"] == "x"
    other = train_recipe(parts, config, encoder, checkpoints=tmp_path / "c", identity="y")
    assert len(other.curves.train_loss) == 1
    assert json.loads((tmp_path / "c" / "epoch-1" / "progress.json").read_text())["identity"] == "y"


def test_identity_follows_labels_settings_and_models() -> None:
    config = recipe("classifier")

    def identity(found: list[Example], one: RecipeConfig = config, revision: str = "r") -> str:
        parts: ExampleParts = divide_examples(found, one)
        return identity_of(parts, one, {"encoder": revision}, "code")

    found = colour_classes()
    changed = [Example(found[0].id, found[0].text, label="good"), *found[1:]]
    known = {
        identity(found),
        identity(changed),
        identity(found, recipe("classifier", seed=1)),
        identity(found, revision="s"),
    }
    assert len(known) == 4
    assert identity(found) == identity(list(found))


@pytest.mark.parametrize("fault", ["pickle", "code", "damaged", "none"])
def test_a_directory_that_could_run_code_or_is_damaged_is_refused(encoder: Path, tmp_path: Path, fault: str) -> None:
    directory = tmp_path / "model"
    directory.mkdir()
    for path in encoder.iterdir():
        (directory / path.name).write_bytes(path.read_bytes())
    if fault == "pickle":
        (directory / "model.safetensors").rename(directory / "pytorch_model.bin")
    elif fault == "code":
        settings = json.loads((directory / "config.json").read_text())
        (directory / "config.json").write_text(json.dumps({**settings, "auto_map": {"AutoModel": "evil.Model"}}))
    elif fault == "damaged":
        (directory / "model.safetensors").write_bytes(b"\x00" * 100)
    with pytest.raises(RecipeError, match="Recipe directory"):
        load_recipe(directory)
    if fault != "none":
        with pytest.raises(RecipeError, match="must be a text model in transformers format"):
            trained(colour_classes(), recipe("classifier"), directory, tmp_path / "c")
        assert not (tmp_path / "c").exists(), "nothing is written"


def test_frozen_layers_change_nothing_but_the_work(encoder: Path) -> None:
    from transformers import AutoModel

    model = AutoModel.from_pretrained(encoder).eval()
    ids, mask = torch.tensor([[2, 5, 6, 3], [2, 7, 3, 0]]), torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])
    kept = FrozenLayers(encoder_layers(model), 1)
    with torch.no_grad():
        whole = model(input_ids=ids, attention_mask=mask).last_hidden_state
        kept.capture(lambda: model(input_ids=ids, attention_mask=mask), [10, 11], [4, 3])
        with kept.entered([11, 10], 4):
            shorter = model(input_ids=ids.flip(0), attention_mask=mask.flip(0)).last_hidden_state
        after = model(input_ids=ids, attention_mask=mask).last_hidden_state
    assert torch.equal(after, whole), "the network is as it was"
    torch.testing.assert_close(shorter[1], whole[0])
    torch.testing.assert_close(shorter[0, :3], whole[1, :3])


def test_figures_name_every_model_that_was_measured(encoder: Path, tmp_path: Path) -> None:
    found = trained(colour_classes(), recipe("classifier", max_epochs=1), encoder, tmp_path / "c")
    assert {figure.model for figure in found.figures["test"]} == {RECIPE, MAJORITY}
    assert set(found.figures) == {"valid", "test"}
