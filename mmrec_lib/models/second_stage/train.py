"""Training of the second stage's network in torch.

Shape letters: n users of a batch, S drawn candidates, F features, L latest items, I items, N items of a batch, B
content blocks, D dimensions of a block, H attentions, A attention dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from mmrec_lib.models.data import Floats, Ints, row_blocks
from mmrec_lib.models.second_stage.context import num_context_columns
from mmrec_lib.models.second_stage.inputs import NUM_GAPS, Examples
from mmrec_lib.models.second_stage.losses import LOSSES, draw, without_false_negatives
from mmrec_lib.models.second_stage.modalities import FORMS, WeightedSum
from mmrec_lib.models.second_stage.model import Network
from mmrec_lib.models.second_stage_settings import SecondStageSettings
from mmrec_lib.topk.selection import NO_ITEM

# Users of a step: few where there are few, so that an epoch has steps enough.
_MIN_BATCH_USERS, _MAX_BATCH_USERS, _STEPS = 16, 64, 4
_LEAST_SCALE = 1e-3
_ITEMS_AT_ONCE = 8_192
_ROLES = ("query", "key", "value", "match")


class _Attention(nn.Module):
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
        self.attentions = nn.ModuleList(_Attention(blocks, settings, dim) for blocks in [*together, *apart])

    def forward(self, batch: _Batch, blocks: Tensor, has: Tensor) -> Tensor:
        """[n, S] logits."""
        hidden = self.dropout(nn.functional.silu(self.hidden(batch.features)))
        logits: Tensor = (self.output(hidden) + self.linear(batch.features))[:, :, 0]
        logits = logits + self.base + self.log_first_stage.exp() * batch.scores
        for attention in _attentions(self):
            logits = logits + attention(batch, attention.items(blocks, has))
        return logits


def _attentions(network: _Orderer) -> list[_Attention]:
    """With the type that `nn.ModuleList` forgets."""
    return [module for module in network.attentions if isinstance(module, _Attention)]


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
    """
    rng = np.random.default_rng(seed)
    parts = [_learnable(part, blocks_IBD, settings) for part in parts]
    filled = np.concatenate([part.inputs.features[part.inputs.is_item] for part in parts])
    mean, scale = _standardisation(filled, num_context_columns(settings.context))
    users = [(place, row) for place, part in enumerate(parts) for row in range(len(part.inputs))]
    blocks = torch.from_numpy(blocks_IBD)
    has = (blocks != 0).any(dim=2)
    is_seen = torch.arange(len(mean)) < (num_shares if settings.level == "decision" else len(mean))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        base_logit = _base_logit(parts) if settings.loss == "logistic" else 0.0
        network = _Orderer(len(mean), blocks_IBD.shape[1], blocks_IBD.shape[2], base_logit, settings)
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
                batch = _batch(parts, [users[at] for at in chosen], mean, scale, settings, rng)
                batch = replace(batch, features=batch.features * is_seen)
                optimiser.zero_grad()
                loss = _loss(network, batch, blocks, has, settings)
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
                schedule.step()
                total += loss.detach() * len(chosen)
            on_epoch(float(total) / len(users))
        network.eval()
        return _exported(network, mean, scale, blocks, has)


def _standardisation(features_RF: Floats, num_context: int) -> tuple[Floats, Floats]:
    """[F] what is taken off the features and what they are divided by.

    A feature of the context that never differed in training says nothing, whatever it is later.
    """
    mean, deviation = features_RF.mean(axis=0), features_RF.std(axis=0)
    scale = deviation + np.float32(_LEAST_SCALE)
    is_context = np.arange(len(scale)) >= len(scale) - num_context
    scale[is_context & (deviation == 0)] = np.inf
    return mean, scale


def _base_logit(parts: Sequence[Examples]) -> float:
    """Log odds of a candidate being turned to."""
    num_relevant = sum(int(part.relevant.sum()) for part in parts)
    num_others = sum(int(part.inputs.is_item.sum()) for part in parts) - num_relevant
    return float(np.log(num_relevant / max(num_others, 1)))


def _learnable(part: Examples, blocks_IBD: Floats, settings: SecondStageSettings) -> Examples:
    """Users with something relevant that the network may order, less what is no negative for certain."""
    part = replace(part, relevant=part.relevant & part.inputs.is_item)
    part = part.rows(np.flatnonzero(part.relevant.any(axis=1)))
    if settings.false_negative_cosine is None:
        return part
    kept = without_false_negatives(part.inputs, part.relevant, blocks_IBD, settings.false_negative_cosine)
    return replace(part, inputs=replace(part.inputs, is_item=kept))


