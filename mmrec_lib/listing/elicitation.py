"""Items whose answers would tell most about a new user.

Shape letters: I items, C candidates, d dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]
# Items that are looked at: those that are known best. The time of a step grows with them.
_MAX_CANDIDATES = 2_000
_ROWS_AT_ONCE = 65_536
_DIGITS = 9


@dataclass(frozen=True)
class Questions:
    """Items to ask about, in this order.

    Attributes:
        items: [q] positions.
        gains: [q] share of the variance of a new user's scores that the answer removes, given the ones before.
    """

    items: NDArray[np.int64]
    gains: Doubles


def choose_questions(
    vectors: NDArray[np.float32], familiarity: NDArray[np.floating], is_listed: NDArray[np.bool_], num_questions: int
) -> Questions:
    """Choose items greedily by the variance of a new user's scores that an answer is expected to remove.

    A user's vector departs from the mean by a normal distribution with the identity as its variance, an answer is the
    score of the item with noise as large as a common score, and it comes with a probability of `familiarity`: who does
    not know an item tells nothing. Each step takes the item whose answer removes most of the summed variance of the
    scores of all listed items: sequential A-optimal design, as Anava et al. (2015), Budget-Constrained Item Cold-Start
    Handling in Collaborative Filtering Recommenders via Optimal Design, do for users who rate a new item; that people
    must know what they are asked about, with popularity on a logarithmic scale: Rashid et al. (2002), Getting to Know
    You: Learning New User Preferences in Recommender Systems. Beside these it is like GreedyExtend of Golbandi, Koren
    and Lempel (2010), On Bootstrapping Recommender Systems, with the error of a linear model in closed form.

    Args:
        vectors: [I, d] item vectors, each dimension as long as users deviate from their mean in it. (Were the mean not
            taken away, bestsellers would be asked about that everybody turned to.)
        familiarity: [I] from 0, nobody knows it, to 1.
        is_listed: [I] True for items that may be asked about.
        num_questions: Most items.

    Returns:
        Questions; fewer where no other item tells anything.
    """
    candidates = np.flatnonzero(is_listed & (familiarity > 0))
    order = np.lexsort((candidates, -familiarity[candidates]))[:_MAX_CANDIDATES]
    candidates = np.sort(candidates[order])
    weight_dd = _second_moment(vectors, is_listed)
    own_Cd = vectors[candidates].astype(np.float64)
    known_C = familiarity[candidates].astype(np.float64)
    variance_dd = np.eye(vectors.shape[1])
    noise, whole = float((own_Cd**2).sum() / max(len(own_Cd), 1)), float(weight_dd.trace())
    items: list[int] = []
    gains: list[float] = []
    if noise <= 0:
        return Questions(np.zeros(0, np.int64), np.zeros(0))
    is_left = np.ones(len(candidates), dtype=np.bool_)
    for _ in range(min(num_questions, len(candidates))):
        told_Cd = own_Cd @ variance_dd
        removed = np.einsum("cd,cd->c", told_Cd @ weight_dd, told_Cd)
        spread = noise + np.einsum("cd,cd->c", told_Cd, own_Cd)
        gain = np.where(is_left, np.round(known_C * removed / spread / whole, _DIGITS), -1.0)
        best = int(np.argmax(gain))
        if gain[best] <= 0:
            break
        items.append(int(candidates[best]))
        gains.append(float(gain[best]))
        is_left[best] = False
        variance_dd -= known_C[best] * np.outer(told_Cd[best], told_Cd[best]) / spread[best]
    return Questions(np.array(items, dtype=np.int64), np.array(gains))


def familiarity_of(log_popularity: NDArray[np.floating], is_warm: NDArray[np.bool_]) -> NDArray[np.float64]:
    """[I] place of each item between the least (0) and the most popular one (1) on a logarithmic scale.

    Args:
        log_popularity: [I] on any scale of logarithms.
        is_warm: [I] False for items without interactions, which nobody knows: 0.
    """
    values = log_popularity.astype(np.float64)
    if not is_warm.any():
        return np.zeros(len(values))
    low, high = values[is_warm].min(), values[is_warm].max()
    # Where all are equally popular, all are known.
    place = (values - low) / (high - low) if high > low else np.ones(len(values))
    return np.where(is_warm, np.round(np.clip(place, 0.0, 1.0), _DIGITS), 0.0)


def _second_moment(vectors: NDArray[np.float32], chosen: NDArray[np.bool_]) -> Doubles:
    """[d, d] mean of the products of the chosen items' vectors."""
    total = np.zeros((vectors.shape[1], vectors.shape[1]))
    for start in range(0, len(vectors), _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        block = vectors[rows][chosen[rows]].astype(np.float64)
        total += block.T @ block
    return total / max(int(chosen.sum()), 1)
