"""Compiled cosines of candidates and users' mean content vectors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mmrec_lib.topk.compiling import compiled_fast


@compiled_fast
def profile_cosines(starts: Any, history: Any, weights: Any, vectors: Any, items_NC: Any, cosines_NC: Any) -> None:
    """Cosines of candidates and the weighted sum of the vectors of a history.

    Args:
        starts: [N + 1] where the history of a user starts.
        history: Items of histories.
        weights: Their weights.
        vectors: [I, d] float32 of length 1 or 0.
        items_NC: Candidates, -1 after the last.
        cosines_NC: Written for candidates; 0 where either has no vector.
    """
    dim = vectors.shape[1]
    profile, short = np.empty(dim), np.empty(dim, np.float32)
    for user in range(items_NC.shape[0]):
        profile[:] = 0.0
        for at in range(starts[user], starts[user + 1]):
            vector = vectors[history[at]]
            for n in range(dim):
                profile[n] += weights[at] * vector[n]
        square = 0.0
        for n in range(dim):
            square += profile[n] * profile[n]
        factor = 1.0 / math.sqrt(square) if square > 0 else 0.0
        for n in range(dim):
            short[n] = np.float32(profile[n] * factor)
        for place in range(items_NC.shape[1]):
            item = items_NC[user, place]
            if item < 0:
                break
            total = np.float32(0.0)
            for n in range(dim):
                total += short[n] * vectors[item, n]
            cosines_NC[user, place] = total
