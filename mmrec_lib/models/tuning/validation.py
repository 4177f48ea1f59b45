"""The validation part as the search sees it: users with relevant items, their histories, and one objective.

The objective is nDCG@10 over the full catalogue with the items of the training part masked. Test never comes here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from mmrec_lib.evaluation.metrics import hit_lists, hit_metrics, rank_metrics
from mmrec_lib.models.config import TrainingConfig
from mmrec_lib.models.data import Bools, Doubles, FitData, Floats, Histories, Interactions, Ints
from mmrec_lib.models.sources.base import FrequentItems
from mmrec_lib.models.sources.content import ContentFeatures
from mmrec_lib.topk.selection import NO_ITEM, select_top

CUT_OFF = 10


@dataclass(frozen=True)
class ValidationUsers:
    """Users of the validation part, with what they had in train and what is relevant for them.

    Attributes:
        histories: n users, [n, I] weights in train; these items are masked.
        relevant: [n, I] what they acted on in the validation part.
    """

    histories: Histories
    relevant: sparse.csr_matrix

    @classmethod
    def of(cls, train: FitData, valid: Interactions, config: TrainingConfig) -> ValidationUsers:
        """All users with something relevant that train does not hold, a seeded sample above the configured number."""
        relevant = without(valid.weights, train.interactions.weights)
        index = np.flatnonzero(np.diff(relevant.indptr) > 0)
        limit = max(min(config.max_search_users, config.max_search_cells // max(len(train.item_ids), 1)), 1)
        if len(index) > limit:
            index = np.sort(np.random.default_rng(config.seed).choice(index, limit, replace=False))
        return cls(train.histories().rows(index), relevant[index])

    def __len__(self) -> int:
        return int(self.relevant.shape[0])

    @property
    def has_history(self) -> Bools:
        """[n] whether a user has a history in train."""
        has: Bools = np.diff(self.histories.weights.indptr) > 0
        return has

    def rows(self, index: Ints) -> ValidationUsers:
        """Some of the users."""
        return ValidationUsers(self.histories.rows(index), self.relevant[index])

    def columns(self, kept: Bools) -> ValidationUsers:
        """The same users over some of the items ([I] bool); histories and relevant items elsewhere are dropped."""
        index = np.flatnonzero(kept)
        histories = Histories(self.histories.weights[:, index], self.histories.attributes)
        return ValidationUsers(histories, self.relevant[:, index])

    def ndcg_by_user(self, scores: Floats) -> Doubles:
        """[n] nDCG@10 of scores [n, I] float32, which are left as they are."""
        values: Doubles = rank_metrics(self._masked(scores), self.relevant, (CUT_OFF,))[f"ndcg@{CUT_OFF}"]
        return values

    def top(self, scores: Floats, k: int) -> npt.NDArray[np.int32]:
        """[n, k] the best unseen items by scores [n, I], NO_ITEM (-1) where there are fewer."""
        return select_top(self._masked(scores), k).indices

    def _masked(self, scores: Floats) -> Floats:
        masked = np.array(scores, dtype=np.float32)
        weights = self.histories.weights
        masked[np.repeat(np.arange(len(self)), np.diff(weights.indptr)), weights.indices] = -np.inf
        return masked

    def ndcg(self, scores: Floats) -> float:
        """Mean nDCG@10 of scores [n, I]; 0 without users."""
        return float(self.ndcg_by_user(scores).mean()) if len(self) else 0.0


@dataclass(frozen=True)
class Candidates:
    """The few items of each user that can come first by any score that a search tries, so that a try costs little.

    Attributes:
        items: [n, C] unseen items of each user in their order, NO_ITEM (-1) where a user has fewer.
        hits: [n, C] which of them are relevant.
        num_relevant: [n] relevant items of each user, also those that are no candidates.
    """

    items: npt.NDArray[np.int32]
    hits: Bools
    num_relevant: Ints

    @classmethod
    def of(cls, users: ValidationUsers, lists: Sequence[npt.NDArray[np.integer]]) -> Candidates:
        """The union of lists [n, k] of items of each user, less what the user had in train; NO_ITEM is skipped."""
        listed = np.hstack(lists)
        rows, places = np.nonzero(listed != NO_ITEM)
        shape = users.relevant.shape
        union = sparse.csr_matrix((np.ones(len(rows), np.float32), (rows, listed[rows, places])), shape=shape)
        unseen = without(union, users.histories.weights)
        lengths = np.diff(unseen.indptr)
        items = np.full((shape[0], int(lengths.max(initial=0))), NO_ITEM, dtype=np.int32)
        items[np.arange(items.shape[1]) < lengths[:, None]] = unseen.indices
        return cls(items, hit_lists(items, users.relevant), np.diff(users.relevant.indptr))

    def rows(self, index: Ints) -> Candidates:
        """Those of some of the users."""
        return Candidates(self.items[index], self.hits[index], self.num_relevant[index])

    def scores(self, scores_NI: Floats) -> Floats:
        """The candidates' part of scores over all items, [n, C] float32; -inf where there is no candidate."""
        picked = np.take_along_axis(scores_NI, np.maximum(self.items, 0), axis=1)
        masked: Floats = np.where(self.items == NO_ITEM, np.float32(-np.inf), picked)
        return masked

    def ndcg_by_user(self, scores_NC: Floats) -> Doubles:
        """[n] nDCG@10 of what `scores` gave, or sums of it."""
        top = select_top(scores_NC, CUT_OFF).indices
        hits = np.take_along_axis(self.hits, np.maximum(top, 0).astype(np.int64), axis=1) & (top != NO_ITEM)
        values: Doubles = hit_metrics(hits, self.num_relevant, (CUT_OFF,))[f"ndcg@{CUT_OFF}"]
        return values


