"""Training of the second stage's network in torch.

Each step has a batch of users. It may be divided into micro-batches, of which one after the other takes memory, and
among processes; gradients are sums over them, so that the weights are those of one batch but for rounding.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from mmrec_lib.errors import ModelError
from mmrec_lib.models.checkpoints import Checkpoints, load_optimizer, optimizer_tensors
from mmrec_lib.models.data import Floats
from mmrec_lib.models.second_stage.batches import Standardisation, draw_batch, learnable
from mmrec_lib.models.second_stage.context import num_context_columns
from mmrec_lib.models.second_stage.inputs import CandidateInputs, Examples
from mmrec_lib.models.second_stage.losses import LOSSES
from mmrec_lib.models.second_stage.model import Network
from mmrec_lib.models.second_stage.network import Batch, Orderer, exported
from mmrec_lib.models.second_stage_settings import SecondStageSettings
from mmrec_lib.processor import NATIVE_BFLOAT16_FLAGS, has_native

# Users of a step: few where there are few, so that an epoch has steps enough.
_MIN_BATCH_USERS, _MAX_BATCH_USERS, _STEPS = 16, 64, 4
CHECKPOINTS = "second-stage-checkpoints"
"""Folder of the trainings' checkpoints in that of `training.second_stage.checkpoint`."""
_STATE, _OPTIMIZER, _CHANCE = "weights.safetensors", "optimizer.safetensors", "chance.safetensors"
# Trainings whose last checkpoint stays: a decision and the fits after it are about ten.
_MAX_TRAININGS = 32
_log = logging.getLogger(__name__)


def train_network(
    parts: Sequence[Examples],
    blocks_IBD: Floats,
    num_shares: int,
    settings: SecondStageSettings,
    seed: int,
    on_epoch: Callable[[float], None] = lambda _: None,
) -> Network:
    """Fit the network on the examples of several windows; the same seed gives the same weights.

    Args:
        parts: Examples of each window.
        blocks_IBD: Content blocks of the items; zeros where missing.
        num_shares: Features that are shares of the first stage's score, the first ones; a network of the level
            `decision` sees no others.
        settings: Sizes and training.
        seed: Seed of weights, drawing, noise and dropout.
        on_epoch: Gets the mean loss of the users of each epoch.

    Raises:
        ModelError: When one of several processes fails, or they cannot be launched.
    """
    if settings.num_processes > 1 or settings.launcher != "processes":
        from mmrec_lib.models.second_stage.processes import train_in_processes  # it trains by `train_in_process`

        network, losses = train_in_processes(parts, blocks_IBD, num_shares, settings, seed)
        for loss in losses:
            on_epoch(loss)
        return network
    return train_in_process(parts, blocks_IBD, num_shares, settings, seed, on_epoch)


