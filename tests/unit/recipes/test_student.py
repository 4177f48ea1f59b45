"""A student: layers of its teacher, vectors that come near, a directory that loads as any other."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file

from mmrec_lib.encoders.config import ModelsConfig
from mmrec_lib.encoders.registry import make_encoder
from mmrec_lib.encoders.text.sentence_layout import SentenceLayout
from mmrec_lib.errors import RecipeError
from mmrec_lib.recipes import epochs
from mmrec_lib.recipes.adapt import TextAdapter
from mmrec_lib.recipes.adapt_config import AdaptationConfig, StudentConfig
from mmrec_lib.recipes.checkpoints import EpochCheckpoints
from mmrec_lib.recipes.student import fit_student, kept_layers, make_student, times_faster
from tests.unit.encoders.tiny_models import WORDS, make_text_model
from tests.unit.recipes.test_adaptation import FAST

RNG = np.random.default_rng(0)
TEXTS = [" ".join(map(str, RNG.choice(WORDS, 6))) for _ in range(200)]
TRAIN, VALID = range(150), range(150, 200)
CONFIG = StudentConfig(num_layers=2, max_epochs=4, learning_rate=3e-3)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("models") / "tiny-text"
    directory.mkdir()
    make_text_model(directory, num_layers=4)
    # Random layers as they come do next to nothing, so that one without them would be the same.
    weights = load_file(directory / "model.safetensors")
    larger = {name: weight * (12 if ".layer." in name and weight.ndim == 2 else 1) for name, weight in weights.items()}
    save_file(larger, directory / "model.safetensors", metadata={"format": "pt"})
    return directory


def teacher_of(directory: Path) -> TextAdapter:
    return TextAdapter(directory, AdaptationConfig.model_validate(FAST), SentenceLayout())


def test_layers_are_spread_or_the_first() -> None:
    assert kept_layers(6, StudentConfig(num_layers=3)) == [0, 2, 5]
    assert kept_layers(12, StudentConfig(num_layers=4)) == [0, 4, 7, 11]
    assert kept_layers(6, StudentConfig(num_layers=3, layers="first")) == [0, 1, 2]
    assert kept_layers(6, StudentConfig(num_layers=1)) == [0]
    with pytest.raises(RecipeError, match=r"fewer layers than its teacher's 2 are needed .*num_layers.*got 2"):
        kept_layers(2, StudentConfig(num_layers=2))


def test_an_untrained_student_is_its_teacher_s_layers(encoder: Path) -> None:
    teacher = teacher_of(encoder)
    student = make_student(teacher, CONFIG).encoder.model
    own, other = student.state_dict(), teacher.model.state_dict()
    assert len(student.encoder.layer) == 2
    for place, number in enumerate((0, 3)):
        for name in ("attention.self.query.weight", "output.dense.bias"):
            assert torch.equal(own[f"encoder.layer.{place}.{name}"], other[f"encoder.layer.{number}.{name}"])
    assert torch.equal(own["embeddings.word_embeddings.weight"], other["embeddings.word_embeddings.weight"])


def test_a_student_comes_near_its_teacher_and_its_directory_loads_as_any_other(encoder: Path, tmp_path: Path) -> None:
    teacher = teacher_of(encoder)
    student = fit_student(teacher, TEXTS, TRAIN, VALID, CONFIG)
    assert student.num_layers == (4, 2)
    assert student.course.best_epoch > 0
    gap_before, gap_after = 1 - student.course.scores[0], 1 - student.course.scores[student.course.best_epoch]
    assert gap_after < gap_before / 2
    cosines = (teacher.encode(VALID) * student.encoder.encode(VALID)).sum(axis=1)
    assert cosines.mean() == pytest.approx(student.course.scores[student.course.best_epoch], abs=1e-5)
    embeddings = [one.model.get_input_embeddings().weight for one in (teacher, student.encoder)]
    assert torch.equal(*embeddings), "word embeddings stay those of the teacher"
    student.save(tmp_path / "tiny-small", "tiny-text")
    assert json.loads((tmp_path / "tiny-small" / "config.json").read_text())["num_hidden_layers"] == 2
    assert json.loads((encoder / "config.json").read_text())["num_hidden_layers"] == 4
    models = ModelsConfig.model_validate(
        {"root": str(tmp_path), "encoders": {"tiny-small": {"kind": "text", "dtype": "float32"}}, "backend": "torch"}
    )
    loaded = make_encoder(models.encoders["tiny-small"], models)
    loaded.load()
    assert (loaded.encode(TEXTS[:20]).vectors * student.encoder.encode(range(20))).sum(axis=1).min() > 0.9999


def test_a_killed_distillation_ends_with_the_student_of_one_that_was_not(
    encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = fit_student(teacher_of(encoder), TEXTS, TRAIN, VALID, CONFIG, EpochCheckpoints(tmp_path / "a", "x"))
    take, calls = epochs.Steps.take, []

    def killed(self: epochs.Steps, loss: object) -> float:
        calls.append(1)
        if len(calls) == 25:  # in the third epoch of ten steps each
            raise KeyboardInterrupt
        return take(self, loss)

    monkeypatch.setattr(epochs.Steps, "take", killed)
    with pytest.raises(KeyboardInterrupt):
        fit_student(teacher_of(encoder), TEXTS, TRAIN, VALID, CONFIG, EpochCheckpoints(tmp_path / "b", "x"))
    monkeypatch.setattr(epochs.Steps, "take", take)
    resumed = fit_student(teacher_of(encoder), TEXTS, TRAIN, VALID, CONFIG, EpochCheckpoints(tmp_path / "b", "x"))
    assert resumed.course == whole.course
    np.testing.assert_array_equal(resumed.encoder.encode(VALID), whole.encoder.encode(VALID))


def test_speed_is_that_of_whole_networks(encoder: Path) -> None:
    teacher = teacher_of(encoder)
    teacher.read(TEXTS)  # whose first layers are known from here on
    seen: list[int] = []
    layer = teacher.model.encoder.layer[0].register_forward_hook(lambda *_: seen.append(1))
    student = make_student(teacher, CONFIG).encoder
    ratio = times_faster(teacher, student, TEXTS[:64])
    layer.remove()
    assert ratio > 0 and seen, "the teacher's first layers are computed, not remembered"


def test_a_student_needs_a_name_of_its_own() -> None:
    assert AdaptationConfig.model_validate({"student": {}}).student_name == "store-text-small"
    assert AdaptationConfig().student_name is None
    with pytest.raises(ValidationError, match=r"another name than adaptation\.name"):
        AdaptationConfig.model_validate({"name": "a", "student": {"name": "a"}})
    with pytest.raises(ValidationError, match=r"another name than adaptation\.name"):
        AdaptationConfig.model_validate({"student": {"name": "store-text"}})
