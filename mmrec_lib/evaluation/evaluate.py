"""Judge models by ranking the whole catalogue for every user, in blocks of users, all models in one pass."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mmrec_lib.errors import ModelError
from mmrec_lib.evaluation.config import EvaluationConfig
from mmrec_lib.evaluation.metrics import list_metrics
from mmrec_lib.evaluation.rows import MetricRow, summarise
from mmrec_lib.evaluation.segments import SEGMENTS, Segment, UserValues
from mmrec_lib.topk.selection import select_top

_log = logging.getLogger(__name__)


class SliceableHistories(Protocol):
    """Histories of users as models take them, one row a user."""

    def rows(self, indices: NDArray[np.intp]) -> Self:
        """The histories of some users, in the order of `indices` [n]."""
        ...


H = TypeVar("H", bound=SliceableHistories)
H_contra = TypeVar("H_contra", bound=SliceableHistories, contravariant=True)


class Scorer(Protocol[H_contra]):
    """Anything that ranks."""

    def score(self, histories: H_contra, /) -> NDArray[np.float32]:
        """[n, num_items] scores, higher is better; seen items need not be masked."""
        ...


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
) -> list[MetricRow]:
    """Metrics of all models on all segments, with 95 % intervals and paired differences to the model `ranker`.

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

    Returns:
        Rows for each segment that has users with a relevant item; see `segments.SEGMENTS`.

    Raises:
        ModelError: When shapes do not fit, or a model's scores have the wrong shape or are no numbers.
    """
    if max_users is not None:
        relevant = relevant_of_some(relevant, seen, max_users, seed)
    parts = user_values(
        models, histories, seen, relevant, warm_users=warm_users, cold_items=cold_items, ks=ks, block=block
    )
    return summarise(parts, num_bootstrap=num_bootstrap, seed=seed)


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
    num_items = relevant.shape[1]
    _check_shapes(seen, relevant, warm_users, cold_items)
    wanted = without_seen(relevant, seen)
    has_relevant = np.diff(wanted.indptr) > 0
    has_cold_relevant = np.diff(wanted[:, cold_items].indptr) > 0
    cold_columns = np.flatnonzero(cold_items).astype(np.int32)

    members = {segment.name: _members(segment, has_relevant, has_cold_relevant, warm_users) for segment in SEGMENTS}
    lists: dict[tuple[str, str], list[NDArray[np.int32]]] = {
        (model, kind): [] for model in models for kind in ("all", "cold")
    }
    evaluated = np.flatnonzero(has_relevant)
    evaluated_cold = np.flatnonzero(has_cold_relevant)
    block = block or EvaluationConfig().block_users(num_items)
    for start in range(0, evaluated.size, block):
        users = evaluated[start : start + block]
        some = histories.rows(users)
        masked = seen[users]
        masked_rows = np.repeat(np.arange(users.size), np.diff(masked.indptr))
        for name, model in models.items():
            # A copy, because a model may hand out an array of its own.
            scores = np.array(model.score(some), dtype=np.float32, order="C")
            if scores.shape != (users.size, num_items):
                raise ModelError(f"model {name}: scores must be {(users.size, num_items)}, got {scores.shape}")
            scores[masked_rows, masked.indices] = -np.inf
            try:
                lists[name, "all"].append(select_top(scores, max(ks)).indices)
                cold_scores = np.ascontiguousarray(scores[has_cold_relevant[users]][:, cold_columns])
                cold_top = select_top(cold_scores, max(ks)).indices
            except ModelError as error:
                raise ModelError(f"model {name}: {error}") from error
            lists[name, "cold"].append(_renamed(cold_top, cold_columns))

    parts: list[UserValues] = []
    for segment in SEGMENTS:
        users = members[segment.name]
        target = _only(wanted[users], cold_items) if segment.cold_relevant else wanted[users]
        ranked = evaluated_cold if segment.cold_candidates else evaluated
        place = np.searchsorted(ranked, users)
        values: dict[str, dict[str, NDArray[np.float64]]] = {}
        coverage: dict[str, dict[str, float]] = {}
        for name in models:
            blocks = lists[name, "cold" if segment.cold_candidates else "all"]
            top = np.concatenate(blocks)[place] if blocks else np.zeros((0, max(ks)), np.int32)
            values[name] = list_metrics(top, target, ks)
            coverage[name] = _coverage(top, cold_items if segment.cold_relevant else np.ones(num_items, np.bool_), ks)
        parts.append(UserValues(segment=segment, users=users, values=values, coverage=coverage))
    return parts


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


def _pattern(matrix: sparse.csr_matrix) -> sparse.csr_matrix:
    """Stored entries as ones, each pair once: a stored zero is an entry too."""
    ones = sparse.csr_matrix((np.ones(matrix.indices.size, np.int32), matrix.indices, matrix.indptr), matrix.shape)
    ones.sum_duplicates()
    ones.data[:] = 1
    return ones


def without_seen(relevant: sparse.csr_matrix, seen: sparse.csr_matrix) -> sparse.csr_matrix:
    """Relevant entries that are not seen, as ones."""
    wanted = _pattern(relevant)
    left = sparse.csr_matrix(wanted - wanted.multiply(_pattern(seen)))
    left.eliminate_zeros()
    left.sort_indices()
    return left


def _only(relevant: sparse.csr_matrix, columns: NDArray[np.bool_]) -> sparse.csr_matrix:
    """Entries in the chosen columns; the shape stays."""
    kept = sparse.csr_matrix(relevant.multiply(columns.astype(np.int32)[None, :]))
    kept.eliminate_zeros()
    return kept


def _members(
    segment: Segment,
    has_relevant: NDArray[np.bool_],
    has_cold_relevant: NDArray[np.bool_],
    warm_users: NDArray[np.bool_],
) -> NDArray[np.intp]:
    chosen = has_cold_relevant if segment.cold_relevant else has_relevant
    if segment.users == "warm":
        chosen = chosen & warm_users
    elif segment.users == "cold":
        chosen = chosen & ~warm_users
    return np.flatnonzero(chosen)


def _renamed(top: NDArray[np.int32], columns: NDArray[np.int32]) -> NDArray[np.int32]:
    """Positions among some columns as item indices; padding stays -1."""
    if columns.size == 0:
        return top
    return np.where(top >= 0, columns[top], np.int32(-1))


def _coverage(top: NDArray[np.int32], candidates: NDArray[np.bool_], ks: Sequence[int]) -> dict[str, float]:
    """Share of the candidates that stand in at least one list, by cut-off."""
    num_candidates = max(int(candidates.sum()), 1)
    shares: dict[str, float] = {}
    for k in ks:
        listed = np.unique(top[:, :k])
        listed = listed[listed >= 0]
        shares[f"coverage@{k}"] = float(candidates[listed].sum()) / num_candidates
    return shares
