"""A scorer outside of the ranker: it judges the first candidates of a user, and a weight says how far that moves them.

Evaluation and published lists order candidates by the same function, `in_scorer_order`.

Shape letters: n users, C candidates that are judged, k all candidates, I items.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from mmrec_lib.models.data import Bools, Floats, Histories
from mmrec_lib.models.ranker.ranker import FittedRanker
from mmrec_lib.models.ranker.scorer_weight import ScorerWeight
from mmrec_lib.models.second_stage.model import standing
from mmrec_lib.topk.selection import NO_ITEM, TopItems, select_top

_LEAST_DEVIATION = 1e-6


class CandidateScorer(Protocol):
    """Anything that judges a user's candidates by what the user turned to."""

    def values(self, histories: Histories, items: npt.NDArray[np.integer], /) -> Floats:
        """[n, C] one number a candidate, higher is better; NaN where there is none or nothing can be said.

        Args:
            histories: n users.
            items: [n, C] positions in the catalogue of the histories; NO_ITEM where there is none.
        """
        ...


def in_scorer_order(top: TopItems, values_NC: Floats, weight: ScorerWeight) -> TopItems:
    """Candidates in the order of s + w·v; the scores stay, in their order.

    s is the score that a candidate has, v the scorer's value, both centred by the user's judged candidates; s is
    divided by its deviation over them, v by that of validation. Candidates without a value keep their places, and so
    do all others after the first C.

    Args:
        top: [n, k] candidates, best first.
        values_NC: See `CandidateScorer.values`; C is at most k.
        weight: Weight and deviation.
    """
    first = slice(0, values_NC.shape[1])
    is_judged = (top.indices[:, first] != NO_ITEM) & np.isfinite(values_NC)
    keys = deviations(top.scores[:, first], is_judged) + np.float32(weight.weight / weight.deviation) * centred(
        values_NC, is_judged
    )
    at = standing(keys, is_judged)
    indices = top.indices.copy()
    indices[:, first] = np.take_along_axis(indices[:, first], at, axis=1)
    return TopItems(indices, top.scores)


def centred(values_NC: Floats, is_judged: Bools) -> Floats:
    """[n, C] values less their mean over the judged candidates of each user; 0 elsewhere."""
    kept = np.where(is_judged, values_NC, np.float32(0))
    means = kept.sum(axis=1, keepdims=True) / np.maximum(is_judged.sum(axis=1, keepdims=True), 1)
    found: Floats = np.where(is_judged, kept - means, np.float32(0)).astype(np.float32)
    return found


def deviations(scores_NC: Floats, is_judged: Bools) -> Floats:
    """[n, C] scores in deviations of the judged candidates of each user; 0 where all have one score."""
    own = centred(scores_NC, is_judged)
    counts = np.maximum(is_judged.sum(axis=1, keepdims=True), 1)
    unit = np.sqrt((own * own).sum(axis=1, keepdims=True) / counts)
    largest = np.abs(np.where(is_judged, scores_NC, 0.0)).max(axis=1, initial=0.0)[:, None]
    has_order = unit > _LEAST_DEVIATION * np.maximum(1.0, largest)
    found: Floats = np.where(has_order, own / np.where(has_order, unit, 1.0), 0.0).astype(np.float32)
    return found


@dataclass(frozen=True)
class ScoredRanker:
    """A ranker with the scorer that has a weight in it, for evaluation.

    Attributes:
        ranker: The ranker.
        scorer: The scorer over the items of the fit.
    """

    ranker: FittedRanker
    scorer: CandidateScorer

    def score(self, histories: Histories) -> Floats:
        """Scores over the catalogue, [n, I] float32; see `FittedRanker.score`.

        The best unseen items have each other's scores, in the order with the scorer.
        """
        weight = self.ranker.scorer
        assert weight is not None
        scores = self.ranker.score(histories)
        unseen, seen = scores.copy(), histories.weights
        unseen[np.repeat(np.arange(len(histories)), np.diff(seen.indptr)), seen.indices] = -np.inf
        top = select_top(unseen, weight.num_candidates)
        moved = in_scorer_order(top, self.scorer.values(histories, top.indices), weight)
        users_at, places = np.nonzero(moved.indices != NO_ITEM)
        scores[users_at, moved.indices[users_at, places]] = moved.scores[users_at, places]
        return scores
