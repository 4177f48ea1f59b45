"""InfoNCE in torch: one linear map a modality, so that what belongs together is near and all else of a batch is not.

See `contrastive` for the training and its sources.

Shape letters: B items of a batch, R leading directions of a modality, d dimensions of the joint space.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import TypeAlias

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn

from mmrec_lib.models.alignment.closed_forms import Maps
from mmrec_lib.models.alignment.config import AlignmentConfig
from mmrec_lib.models.alignment.contrastive import fit_contrastive, start_log_scale, symmetric_loss
from mmrec_lib.models.alignment.views import View
from mmrec_lib.models.data import Bools, Floats, Ints

Batch: TypeAlias = dict[str, tuple[Tensor, Tensor]]
"""[B, R] rows of each modality, and [B] whether an item has it."""


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

    def loss_of(items: Ints, partners: Ints, scale: Tensor) -> Tensor | None:
        own, others = (_projected(tensors, weights, index, device) for index in (items, np.maximum(partners, 0)))
        return _loss(own, others, torch.from_numpy(partners).to(device), scale, config.co_consumption_weight)

    has_any = np.any([views[name].has for name in start], axis=0)
    log_scale = start_log_scale(config, device)
    return fit_contrastive(weights, log_scale, loss_of, learned & has_any, valid & has_any, related, config)


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
            terms.append(symmetric_loss(scale * own[left][0][both] @ own[right][0][both].T))
    together = sum(vectors * has[:, None] for vectors, has in others.values())
    assert isinstance(together, Tensor)
    joint = nn.functional.normalize(together, dim=1)
    # Two items of a batch may have drawn the same one.
    same = (partners[:, None] == partners[None]) & is_other
    for vectors, has in own.values():
        both = has & (partners >= 0)
        if weight > 0 and both.sum() > 1:
            logits = scale * vectors[both] @ joint[both].T
            terms.append(weight * symmetric_loss(logits.masked_fill(same[both][:, both], -torch.inf)))
    return torch.stack(terms).sum() / len(terms) if terms else None
