"""Training of cross-attention in torch, on top of a space that stays as it is.

An item's joint vector learns to be near that of an item that the same users turn to, and, made without one of its
modalities, near the vector of that modality: so what one modality lacks is heard from the others. It begins as the mean
of the modalities, and is kept only as far as the validation loss falls.

Shape letters: B items of a batch, I items, M modalities, d dimensions of the joint space, H heads, E of a head.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn

from mmrec_lib.models.alignment.attention import CrossAttention
from mmrec_lib.models.alignment.config import AlignmentConfig
from mmrec_lib.models.alignment.contrastive import fit_contrastive, start_log_scale, symmetric_loss
from mmrec_lib.models.data import Bools, Floats, Ints


def train_attention(
    vectors: Mapping[str, Floats],
    modalities: Sequence[str],
    learned: Bools,
    valid: Bools,
    related: sparse.csr_matrix,
    config: AlignmentConfig,
) -> CrossAttention:
    """Train a layer over the modalities' vectors.

    Args:
        vectors: [I, d] of each modality, of length 1, zeros where an item lacks it.
        modalities: Names of the M modalities.
        learned: [I] the items to learn from.
        valid: [I] the items that choose the epoch.
        related: [I, I] see `co_consumption`.
        config: Settings.

    Returns:
        The layer; the same for the same seed on one processor.
    """
    device = torch.device(config.device)
    tokens = torch.from_numpy(np.stack([vectors[name] for name in modalities], axis=1))
    parameters = _start(len(modalities), tokens.shape[2], config, device)
    log_scale = start_log_scale(config, device)
    hidden = torch.from_numpy(np.random.default_rng([config.seed, 1]).integers(0, 1 << 30, len(tokens)))

    def loss_of(items: Ints, partners: Ints, scale: Tensor) -> Tensor | None:
        own = tokens[torch.from_numpy(items)].to(device)
        others = tokens[torch.from_numpy(np.maximum(partners, 0))].to(device)
        terms = []
        drawn = torch.from_numpy(partners).to(device)
        if config.co_consumption_weight > 0 and (drawn >= 0).sum() > 1:
            same = (drawn[:, None] == drawn[None]) & ~torch.eye(len(drawn), dtype=torch.bool, device=device)
            both = drawn >= 0
            logits = scale * _joint(own, parameters)[both] @ _joint(others, parameters)[both].T
            terms.append(
                config.co_consumption_weight * symmetric_loss(logits.masked_fill(same[both][:, both], -torch.inf))
            )
        left_out = hidden[torch.from_numpy(items)].to(device)
        for place in range(len(modalities)):
            has = own.abs().sum(dim=2) > 0
            asked = has[:, place] & (has.sum(dim=1) > 1) & (left_out % len(modalities) == place)
            if asked.sum() > 1:
                kept = own[asked].clone()
                kept[:, place] = 0
                terms.append(symmetric_loss(scale * _joint(kept, parameters) @ own[asked][:, place].T))
        return torch.stack(terms).sum() / len(terms) if terms else None

    has_any = np.any([vectors[name].any(axis=1) for name in modalities], axis=0)
    state = fit_contrastive(parameters, log_scale, loss_of, learned & has_any, valid & has_any, related, config)
    return CrossAttention(**state)


def _start(num_modalities: int, dim: int, config: AlignmentConfig, device: torch.device) -> dict[str, nn.Parameter]:
    """Parameters of a layer that adds nothing yet."""
    generator = torch.Generator().manual_seed(config.seed)
    shape = (dim, config.attention_heads, max(1, dim // config.attention_heads))

    def small(*size: int) -> nn.Parameter:
        return nn.Parameter((torch.randn(size, generator=generator) / dim**0.5).to(device))

    return {
        "kinds": small(num_modalities, dim),
        "queries": small(*shape),
        "keys": small(*shape),
        "values": small(*shape),
        "output": nn.Parameter(torch.zeros((shape[1], shape[2], dim), device=device)),
    }


def _joint(tokens_BMd: Tensor, of: Mapping[str, Tensor]) -> Tensor:
    """[B, d] of length 1; as `CrossAttention.joint`."""
    has = tokens_BMd.abs().sum(dim=2) > 0
    told = tokens_BMd + of["kinds"] * has[:, :, None]
    asked, offered = (torch.einsum("bmd,dhe->bhme", told, of[name]) for name in ("queries", "keys"))
    logits = torch.einsum("bhme,bhne->bhmn", asked, offered) / asked.shape[-1] ** 0.5
    shares = logits.masked_fill(~has[:, None, None, :], -1e9).softmax(dim=3)
    heard = torch.einsum("bhmn,bhne->bhme", shares, torch.einsum("bmd,dhe->bhme", tokens_BMd, of["values"]))
    answers = torch.einsum("bhme,hed->bmd", heard, of["output"]) * has[:, :, None]
    return nn.functional.normalize((tokens_BMd + answers).sum(dim=1), dim=1)
