"""Training of the second stage at scale: micro-batches, processes, bfloat16, and going on after a kill."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmrec_lib.errors import ModelError
from mmrec_lib.models.data import Floats
from mmrec_lib.models.ranker.second_stage import window_examples
from mmrec_lib.models.second_stage import processes, train
from mmrec_lib.models.second_stage.batches import Standardisation
from mmrec_lib.models.second_stage.inputs import CandidateInputs, Examples
from mmrec_lib.models.second_stage.model import Network
from mmrec_lib.models.second_stage.train import train_network
from mmrec_lib.models.second_stage_settings import SecondStageSettings
from tests.unit.models.checkerboard import SETTINGS
from tests.unit.models.circle import circle

SMALL = SecondStageSettings(windows="time", num_candidates=12, epochs=4, attention_dim=4, hidden_dim=8, num_windows=2)


class KilledError(Exception):
    """Raised in the place of a kill."""


Task = tuple[list[Examples], Floats, int]


@pytest.fixture(scope="module")
def task() -> Task:
    windows = window_examples(circle().train, SETTINGS.model_copy(update={"second_stage": SMALL}))
    return [window.examples for window in windows], windows[0].signals.blocks, len(windows[0].sources)


def trained(task: Task, losses: list[float] | None = None, **changes: object) -> Network:
    settings = SecondStageSettings.model_validate({**SMALL.model_dump(), **changes})
    return train_network(*task, settings, 3, on_epoch=(lambda _: None) if losses is None else losses.append)


def require_close(network: Network, other: Network, tolerance: float) -> None:
    """All weights but one are near: the last feature is one of the user, so that its linear weight moves no candidate.

    Its gradient is nothing but rounding, which the optimizer makes as large as any other.
    """
    network, other = (replace(one, linear=one.linear[:-1]) for one in (network, other))
    for name, array in network.arrays().items():
        np.testing.assert_allclose(other.arrays()[name], array, rtol=tolerance, atol=tolerance, err_msg=name)


def require_equal(network: Network, other: Network) -> None:
    for name, array in network.arrays().items():
        np.testing.assert_array_equal(other.arrays()[name], array, err_msg=name)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"loss": "softmax", "content_noise": 0.2},
        {"loss": "logistic", "level": "hybrid", "form": "transformer"},
        {"adversarial": 0.3},
    ],
)
def test_micro_batches_give_the_weights_of_one_batch(task: Task, changes: dict[str, object]) -> None:
    losses: list[float] = []
    several: list[float] = []
    one = trained(task, losses, **changes)
    for number in (3, 40):
        require_close(one, trained(task, several, accumulate=number, **changes), 2e-3)
    np.testing.assert_allclose(several, losses * 2, rtol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, {"accumulate": 2, "adversarial": 0.3, "content_noise": 0.2}])
def test_two_processes_give_the_weights_of_one(task: Task, changes: dict[str, object]) -> None:
    losses: list[float] = []
    of_two: list[float] = []
    one = trained(task, losses, **changes)
    require_close(one, trained(task, of_two, num_processes=2, **changes), 2e-3)
    np.testing.assert_allclose(of_two, losses, rtol=1e-3)


@pytest.mark.slow
def test_processes_with_dropout_draw_the_same_batches_and_learn_the_same(task: Task) -> None:
    """Dropout has a chance of its own in each process; all else is drawn alike, or sums would be of unlike weights."""
    losses: list[float] = []
    of_two: list[float] = []
    trained(task, losses, dropout=0.2, epochs=12)
    network = trained(task, of_two, dropout=0.2, epochs=12, num_processes=2)
    assert all(np.isfinite(array).all() for array in network.arrays().values())
    np.testing.assert_allclose(of_two[-3:], losses[-3:], rtol=0.1)


@pytest.mark.slow
def test_a_process_that_fails_is_named_with_its_last_words(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_write_task", lambda folder, *_: (folder / "task.json").write_text("{"))
    with pytest.raises(ModelError, match=r"process \d of training.second_stage.num_processes = 2 ended.*JSON"):
        trained(task, num_processes=2)


def test_a_process_that_falls_ends_all_and_its_words_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    falls = "import sys, time; time.sleep(60) if sys.argv[-1] == '0' else sys.exit('out of luck')"
    start = subprocess.Popen

    def run(command: list[str], **rest: Any) -> subprocess.Popen[bytes]:
        return start([command[0], "-c", falls, *command[3:]], **rest)

    monkeypatch.setattr(subprocess, "Popen", run)
    with pytest.raises(ModelError, match=r"process 1 of .* = 2 ended with status 1: out of luck"):
        processes._run_all(tmp_path, 2)


def test_a_part_without_users_of_a_step_adds_nothing(task: Task) -> None:
    parts, blocks, num_shares = task
    few = ([parts[0].rows(np.arange(2))], blocks, num_shares)
    whole, divided = (trained(few, adversarial=0.2, accumulate=number) for number in (2, 6))
    for name, array in whole.arrays().items():
        np.testing.assert_allclose(divided.arrays()[name], array, atol=1e-5)


def test_bfloat16_is_near_float32_and_not_the_same(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    plain: list[float] = []
    rounded: list[float] = []
    network = trained(task, plain, epochs=12)
    monkeypatch.setattr(train, "has_native", lambda _: True)
    other = trained(task, rounded, epochs=12, precision="bfloat16")
    assert not np.array_equal(network.hidden, other.hidden)
    assert all(array.dtype == np.float32 for array in other.arrays().values())
    np.testing.assert_allclose(rounded, plain, rtol=0.02)
    inputs = task[0][0].inputs
    expected = network.additions(inputs)[inputs.is_item]
    assert np.corrcoef(expected, other.additions(inputs)[inputs.is_item])[0, 1] > 0.99


def test_bfloat16_is_left_to_processors_that_have_it(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "has_native", lambda _: False)
    require_equal(trained(task), trained(task, precision="bfloat16"))


@pytest.mark.parametrize("changes", [{}, {"dropout": 0.2, "content_noise": 0.1}, {"accumulate": 2, "adversarial": 0.2}])
@pytest.mark.parametrize("epoch", [1, 3])
def test_a_training_that_was_killed_goes_on_to_the_same_weights(
    task: Task, tmp_path: Path, epoch: int, changes: dict[str, object]
) -> None:
    whole: list[float] = []
    network = trained(task, whole, **changes)
    seen: list[float] = []

    def kill(loss: float) -> None:
        seen.append(loss)
        if len(seen) == epoch + 1:
            raise KilledError

    settings = SecondStageSettings.model_validate({**SMALL.model_dump(), **changes, "checkpoint": str(tmp_path)})
    with pytest.raises(KilledError):
        train_network(*task, settings, 3, on_epoch=kill)
    (folder,) = (tmp_path / train.CHECKPOINTS).iterdir()
    assert [place.name for place in folder.iterdir()] == [f"epoch-{epoch}"], "one checkpoint, of the last whole epoch"
    resumed: list[float] = []
    require_equal(network, train_network(*task, settings, 3, on_epoch=resumed.append))
    assert resumed == whole


def test_a_checkpoint_that_was_not_finished_does_not_count(task: Task, tmp_path: Path) -> None:
    network = trained(task, checkpoint=str(tmp_path))
    (folder,) = (tmp_path / train.CHECKPOINTS).iterdir()
    shutil.copytree(folder / "epoch-4", folder / "epoch-5")
    (folder / "epoch-5" / "progress.json").write_text('{"identity": "')
    require_equal(network, trained(task, checkpoint=str(tmp_path)))
    (folder / "epoch-4" / "progress.json").unlink()
    require_equal(network, trained(task, checkpoint=str(tmp_path)))


def test_a_training_that_ended_is_not_done_again(task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    losses: list[float] = []
    again: list[float] = []
    network = trained(task, losses, checkpoint=str(tmp_path))
    monkeypatch.setattr(train, "draw_batch", None)
    require_equal(network, trained(task, again, checkpoint=str(tmp_path)))
    assert again == losses


def test_checkpoints_of_another_training_are_left_alone(task: Task, tmp_path: Path) -> None:
    trained(task, checkpoint=str(tmp_path))
    require_equal(trained(task, hidden_dim=6), trained(task, hidden_dim=6, checkpoint=str(tmp_path)))
    parts, blocks, num_shares = task
    fewer = [parts[0].rows(np.arange(20)), parts[1]]
    require_equal(trained((fewer, blocks, num_shares)), trained((fewer, blocks, num_shares), checkpoint=str(tmp_path)))
    assert len(list((tmp_path / train.CHECKPOINTS).iterdir())) == 3


def test_checkpoints_of_the_latest_trainings_stay(task: Task, tmp_path: Path) -> None:
    own = tmp_path / train.CHECKPOINTS
    for folder in (own, tmp_path):
        for number in range(40):
            (folder / f"{number:02d}").mkdir(parents=True)
            os.utime(folder / f"{number:02d}", (number, number))
    trained(task, checkpoint=str(tmp_path))
    left = sorted(place.name for place in own.iterdir() if len(place.name) == 2)
    assert left == [f"{number:02d}" for number in range(9, 40)]
    assert len(list(tmp_path.iterdir())) == 41, "what else lies in the named folder is left alone"


@pytest.mark.slow
def test_processes_go_on_from_a_checkpoint(task: Task, tmp_path: Path) -> None:
    losses: list[float] = []
    again: list[float] = []
    network = trained(task, losses, checkpoint=str(tmp_path), num_processes=2)
    (folder,) = (tmp_path / train.CHECKPOINTS).iterdir()
    assert [place.name for place in folder.iterdir()] == ["epoch-4"]
    require_equal(network, trained(task, again, checkpoint=str(tmp_path), num_processes=2))
    assert again == losses


def test_a_checkpoint_needs_a_folder() -> None:
    with pytest.raises(ValueError, match="checkpoint must be a folder, such as of a mounted volume, got s3"):
        SecondStageSettings(checkpoint="s3" + ":" + "//bucket/checkpoints")


def test_a_feature_of_the_context_that_never_differed_says_nothing() -> None:
    features = np.array([[[1.0, 5.0, 2.0], [3.0, 5.0, 2.0]]], dtype=np.float32)
    empty = np.zeros((1, 2), dtype=np.int64)
    there = np.ones((1, 2), dtype=np.bool_)
    zeros = np.zeros((1, 2), dtype=np.float32)
    inputs = CandidateInputs(empty, there, zeros, zeros[:, 0], features, empty, empty, zeros)
    found = Standardisation.of([Examples(inputs, there)], 3, 1)
    assert found.mean.tolist() == [2.0, 5.0, 2.0]
    assert found.scale[1] == pytest.approx(1e-3), "one that is none of the context stays as it was"
    assert found.apply(np.array([4.0, 5.0, 700.0], dtype=np.float32))[2] == 0
