"""Probabilities of outcomes for the items of lists, and lists in the order of expected worth.

Shape letters: n users, k places of a list, P pairs of a user and a listed item, F features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mmrec_lib.models.data import Bools, Doubles, Floats, Histories
from mmrec_lib.models.heads.curves import FEATURES
from mmrec_lib.models.heads.heads import Heads
from mmrec_lib.models.ranker.explanation import ProjectedUsers
from mmrec_lib.models.ranker.ranker import FittedRanker
from mmrec_lib.topk.selection import NO_ITEM, TopItems

_DAY = 86_400.0


@dataclass(frozen=True)
class Places:
    """Places of lists as heads look at them.

    Attributes:
        in_fit: [n, k] positions of the items in the catalogue of the fit; NO_ITEM for those that came later.
        scores: [n, k] the ranker's scores, without what rules add.
        ranks: [n, k] place in the ranker's order, from 1.
        is_filled: [n, k] where there is an item.
    """

    in_fit: npt.NDArray[np.integer]
    scores: Floats
    ranks: npt.NDArray[np.integer]
    is_filled: Bools

    @classmethod
    def of_fit(cls, top: TopItems) -> Places:
        """Places of lists in the ranker's order, whose items are positions in the catalogue of the fit."""
        ranks = np.broadcast_to(np.arange(1, top.k + 1), top.indices.shape)
        return cls(top.indices, top.scores, ranks, top.indices != NO_ITEM)


@dataclass(frozen=True)
class Candidates:
    """Candidates in the order that lists begin with, and how the ranker alone placed them.

    Attributes:
        top: [n, c] candidates of n users, in the ranker's order or by expected worth.
        places: [n, c] their places in the ranker's order.
    """

    top: TopItems
    places: Places


def place_features(ranker: FittedRanker, users: ProjectedUsers, places: Places) -> Doubles:
    """[P, F] features of the filled places, user by user; see `curves.FEATURES`.

    Args:
        ranker: The ranker; its heads say when its fit ended.
        users: n users, see `FittedRanker.project`.
        places: [n, k] places of their lists.
    """
    rows = np.nonzero(places.is_filled)[0]
    items, scores = places.in_fit[places.is_filled], places.scores[places.is_filled]
    has_history = (np.diff(users.known.indptr) > 0)[rows]
    is_new = items == NO_ITEM
    is_new[~is_new] = ~ranker.warm[items[~is_new]]
    popularity = ranker.popularity.log_popularity
    at = np.where(items == NO_ITEM, 0, items)
    heads = ranker.heads
    idle = (
        np.zeros(len(users)) if heads is None else idle_days(users.histories, heads.latest_ts, heads.typical_idle_days)
    )
    columns = {
        "score_with_history": np.where(has_history, scores, 0.0),
        "score_without_history": np.where(has_history, 0.0, scores),
        "has_history": has_history,
        "log_rank": np.log(places.ranks[places.is_filled]),
        "log_history": np.log1p(np.diff(users.histories.weights.indptr))[rows],
        "log_idle_days": np.log1p(idle)[rows],
        "log_popularity": np.where(items == NO_ITEM, popularity.min(initial=0.0), popularity[at]),
        "is_new_item": is_new,
    }
    return np.stack([columns[name] for name in FEATURES], axis=1).astype(np.float64)


def idle_days(histories: Histories, latest_ts: float, typical: float) -> Doubles:
    """[n] days from a user's latest event to the latest of the fit, not below 0; 0 for users without history.

    Args:
        histories: n users.
        latest_ts: Epoch seconds of the latest event of the fit; 0 without times, then all are 0.
        typical: Days of users with history whose times are unknown.
    """
    lengths = np.diff(histories.weights.indptr)
    latest = np.zeros(len(histories))
    if latest_ts <= 0:
        return latest
    if histories.times is not None:
        np.maximum.at(latest, np.repeat(np.arange(len(histories)), lengths), histories.times.data)
    idle = np.where(latest > 0, np.maximum(latest_ts - latest, 0.0) / _DAY, typical)
    return np.where(lengths > 0, idle, 0.0)


