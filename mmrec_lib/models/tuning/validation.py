"""The validation part as the search sees it: users with relevant items, their histories, and one objective.

The objective is nDCG@10 over the full catalogue with the items of the training part masked. Test never comes here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from mmrec_lib.evaluation.metrics import rank_metrics
from mmrec_lib.models.config import TrainingConfig
from mmrec_lib.models.data import Bools, Doubles, FitData, Floats, Histories, Interactions, Ints

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
        masked = np.array(scores, dtype=np.float32)
        weights = self.histories.weights
        masked[np.repeat(np.arange(len(self)), np.diff(weights.indptr)), weights.indices] = -np.inf
        values: Doubles = rank_metrics(masked, self.relevant, (CUT_OFF,))[f"ndcg@{CUT_OFF}"]
        return values

    def ndcg(self, scores: Floats) -> float:
        """Mean nDCG@10 of scores [n, I]; 0 without users."""
        return float(self.ndcg_by_user(scores).mean()) if len(self) else 0.0


def without(matrix: sparse.csr_matrix, taken: sparse.csr_matrix) -> sparse.csr_matrix:
    """The stored positions of a matrix that another one of the same shape does not store."""
    width = matrix.shape[1]
    rows = np.repeat(np.arange(matrix.shape[0], dtype=np.int64), np.diff(matrix.indptr))
    other = np.repeat(np.arange(matrix.shape[0], dtype=np.int64), np.diff(taken.indptr)) * width + taken.indices
    keep = ~np.isin(rows * width + matrix.indices, other)
    return sparse.csr_matrix((matrix.data[keep], (rows[keep], matrix.indices[keep])), shape=matrix.shape)
