"""Probabilities and expected worth in the lists of a served model, by the code of the scoring job.

Shape letters: n users of a block, I items of the model, k places of a list.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from mmrec_lib.errors import ModelError
from mmrec_lib.models.data import Floats
from mmrec_lib.models.ranker.explanation import ProjectedUsers
from mmrec_lib.models.ranker.probabilities import (
    Candidates,
    Places,
    by_worth,
    expected_worths,
    final_places,
    head_values,
    uncounted_worths,
)
from mmrec_lib.models.ranker.ranker import FittedRanker
from mmrec_lib.topk.selection import TopItems

WORTHS_KEY = "worths"
"""Key of `model_config` with the worth of each outcome; null keeps the model's order."""


def read_worths(value: Any, ranker: FittedRanker) -> dict[str, float]:
    """Worths of outcomes; none where nothing is given.

    Raises:
        ModelError: When they are no mapping to finite numbers, or the model has no head for one of them.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ModelError(f"worths: must be a mapping from outcome to number, got {value!r:.80}")
    worths = {}
    for name, worth in value.items():
        is_number = isinstance(worth, int | float) and not isinstance(worth, bool)
        if not is_number or not math.isfinite(worth):
            raise ModelError(f"worths: that of {name} must be a finite number, got {worth!r:.80}")
        worths[str(name)] = float(worth)
    for name, reason in uncounted_worths(ranker, worths).items():
        raise ModelError(f"worths: {name} cannot count, because the model has no head for it ({reason}); leave it out")
    return worths


class HeadLists:
    """Lists of a block of users with what heads say of them."""

    def __init__(self, ranker: FittedRanker, users: ProjectedUsers, worths: Mapping[str, float]) -> None:
        """Remember what lists are made of.

        Args:
            ranker: The model.
            users: n users, see `FittedRanker.project`.
            worths: Worth of each outcome; without any, lists are in the model's order.
        """
        self._ranker, self._users, self._worths = ranker, users, worths
        self._candidates: Candidates | None = None

    def select(self, scores_NI: Floats, k: int) -> TopItems:
        """The best k items of scores that are -inf where nothing may be listed, in the order that lists begin with."""
        heads = self._ranker.heads
        if heads is None or not heads.kept:
            return self._ranker.select(self._users, scores_NI, k)
        top = self._ranker.select(self._users, scores_NI, max(k, heads.num_candidates) if self._worths else k)
        places = Places.of_fit(top)
        rows, at = np.nonzero(places.is_filled)
        items = top.indices[rows, at]
        # What rules added is no part of the score that heads know.
        own = np.einsum("pv,pv->p", self._users.vectors[rows], self._ranker.item_vectors()[items])
        scores = top.scores.copy()
        scores[rows, at] -= scores_NI[rows, items] - own
        places = Places(places.in_fit, scores, places.ranks, places.is_filled)
        self._candidates = by_worth(self._ranker, self._users, Candidates(top, places), self._worths)
        ordered = self._candidates.top
        return TopItems(ordered.indices[:, :k], ordered.scores[:, :k])

    def told(self, indices: npt.NDArray[np.int32]) -> tuple[list[dict[str, list[float]]], list[list[float]]]:
        """Values of each place of final lists [n, k] by outcome, and the expected worths; empty without any."""
        if self._candidates is None:
            return [{} for _ in range(len(indices))], [[] for _ in range(len(indices))]
        places = final_places(self._candidates, indices, indices, self._users, self._ranker.item_vectors())
        values = head_values(self._ranker, self._users, places)
        worth = expected_worths(self._ranker.heads, values, self._worths)
        ends = np.cumsum(places.is_filled.sum(axis=1))
        probabilities, expected = [], []
        for start, end in zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True):
            probabilities.append({name: own[start:end].tolist() for name, own in values.items()})
            expected.append([] if worth is None else worth[start:end].tolist())
        return probabilities, expected
