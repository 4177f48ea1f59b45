"""Launching the second stage's training by TorchDistributor: what is refused, and what is said of its processes."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from mmrec_lib.errors import ModelError
from mmrec_lib.models.second_stage.launcher import given_launcher, launched_by
from mmrec_lib.models.second_stage_settings import SecondStageSettings
from mmrec_lib.training import distributor
from mmrec_lib.training.distributor import TorchDistributorLauncher, trained_by_spark
from tests.unit.models.test_second_stage_training import Task, task, trained

__all__ = ["task"]


def settings(**changes: Any) -> SecondStageSettings:
    return SecondStageSettings.model_validate({"launcher": "torch_distributor", "num_processes": 3, **changes})


def launcher(master: str = "local[2]") -> TorchDistributorLauncher:
    session: Any = SimpleNamespace(conf=SimpleNamespace(get=lambda *_: master))
    return TorchDistributorLauncher(session)


def test_without_a_session_it_says_what_is_missing(task: Task) -> None:
    with pytest.raises(ModelError, match=r"launcher = torch_distributor needs a Spark session.*launcher: processes"):
        trained(task, launcher="torch_distributor")


def test_a_launcher_is_given_for_a_while() -> None:
    session: Any = SimpleNamespace()
    with trained_by_spark(session):
        inner = launcher()
        with launched_by(inner):
            assert given_launcher(settings()) is inner
        assert isinstance(given_launcher(settings()), TorchDistributorLauncher)
    with pytest.raises(ModelError, match="needs a Spark session"):
        given_launcher(settings())


def test_one_process_goes_by_the_launcher_too(task: Task) -> None:
    """A setting is not left aside because there is one process: it may be another machine's."""
    seen: list[Path] = []

    def run(folder: Path, own: SecondStageSettings) -> None:
        seen.append(folder)
        assert own.num_processes == 1
        raise ModelError("enough")

    own: Any = SimpleNamespace(scratch=launcher().scratch, run=run)
    with launched_by(own), pytest.raises(ModelError, match="enough"):
        trained(task, launcher="torch_distributor")
    assert seen and not seen[0].exists(), "the examples are removed"


@pytest.mark.parametrize("master", ["yarn", "spark" + ":" + "//host:7077", "local-cluster[2,1,1024]", ""])
def test_executors_of_other_machines_need_a_shared_folder(master: str) -> None:
    with pytest.raises(ModelError, match=r"on spark\.master = .* needs training\.second_stage\.shared_folder"):
        launcher(master).scratch(settings()).__enter__()


@pytest.mark.parametrize("master", ["local", "local[*]"])
def test_a_master_on_this_machine_needs_none(master: str) -> None:
    with launcher(master).scratch(settings()) as folder:
        assert folder.is_dir()
    assert not folder.exists()


def test_a_shared_folder_must_be_there(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    with pytest.raises(ModelError, match=r"shared_folder = .*missing must be a folder that .* all executors see"):
        launcher("yarn").scratch(settings(shared_folder=str(missing))).__enter__()
    with launcher("yarn").scratch(settings(shared_folder=str(tmp_path))) as folder:
        assert folder.parent == tmp_path
    assert list(tmp_path.iterdir()) == []


def test_a_shared_folder_is_refused_where_nobody_would_read_it() -> None:
    with pytest.raises(ValueError, match="shared_folder is for launcher: torch_distributor"):
        SecondStageSettings(shared_folder="/mnt/shared")
    with pytest.raises(ValueError, match="shared_folder must be a folder, such as of a mounted volume, got s3"):
        settings(shared_folder="s3" + ":" + "//bucket/shared")


def test_processes_that_ended_well_say_nothing(tmp_path: Path) -> None:
    for rank in range(3):
        (tmp_path / f"rank-{rank}.ended").touch()
    distributor._require_good_ends(tmp_path, settings(), "", None)


def test_the_first_process_that_failed_is_named_first_though_the_distributor_saw_nothing(tmp_path: Path) -> None:
    (tmp_path / "rank-0.failed").write_text("the other side is gone", encoding="utf-8")
    (tmp_path / "rank-2.failed").write_text("x" * 1000 + "out of luck\n", encoding="utf-8")
    os.utime(tmp_path / "rank-2.failed", (1, 1))
    with pytest.raises(ModelError) as raised:
        distributor._require_good_ends(tmp_path, settings(), "", None)
    told = str(raised.value)
    assert "num_processes = 3: rank 2 failed: x" in told
    assert told.index("out of luck; rank 0 failed: the other side is gone; rank 1 ended without a word") > 0
    assert len(told) < 1000


def test_processes_that_say_nothing_are_named_with_the_last_lines_of_the_distributor(tmp_path: Path) -> None:
    (tmp_path / "rank-1.ended").touch()
    error = RuntimeError("barrier needs 3 slots")
    with pytest.raises(
        ModelError, match=r"rank 0, 2 ended without a word.*see /mnt/a.*barrier needs 3 slots"
    ) as raised:
        distributor._require_good_ends(tmp_path, settings(shared_folder="/mnt/a"), str(error), error)
    assert raised.value.__cause__ is error


def test_an_error_after_all_processes_ended_is_told(tmp_path: Path) -> None:
    for rank in range(3):
        (tmp_path / f"rank-{rank}.ended").touch()
    with pytest.raises(ModelError, match="num_processes = 3: no result"):
        distributor._require_good_ends(tmp_path, settings(), "no result", RuntimeError("no result"))


def test_processes_that_do_not_see_the_same_checkpoints_are_refused(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else one would end while the others wait for its gradients."""

    def largest(ends: torch.Tensor, _: object) -> None:
        assert ends.tolist() == [0, 0]
        ends[0] = 3

    def train_here(*arguments: Any) -> Any:
        from mmrec_lib.models.second_stage.train import train_in_process

        return train_in_process(*arguments, lambda _: None), []

    monkeypatch.setattr(torch.distributed, "all_reduce", largest)
    monkeypatch.setattr("mmrec_lib.models.second_stage.processes.train_in_processes", train_here)
    with pytest.raises(ModelError, match="must be a folder that all processes see: one goes on after epoch 3"):
        trained(task, num_processes=2, checkpoint=str(tmp_path))
