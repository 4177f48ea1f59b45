"""Training of the second stage's network in torch: a listwise softmax over each user's candidates.

Shape letters: n users of a batch, S drawn candidates, F features, L latest items, N items of a batch, A attention
dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from mmrec_lib.models.data import Bools, Floats, Ints, row_blocks
from mmrec_lib.models.second_stage.inputs import NUM_GAPS, CandidateInputs
from mmrec_lib.models.second_stage.modalities import FORMS
from mmrec_lib.models.second_stage.model import Network
from mmrec_lib.models.second_stage_settings import SecondStageSettings
from mmrec_lib.topk.selection import NO_ITEM

# Users of a step: few where there are few, so that an epoch has steps enough.
_MIN_BATCH_USERS, _MAX_BATCH_USERS, _STEPS = 16, 64, 4
_LEAST_SCALE = 1e-3
_ITEMS_AT_ONCE = 8_192
_ROLES = ("query", "key", "value", "match")


@dataclass(frozen=True)
class Examples:
    """Candidates of the users of a window, and which of them the users turned to.

    Attributes:
        inputs: n users; candidates that the network does not order are none.
        relevant: [n, C] also among those.
    """

    inputs: CandidateInputs
    relevant: Bools

    def rows(self, index: Ints) -> Examples:
        """Those of some of the users."""
        return Examples(self.inputs.rows(index), self.relevant[index])


class _Attention(nn.Module):
    """Target attention over the latest items, from items' fused contents."""

    def __init__(self, num_blocks: int, settings: SecondStageSettings, dim: int) -> None:
        super().__init__()
        size = settings.attention_dim
        self.fuse = FORMS[settings.form](num_blocks, dim, 2 * size)
        self.heads = nn.ModuleDict({name: nn.Linear(2 * size, size) for name in _ROLES})
        # Starts at nothing added.
        for weights in self.heads["match"].parameters():
            nn.init.zeros_(weights)
        self.gap_bias = nn.Parameter(torch.zeros(NUM_GAPS))
        self.strength = nn.Parameter(torch.zeros(1))

    def items(self, blocks: Tensor, has: Tensor) -> dict[str, Tensor]:
        """[N, A] by role."""
        fused = self.fuse(blocks, has)
        return {name: head(fused) for name, head in self.heads.items()}

    def forward(self, batch: _Batch, roles: dict[str, Tensor]) -> Tensor:
        """[n, S] what the latest items add."""
        query, match = roles["query"][batch.items], roles["match"][batch.items]
        key, value = roles["key"][batch.history], roles["value"][batch.history] * batch.is_there[:, :, None]
        bias = self.gap_bias[batch.gaps] + self.strength * batch.strengths
        logits = query @ key.transpose(1, 2) / query.shape[2] ** 0.5 + bias.masked_fill(~batch.is_there, -1e9)[:, None]
        attended: Tensor = ((torch.softmax(logits, dim=2) @ value) * match).sum(dim=2)
        return attended


@dataclass(frozen=True)
class _Batch:
    """Tensors of some users; items are positions among the batch's own items."""

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
    own_items: Ints


class _Orderer(nn.Module):
    """The network of `model.Network` in torch."""

    def __init__(self, num_features: int, num_blocks: int, dim: int, settings: SecondStageSettings) -> None:
        super().__init__()
        self.hidden = nn.Linear(num_features, settings.hidden_dim)
        self.output = nn.Linear(settings.hidden_dim, 1, bias=False)
        self.linear = nn.Linear(num_features, 1, bias=False)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.linear.weight)
        self.dropout = nn.Dropout(settings.dropout)
        self.log_first_stage = nn.Parameter(torch.zeros(1))
        self.attention = _Attention(num_blocks, settings, dim) if num_blocks else None

    def forward(self, batch: _Batch, blocks: Tensor, has: Tensor) -> Tensor:
        """[n, S] logits."""
        hidden = self.dropout(nn.functional.silu(self.hidden(batch.features)))
        logits: Tensor = (self.output(hidden) + self.linear(batch.features))[:, :, 0]
        logits = logits + self.log_first_stage.exp() * batch.scores
        if self.attention is not None:
            logits = logits + self.attention(batch, self.attention.items(blocks, has))
        return logits