def head_values(ranker: FittedRanker, users: ProjectedUsers, places: Places) -> dict[str, Doubles]:
    """Values of the heads in the filled places by name, [P] each; none without heads."""
    heads = ranker.heads
    if heads is None or not heads.kept:
        return {}
    features = place_features(ranker, users, places)
    return {head.name: head(features) for head in heads.kept}


def expected_worths(heads: Heads | None, values: Mapping[str, Doubles], worths: Mapping[str, float]) -> Doubles | None:
    """[P] expected worth of the filled places; None without worths that count."""
    return None if heads is None or not worths else heads.expected_worth(values, worths)


def uncounted_worths(ranker: FittedRanker, worths: Mapping[str, float]) -> dict[str, str]:
    """Reason by name for each worth that does not count.

    Raises:
        ModelError: When a worth is of what the ranker never had a head for, though it has heads.
    """
    if ranker.heads is None:
        return dict.fromkeys(worths, "the ranker was trained without heads")
    return ranker.heads.missing(worths)


def by_worth(
    ranker: FittedRanker, users: ProjectedUsers, candidates: Candidates, worths: Mapping[str, float]
) -> Candidates:
    """Candidates in the order of expected worth; the scores stay, in their order.

    As many candidates as the heads learned from are ordered, the others follow. Equal worths keep their order, and so
    do all where no worth counts.

    Args:
        ranker: The ranker.
        users: n users, see `FittedRanker.project`.
        candidates: Their candidates in the ranker's order.
        worths: Worth of each outcome.
    """
    heads = ranker.heads
    if heads is None or not worths:
        return candidates
    first = slice(0, heads.num_candidates)
    own = Places(*(values[:, first] for values in vars(candidates.places).values()))
    worth = expected_worths(heads, head_values(ranker, users, own), worths)
    if worth is None:
        return candidates
    keys = np.full(own.is_filled.shape, -np.inf)
    keys[own.is_filled] = worth
    at = np.argsort(-keys, axis=1, kind="stable")
    moved = []
    for values in (candidates.top.indices, *vars(candidates.places).values()):
        moved.append(
            np.concatenate([np.take_along_axis(values[:, first], at, axis=1), values[:, first.stop :]], axis=1)
        )
    return Candidates(TopItems(moved[0], candidates.top.scores), Places(*moved[1:]))


def final_places(
    candidates: Candidates,
    indices: npt.NDArray[np.int32],
    in_fit: npt.NDArray[np.integer],
    users: ProjectedUsers,
    item_vectors: Floats,
) -> Places:
    """Places of the items of final lists in the ranker's own order.

    What is no candidate, such as a pinned item or one that exploration drew, has its own score and stands after them.

    Args:
        candidates: The candidates of n users.
        indices: [n, k] items of their lists.
        in_fit: [n, k] their positions in the catalogue of the fit; NO_ITEM for those that came later.
        users: The users.
        item_vectors: [I, V] vectors of the items that indices are of.
    """
    num_users, k = indices.shape
    known = candidates.places
    if np.array_equal(indices, candidates.top.indices[:, :k]):
        return Places(*(values[:, :k] for values in vars(known).values()))
    rows = np.arange(num_users, dtype=np.int64)[:, None] * len(item_vectors)
    keys = np.where(known.is_filled, rows + candidates.top.indices, -1).ravel()
    order = np.argsort(keys)
    wanted = rows + indices
    at = order[np.minimum(np.searchsorted(keys, wanted, sorter=order), len(keys) - 1)]
    is_filled = indices != NO_ITEM
    is_candidate = (keys[at] == wanted) & is_filled
    scores, ranks = known.scores.ravel()[at], known.ranks.ravel()[at]
    user, place = np.nonzero(is_filled & ~is_candidate)
    scores[user, place] = np.einsum("pv,pv->p", users.vectors[user], item_vectors[indices[user, place]])
    return Places(in_fit, scores, np.where(is_candidate, ranks, candidates.top.k + 1), is_filled)
