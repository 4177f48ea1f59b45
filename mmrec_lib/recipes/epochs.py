"""Epochs of an encoder's training: validation chooses among them, and a killed run goes on from its last one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from mmrec_lib.recipes.checkpoints import EpochCheckpoints

_CLIP = 1.0
_WARM_UP = 0.1
_LEAST_SHARE = 0.02
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Course:
    """Course of a training, one value an epoch.

    Attributes:
        losses: Mean loss over the batches.
        scores: Validation score, higher is better; the first is that of the encoder as it was.
        best_epoch: The chosen epoch, from 1; 0 where none was better than the encoder as it was.
    """

    losses: list[float]
    scores: list[float]
    best_epoch: int


class Steps:
    """Steps of an optimizer whose rate rises over the first tenth of the training and falls to its end."""

    def __init__(self, trained: Mapping[str, nn.Parameter], learning_rate: float, num_steps: int) -> None:
        """Make the optimizer.

        Args:
            trained: Weights by name.
            learning_rate: Largest step size.
            num_steps: Steps of all epochs together.
        """
        self.trained = dict(trained)
        self.optimizer = torch.optim.AdamW(self.trained.values(), lr=learning_rate, weight_decay=0.0)
        self._learning_rate, self._num_steps = learning_rate, num_steps

    def set_rate(self, step: int) -> None:
        """Set the rate of a step, counted over all epochs from 0."""
        progress = step / self._num_steps
        share = max(min(progress / _WARM_UP, (1 - progress) / (1 - _WARM_UP)), _LEAST_SHARE)
        for group in self.optimizer.param_groups:
            group["lr"] = self._learning_rate * share

    def take(self, loss: Any) -> float:
        """Move the weights against the gradient of a loss, and give back its value."""
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.trained.values(), _CLIP)
        self.optimizer.step()
        return float(loss.detach())


def train_epochs(
    name: str,
    steps: Steps,
    epoch_of: Callable[[int], float],
    validate: Callable[[], float],
    *,
    max_epochs: int,
    patience: int,
    checkpoints: EpochCheckpoints | None = None,
) -> Course:
    """Train until validation gets no better, and end with the weights of the best epoch.

    Args:
        name: What is trained, for the log.
        steps: Weights and optimizer.
        epoch_of: Trains an epoch, counted from 1, and gives back its mean loss. Everything random in it follows from
            the epoch, so that a run that goes on ends with the same weights as one that was never killed.
        validate: Score of the weights as they are now, higher is better.
        max_epochs: Epochs at most.
        patience: Epochs without a better score after which training ends.
        checkpoints: Where a killed run goes on from; None keeps nothing on disk.
    """
    best = _copied(steps.trained)
    found = None if checkpoints is None else checkpoints.newest_course()
    if checkpoints is not None and found is not None:
        done, told = found
        course = Course(**told)
        if course.best_epoch:
            best = checkpoints.weights(course.best_epoch)
        _load(steps.trained, checkpoints.weights(done))
        checkpoints.load_moments(done, steps.optimizer, steps.trained)
        _log.info("%s: training goes on after epoch %d", name, done)
    else:
        course = Course([], [validate()], 0)
    while len(course.losses) < max_epochs and not _is_done(course, patience):
        epoch = len(course.losses) + 1
        losses = [*course.losses, epoch_of(epoch)]
        scores = [*course.scores, validate()]
        is_better = scores[-1] > scores[course.best_epoch]
        course = Course(losses, scores, epoch if is_better else course.best_epoch)
        if is_better:
            best = _copied(steps.trained)
        if checkpoints is not None:
            checkpoints.keep(
                epoch,
                course.best_epoch,
                asdict(course),
                weights=steps.trained,
                optimizer=steps.optimizer,
                trained=steps.trained,
            )
        _log.info("%s, epoch %d: loss %.4f, validation score %.4f", name, epoch, losses[-1], scores[-1])
    _load(steps.trained, best)
    return course


def _is_done(course: Course, patience: int) -> bool:
    return len(course.losses) - course.best_epoch >= patience


def _copied(trained: Mapping[str, nn.Parameter]) -> dict[str, torch.Tensor]:
    return {name: weight.detach().clone() for name, weight in trained.items()}


def _load(trained: Mapping[str, nn.Parameter], values: Mapping[str, torch.Tensor]) -> None:
    with torch.no_grad():
        for name, weight in trained.items():
            weight.copy_(values[name])
