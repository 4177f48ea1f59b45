"""Weights of sources in the fusion, chosen on the validation part."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mmrec_lib.models.coordinate_search import learn_weights
from mmrec_lib.models.data import Floats
from mmrec_lib.models.tuning.validation import Candidates, ValidationUsers

NUM_CANDIDATES = 200
"""Best items of each user by each source and by popularity among which sums of scores are evaluated."""


def fusion_weights(shares: Mapping[str, Floats], users: ValidationUsers, seed: int) -> dict[str, float]:
    """Weight of each source, 0 where it does not help; see `learn_weights`.

    Args:
        shares: [n, W] standardised scores of each source.
        users: n users over the W items.
        seed: Seed of the halves that learned weights are checked on.
    """
    equal: Floats = np.sum(list(shares.values()), axis=0)
    lists = [users.top(scores, NUM_CANDIDATES) for scores in (*shares.values(), equal)]
    candidates = Candidates.of(users, lists)
    picked = {name: candidates.scores(share) for name, share in shares.items()}
    order = np.random.default_rng(seed).permutation(len(users))
    half = len(order) // 2
    parts = [np.sort(order[:half]), np.sort(order[half:]), np.arange(len(order))]
    part_candidates = [candidates.rows(part) for part in parts]

    def evaluate(weights: Mapping[str, float], part: int) -> float:
        fused: Floats = np.sum(
            [np.float32(weight) * picked[name][parts[part]] for name, weight in weights.items() if weight], axis=0
        )
        return float(part_candidates[part].ndcg_by_user(fused).mean())

    return learn_weights(list(shares), evaluate)