def _loss(network: _Orderer, batch: _Batch, blocks: Tensor, has: Tensor, settings: SecondStageSettings) -> Tensor:
    """Loss of a batch, with contents as training disturbs them."""
    own = torch.from_numpy(batch.own_items)
    kept = has[own]
    if settings.modality_dropout:
        kept = kept & (torch.rand(kept.shape) >= settings.modality_dropout)
    contents = blocks[own] * kept[:, :, None]
    if settings.content_noise:
        noise = nn.functional.normalize(torch.randn(contents.shape), dim=2)
        contents = contents + settings.content_noise * noise * kept[:, :, None]

    def loss_of(vectors: Tensor) -> Tensor:
        logits = network(batch, vectors, kept)
        return LOSSES[settings.loss](logits, batch.relevant, batch.is_item, batch.log_odds)

    if not settings.adversarial or not len(network.attentions):
        return loss_of(contents)
    # Tang et al. 2019, Adversarial Training Towards Robust Multimedia Recommender System: one step up the loss.
    contents.requires_grad_(True)
    plain = loss_of(contents)
    (slope,) = torch.autograd.grad(plain, contents, retain_graph=True)
    step = settings.adversarial * nn.functional.normalize(slope, dim=2) * kept[:, :, None]
    return plain + loss_of((contents + step).detach())


def _batch(
    parts: Sequence[Examples],
    users: Sequence[tuple[int, int]],
    mean: Floats,
    scale: Floats,
    settings: SecondStageSettings,
    rng: np.random.Generator,
) -> _Batch:
    """Tensors of some users with all of their relevant candidates and some others."""
    by_part = [np.array([row for place, row in users if place == part], np.int64) for part in range(len(parts))]
    chosen = [part.rows(rows) for part, rows in zip(parts, by_part, strict=True) if len(rows)]
    relevant = np.concatenate([part.relevant for part in chosen])
    is_item = np.concatenate([part.inputs.is_item for part in chosen])
    scores = np.concatenate([part.inputs.scores for part in chosen])
    drawn, log_odds = draw(scores, relevant, is_item, settings.num_negatives, settings.hard_negatives, rng)

    def of_drawn(name: str) -> np.ndarray:
        values = np.concatenate([getattr(part.inputs, name) for part in chosen])
        return np.take_along_axis(values, drawn[:, :, None] if values.ndim == 3 else drawn, axis=1)

    def of_user(name: str) -> np.ndarray:
        return np.concatenate([getattr(part.inputs, name) for part in chosen])

    relevant, is_item = np.take_along_axis(relevant, drawn, axis=1), np.take_along_axis(is_item, drawn, axis=1)
    history, items = of_user("history"), of_drawn("items")
    own, places = np.unique(np.concatenate([items.ravel(), np.maximum(history, 0).ravel()]), return_inverse=True)
    return _Batch(
        features=torch.from_numpy(((of_drawn("features") - mean) / scale).astype(np.float32)),
        scores=torch.from_numpy(of_drawn("scores")),
        is_item=torch.from_numpy(is_item),
        relevant=torch.from_numpy(relevant.astype(np.float32)),
        log_odds=torch.from_numpy(log_odds),
        items=torch.from_numpy(places[: items.size].reshape(items.shape)),
        history=torch.from_numpy(places[items.size :].reshape(history.shape)),
        is_there=torch.from_numpy(history != NO_ITEM),
        gaps=torch.from_numpy(of_user("gaps")),
        strengths=torch.from_numpy(of_user("strengths")),
        own_items=own,
    )


def _exported(network: _Orderer, mean: Floats, scale: Floats, blocks: Tensor, has: Tensor) -> Network:
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


def _of_items(attention: _Attention, blocks: Tensor, has: Tensor, role: str) -> Floats:
    """[I, A] what the attention needs of the items in a role."""
    parts = [attention.items(blocks[rows], has[rows])[role].numpy() for rows in row_blocks(len(blocks), _ITEMS_AT_ONCE)]
    return np.concatenate(parts)


def _stacked(by_attention: Sequence[Floats], empty: tuple[int, ...]) -> Floats:
    """One array with the attentions on the second axis."""
    return np.stack(by_attention, axis=1) if by_attention else np.zeros(empty, np.float32)


def _numpy(weights: Tensor) -> Floats:
    own: Floats = weights.detach().numpy().copy()
    return own
