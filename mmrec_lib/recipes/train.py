"""Training of a recipe's network: epochs, a choice among them on validation, checkpoints to go on from.

Everything random follows from the seed and the epoch, so that a run that goes on ends with the same weights as one that
was never killed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from mmrec_lib.recipes.checkpoints import EpochCheckpoints
from mmrec_lib.recipes.config import RecipeConfig
from mmrec_lib.recipes.networks import Prepared, Tensors

IGNORED = -100
"""Target of what does not count: special tokens and padding."""

_CLIP = 1.0
_WARM_UP = 0.1
_log = logging.getLogger(__name__)

Evaluate = Callable[[list[npt.NDArray[np.float64]]], float]


@dataclass
class Curves:
    """Course of a training, one value an epoch.

    Attributes:
        train_loss: Mean loss over train.
        valid_loss: Mean loss over valid.
        valid_score: What chooses the epoch, higher is better.
        best_epoch: The chosen epoch, from 1; 0 before the first.
    """

    train_loss: list[float] = field(default_factory=list)
    valid_loss: list[float] = field(default_factory=list)
    valid_score: list[float] = field(default_factory=list)
    best_epoch: int = 0


@dataclass(frozen=True)
class Encoded:
    """Examples as a network reads them, with what is to be learned.

    Attributes:
        rows: See `RecipeNetwork.prepare`.
        targets: Class of each example, or of each of its tokens.
    """

    rows: Sequence[Prepared]
    targets: Sequence[int] | Sequence[list[int]]


class Trainer:
    """Trains one network."""

    def __init__(
        self,
        network: Any,
        config: RecipeConfig,
        *,
        folder: Path,
        identity: str,
        is_ordinal: bool = False,
        device: str = "cpu",
    ) -> None:
        """Bind to a network.

        Args:
            network: A `RecipeNetwork` that is a module of torch.
            config: How it is trained.
            folder: Where checkpoints lie; those of another identity are removed.
            identity: Hash of everything that decides the result.
            is_ordinal: Whether classes are levels in order: neighbours of the right one are less wrong.
            device: What is computed on.
        """
        self._network, self._config, self._checkpoints = network.to(device), config, EpochCheckpoints(folder, identity)
        self._is_ordinal, self._device = is_ordinal, device
        self._trained = {name: weight for name, weight in network.named_parameters() if weight.requires_grad}
        encoder = [weight for name, weight in self._trained.items() if name.startswith("encoder.")]
        others = [weight for name, weight in self._trained.items() if not name.startswith("encoder.")]
        groups = [
            {"params": weights, "lr": rate, "rate": rate}
            for weights, rate in ((encoder, config.learning_rate), (others, config.head_learning_rate))
            if weights
        ]
        self._optimizer = torch.optim.AdamW(groups, weight_decay=0.01)

    def fit(self, train: Encoded, valid: Encoded, evaluate: Evaluate) -> Curves:
        """Train until validation gets no better; the network ends with the weights of the best epoch.

        Args:
            train: Examples that weights are fitted on.
            valid: Examples that choose the epoch.
            evaluate: Score of the probabilities of `valid`, higher is better.
        """
        curves = self._resume()
        config = self._config
        steps = -(-len(train.rows) // config.batch_size)
        while len(curves.train_loss) < config.max_epochs and not _is_done(curves, config.patience):
            epoch = len(curves.train_loss)
            curves.train_loss.append(self._epoch(train, epoch, steps))
            probabilities, loss = self._judge(valid)
            curves.valid_loss.append(loss)
            curves.valid_score.append(evaluate(probabilities))
            if curves.best_epoch == 0 or _rank(curves, epoch) > _rank(curves, curves.best_epoch - 1):
                curves.best_epoch = epoch + 1
            self._checkpoints.keep(
                epoch + 1,
                curves.best_epoch,
                asdict(curves),
                weights={**self._trained, **dict(self._network.named_buffers())},
                optimizer=self._optimizer,
                trained=self._trained,
            )
            _log.info(
                "epoch %d: loss %.4f, validation loss %.4f, score %.4f",
                epoch + 1,
                curves.train_loss[-1],
                loss,
                curves.valid_score[-1],
            )
        self._network.load_state_dict(self._checkpoints.weights(curves.best_epoch), strict=False)
        return curves

    def predict(self, rows: Sequence[Prepared]) -> list[npt.NDArray[np.float64]]:
        """Probabilities `[C]` of each row, of a tagger `[L, C]`."""
        return predict(self._network, rows, self._config.batch_size, self._device)

    def _epoch(self, train: Encoded, epoch: int, steps: int) -> float:
        torch.manual_seed(self._config.seed * 1_000_003 + epoch)
        order = torch.randperm(len(train.rows)).tolist()
        self._network.train()
        total, size = 0.0, self._config.batch_size
        for step in range(steps):
            chosen = order[step * size : (step + 1) * size]
            self._set_rates((epoch * steps + step) / max(self._config.max_epochs * steps, 1))
            batch = self._batch([train.rows[n] for n in chosen])
            loss = self._loss(self._network(**batch), [train.targets[n] for n in chosen])
            self._optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(self._trained.values(), _CLIP)
            self._optimizer.step()
            total += float(loss.detach()) * len(chosen)
        return total / len(train.rows)

    def _judge(self, part: Encoded) -> tuple[list[npt.NDArray[np.float64]], float]:
        probabilities = self.predict(part.rows)
        losses = []
        for chances, target in zip(probabilities, part.targets, strict=True):
            wanted = np.array(target, ndmin=1)
            rows = np.atleast_2d(chances)[: len(wanted)]
            counted = wanted != IGNORED
            if counted.any():
                losses.append(-np.log(rows[counted, wanted[counted]].clip(1e-12)).mean())
        return probabilities, float(np.mean(losses))

    def _loss(self, logits: Tensor, targets: Sequence[Any]) -> Tensor:
        if logits.ndim == 3:
            wanted = torch.full(logits.shape[:2], IGNORED, device=self._device)
            for number, row in enumerate(targets):
                wanted[number, : len(row)] = torch.tensor(row, device=self._device)
            return nn.functional.cross_entropy(logits.flatten(0, 1), wanted.flatten(), ignore_index=IGNORED)
        right = torch.tensor(targets, device=self._device)
        if not self._is_ordinal:
            return nn.functional.cross_entropy(logits, right)
        levels = torch.arange(logits.shape[1], device=self._device)
        near = torch.softmax(-((levels - right.unsqueeze(1)).float() ** 2), dim=1)
        return nn.functional.cross_entropy(logits, near)

    def _batch(self, rows: Sequence[Prepared]) -> Tensors:
        return {name: tensor.to(self._device) for name, tensor in self._network.collate(rows).items()}

    def _set_rates(self, progress: float) -> None:
        """Rates rise over the first tenth of the steps and fall to zero at their end."""
        share = progress / _WARM_UP if progress < _WARM_UP else (1 - progress) / (1 - _WARM_UP)
        for group in self._optimizer.param_groups:
            group["lr"] = group["rate"] * max(share, 0.01)

    def _resume(self) -> Curves:
        """The newest whole checkpoint of this identity; none starts anew."""
        found = self._checkpoints.newest_course()
        if found is None:
            return Curves()
        epoch, told = found
        self._network.load_state_dict(self._checkpoints.weights(epoch), strict=False)
        self._checkpoints.load_moments(epoch, self._optimizer, self._trained)
        _log.info("training goes on after epoch %d", epoch)
        return Curves(**told)


def predict(
    network: Any, rows: Sequence[Prepared], batch_size: int, device: str = "cpu"
) -> list[npt.NDArray[np.float64]]:
    """Probabilities of rows, `[C]` or of a tagger `[L, C]` each; texts of about the same length are judged together."""
    network.eval()
    found: list[npt.NDArray[np.float64]] = [np.zeros(0)] * len(rows)
    order = sorted(range(len(rows)), key=lambda n: len(rows[n].ids))
    with torch.inference_mode():
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            batch = {name: tensor.to(device) for name, tensor in network.collate([rows[n] for n in chosen]).items()}
            chances = torch.softmax(network(**batch).double(), dim=-1).cpu().numpy()
            for place, number in enumerate(chosen):
                found[number] = chances[place, : len(rows[number].ids)] if chances.ndim == 3 else chances[place]
    return found


def _rank(curves: Curves, epoch: int) -> tuple[float, float]:
    """Order of epochs: by score, then by loss."""
    return round(curves.valid_score[epoch], 6), -curves.valid_loss[epoch]


def _is_done(curves: Curves, patience: int) -> bool:
    return curves.best_epoch > 0 and len(curves.train_loss) - curves.best_epoch >= patience