def frequent_items(
    x_UW: sparse.csr_matrix,
    users: ValidationUsers,
    known_NW: sparse.csr_matrix,
    warm_items: Bools,
    features: ContentFeatures,
    max_items: int,
) -> FrequentItems:
    """The items with most interactions, ties by their order, and the users who have something to find among them.

    Args:
        x_UW: Histories to fit on.
        users: n users over the W items.
        known_NW: Their histories in train.
        warm_items: [I] the W items with interactions.
        features: Contents as unit rows, over all items.
        max_items: Items that are kept, at most.
    """
    counts_W = np.bincount(x_UW.indices, minlength=x_UW.shape[1])
    kept = np.zeros(len(counts_W), dtype=np.bool_)
    kept[np.argsort(-counts_W, kind="stable")[:max_items]] = True
    narrowed = users.columns(kept)
    found = np.flatnonzero(np.diff(narrowed.relevant.indptr) > 0)
    histories = x_UW[:, np.flatnonzero(kept)]
    items = np.zeros_like(warm_items)
    items[np.flatnonzero(warm_items)[kept]] = True
    return FrequentItems(
        histories=histories[np.diff(histories.indptr) > 0],
        known=known_NW[found][:, np.flatnonzero(kept)],
        evaluate=narrowed.rows(found).ndcg,
        features=features,
        items=items,
    )


def without(matrix: sparse.csr_matrix, taken: sparse.csr_matrix) -> sparse.csr_matrix:
    """The stored positions of a matrix that another one of the same shape does not store."""
    width = matrix.shape[1]
    rows = np.repeat(np.arange(matrix.shape[0], dtype=np.int64), np.diff(matrix.indptr))
    other = np.repeat(np.arange(matrix.shape[0], dtype=np.int64), np.diff(taken.indptr)) * width + taken.indices
    keep = ~np.isin(rows * width + matrix.indices, other)
    return sparse.csr_matrix((matrix.data[keep], (rows[keep], matrix.indices[keep])), shape=matrix.shape)
