"""Checkpoints of a training whose epoch validation chooses: its newest and its best, to go on from after a kill."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mmrec_lib.models.checkpoints import Checkpoints, Tensors, load_optimizer, optimizer_tensors

_STATE, _OPTIMIZER, _CURVES = "weights.safetensors", "optimizer.safetensors", "curves"


class EpochCheckpoints(Checkpoints):
    """Checkpoints with the course of the training; see `Checkpoints`."""

    def newest_course(self) -> tuple[int, dict[str, Any]] | None:
        """Epoch and course of the newest whole checkpoint; of another identity, or none, removes what is there."""
        found = self.newest()
        return None if found is None else (found[0], dict(found[1][_CURVES]))

    def weights(self, epoch: int) -> Tensors:
        """Weights after an epoch, on the processor."""
        return self.tensors(epoch, _STATE)

    def load_moments(self, epoch: int, optimizer: torch.optim.Optimizer, trained: Mapping[str, nn.Parameter]) -> None:
        """Give an optimizer back what it had after an epoch.

        Args:
            epoch: The epoch.
            optimizer: The optimizer.
            trained: Its weights by name.
        """
        device = str(next(iter(trained.values())).device)
        load_optimizer(optimizer, trained, self.tensors(epoch, _OPTIMIZER), device)

    def keep(
        self,
        epoch: int,
        best_epoch: int,
        curves: Mapping[str, Any],
        *,
        weights: Mapping[str, Tensor],
        optimizer: torch.optim.Optimizer,
        trained: Mapping[str, nn.Parameter],
    ) -> None:
        """Write a checkpoint.

        Args:
            epoch: Epochs that are done.
            best_epoch: The chosen one of them, whose checkpoint stays; 0 for none.
            curves: Course of the training, as JSON takes it.
            weights: What is kept.
            optimizer: The optimizer.
            trained: Its weights by name.
        """
        tensors = {_STATE: dict(weights), _OPTIMIZER: optimizer_tensors(optimizer, trained)}
        self.save(epoch, tensors, {_CURVES: dict(curves)}, kept=(best_epoch,))
