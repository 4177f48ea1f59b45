"""Checkpoints of a training on disk: one folder an epoch, safetensors and JSON, by which a killed run goes on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

Tensors = dict[str, Tensor]
_STATE, _OPTIMIZER, _PROGRESS = "weights.safetensors", "optimizer.safetensors", "progress.json"


class Checkpoints:
    """Checkpoints of one training, the newest and the best; those of another identity do not count."""

    def __init__(self, folder: Path, identity: str) -> None:
        """Bind to a folder.

        Args:
            folder: Where they lie, `epoch-<number>` each.
            identity: Hash of everything that decides the result.
        """
        self._folder, self._identity = folder, identity

    def newest(self) -> tuple[int, dict[str, Any]] | None:
        """Epoch and course of the newest whole checkpoint; of another identity, or none, removes what is there."""
        for place in sorted(self._folder.glob("epoch-*"), key=lambda p: int(p.name[6:]), reverse=True):
            try:
                progress = json.loads((place / _PROGRESS).read_text(encoding="utf-8"))
            except (OSError, ValueError):
                continue
            if progress["identity"] != self._identity:
                break
            return int(place.name[6:]), dict(progress["curves"])
        shutil.rmtree(self._folder, ignore_errors=True)
        return None

    def weights(self, epoch: int) -> Tensors:
        """Weights after an epoch, on the processor."""
        return load_file(self._place(epoch) / _STATE)

    def load_moments(self, epoch: int, optimizer: Any, trained: Mapping[str, nn.Parameter]) -> None:
        """Give an optimizer back what it had after an epoch.

        Args:
            epoch: The epoch.
            optimizer: The optimizer.
            trained: Its weights by name.
        """
        moments = load_file(self._place(epoch) / _OPTIMIZER)
        for name, weight in trained.items():
            found = {key.rpartition("/")[2]: value for key, value in moments.items() if key.startswith(f"{name}/")}
            # The step count stays on the processor, as the optimizer keeps it.
            optimizer.state[weight] = {
                key: value if key == "step" else value.to(weight.device) for key, value in found.items()
            }

    def keep(
        self,
        epoch: int,
        best_epoch: int,
        curves: Mapping[str, Any],
        *,
        weights: Mapping[str, Tensor],
        optimizer: Any,
        trained: Mapping[str, nn.Parameter],
    ) -> None:
        """Write a checkpoint, its progress last: one that a killed run left without it does not count.

        Mounted volumes rename no folders, so nothing is renamed.

        Args:
            epoch: Epochs that are done.
            best_epoch: The chosen one of them, whose checkpoint stays; 0 for none.
            curves: Course of the training, as JSON takes it.
            weights: What is kept.
            optimizer: The optimizer.
            trained: Its weights by name.
        """
        place = self._place(epoch)
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        save_file(
            {name: weight.detach().cpu().clone().contiguous() for name, weight in weights.items()}, place / _STATE
        )
        names = {id(weight): name for name, weight in trained.items()}
        moments = {
            f"{names[id(weight)]}/{key}": torch.as_tensor(value).cpu().clone()
            for weight, state in optimizer.state.items()
            for key, value in state.items()
        }
        save_file(moments, place / _OPTIMIZER)
        progress = {"identity": self._identity, "curves": dict(curves)}
        (place / _PROGRESS).write_text(json.dumps(progress), encoding="utf-8")
        for old in self._folder.glob("epoch-*"):
            if old not in (place, self._place(best_epoch)):
                shutil.rmtree(old)

    def _place(self, epoch: int) -> Path:
        return self._folder / f"epoch-{epoch}"
