"""The second stage's training in processes of TorchDistributor, on the driver's machine and as tasks of Spark."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyspark.sql import SparkSession

from mmrec_lib.errors import ModelError
from mmrec_lib.models.second_stage import processes
from mmrec_lib.models.second_stage.train import CHECKPOINTS
from mmrec_lib.training.distributor import trained_by_spark
from tests.unit.models.test_second_stage_training import Task, require_close, require_equal, task, trained

__all__ = ["task"]
pytestmark = pytest.mark.slow
TWO: dict[str, Any] = {"num_processes": 2, "launcher": "torch_distributor"}


@pytest.fixture(autouse=True)
def launched(spark: SparkSession) -> Iterator[None]:
    with trained_by_spark(spark):
        yield


def test_two_processes_give_the_weights_of_one_and_another_launcher_goes_on_from_their_checkpoint(
    task: Task, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    losses: list[float] = []
    of_two: list[float] = []
    again: list[float] = []
    one = trained(task, losses)
    two = trained(task, of_two, checkpoint=str(tmp_path), **TWO)
    require_close(one, two, 2e-3)
    np.testing.assert_allclose(of_two, losses, rtol=1e-3)
    assert capfd.readouterr().out == "", "standard output is the job's"
    (folder,) = (tmp_path / CHECKPOINTS).iterdir()
    written = (folder / "epoch-4" / "progress.json").stat().st_mtime_ns
    require_equal(two, trained(task, again, checkpoint=str(tmp_path), num_processes=2))
    assert again == of_two
    assert (folder / "epoch-4" / "progress.json").stat().st_mtime_ns == written, "it was not trained again"


def test_tasks_of_spark_give_the_weights_of_one_process_through_a_shared_folder(task: Task, tmp_path: Path) -> None:
    losses: list[float] = []
    of_tasks: list[float] = []
    one = trained(task, losses, accumulate=2)
    require_close(one, trained(task, of_tasks, accumulate=2, shared_folder=str(tmp_path), **TWO), 2e-3)
    np.testing.assert_allclose(of_tasks, losses, rtol=1e-3)
    assert list(tmp_path.iterdir()) == [], "the examples are removed"


@pytest.mark.parametrize("is_local", [True, False])
def test_processes_that_fail_are_named_with_their_last_lines(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_local: bool
) -> None:
    monkeypatch.setattr(processes, "_write_task", lambda folder, *_: (folder / "task.json").write_text("{"))
    changes: dict[str, Any] = {**TWO, "shared_folder": None if is_local else str(tmp_path)}
    with pytest.raises(ModelError, match=r"(?s)num_processes = 2: rank \d failed: .*JSONDecodeError"):
        trained(task, **changes)
    assert list(tmp_path.iterdir()) == []


def test_a_training_whose_process_was_killed_says_so_and_goes_on_to_the_same_weights(
    task: Task, tmp_path: Path
) -> None:
    changes: dict[str, Any] = {**TWO, "epochs": 60, "checkpoint": str(tmp_path / "killed")}
    killer = threading.Thread(target=kill_rank, args=(1, tmp_path / "killed" / CHECKPOINTS), daemon=True)
    killer.start()
    with pytest.raises(ModelError, match=r"(?s)num_processes = 2: .*rank (0, )?1 ended without a word"):
        trained(task, **changes)
    killer.join()
    (folder,) = (tmp_path / "killed" / CHECKPOINTS).iterdir()
    assert not (folder / "epoch-60").exists(), "it was killed before its end"
    losses: list[float] = []
    again: list[float] = []
    whole = trained(task, losses, epochs=60, num_processes=2)
    require_equal(whole, trained(task, again, **changes))
    assert again == losses


def kill_rank(rank: int, checkpoints: Path) -> None:
    """Kill a process of the training, once there is a checkpoint."""
    end = time.monotonic() + 300
    while not list(checkpoints.glob("*/epoch-*/progress.json")):
        assert time.monotonic() < end
        time.sleep(0.01)
    for place in Path("/proc").glob("[0-9]*"):
        try:
            told = (place / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if f"RANK={rank}".encode() in told and b"TORCHELASTIC_RUN_ID" in b" ".join(told) and is_own(int(place.name)):
            os.kill(int(place.name), signal.SIGKILL)


def is_own(process: int) -> bool:
    """True for a process that descends from this one."""
    while process > 1:
        if process == os.getpid():
            return True
        process = int(Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])
    return False