def train_in_process(
    parts: Sequence[Examples],
    blocks_IBD: Floats,
    num_shares: int,
    settings: SecondStageSettings,
    seed: int,
    on_epoch: Callable[[float], None],
    process: int = 0,
) -> Network:
    """Fit the network in this process, alone or beside others that `torch.distributed` knows.

    All processes draw the same batches, and each computes the gradients of its users; see `train_network`.

    Args:
        parts: Examples of each window.
        blocks_IBD: Content blocks of the items.
        num_shares: Features that are shares of the first stage's score.
        settings: Sizes, training and the number of processes.
        seed: Seed of everything.
        on_epoch: Gets the mean loss of each epoch.
        process: Number of this process, from 0, which alone writes checkpoints.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        training = _Training(parts, blocks_IBD, num_shares, settings, seed, process)
        training.run(on_epoch)
        return training.network()


class _Training:
    """A training in one process."""

    def __init__(
        self,
        parts: Sequence[Examples],
        blocks_IBD: Floats,
        num_shares: int,
        settings: SecondStageSettings,
        seed: int,
        process: int,
    ) -> None:
        self._settings, self._seed, self._process = settings, seed, process
        self._rng = np.random.default_rng(seed)
        self._parts = [learnable(part, blocks_IBD, settings) for part in parts]
        num_features = self._parts[0].inputs.features.shape[2]
        num_seen = num_shares if settings.level == "decision" else num_features
        self._standardisation = Standardisation.of(self._parts, num_seen, num_context_columns(settings.context))
        self._users = [(place, row) for place, part in enumerate(self._parts) for row in range(len(part.inputs))]
        self._blocks = torch.from_numpy(blocks_IBD)
        self._has = (self._blocks != 0).any(dim=2)
        base_logit = _base_logit(self._parts) if settings.loss == "logistic" else 0.0
        self._network = Orderer(num_features, blocks_IBD.shape[1], blocks_IBD.shape[2], base_logit, settings)
        self._optimiser = torch.optim.AdamW(
            self._network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        batch_users = min(max(len(self._users) // _STEPS, _MIN_BATCH_USERS), _MAX_BATCH_USERS)
        self._num_batches = -(-len(self._users) // batch_users)
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimiser, settings.learning_rate, total_steps=settings.epochs * self._num_batches
        )
        self._in_bfloat16 = settings.precision == "bfloat16" and has_native(NATIVE_BFLOAT16_FLAGS)
        self._checkpoints: Checkpoints | None = None
        if settings.checkpoint is not None:
            identity = _identity(self._parts, blocks_IBD, num_shares, settings, seed)
            # In a folder of their own: the oldest are removed from it.
            self._checkpoints = Checkpoints(Path(settings.checkpoint, CHECKPOINTS, identity[:16]), identity)

    def run(self, on_epoch: Callable[[float], None]) -> None:
        """Train to the last epoch, from the newest checkpoint on where there is one."""
        losses = self._resume()
        self._require_same_epoch(len(losses))
        for loss in losses:
            on_epoch(loss)
        while len(losses) < self._settings.epochs:
            losses.append(self._epoch())
            on_epoch(losses[-1])
            self._keep(losses)

    def network(self) -> Network:
        """The trained network."""
        self._network.eval()
        return exported(self._network, self._standardisation.mean, self._standardisation.scale, self._blocks, self._has)

    def _epoch(self) -> float:
        """Mean loss of the users."""
        order, total = self._rng.permutation(len(self._users)), torch.zeros(())
        for chosen in np.array_split(order, self._num_batches):
            users = [self._users[at] for at in chosen]
            batch = draw_batch(self._parts, users, self._standardisation, self._settings, self._rng)
            self._optimiser.zero_grad()
            loss = self._gradients(batch)
            self._optimiser.step()
            self._schedule.step()
            total += loss * len(chosen)
        return float(total) / len(self._users)

    def _gradients(self, batch: Batch) -> Tensor:
        """Loss of a batch, whose gradients are those of the weights then."""
        settings = self._settings
        contents, kept = self._disturbed(batch)
        if settings.accumulate == settings.num_processes == 1:
            loss = self._loss(batch, contents, kept)
            loss.backward()  # type: ignore[no-untyped-call]
            return loss.detach()
        # An item may be in several micro-batches: the step against the network needs the slope of all.
        is_adversarial = bool(settings.adversarial) and len(self._network.attentions) > 0
        contents = contents.detach().requires_grad_(is_adversarial)
        with self._own_chance():
            loss = self._in_micro_batches(batch, contents, kept)
            if is_adversarial:
                # None where a process has no user of the batch.
                slope = torch.zeros_like(contents) if contents.grad is None else contents.grad
                self._sum_over_processes([slope])
                moved = self._moved(contents.detach(), slope, kept)
                loss = loss + self._in_micro_batches(batch, moved, kept)
        weights = [weight for weight in self._network.parameters() if weight.requires_grad]
        for weight in weights:
            if weight.grad is None:
                weight.grad = torch.zeros_like(weight)
        self._sum_over_processes([loss, *(weight.grad for weight in weights if weight.grad is not None)])
        return loss

    def _in_micro_batches(self, batch: Batch, contents: Tensor, kept: Tensor) -> Tensor:
        """This process's part of the loss of a batch; its gradients are added to those of the weights and contents."""
        settings, total = self._settings, torch.zeros(())
        number = settings.accumulate * settings.num_processes
        ends = [round(len(batch) * place / number) for place in range(number + 1)]
        first = self._process * settings.accumulate
        for start, end in list(pairwise(ends))[first : first + settings.accumulate]:
            if start < end:
                own, used = batch.part(slice(start, end))
                loss = self._plain_loss(own, contents[used], kept[used]) * ((end - start) / len(batch))
                loss.backward()  # type: ignore[no-untyped-call]
                total += loss.detach()
        return total

    def _loss(self, batch: Batch, contents: Tensor, kept: Tensor) -> Tensor:
        """Loss of a whole batch; with a step against the network also that after it."""
        if not self._settings.adversarial or not len(self._network.attentions):
            return self._plain_loss(batch, contents, kept)
        contents.requires_grad_(True)
        plain = self._plain_loss(batch, contents, kept)
        (slope,) = torch.autograd.grad(plain, contents, retain_graph=True)
        return plain + self._plain_loss(batch, self._moved(contents, slope, kept).detach(), kept)

    def _plain_loss(self, batch: Batch, contents: Tensor, kept: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=self._in_bfloat16):
            logits = self._network(batch, contents, kept)
        return LOSSES[self._settings.loss](logits.float(), batch.relevant, batch.is_item, batch.log_odds)

    def _moved(self, contents: Tensor, slope: Tensor, kept: Tensor) -> Tensor:
        """Contents a step up the loss.

        Tang et al. 2019, Adversarial Training Towards Robust Multimedia Recommender.
        """
        return contents + self._settings.adversarial * nn.functional.normalize(slope, dim=2) * kept[:, :, None]

    def _disturbed(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Contents of the batch's items as training disturbs them, [N, B, D], and which are there, [N, B]."""
        kept = self._has[batch.own_items]
        if self._settings.modality_dropout:
            kept = kept & (torch.rand(kept.shape) >= self._settings.modality_dropout)
        contents = self._blocks[batch.own_items] * kept[:, :, None]
        if self._settings.content_noise:
            noise = nn.functional.normalize(torch.randn(contents.shape), dim=2)
            contents = contents + self._settings.content_noise * noise * kept[:, :, None]
        return contents, kept

    @contextmanager
    def _own_chance(self) -> Iterator[None]:
        """Chance of this process alone, for dropout, so that all processes draw the same batches after it."""
        if self._settings.num_processes == 1:
            yield
            return
        with torch.random.fork_rng(devices=[]):
            step = self._schedule.last_epoch
            torch.manual_seed(int(np.random.SeedSequence([self._seed, step, self._process]).generate_state(1)[0]))
            yield

    def _sum_over_processes(self, tensors: Sequence[Tensor]) -> None:
        """Put the sums over all processes in the place of tensors."""
        if self._settings.num_processes == 1:
            return
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        torch.distributed.all_reduce(flat)
        sums = torch.split(flat, [tensor.numel() for tensor in tensors])
        for tensor, summed in zip(tensors, sums, strict=True):
            tensor.copy_(summed.view_as(tensor))

    # checkpoints

    def _keep(self, losses: Sequence[float]) -> None:
        if self._checkpoints is None or self._process:
            return
        (group,) = self._optimiser.param_groups
        weights = dict(self._network.named_parameters())
        self._checkpoints.save(
            len(losses),
            {
                _STATE: dict(weights),
                _OPTIMIZER: optimizer_tensors(self._optimiser, weights),
                _CHANCE: {"torch": torch.get_rng_state()},
            },
            {
                "losses": list(losses),
                "step": self._schedule.last_epoch,
                "rates": [group["lr"], *group["betas"]],
                "draws": self._rng.bit_generator.state,
            },
        )
        _remove_oldest(self._checkpoints.folder.parent)

    def _resume(self) -> list[float]:
        """Losses of the epochs that the newest checkpoint knows; empty where there is none."""
        found = None if self._checkpoints is None else self._checkpoints.newest()
        if self._checkpoints is None or found is None:
            return []
        epoch, progress = found
        self._network.load_state_dict(self._checkpoints.tensors(epoch, _STATE))
        moments = self._checkpoints.tensors(epoch, _OPTIMIZER)
        load_optimizer(self._optimiser, dict(self._network.named_parameters()), moments)
        (group,) = self._optimiser.param_groups
        group["lr"], *betas = progress["rates"]
        group["betas"] = tuple(betas)
        self._schedule.last_epoch = progress["step"]
        self._rng.bit_generator.state = progress["draws"]
        torch.set_rng_state(self._checkpoints.tensors(epoch, _CHANCE)["torch"])
        _log.info("training of the second stage goes on after epoch %d", epoch)
        losses: list[float] = progress["losses"]
        return losses

    def _require_same_epoch(self, epoch: int) -> None:
        """Refuse to go on from unlike epochs: those that are ahead would end while others wait for them."""
        if self._checkpoints is None or self._settings.num_processes == 1:
            return
        ends = torch.tensor([epoch, -epoch])
        torch.distributed.all_reduce(ends, torch.distributed.ReduceOp.MAX)
        last, first = int(ends[0]), -int(ends[1])
        if first != last:
            raise ModelError(
                f"second stage: training.second_stage.checkpoint = {self._settings.checkpoint} must be a folder that "
                f"all processes see: one goes on after epoch {last}, another after epoch {first}"
            )


def _base_logit(parts: Sequence[Examples]) -> float:
    """Log odds of a candidate being turned to."""
    num_relevant = sum(int(part.relevant.sum()) for part in parts)
    num_others = sum(int(part.inputs.is_item.sum()) for part in parts) - num_relevant
    return float(np.log(num_relevant / max(num_others, 1)))


def _identity(
    parts: Sequence[Examples], blocks_IBD: Floats, num_shares: int, settings: SecondStageSettings, seed: int
) -> str:
    """Hash of everything that decides the weights."""
    digest = hashlib.sha256()
    told: dict[str, Any] = {
        "settings": settings.model_dump(mode="json", exclude={"checkpoint", "launcher", "shared_folder"}),
        "num_shares": num_shares,
        "seed": seed,
        "torch": torch.__version__,
    }
    digest.update(json.dumps(told, sort_keys=True).encode())
    arrays: list[npt.NDArray[Any]] = [blocks_IBD]
    for part in parts:
        arrays += [part.relevant, *(getattr(part.inputs, field.name) for field in fields(CandidateInputs))]
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _remove_oldest(folder: Path) -> None:
    """Remove all but the trainings that were written to last."""
    trainings = sorted(folder.iterdir(), key=lambda place: place.stat().st_mtime, reverse=True)
    for place in trainings[_MAX_TRAININGS:]:
        shutil.rmtree(place, ignore_errors=True)
