"""Training of the second stage's network in several processes, with gloo.

    python -m mmrec_lib.models.second_stage.processes <folder> <number of the process>

is one of those that this machine starts by itself. Other launchers call `run_rank`. The first process writes the
network.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mmrec_lib.errors import ModelError
from mmrec_lib.models.data import Floats
from mmrec_lib.models.second_stage.inputs import CandidateInputs, Examples
from mmrec_lib.models.second_stage.launcher import Launcher, given_launcher
from mmrec_lib.models.second_stage.model import Network
from mmrec_lib.models.second_stage.train import train_in_process
from mmrec_lib.models.second_stage_settings import SecondStageSettings

_EXAMPLES, _TASK, _NETWORK, _LOSSES, _STORE = "examples.npz", "task.json", "network.npz", "losses.json", "store"
_INPUTS = tuple(field.name for field in fields(CandidateInputs))
_PATIENCE = timedelta(minutes=30)
_POLL_SECONDS, _TOLD_CHARACTERS = 0.05, 500
_OWN_ADDRESSES = ("localhost", "127.0.0.1")


def train_in_processes(
    parts: Sequence[Examples], blocks_IBD: Floats, num_shares: int, settings: SecondStageSettings, seed: int
) -> tuple[Network, list[float]]:
    """Fit the network in `settings.num_processes` processes of `settings.launcher`; see `train.train_network`.

    Returns:
        The network, and the mean loss of each epoch.

    Raises:
        ModelError: When a process fails; the others are ended.
    """
    launcher: Launcher = LocalProcesses() if settings.launcher == "processes" else given_launcher(settings)
    with launcher.scratch(settings) as folder:
        _write_task(folder, parts, blocks_IBD, num_shares, settings, seed)
        launcher.run(folder, settings)
        with np.load(folder / _NETWORK, allow_pickle=False) as stored:
            network = Network.load({name: stored[name] for name in stored.files})
        losses: list[float] = json.loads((folder / _LOSSES).read_text(encoding="utf-8"))
        return network, losses


class LocalProcesses:
    """Processes of this machine, which a folder of its own brings together."""

    @contextmanager
    def scratch(self, settings: SecondStageSettings) -> Iterator[Path]:
        """A temporary folder of this machine."""
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)

    def run(self, folder: Path, settings: SecondStageSettings) -> None:
        """Run the processes to their ends.

        Raises:
            ModelError: When one fails; the others are ended.
        """
        _run_all(folder, settings.num_processes)


def _run_all(folder: Path, number: int) -> None:
    """Run the processes to their ends."""
    threads = str(max(1, (os.cpu_count() or 1) // number))
    root = str(Path(__file__).parents[3])
    # All are of this machine, whose name need not have an address.
    here = {"GLOO_SOCKET_IFNAME": "lo"} if sys.platform == "linux" else {}
    paths = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    environment = {"OMP_NUM_THREADS": threads, **here, **os.environ, "PYTHONPATH": paths}
    logs = [folder / f"process-{place}.log" for place in range(number)]
    running = []
    try:
        for place, log in enumerate(logs):
            with log.open("wb") as told:
                command = [sys.executable, "-m", __name__, str(folder), str(place)]
                running.append(subprocess.Popen(command, env=environment, stdout=told, stderr=subprocess.STDOUT))
        ended = [one.poll() for one in running]
        while None in ended and not any(ended):
            time.sleep(_POLL_SECONDS)
            ended = [one.poll() for one in running]
    finally:
        for one in running:
            one.kill()
            one.wait()
    # Those that ended by themselves: the others were ended, or fell with them.
    for place, status in enumerate(ended):
        if status is not None and status > 0:
            end = logs[place].read_text(encoding="utf-8", errors="replace").strip()[-_TOLD_CHARACTERS:]
            raise ModelError(
                f"second stage: process {place} of training.second_stage.num_processes = {number} ended with status "
                f"{status}: {end}"
            )
    if any(ended):
        raise ModelError(
            f"second stage: of training.second_stage.num_processes = {number} processes one was killed; each needs the "
            "memory of the whole training. Take fewer."
        )


def _write_task(
    folder: Path,
    parts: Sequence[Examples],
    blocks_IBD: Floats,
    num_shares: int,
    settings: SecondStageSettings,
    seed: int,
) -> None:
    arrays: dict[str, Any] = {"blocks": blocks_IBD}
    for place, part in enumerate(parts):
        arrays[f"{place}/relevant"] = part.relevant
        arrays |= {f"{place}/{name}": getattr(part.inputs, name) for name in _INPUTS}
    np.savez(folder / _EXAMPLES, **arrays)
    task = {
        "num_parts": len(parts),
        "num_shares": num_shares,
        "seed": seed,
        "settings": settings.model_dump(mode="json"),
    }
    (folder / _TASK).write_text(json.dumps(task), encoding="utf-8")


def run_process(folder: Path, place: int) -> None:
    """Train as one of the processes of this machine, which find each other by a file.

    Args:
        folder: Written by `train_in_processes`.
        place: Number of the process, from 0.
    """
    size = _read_task(folder)["settings"]["num_processes"]
    store = torch.distributed.FileStore(str(folder / _STORE), size)  # type: ignore[attr-defined]
    torch.distributed.init_process_group("gloo", store=store, rank=place, world_size=size, timeout=_PATIENCE)
    _train(folder, place)


def run_rank(folder: Path, rank: int) -> None:
    """Train as one of the processes that torchrun started, whose variables of the environment tell the others.

    Args:
        folder: Written by `train_in_processes`.
        rank: Number of the process, from 0.
    """
    if sys.platform == "linux" and os.environ.get("MASTER_ADDR") in _OWN_ADDRESSES:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # see `_run_all`
    torch.distributed.init_process_group("gloo", timeout=_PATIENCE)
    _train(folder, rank)


def _read_task(folder: Path) -> dict[str, Any]:
    task: dict[str, Any] = json.loads((folder / _TASK).read_text(encoding="utf-8"))
    return task


def _train(folder: Path, place: int) -> None:
    """Train beside the others; the first process writes the network."""
    task = _read_task(folder)
    settings = SecondStageSettings.model_validate(task["settings"])
    with np.load(folder / _EXAMPLES, allow_pickle=False) as stored:
        blocks, parts = stored["blocks"], []
        for number in range(task["num_parts"]):
            inputs = CandidateInputs(*(stored[f"{number}/{name}"] for name in _INPUTS))
            parts.append(Examples(inputs, stored[f"{number}/relevant"]))
    losses: list[float] = []
    network = train_in_process(parts, blocks, task["num_shares"], settings, task["seed"], losses.append, place)
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
    if place == 0:
        arrays: dict[str, Any] = network.arrays()
        np.savez(folder / _NETWORK, **arrays)
        (folder / _LOSSES).write_text(json.dumps(losses), encoding="utf-8")


if __name__ == "__main__":
    run_process(Path(sys.argv[1]), int(sys.argv[2]))