def train_network(
    parts: Sequence[Examples],
    blocks_IBD: Floats,
    settings: SecondStageSettings,
    seed: int,
    on_epoch: Callable[[float], None] = lambda _: None,
) -> Network:
    """Fit the network on the examples of several windows; the same seed gives the same weights.

    The loss is the softmax over a user's relevant candidates and drawn others, with the correction for drawing (logQ;
    Yi et al. 2019); users weigh by the root of their number of relevant items.

    Args:
        parts: Examples of each window.
        blocks_IBD: Content blocks of the items; zeros where missing.
        settings: Sizes and training.
        seed: Seed of weights, drawing and dropout.
        on_epoch: Gets the mean loss of the users of each epoch.
    """
    rng = np.random.default_rng(seed)
    parts = [Examples(part.inputs, part.relevant & part.inputs.is_item) for part in parts]
    parts = [part.rows(np.flatnonzero(part.relevant.any(axis=1))) for part in parts]
    filled = np.concatenate([part.inputs.features[part.inputs.is_item] for part in parts])
    mean, scale = filled.mean(axis=0), filled.std(axis=0) + np.float32(_LEAST_SCALE)
    users = [(place, row) for place, part in enumerate(parts) for row in range(len(part.inputs))]
    blocks = torch.from_numpy(blocks_IBD)
    has = (blocks != 0).any(dim=2)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = _Orderer(len(mean), blocks_IBD.shape[1], blocks_IBD.shape[2], settings)
        optimiser = torch.optim.AdamW(
            network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        batch_users = min(max(len(users) // _STEPS, _MIN_BATCH_USERS), _MAX_BATCH_USERS)
        num_batches = -(-len(users) // batch_users)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, settings.learning_rate, total_steps=settings.epochs * num_batches
        )
        for _ in range(settings.epochs):
            order = rng.permutation(len(users))
            total = torch.zeros(())
            for chosen in np.array_split(order, num_batches):
                batch = _batch(parts, [users[at] for at in chosen], mean, scale, settings.num_negatives, rng)
                own = torch.from_numpy(batch.own_items)
                kept = has[own]
                if settings.modality_dropout:
                    kept = kept & (torch.rand(kept.shape) >= settings.modality_dropout)
                logits = network(batch, blocks[own] * kept[:, :, None], kept) + batch.log_odds
                log_shares = torch.log_softmax(logits.masked_fill(~batch.is_item, -1e9), dim=1)
                loss = -((log_shares * batch.relevant).sum(dim=1) / batch.relevant.sum(dim=1).sqrt()).mean()
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
                schedule.step()
                total += loss.detach() * len(chosen)
            on_epoch(float(total) / len(users))
        network.eval()
        return _exported(network, mean, scale, blocks, has)


def _batch(
    parts: Sequence[Examples],
    users: Sequence[tuple[int, int]],
    mean: Floats,
    scale: Floats,
    num_negatives: int,
    rng: np.random.Generator,
) -> _Batch:
    """Tensors of some users with all of their relevant candidates and some others."""
    by_part = [np.array([row for place, row in users if place == part], np.int64) for part in range(len(parts))]
    chosen = [part.rows(rows) for part, rows in zip(parts, by_part, strict=True) if len(rows)]
    relevant = np.concatenate([part.relevant for part in chosen])
    is_item = np.concatenate([part.inputs.is_item for part in chosen])
    num_relevant, num_items = relevant.sum(axis=1), is_item.sum(axis=1)
    num_drawn = min(relevant.shape[1], int(num_relevant.max()) + num_negatives)
    chance = rng.random(relevant.shape) + 2.0 * relevant + 1.0 * is_item
    drawn = np.argsort(-chance, axis=1, kind="stable")[:, :num_drawn]

    def of_drawn(name: str) -> np.ndarray:
        values = np.concatenate([getattr(part.inputs, name) for part in chosen])
        return np.take_along_axis(values, drawn[:, :, None] if values.ndim == 3 else drawn, axis=1)

    def of_user(name: str) -> np.ndarray:
        return np.concatenate([getattr(part.inputs, name) for part in chosen])

    relevant, is_item = np.take_along_axis(relevant, drawn, axis=1), np.take_along_axis(is_item, drawn, axis=1)
    others, drawn_others = num_items - num_relevant, np.maximum(is_item.sum(axis=1) - num_relevant, 1)
    odds = np.log(np.maximum(others, 1) / drawn_others)[:, None]
    history, items = of_user("history"), of_drawn("items")
    own, places = np.unique(np.concatenate([items.ravel(), np.maximum(history, 0).ravel()]), return_inverse=True)
    return _Batch(
        features=torch.from_numpy(((of_drawn("features") - mean) / scale).astype(np.float32)),
        scores=torch.from_numpy(of_drawn("scores")),
        is_item=torch.from_numpy(is_item),
        relevant=torch.from_numpy(relevant.astype(np.float32)),
        log_odds=torch.from_numpy(np.where(relevant, 0.0, odds).astype(np.float32)),
        items=torch.from_numpy(places[: items.size].reshape(items.shape)),
        history=torch.from_numpy(places[items.size :].reshape(history.shape)),
        is_there=torch.from_numpy(history != NO_ITEM),
        gaps=torch.from_numpy(of_user("gaps")),
        strengths=torch.from_numpy(of_user("strengths")),
        own_items=own,
    )


def _exported(network: _Orderer, mean: Floats, scale: Floats, blocks: Tensor, has: Tensor) -> Network:
    """The weights, and what the attention needs of each item, computed once for all users."""
    roles: dict[str, Floats] = {}
    attention = network.attention
    with torch.no_grad():
        for name in _ROLES:
            if attention is None:
                roles[name] = np.zeros((len(blocks), 0), np.float32)
                continue
            parts = [attention.items(blocks[rows], has[rows])[name] for rows in row_blocks(len(blocks), _ITEMS_AT_ONCE)]
            roles[name] = np.concatenate([part.numpy() for part in parts])
        return Network(
            mean=mean.astype(np.float32),
            scale=scale.astype(np.float32),
            hidden=_numpy(network.hidden.weight.T),
            hidden_bias=_numpy(network.hidden.bias),
            output=_numpy(network.output.weight[0]),
            linear=_numpy(network.linear.weight[0]),
            gap_bias=np.zeros(NUM_GAPS, np.float32) if attention is None else _numpy(attention.gap_bias),
            strength=np.zeros(1, np.float32) if attention is None else _numpy(attention.strength),
            first_stage=_numpy(network.log_first_stage.exp()),
            **roles,
        )


def _numpy(weights: Tensor) -> Floats:
    own: Floats = weights.detach().numpy().copy()
    return own
