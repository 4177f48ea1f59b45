"""Parts that contrastive trainings share: drawing co-consumed items, the symmetric loss, and when to end.

van den Oord, Li and Vinyals, "Representation Learning with Contrastive Predictive Coding" (2018), symmetric and with a
learned temperature as Radford et al., "Learning Transferable Visual Models From Natural Language Supervision" (2021).

Shape letters: B items of a batch, I items.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn

from mmrec_lib.models.alignment.config import AlignmentConfig
from mmrec_lib.models.data import Bools, Doubles, Floats, Ints, row_blocks

LossOf: TypeAlias = Callable[[Ints, Ints, Tensor], Tensor | None]
"""Loss of items, of the item that each has drawn (-1 for none) and of the scale of logits; None without a pair."""
_MAX_LOGIT_SCALE = 100.0
_MAX_VALID_ITEMS = 2_000
_WEIGHT_DECAY = 1e-2
_log = logging.getLogger(__name__)


def start_log_scale(config: AlignmentConfig, device: torch.device) -> nn.Parameter:
    """Logarithm of the scale of logits, to begin with."""
    return nn.Parameter(torch.tensor(float(np.log(1 / config.temperature)), device=device))


def fit_contrastive(
    parameters: Mapping[str, nn.Parameter],
    log_scale: nn.Parameter,
    loss_of: LossOf,
    learned: Bools,
    valid: Bools,
    related: sparse.csr_matrix,
    config: AlignmentConfig,
) -> dict[str, Floats]:
    """Train until the validation loss falls no more, and keep the best, the start among them.

    Args:
        parameters: What is trained.
        log_scale: Trained with it, without decay.
        loss_of: The loss.
        learned: [I] the items to learn from.
        valid: [I] the items that choose the epoch.
        related: [I, I] items to draw for an item; see `co_consumption`.
        config: Settings.

    Returns:
        The parameters' best values.
    """
    decayed = {"params": list(parameters.values()), "weight_decay": _WEIGHT_DECAY}
    optimizer = torch.optim.AdamW([decayed, {"params": [log_scale], "weight_decay": 0.0}], lr=config.learning_rate)

    def current(items: Ints, partners: Ints) -> Tensor | None:
        return loss_of(items, partners, log_scale.exp().clamp(max=_MAX_LOGIT_SCALE))

    def values() -> dict[str, Floats]:
        return {name: weight.detach().cpu().numpy().copy() for name, weight in parameters.items()}

    trained, tested = np.flatnonzero(learned), np.flatnonzero(valid)[:_MAX_VALID_ITEMS]
    draw = Partners.of(related, learned)
    fixed = Partners.of(related, learned | valid).draw(tested, np.random.default_rng([config.seed, 0]))
    kept, best, best_epoch, steps = values(), _value(current, tested, fixed), 0, 0
    for epoch in range(1, config.max_epochs + 1):
        rng = np.random.default_rng([config.seed, epoch])
        order = rng.permutation(trained)
        for rows in row_blocks(len(order), config.batch_size):
            loss = current(order[rows], draw.draw(order[rows], rng))
            if loss is None:
                continue
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            steps += 1
        value = _value(current, tested, fixed)
        _log.info("alignment, epoch %d: validation loss %.4f", epoch, value)
        if value < best:
            kept, best, best_epoch = values(), value, epoch
        if epoch - best_epoch >= config.patience or steps >= config.max_steps:
            break
    return kept


@dataclass(frozen=True)
class Partners:
    """Items to draw for an item, by their weight.

    Attributes:
        related: [I, I] those that may be drawn.
        ends: [nnz + 1] running sum of the weights.
    """

    related: sparse.csr_matrix
    ends: Doubles

    @classmethod
    def of(cls, related: sparse.csr_matrix, allowed: Bools) -> Partners:
        """Those among some items."""
        kept = sparse.csr_matrix(related @ sparse.diags_array(allowed.astype(np.float32)))
        kept.eliminate_zeros()
        return cls(kept, np.concatenate([[0.0], np.cumsum(kept.data, dtype=np.float64)]))

    def draw(self, items: Ints, rng: np.random.Generator) -> Ints:
        """[B] an item for each, or -1 where it has none."""
        first, last = self.related.indptr[items], self.related.indptr[items + 1]
        wanted = self.ends[first] + rng.random(len(items)) * (self.ends[last] - self.ends[first])
        place = np.minimum(np.searchsorted(self.ends, wanted, side="right") - 1, last - 1)
        found: Ints = np.full(len(items), -1, dtype=np.int64)
        has = last > first
        found[has] = self.related.indices[place[has]]
        return found


def symmetric_loss(logits: Tensor) -> Tensor:
    """InfoNCE both ways; what belongs together lies on the diagonal of [B, B]."""
    target = torch.arange(len(logits), device=logits.device)
    return (nn.functional.cross_entropy(logits, target) + nn.functional.cross_entropy(logits.T, target)) / 2


def _value(loss_of: Callable[[Ints, Ints], Tensor | None], items: Ints, partners: Ints) -> float:
    """Validation loss; infinite where there is nothing to validate on."""
    with torch.no_grad():
        loss = loss_of(items, partners)
    return float("inf") if loss is None else float(loss)
