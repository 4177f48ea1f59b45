"""InfoNCE in torch: one linear map a modality, so that what belongs together is near and all else of a batch is not.

van den Oord, Li and Vinyals, "Representation Learning with Contrastive Predictive Coding" (2018), symmetric and with a
learned temperature as Radford et al., "Learning Transferable Visual Models From Natural Language Supervision" (2021).

Shape letters: B items of a batch, R leading directions of a modality, d dimensions of the joint space.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import TypeAlias

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn

from mmrec_lib.models.alignment.closed_forms import Maps
from mmrec_lib.models.alignment.config import AlignmentConfig
from mmrec_lib.models.alignment.views import View
from mmrec_lib.models.data import Bools, Doubles, Floats, Ints, row_blocks

Batch: TypeAlias = dict[str, tuple[Tensor, Tensor]]
"""[B, R] rows of each modality, and [B] whether an item has it."""
_MAX_LOGIT_SCALE = 100.0
_MAX_VALID_ITEMS = 2_000
_WEIGHT_DECAY = 1e-2
_log = logging.getLogger(__name__)


def infonce_maps(
    views: Mapping[str, View],
    learned: Bools,
    valid: Bools,
    related: sparse.csr_matrix,
    start: Maps,
    config: AlignmentConfig,
) -> Maps:
    """Train from given maps until the validation loss falls no more, and keep the best.

    Positives are the modalities of one item and, for each modality, the joint vector of an item that the same users
    turn to. Negatives are all other items of the batch. A modality that an item lacks is masked.

    Args:
        views: The modalities.
        learned: [I] the items to learn from.
        valid: [I] the items that choose the epoch.
        related: [I, I] see `co_consumption`.
        start: [R, d] maps to start from.
        config: Settings.

    Returns:
        [R, d] of each modality; the same for the same seed on one processor.
    """
    device = torch.device(config.device)
    tensors = {name: (torch.from_numpy(views[name].rows), torch.from_numpy(views[name].has)) for name in start}
    weights = {name: nn.Parameter(torch.from_numpy(_even(start[name])).to(device)) for name in start}
    log_scale = nn.Parameter(torch.tensor(float(np.log(1 / config.temperature)), device=device))
    decayed = {"params": list(weights.values()), "weight_decay": _WEIGHT_DECAY}
    optimizer = torch.optim.AdamW([decayed, {"params": [log_scale], "weight_decay": 0.0}], lr=config.learning_rate)

    def loss_of(items: Ints, partners: Ints) -> Tensor | None:
        own, others = (_projected(tensors, weights, index, device) for index in (items, np.maximum(partners, 0)))
        scale = log_scale.exp().clamp(max=_MAX_LOGIT_SCALE)
        return _loss(own, others, torch.from_numpy(partners).to(device), scale, config.co_consumption_weight)

    has_any = np.any([views[name].has for name in start], axis=0)
    trained, tested = np.flatnonzero(learned & has_any), np.flatnonzero(valid & has_any)[:_MAX_VALID_ITEMS]
    draw = _Partners.of(related, learned & has_any)
    fixed = _Partners.of(related, has_any).draw(tested, np.random.default_rng([config.seed, 0]))
    kept, best, best_epoch, steps = dict(start), _value(loss_of, tested, fixed), 0, 0
    for epoch in range(1, config.max_epochs + 1):
        rng = np.random.default_rng([config.seed, epoch])
        order = rng.permutation(trained)
        for rows in row_blocks(len(order), config.batch_size):
            loss = loss_of(order[rows], draw.draw(order[rows], rng))
            if loss is None:
                continue
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            steps += 1
        value = _value(loss_of, tested, fixed)
        _log.info("alignment, epoch %d: validation loss %.4f", epoch, value)
        if value < best:
            best, best_epoch = value, epoch
            kept = {name: weight.detach().cpu().numpy().copy() for name, weight in weights.items()}
        if epoch - best_epoch >= config.patience or steps >= config.max_steps:
            break
    return kept


@dataclass(frozen=True)
class _Partners:
    """Items to draw for an item, by their weight.

    Attributes:
        related: [I, I] those that may be drawn.
        ends: [nnz + 1] running sum of the weights.
    """

    related: sparse.csr_matrix
    ends: Doubles

    @classmethod
    def of(cls, related: sparse.csr_matrix, allowed: Bools) -> _Partners:
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


def _even(matrix: Floats) -> Floats:
    """The map with entries of a size that steps of the optimizer fit; its result is scaled to length 1 anyhow."""
    scaled: Floats = (matrix / max(float(matrix.std()), 1e-12) / np.sqrt(len(matrix))).astype(np.float32)
    return scaled


def _projected(tensors: Batch, weights: Mapping[str, Tensor], index: Ints, device: torch.device) -> Batch:
    """[B, d] of length 1 for each modality, and [B] whether an item has it."""
    at = torch.from_numpy(index)
    return {
        name: (nn.functional.normalize(rows[at].to(device) @ weights[name], dim=1), has[at].to(device))
        for name, (rows, has) in tensors.items()
    }


def _loss(own: Batch, others: Batch, partners: Tensor, scale: Tensor, weight: float) -> Tensor | None:
    """Mean loss over pairs of modalities, and over modalities with what the same users turn to; None without a pair."""
    is_other = ~torch.eye(len(partners), dtype=torch.bool, device=partners.device)
    terms = []
    for left, right in combinations(own, 2):
        both = own[left][1] & own[right][1]
        if both.sum() > 1:
            terms.append(_symmetric(scale * own[left][0][both] @ own[right][0][both].T))
    together = sum(vectors * has[:, None] for vectors, has in others.values())
    assert isinstance(together, Tensor)
    joint = nn.functional.normalize(together, dim=1)
    # Two items of a batch may have drawn the same one.
    same = (partners[:, None] == partners[None]) & is_other
    for vectors, has in own.values():
        both = has & (partners >= 0)
        if weight > 0 and both.sum() > 1:
            logits = scale * vectors[both] @ joint[both].T
            terms.append(weight * _symmetric(logits.masked_fill(same[both][:, both], -torch.inf)))
    return torch.stack(terms).sum() / len(terms) if terms else None


def _symmetric(logits: Tensor) -> Tensor:
    target = torch.arange(len(logits), device=logits.device)
    return (nn.functional.cross_entropy(logits, target) + nn.functional.cross_entropy(logits.T, target)) / 2


def _value(loss_of: Callable[[Ints, Ints], Tensor | None], items: Ints, partners: Ints) -> float:
    """Validation loss; infinite where there is nothing to validate on."""
    with torch.no_grad():
        loss = loss_of(items, partners)
    return float("inf") if loss is None else float(loss)
