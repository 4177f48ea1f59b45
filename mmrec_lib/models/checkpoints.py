"""Checkpoints of a training in torch, from which one that was killed goes on with the same weights."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

Tensors = dict[str, Tensor]
_PROGRESS = "progress.json"


class Checkpoints:
    """Folder with a checkpoint an epoch, `epoch-<number>`, of one training.

    Mounted volumes rename no folders, so nothing is renamed: the progress is written last, and a checkpoint that a
    killed run left without it does not count.
    """

    def __init__(self, folder: Path, identity: str) -> None:
        """Bind to a folder.

        Args:
            folder: Where the checkpoints lie; those of another identity are removed.
            identity: Hash of everything that decides the result.
        """
        self.folder, self._identity = folder, identity

    def save(
        self, epoch: int, tensors: Mapping[str, Tensors], progress: Mapping[str, Any], kept: Collection[int] = ()
    ) -> None:
        """Write a checkpoint and remove the earlier ones.

        Args:
            epoch: Epochs that are done, from 1.
            tensors: Tensors by file.
            progress: What JSON takes.
            kept: Earlier epochs whose checkpoints stay.
        """
        place = self._place(epoch)
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        for name, own in tensors.items():
            save_file({key: tensor.detach().cpu().clone().contiguous() for key, tensor in own.items()}, place / name)
        (place / _PROGRESS).write_text(json.dumps({"identity": self._identity, **progress}), encoding="utf-8")
        for old in self.folder.glob("epoch-*"):
            if old not in (place, *map(self._place, kept)):
                shutil.rmtree(old)

    def newest(self) -> tuple[int, dict[str, Any]] | None:
        """Epoch and progress of the newest whole checkpoint of this identity; without one the folder is removed."""
        for place in sorted(self.folder.glob("epoch-*"), key=lambda p: int(p.name[6:]), reverse=True):
            try:
                progress: dict[str, Any] = json.loads((place / _PROGRESS).read_text(encoding="utf-8"))
            except (OSError, ValueError):
                continue
            if progress.pop("identity") != self._identity:
                break
            return int(place.name[6:]), progress
        shutil.rmtree(self.folder, ignore_errors=True)
        return None

    def tensors(self, epoch: int, name: str) -> Tensors:
        """Tensors of a file of an epoch."""
        found: Tensors = load_file(self._place(epoch) / name)
        return found

    def _place(self, epoch: int) -> Path:
        return self.folder / f"epoch-{epoch}"


def optimizer_tensors(optimizer: torch.optim.Optimizer, weights: Mapping[str, Tensor]) -> Tensors:
    """State of an optimizer by the names of the weights."""
    names = {id(weight): name for name, weight in weights.items()}
    return {
        f"{names[id(weight)]}/{key}": torch.as_tensor(value).cpu().clone()
        for weight, state in optimizer.state.items()
        for key, value in state.items()
    }


def load_optimizer(
    optimizer: torch.optim.Optimizer, weights: Mapping[str, Tensor], tensors: Tensors, device: str = "cpu"
) -> None:
    """Bring an optimizer to the state that `optimizer_tensors` gave."""
    for name, weight in weights.items():
        found = {key.rpartition("/")[2]: value for key, value in tensors.items() if key.startswith(f"{name}/")}
        # The step count stays on the processor, as the optimizer keeps it.
        if found:
            optimizer.state[weight] = {
                key: value if key == "step" else value.to(device) for key, value in found.items()
            }
