"""The second stage's network in torch, as it is trained; `model.Network` is what is left of it for serving.

Shape letters: n users of a batch, S drawn candidates, F features, L latest items, I items, N items of a batch, B
content blocks, D dimensions of a block, H attentions, A attention dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from mmrec_lib.models.data import Floats, row_blocks
from mmrec_lib.models.second_stage.inputs import NUM_GAPS
from mmrec_lib.models.second_stage.modalities import FORMS, WeightedSum
from mmrec_lib.models.second_stage.model import Network
from mmrec_lib.models.second_stage_settings import SecondStageSettings

_ITEMS_AT_ONCE = 8_192
_ROLES = ("query", "key", "value", "match")


@dataclass(frozen=True)
class Batch:
    """Tensors of some users.

    Attributes:
        features: [n, S, F] standardised.
        scores: [n, S] the first stage's scores in deviations.
        is_item: [n, S] where there is a candidate.
        relevant: [n, S] 1 where the user turned to it.
        log_odds: [n, S] log of how many candidates each stands for.
        items: [n, S] positions among the batch's own items.
        history: [n, L] likewise.
        is_there: [n, L] where there is an item of the history.
        gaps: [n, L] bucket of the time to the latest item.
        strengths: [n, L] log of its weight over the mean weight.
        own_items: [N] positions of the items in the catalogue.
    """

    features: Tensor
    scores: Tensor
    is_item: Tensor
    relevant: Tensor
    log_odds: Tensor
    items: Tensor
    history: Tensor
    is_there: Tensor
    gaps: Tensor
    strengths: Tensor
    own_items: Tensor

    def __len__(self) -> int:
        return len(self.features)

    def part(self, rows: slice) -> tuple[Batch, Tensor]:
        """Some of the users, and the places of their items among the batch's own."""
        items, history = self.items[rows], self.history[rows]
        used, places = torch.unique(torch.cat([items.flatten(), history.flatten()]), return_inverse=True)
        own = Batch(
            features=self.features[rows],
            scores=self.scores[rows],
            is_item=self.is_item[rows],
            relevant=self.relevant[rows],
            log_odds=self.log_odds[rows],
            items=places[: items.numel()].view(items.shape),
            history=places[items.numel() :].view(history.shape),
            is_there=self.is_there[rows],
            gaps=self.gaps[rows],
            strengths=self.strengths[rows],
            own_items=self.own_items[used],
        )
        return own, used


class Attention(nn.Module):
    """Target attention over the latest items, from items' fused contents or from one content block."""

    def __init__(self, blocks: slice, settings: SecondStageSettings, dim: int) -> None:
        super().__init__()
        size, num_blocks = settings.attention_dim, blocks.stop - blocks.start
        self.blocks = blocks
        # One block alone has nothing to be fused with.
        form = FORMS[settings.form] if num_blocks > 1 or settings.level == "feature" else WeightedSum
        self.fuse = form(num_blocks, dim, 2 * size)
        self.heads = nn.ModuleDict({name: nn.Linear(2 * size, size) for name in _ROLES})
        # Starts at nothing added.
        for weights in self.heads["match"].parameters():
            nn.init.zeros_(weights)
        self.gap_bias = nn.Parameter(torch.zeros(NUM_GAPS))
        self.strength = nn.Parameter(torch.zeros(1))

    def items(self, blocks: Tensor, has: Tensor) -> dict[str, Tensor]:
        """[N, A] by role."""
        fused = self.fuse(blocks[:, self.blocks], has[:, self.blocks])
        return {name: head(fused) for name, head in self.heads.items()}

    def forward(self, batch: Batch, roles: dict[str, Tensor]) -> Tensor:
        """[n, S] what the latest items add."""
        query, match = roles["query"][batch.items], roles["match"][batch.items]
        key, value = roles["key"][batch.history], roles["value"][batch.history] * batch.is_there[:, :, None]
        bias = self.gap_bias[batch.gaps] + self.strength * batch.strengths
        logits = query @ key.transpose(1, 2) / query.shape[2] ** 0.5 + bias.masked_fill(~batch.is_there, -1e9)[:, None]
        attended: Tensor = ((torch.softmax(logits, dim=2) @ value) * match).sum(dim=2)
        return attended


