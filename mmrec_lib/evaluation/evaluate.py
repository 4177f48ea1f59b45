"""Judge models by ranking the whole catalogue for every user, in blocks of users, all models in one pass."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mmrec_lib.errors import ModelError
from mmrec_lib.evaluation.config import EvaluationConfig, GroupConfig
from mmrec_lib.evaluation.groups import GroupFacts, group_rows, make_groupings
from mmrec_lib.evaluation.rankings import H, Scorer, rank_all, without_seen
from mmrec_lib.evaluation.rows import MetricRow, summarise
from mmrec_lib.evaluation.segments import UserValues, segment_values

_log = logging.getLogger(__name__)


def evaluate(
    models: Mapping[str, Scorer[H]],
    histories: H,
    seen: sparse.csr_matrix,
    relevant: sparse.csr_matrix,
    warm_users: NDArray[np.bool_],
    cold_items: NDArray[np.bool_],
    *,
    ks: Sequence[int] = (10, 20),
    num_bootstrap: int = 1000,
    seed: int = 0,
    block: int | None = None,
    max_users: int | None = None,
    facts: GroupFacts | None = None,
    groups: GroupConfig | None = None,
) -> list[MetricRow]:
    """Metrics of all models on all segments and groups, with 95 % intervals and paired tests against `ranker`.

    Args:
        models: By name; `ranker` is the one that the others are compared with.
        histories: What the models may know of the users, in the order of the rows of `seen`.
        seen: [num_users, num_items]; every stored entry is masked: never ranked, and never relevant.
        relevant: [num_users, num_items]; every stored entry is an item that the user turned to later.
        warm_users: [num_users] True for users with history in what the models were fitted on.
        cold_items: [num_items] True for items without an interaction there.
        ks: Cut-offs.
        num_bootstrap: Resamples of users.
        seed: Same seed, same intervals.
        block: Users scored at once; None bounds a block of scores by 128 MiB.
        max_users: Users with a relevant item that are looked at, at most, a seeded sample above; None looks at all.
        facts: Facts that groups of users and items are made of; None leaves groups out.
        groups: Bounds of the groups; None takes the defaults.

    Returns:
        Rows for each segment that has users with a relevant item, see `segments.SEGMENTS`, then those of groups, see
        `groups.group_rows`.

    Raises:
        ModelError: When shapes do not fit, or a model's scores have the wrong shape or are no numbers.
    """
    if max_users is not None:
        relevant = relevant_of_some(relevant, seen, max_users, seed)
    _check_shapes(seen, relevant, warm_users, cold_items)
    block = block or EvaluationConfig().block_users(relevant.shape[1])
    rankings = rank_all(models, histories, seen, relevant, cold_items, ks=ks, block=block)
    rows = summarise(segment_values(rankings, warm_users), num_bootstrap=num_bootstrap, seed=seed)
    if facts is not None:
        groups = groups or GroupConfig()
        groupings = make_groupings(rankings, facts, groups)
        rows += group_rows(rankings, groupings, groups, num_bootstrap=num_bootstrap, seed=seed)
    return rows


def user_values(
    models: Mapping[str, Scorer[H]],
    histories: H,
    seen: sparse.csr_matrix,
    relevant: sparse.csr_matrix,
    *,
    warm_users: NDArray[np.bool_],
    cold_items: NDArray[np.bool_],
    ks: Sequence[int] = (10, 20),
    block: int | None = None,
) -> list[UserValues]:
    """Values by user behind `evaluate`, for pooling over seeds or tests of one's own; arguments as there."""
    _check_shapes(seen, relevant, warm_users, cold_items)
    block = block or EvaluationConfig().block_users(relevant.shape[1])
    return segment_values(rank_all(models, histories, seen, relevant, cold_items, ks=ks, block=block), warm_users)


def relevant_of_some(
    relevant: sparse.csr_matrix, seen: sparse.csr_matrix, max_users: int, seed: int
) -> sparse.csr_matrix:
    """The same relevant items for a seeded sample of the users who have some that are not seen, and none for others.

    Raises:
        ModelError: When shapes differ.
    """
    if relevant.shape != seen.shape:
        raise ModelError(f"evaluate: seen must have shape {relevant.shape}, got {seen.shape}")
    users = np.flatnonzero(np.diff(without_seen(relevant, seen).indptr) > 0)
    if len(users) <= max_users:
        return relevant
    _log.info("evaluation looks at a seeded sample of %d of %d users (evaluation.max_users)", max_users, len(users))
    kept = np.zeros(relevant.shape[0], dtype=np.bool_)
    kept[np.random.default_rng(seed).choice(users, max_users, replace=False)] = True
    lengths = np.diff(relevant.indptr)
    chosen = np.repeat(kept, lengths)
    indptr = np.concatenate([[0], np.cumsum(np.where(kept, lengths, 0))])
    return sparse.csr_matrix((relevant.data[chosen], relevant.indices[chosen], indptr), shape=relevant.shape)


def _check_shapes(
    seen: sparse.csr_matrix,
    relevant: sparse.csr_matrix,
    warm_users: NDArray[np.bool_],
    cold_items: NDArray[np.bool_],
) -> None:
    num_users, num_items = relevant.shape
    expected = {"seen": (num_users, num_items), "warm_users": (num_users,), "cold_items": (num_items,)}
    for subject, array in (("seen", seen), ("warm_users", warm_users), ("cold_items", cold_items)):
        if array.shape != expected[subject]:
            raise ModelError(f"evaluate: {subject} must have shape {expected[subject]}, got {array.shape}")
