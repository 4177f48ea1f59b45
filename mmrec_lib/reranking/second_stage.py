"""Second stage: a model that scores the candidates of the first stage again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mmrec_lib.errors import ModelError
from mmrec_lib.reranking.facts import Candidates, ItemFacts, UserFacts


class SecondStage(Protocol):
    """Anything that scores candidates; it is called with whole blocks of users."""

    def scores(self, candidates: Candidates, items: ItemFacts, users: UserFacts) -> NDArray[np.float32]:
        """[n, c] scores of the candidates, higher is better, -inf for one that must not be listed.

        What stands beside -1 is not looked at.
        """
        ...


@dataclass(frozen=True)
class ContentSimilarity:
    """Mixes the cosine of a candidate and the user's mean content vector into the first stage's score.

    A user whose history has no content keeps the order of the first stage.

    Attributes:
        weight: Share of the cosine; the rest is the score of the first stage, scaled to 0..1 for each user.
    """

    weight: float

    def scores(self, candidates: Candidates, items: ItemFacts, users: UserFacts) -> NDArray[np.float32]:
        """[n, c] mixed scores."""
        if items.vectors is None:
            raise ModelError("second stage content_similarity: items have no content vectors; switch it off")
        from mmrec_lib.reranking.similarity_kernels import profile_cosines

        history = users.history
        cosines = np.zeros(candidates.indices.shape, np.float32)
        profile_cosines(
            history.indptr.astype(np.int64),
            history.indices.astype(np.int32),
            history.data.astype(np.float64),
            items.vectors,
            candidates.indices,
            cosines,
        )
        mixed = (1 - self.weight) * scaled_scores(candidates) + self.weight * cosines
        return mixed.astype(np.float32)


def scaled_scores(candidates: Candidates) -> NDArray[np.float64]:
    """[n, c] scores from 0 (a user's last candidate) to 1 (the first); 1 where all are equal, 0 beside -1."""
    scores, counts = candidates.scores.astype(np.float64), candidates.counts
    if scores.shape[1] == 0:
        return scores
    best_N1 = scores[:, :1]
    worst_N1 = np.take_along_axis(scores, np.maximum(counts - 1, 0)[:, None], axis=1)
    is_item = candidates.indices >= 0
    with np.errstate(invalid="ignore"):
        width_N1 = best_N1 - worst_N1
        scaled = np.where(width_N1 > 0, (scores - worst_N1) / np.where(width_N1 > 0, width_N1, 1.0), 1.0)
    return np.where(is_item, scaled, 0.0)


def rescored(candidates: Candidates, scores: NDArray[np.float32]) -> Candidates:
    """Candidates in the order of new scores; equal ones keep their order, those of -inf are left out.

    Raises:
        ModelError: When the shape differs, or a score is NaN or +inf.
    """
    if scores.shape != candidates.indices.shape:
        raise ModelError(f"second stage: scores must have shape {candidates.indices.shape}, got {scores.shape}")
    listed = np.where(candidates.indices >= 0, scores, np.float32(-np.inf)).astype(np.float32)
    if np.isnan(listed).any() or np.isposinf(listed).any():
        raise ModelError("second stage: each score must be finite, or -inf for an item to leave out; got NaN or +inf")
    order = np.argsort(-listed, axis=1, kind="stable")
    best = np.take_along_axis(listed, order, axis=1)
    indices = np.take_along_axis(candidates.indices, order, axis=1)
    return Candidates(indices=np.where(np.isneginf(best), np.int32(-1), indices), scores=best)
