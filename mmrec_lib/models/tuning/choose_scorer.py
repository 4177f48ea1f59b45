"""Deciding on a scorer: its weight is chosen on validation, and it has one where users gain who did not choose it.

Each half of the users is judged by the weight that is best for the other half (two-fold cross-check), so that choosing
among several weights is no gain by itself. Where the interval of the gain lies above 0, the weight that is best for
all users counts.
"""

from __future__ import annotations

import logging
import time
from dataclasses import replace

import numpy as np
from scipy import sparse

from mmrec_lib.evaluation.metrics import hit_lists, hit_metrics
from mmrec_lib.evaluation.significance import mean_intervals
from mmrec_lib.models.data import Doubles, FitData, Floats, Histories, Interactions, Ints, row_blocks
from mmrec_lib.models.ranker.ranker import FittedRanker
from mmrec_lib.models.ranker.scorer import CandidateScorer, centred, in_scorer_order
from mmrec_lib.models.ranker.scorer_weight import ScorerWeight
from mmrec_lib.models.tuning.validation import CUT_OFF, without
from mmrec_lib.topk.selection import NO_ITEM, TopItems

WEIGHTS = (0.1, 0.25, 0.5, 1.0, 2.0)
"""Weights that are tried beside 0, in deviations."""
_NUM_BOOTSTRAP = 1_000
_MIN_USERS = 20
_USERS_AT_ONCE = 256
_LEAST_DEVIATION = 1e-6
_log = logging.getLogger(__name__)


def choose_scorer(
    ranker: FittedRanker,
    train: FitData,
    valid: Interactions,
    scorer: CandidateScorer,
    untried: ScorerWeight,
    *,
    max_users: int,
    seed: int,
) -> ScorerWeight:
    """The weight of a scorer, 0 where it has no gain that is beyond chance.

    Only users with history and with something to find are asked for: of others a scorer knows nothing.

    Args:
        ranker: The ranker of the training part, in whose order candidates stand.
        train: The training part; what a scorer is told of users is in it.
        valid: [U, I] the validation part.
        scorer: The scorer over the items of the fit.
        untried: Its name, revision and number of candidates.
        max_users: Users that it is judged on, at most, a seeded sample above.
        seed: Draws users and halves.
    """
    relevant = without(valid.weights, train.interactions.weights)
    users = np.flatnonzero((np.diff(relevant.indptr) > 0) & (np.diff(train.interactions.weights.indptr) > 0))
    generator = np.random.default_rng(seed)
    if len(users) > max_users:
        users = np.sort(generator.choice(users, max_users, replace=False))
    if len(users) < _MIN_USERS:
        reason = f"{len(users)} users can be judged by, {_MIN_USERS} are needed"
        return _told(replace(untried, num_users=len(users), reason=reason))
    histories, relevant = train.histories().rows(users), relevant[users]
    top = _candidates(ranker, histories, untried.num_candidates)
    started = time.perf_counter()
    values = scorer.values(histories, top.indices)
    seconds = 1_000 * (time.perf_counter() - started) / len(users)
    is_judged = (top.indices != NO_ITEM) & np.isfinite(values)
    deviation = float(np.sqrt(np.mean(centred(values, is_judged)[is_judged] ** 2))) if is_judged.any() else 0.0
    tried = replace(untried, num_users=len(users), seconds=round(seconds, 2))
    if deviation <= _LEAST_DEVIATION:
        return _told(replace(tried, reason="it tells no candidates of a user apart"))
    tried = replace(tried, deviation=deviation)
    gains = _gains(top, values, relevant, tried)
    held_out = _cross_checked(gains, generator.permutation(len(users)) % 2)
    (low,), (high,) = mean_intervals(held_out[:, None], _NUM_BOOTSTRAP, seed)
    means = gains.mean(axis=1)
    is_kept = low > 0 and means.max() > 0
    return _told(
        replace(
            tried,
            weight=WEIGHTS[int(means.argmax())] if is_kept else 0.0,
            gain=float(held_out.mean()),
            low=float(low),
            high=float(high),
        )
    )


def _told(decision: ScorerWeight) -> ScorerWeight:
    _log.info("%s", decision)
    return decision


def _candidates(ranker: FittedRanker, histories: Histories, num_candidates: int) -> TopItems:
    """The first unseen items of each user in the ranker's order, [n, C]."""
    parts = []
    for rows in row_blocks(len(histories), _USERS_AT_ONCE):
        users = ranker.project(histories.rows(np.arange(rows.start, rows.stop)))
        scores = users.vectors @ ranker.item_vectors().T
        seen = users.histories.weights
        scores[np.repeat(np.arange(len(users)), np.diff(seen.indptr)), seen.indices] = -np.inf
        parts.append(ranker.select(users, scores, num_candidates))
    return TopItems(np.concatenate([p.indices for p in parts]), np.concatenate([p.scores for p in parts]))


def _gains(top: TopItems, values: Floats, relevant: sparse.csr_matrix, tried: ScorerWeight) -> Doubles:
    """[weights, n] nDCG@10 in the order of each weight less that in the ranker's own."""
    num_relevant = np.diff(relevant.indptr)
    before = _ndcg(top, relevant, num_relevant)
    orders = (in_scorer_order(top, values, replace(tried, weight=weight)) for weight in WEIGHTS)
    return np.stack([_ndcg(order, relevant, num_relevant) - before for order in orders])


def _ndcg(top: TopItems, relevant: sparse.csr_matrix, num_relevant: Ints) -> Doubles:
    hits = hit_lists(top.indices, relevant)[:, :CUT_OFF]
    hits = np.pad(hits, ((0, 0), (0, CUT_OFF - hits.shape[1])))
    values: Doubles = hit_metrics(hits, num_relevant, (CUT_OFF,))[f"ndcg@{CUT_OFF}"]
    return values


def _cross_checked(gains_WN: Doubles, half_N: Ints) -> Doubles:
    """[n] gain of each user by the weight that is best for the other half; 0 where none is better than none."""
    found = np.zeros(gains_WN.shape[1])
    for half in (0, 1):
        means = gains_WN[:, half_N != half].mean(axis=1)
        if means.max() > 0:
            found[half_N == half] = gains_WN[int(means.argmax()), half_N == half]
    return found
