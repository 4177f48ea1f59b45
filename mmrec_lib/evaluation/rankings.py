"""Rank the whole catalogue for every user with something to find, in blocks of users, all models in one pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mmrec_lib.errors import ModelError
from mmrec_lib.evaluation.auc import auc_of_midranks, relevant_midranks
from mmrec_lib.evaluation.lists import average_popularity, novelty, popularity_percentile, serendipity
from mmrec_lib.evaluation.metrics import list_metrics
from mmrec_lib.topk.selection import select_top

POPULARITY_METRICS = ("novelty", "average_popularity", "popularity_percentile", "serendipity")
"""Metrics against the popularity of items in what the models were fitted on; of lists out of all items."""


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


@dataclass(frozen=True)
class View:
    """Rankings of all models as one kind of segment looks at them.

    Attributes:
        users: [n] indices of the users with a relevant item, ascending.
        relevant: [n, num_items] their relevant items that are not seen, as ones.
        lists: By model: [n, max(ks)] item indices, best first, -1 where a list ends early.
        values: By model: `{"ndcg@10": [n] float64, "auc": [n], …}`.
    """

    users: NDArray[np.intp]
    relevant: sparse.csr_matrix
    lists: dict[str, NDArray[np.int32]]
    values: dict[str, dict[str, NDArray[np.float64]]]


@dataclass(frozen=True)
class Rankings:
    """Rankings of all models for the users with something to find.

    Attributes:
        ks: Cut-offs of the values.
        users: [n] indices of the users with a relevant item, ascending.
        num_seen: [num_users] items of each user's history.
        popularity: [num_items] users who have an item in their history.
        cold_items: [num_items] True for items that no fit knows.
        whole: All relevant items among all.
        cold: Relevant cold items among cold items.
        cold_in_all: Relevant cold items among all.
    """

    ks: tuple[int, ...]
    users: NDArray[np.intp]
    num_seen: NDArray[np.int64]
    popularity: NDArray[np.int64]
    cold_items: NDArray[np.bool_]
    whole: View
    cold: View
    cold_in_all: View


def rank_all(
    models: Mapping[str, Scorer[H]],
    histories: H,
    seen: sparse.csr_matrix,
    relevant: sparse.csr_matrix,
    cold_items: NDArray[np.bool_],
    *,
    ks: Sequence[int],
    block: int,
) -> Rankings:
    """Score and rank in blocks of users; arguments as of `evaluate`.

    Raises:
        ModelError: When shapes do not fit, or a model's scores have the wrong shape or are no numbers.
    """
    num_items, length = relevant.shape[1], max(ks)
    masked, wanted = pattern(seen), without_seen(relevant, seen)
    cold_wanted = only_columns(wanted, cold_items)
    columns = np.flatnonzero(cold_items).astype(np.int32)
    cold_masked = masked[:, columns]
    popularity = np.bincount(masked.indices, minlength=num_items).astype(np.int64)
    users, cold_users = (np.flatnonzero(np.diff(some.indptr) > 0) for some in (wanted, cold_wanted))
    whole, cold = {name: _Ranked() for name in models}, {name: _Ranked() for name in models}
    expected: list[NDArray[np.int32]] = []
    for start in range(0, users.size, block):
        some = users[start : start + block]
        with_cold = np.isin(some, cold_users, assume_unique=True)
        own, hidden = histories.rows(some), masked[some]
        hidden_at = np.repeat(np.arange(some.size), np.diff(hidden.indptr)), hidden.indices
        expected.append(_popular_lists(popularity, some.size, hidden_at, length))
        for name, model in models.items():
            # A copy, because a model may hand out an array of its own.
            scores = np.array(model.score(own), dtype=np.float32, order="C")
            if scores.shape != (some.size, num_items):
                raise ModelError(f"model {name}: scores must be {(some.size, num_items)}, got {scores.shape}")
            scores[hidden_at] = -np.inf
            try:
                whole[name].add(scores, wanted[some], hidden, length)
                if with_cold.any():
                    among_cold = np.ascontiguousarray(scores[with_cold][:, columns])
                    rows = some[with_cold]
                    cold[name].add(among_cold, cold_wanted[rows][:, columns], cold_masked[rows], length, columns)
            except ModelError as error:
                raise ModelError(f"model {name}: {error}") from error

    num_seen = np.diff(masked.indptr).astype(np.int64)
    num_cold = columns.size - np.diff(cold_masked.indptr)
    is_cold = cold_items[wanted[users].indices]
    of_cold = np.isin(users, cold_users, assume_unique=True)
    in_all = {
        name: _Ranked([ranked.top(length)[of_cold]], [ranked.midranks()[is_cold]]) for name, ranked in whole.items()
    }
    views = [
        _view(whole, users, wanted, num_items - num_seen, ks),
        _view(cold, cold_users, cold_wanted, num_cold, ks),
        _view(in_all, cold_users, cold_wanted, num_items - num_seen, ks),
    ]
    popular = np.concatenate([np.zeros((0, length), np.int32), *expected])
    for name, top in views[0].lists.items():
        views[0].values[name] |= _popularity_metrics(top, popular, views[0].relevant, popularity, ks)
    return Rankings(tuple(ks), users, num_seen, popularity, cold_items, *views)


def _popular_lists(
    popularity: NDArray[np.int64],
    num_users: int,
    hidden_at: tuple[NDArray[np.intp], NDArray[np.int32]],
    length: int,
) -> NDArray[np.int32]:
    """[num_users, length] most popular items that are not hidden, the lists that one expects."""
    scores = np.tile(popularity.astype(np.float32), (num_users, 1))
    scores[hidden_at] = -np.inf
    return select_top(scores, length).indices


@dataclass
class _Ranked:
    """Lists and ranks of the relevant items of one model, block by block."""

    tops: list[NDArray[np.int32]] = field(default_factory=list)
    ranks: list[NDArray[np.float64]] = field(default_factory=list)

    def add(
        self,
        scores: NDArray[np.float32],
        relevant: sparse.csr_matrix,
        masked: sparse.csr_matrix,
        length: int,
        columns: NDArray[np.int32] | None = None,
    ) -> None:
        """Rank a block of users; `columns` are the items that the columns stand for, None where they are all items."""
        top = select_top(scores, length).indices
        self.tops.append(top if columns is None else np.where(top >= 0, columns[top], np.int32(-1)))
        self.ranks.append(relevant_midranks(scores, relevant, np.diff(masked.indptr)))

    def top(self, length: int) -> NDArray[np.int32]:
        """[n, length] lists of all blocks."""
        return np.concatenate([np.zeros((0, length), np.int32), *self.tops])

    def midranks(self) -> NDArray[np.float64]:
        """Ranks of the relevant items of all blocks; see `auc.relevant_midranks`."""
        return np.concatenate([np.zeros(0), *self.ranks])


def _view(
    ranked: Mapping[str, _Ranked],
    users: NDArray[np.intp],
    wanted: sparse.csr_matrix,
    num_candidates: NDArray[np.int64],
    ks: Sequence[int],
) -> View:
    relevant = wanted[users]
    lists = {name: own.top(max(ks)) for name, own in ranked.items()}
    values = {
        name: list_metrics(lists[name], relevant, ks)
        | {"auc": auc_of_midranks(own.midranks(), relevant, num_candidates[users])}
        for name, own in ranked.items()
    }
    return View(users, relevant, lists, values)


def _popularity_metrics(
    top: NDArray[np.int32],
    expected: NDArray[np.int32],
    relevant: sparse.csr_matrix,
    popularity: NDArray[np.int64],
    ks: Sequence[int],
) -> dict[str, NDArray[np.float64]]:
    values: dict[str, NDArray[np.float64]] = {}
    for k in ks:
        by_metric = (
            novelty(top, popularity, k),
            average_popularity(top, popularity, k),
            popularity_percentile(top, popularity, k),
            serendipity(top, expected, relevant, k),
        )
        values |= {f"{metric}@{k}": value for metric, value in zip(POPULARITY_METRICS, by_metric, strict=True)}
    return values


def pattern(matrix: sparse.csr_matrix) -> sparse.csr_matrix:
    """Stored entries as ones, each pair once: a stored zero is an entry too."""
    ones = sparse.csr_matrix((np.ones(matrix.indices.size, np.int32), matrix.indices, matrix.indptr), matrix.shape)
    ones.sum_duplicates()
    ones.data[:] = 1
    return ones


def without_seen(relevant: sparse.csr_matrix, seen: sparse.csr_matrix) -> sparse.csr_matrix:
    """Relevant entries that are not seen, as ones."""
    wanted = pattern(relevant)
    left = sparse.csr_matrix(wanted - wanted.multiply(pattern(seen)))
    left.eliminate_zeros()
    left.sort_indices()
    return left


def only_columns(relevant: sparse.csr_matrix, columns: NDArray[np.bool_]) -> sparse.csr_matrix:
    """Entries in the chosen columns; the shape stays."""
    kept = sparse.csr_matrix(relevant.multiply(columns.astype(np.int32)[None, :]))
    kept.eliminate_zeros()
    kept.sort_indices()
    return kept