class Orderer(nn.Module):
    """The network of `model.Network` in torch."""

    def __init__(
        self, num_features: int, num_blocks: int, dim: int, base_logit: float, settings: SecondStageSettings
    ) -> None:
        super().__init__()
        is_decision = settings.level == "decision"
        self.hidden = nn.Linear(num_features, settings.hidden_dim)
        self.output = nn.Linear(settings.hidden_dim, 1, bias=False)
        self.linear = nn.Linear(num_features, 1, bias=False)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.linear.weight)
        self.output.weight.requires_grad_(not is_decision)
        self.dropout = nn.Dropout(settings.dropout)
        self.log_first_stage = nn.Parameter(torch.zeros(1))
        # Moves no candidate; without it the logistic loss would put its base rate into the order.
        self.base = nn.Parameter(torch.tensor(base_logit), requires_grad=settings.loss == "logistic")
        together = [slice(0, num_blocks)] if settings.level in ("feature", "hybrid") and num_blocks else []
        apart = [slice(at, at + 1) for at in range(num_blocks)] if settings.level in ("model", "hybrid") else []
        self.attentions = nn.ModuleList(Attention(blocks, settings, dim) for blocks in [*together, *apart])

    def forward(self, batch: Batch, blocks: Tensor, has: Tensor) -> Tensor:
        """[n, S] logits."""
        hidden = self.dropout(nn.functional.silu(self.hidden(batch.features)))
        logits: Tensor = (self.output(hidden) + self.linear(batch.features))[:, :, 0]
        logits = logits + self.base + self.log_first_stage.exp() * batch.scores
        for attention in _attentions(self):
            logits = logits + attention(batch, attention.items(blocks, has))
        return logits


def _attentions(network: Orderer) -> list[Attention]:
    """With the type that `nn.ModuleList` forgets."""
    return [module for module in network.attentions if isinstance(module, Attention)]


def exported(network: Orderer, mean: Floats, scale: Floats, blocks: Tensor, has: Tensor) -> Network:
    """The weights, and what each attention needs of each item, computed once for all users."""
    attentions = _attentions(network)
    with torch.no_grad():
        roles = {
            name: _stacked([_of_items(attention, blocks, has, name) for attention in attentions], (len(blocks), 0, 0))
            for name in _ROLES
        }
        return Network(
            mean=mean.astype(np.float32),
            scale=scale.astype(np.float32),
            hidden=_numpy(network.hidden.weight.T),
            hidden_bias=_numpy(network.hidden.bias),
            output=_numpy(network.output.weight[0]),
            linear=_numpy(network.linear.weight[0]),
            gap_bias=_stacked([_numpy(attention.gap_bias)[None] for attention in attentions], (1, 0, NUM_GAPS))[0],
            strength=_stacked([_numpy(attention.strength)[None] for attention in attentions], (1, 0, 1))[0],
            first_stage=_numpy(network.log_first_stage.exp()),
            **roles,
        )


def _of_items(attention: Attention, blocks: Tensor, has: Tensor, role: str) -> Floats:
    """[I, A] what the attention needs of the items in a role."""
    parts = [attention.items(blocks[rows], has[rows])[role].numpy() for rows in row_blocks(len(blocks), _ITEMS_AT_ONCE)]
    return np.concatenate(parts)


def _stacked(by_attention: Sequence[Floats], empty: tuple[int, ...]) -> Floats:
    """One array with the attentions on the second axis."""
    return np.stack(by_attention, axis=1) if by_attention else np.zeros(empty, np.float32)


def _numpy(weights: Tensor) -> Floats:
    own: Floats = weights.detach().numpy().copy()
    return own
