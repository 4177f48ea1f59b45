"""Losses of the second stage, and the draw of the candidates that they are taken over.

Shape letters: n users, C candidates, S drawn candidates, I items, B content blocks, D dimensions of a block.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from mmrec_lib.models.data import Bools, Doubles, Floats, Ints
from mmrec_lib.models.second_stage.inputs import CandidateInputs
from mmrec_lib.models.second_stage_settings import Loss

_NEVER = -1e9
_LEAST_LENGTH, _LEAST_WEIGHT = 1e-6, 1e-12


def softmax_loss(logits: Tensor, relevant: Tensor, is_item: Tensor, log_odds: Tensor) -> Tensor:
    """Softmax over a user's candidates; users weigh by the root of their number of relevant items.

    The draw is corrected for by logQ (Yi et al. 2019, Sampling-Bias-Corrected Neural Modeling).

    Args:
        logits: [n, S].
        relevant: [n, S] 1 where the user turned to the candidate.
        is_item: [n, S] where there is a candidate.
        log_odds: [n, S] log of how many candidates each drawn one stands for.
    """
    log_shares = torch.log_softmax((logits + log_odds).masked_fill(~is_item, _NEVER), dim=1)
    return -((log_shares * relevant).sum(dim=1) / relevant.sum(dim=1).sqrt()).mean()


def bpr_loss(logits: Tensor, relevant: Tensor, is_item: Tensor, log_odds: Tensor) -> Tensor:
    """Bayesian personalised ranking (Rendle et al. 2009): each relevant candidate against each drawn other.

    Shapes as in `softmax_loss`; a drawn candidate weighs as many as it stands for.
    """
    wins = nn.functional.logsigmoid(logits[:, :, None] - logits[:, None, :])
    others = torch.where(is_item & (relevant == 0), log_odds.exp(), 0.0)
    weights = relevant[:, :, None] * others[:, None, :]
    by_user = (wins * weights).sum(dim=(1, 2)) / others.sum(dim=1).clamp(min=1.0)
    return -(by_user / relevant.sum(dim=1).sqrt()).mean()


def logistic_loss(logits: Tensor, relevant: Tensor, is_item: Tensor, log_odds: Tensor) -> Tensor:
    """Cross-entropy of each candidate alone: turned to or not; shapes and weights as in `bpr_loss`."""
    weights = torch.where(is_item, log_odds.exp(), 0.0)
    losses = nn.functional.binary_cross_entropy_with_logits(logits, relevant, weights, reduction="none")
    return (losses.sum(dim=1) / relevant.sum(dim=1).sqrt()).mean()


LOSSES: dict[Loss, Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]] = {
    "softmax": softmax_loss,
    "bpr": bpr_loss,
    "logistic": logistic_loss,
}


def draw(
    scores: Floats,
    relevant: Bools,
    is_item: Bools,
    num_negatives: int,
    hard_negatives: float,
    rng: np.random.Generator,
) -> tuple[Ints, Floats]:
    """Draw candidates without replacement: all relevant ones of a user, and some others.

    Args:
        scores: [n, C] the first stage's scores in deviations.
        relevant: [n, C].
        is_item: [n, C].
        num_negatives: Others of the user with most relevant ones; all others get as many in all.
        hard_negatives: Share of the chance that goes by the softmax of the scores.
        rng: Source of chance.

    Returns:
        [n, S] places of the drawn candidates, and [n, S] the log of how many each of them stands for: 0 for relevant
        ones and where all others are drawn; for others that of one over the expected draws of it if one could be drawn
        again, at least 0. That is exact where all are alike; with hard negatives likely ones count somewhat little.
    """
    others = is_item & ~relevant
    num_others = others.sum(axis=1, keepdims=True)
    weights = _weights(scores, others, num_others, hard_negatives)
    num_drawn = min(relevant.shape[1], int(relevant.sum(axis=1).max()) + num_negatives)
    # Efraimidis and Spirakis 2006: the largest u^(1/w).
    keys = rng.random(relevant.shape) ** (1.0 / np.where(others, weights, 1.0))
    drawn = np.argsort(-(keys + 2.0 * relevant + 1.0 * is_item), axis=1, kind="stable")[:, :num_drawn]
    is_other = np.take_along_axis(others, drawn, axis=1)
    stands_for = np.maximum(num_others, 1) / np.maximum(is_other.sum(axis=1, keepdims=True), 1)
    odds = np.log(stands_for) - np.log(np.where(is_other, np.take_along_axis(weights, drawn, axis=1), 1.0))
    are_some = is_other.sum(axis=1, keepdims=True) < num_others
    return drawn, np.where(is_other & are_some, np.maximum(odds, 0.0), 0.0).astype(np.float32)


def _weights(scores: Floats, others: Bools, num_others: Ints, hard_negatives: float) -> Doubles:
    """[n, C] weights of the draw, 1 on average over the others of a user."""
    by_score = np.where(others, np.exp(np.where(others, scores, 0.0).astype(np.float64)), 0.0)
    by_score *= num_others / np.maximum(by_score.sum(axis=1, keepdims=True), _LEAST_WEIGHT)
    weights: Doubles = (1.0 - hard_negatives) * others + hard_negatives * by_score
    return weights


def without_false_negatives(inputs: CandidateInputs, relevant: Bools, blocks_IBD: Floats, cosine: float) -> Bools:
    """[n, C] candidates that stay: not those whose contents have more than this cosine with a relevant one's.

    Such a candidate may be the same thing in other words, so that not turning to it says little.
    """
    flat = blocks_IBD.reshape(len(blocks_IBD), -1)
    lengths = np.linalg.norm(flat, axis=1, keepdims=True)
    unit = flat / np.maximum(lengths, _LEAST_LENGTH)
    kept = inputs.is_item.copy()
    for row in np.flatnonzero(relevant.any(axis=1)):
        own = unit[inputs.items[row]]
        likeness = (own @ own[relevant[row]].T).max(axis=1)
        kept[row] &= relevant[row] | (likeness <= cosine)
    return kept
