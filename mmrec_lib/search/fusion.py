"""Several lists of candidates → one, with the share of each.

Cormack, Clarke and Büttcher, Reciprocal Rank Fusion outperforms Condorcet and individual Rank Learning Methods (2009).
Reciprocal ranks are scaled so that the first place of a list is worth its weight. So a score never exceeds the sum of
the weights, and no list moves an item by more than its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Fusion = Literal["rrf", "weighted"]


@dataclass(frozen=True)
class Candidates:
    """Items that one way of finding puts up for a query, best first.

    Attributes:
        items: [m] distinct items.
        scores: [m] descending, above 0.
    """

    items: NDArray[np.integer]
    scores: NDArray[np.floating]


def nearest_look(one: Candidates, other: Candidates, most: int) -> Candidates:
    """The candidates of two looks at one content, each with the better of its scores: exact where both lists are.

    An item that is among the best by the better score is among the best of the look which gave it.

    Args:
        one: Those of a look.
        other: Those of another one.
        most: Candidates that are kept.
    """
    items = np.concatenate([one.items, other.items])
    scores = np.concatenate([one.scores, other.scores])
    in_order = np.lexsort((items, -scores))
    _, first = np.unique(items[in_order], return_index=True)
    kept = in_order[np.sort(first)[:most]]
    return Candidates(items[kept], scores[kept])


@dataclass(frozen=True)
class FusedList:
    """A list of items, best first.

    Attributes:
        items: [m] items.
        shares: By way of finding, [m] its part of each score.
    """

    items: NDArray[np.int64]
    shares: Mapping[str, NDArray[np.float64]]

    @property
    def scores(self) -> NDArray[np.float64]:
        """[m] sums of the shares, descending."""
        return sum(self.shares.values(), start=np.zeros(len(self.items)))


def fuse(
    found: Mapping[str, Candidates], weights: Mapping[str, float], fusion: Fusion, rank_constant: float
) -> FusedList:
    """All candidates in one order, by score descending, then item.

    Args:
        found: Candidates by way of finding.
        weights: Weight of each.
        fusion: `rrf`, or `weighted` sums of scores, each divided by the best of its list.
        rank_constant: See `reciprocal_ranks`.

    Example:
        >>> words, text = Candidates(np.array([7, 3]), np.array([9.0, 1.0])), Candidates(np.array([3]), np.array([.8]))
        >>> fuse({"words": words, "text": text}, {"words": 1, "text": 1}, "rrf", 60).items.tolist()
        [3, 7]
    """
    items = np.unique(np.concatenate([np.zeros(0, np.int64), *(one.items for one in found.values())]).astype(np.int64))
    shares = {}
    for name, one in found.items():
        parts = (
            reciprocal_ranks(len(one.items), rank_constant)
            if fusion == "rrf"
            else one.scores / one.scores.max(initial=np.finfo(np.float32).tiny)
        )
        shares[name] = np.zeros(len(items))
        shares[name][np.searchsorted(items, one.items)] = weights[name] * parts
    return ordered(FusedList(items, shares))


def with_taste(
    fused: FusedList, name: str, scores: NDArray[np.floating], weight: float, fusion: Fusion, rank_constant: float
) -> FusedList:
    """A list with a further share by scores of its first items, from 0 to a weight.

    Args:
        fused: The list.
        name: Name of the share.
        scores: [m] scores of its first m items; the other items keep what they have.
        weight: What the best of them is worth.
        fusion: `rrf` counts their ranks, `weighted` where they lie between the least and the best.
        rank_constant: See `reciprocal_ranks`.
    """
    num_scored = len(scores)
    share = np.zeros(len(fused.items))
    exact = np.asarray(scores, np.float64)
    if fusion == "rrf":
        share[np.lexsort((fused.items[:num_scored], -exact))] = weight * reciprocal_ranks(num_scored, rank_constant)
    elif num_scored and (width := float(np.ptp(exact))):
        share[:num_scored] = weight * (exact - exact.min()) / width
    return ordered(FusedList(fused.items, {**fused.shares, name: share}))


def reciprocal_ranks(length: int, rank_constant: float) -> NDArray[np.float64]:
    """[length] (c + 1) / (c + rank) for the ranks from 1."""
    return (rank_constant + 1) / (rank_constant + np.arange(1, length + 1, dtype=np.float64))


def ordered(fused: FusedList) -> FusedList:
    """A list in the order of its scores, ties by item."""
    order = np.lexsort((fused.items, -fused.scores))
    return FusedList(fused.items[order], {name: share[order] for name, share in fused.shares.items()})
