"""Segments: the users and items that an average is taken over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mmrec_lib.evaluation.lists import exposures, gini
from mmrec_lib.evaluation.rankings import Rankings, View
from mmrec_lib.evaluation.significance import weighted_mean_values

Users = Literal["all", "warm", "cold"]


@dataclass(frozen=True)
class Segment:
    """A part of an evaluation with its own averages.

    Attributes:
        name: Name in the tables.
        users: all, warm (with history in what the model was fitted on) or cold (without).
        cold_relevant: Only items without interactions in that part count as relevant, and only users with at least one
            such item are averaged.
        cold_candidates: Only those items are ranked.
        title: Name for people.
    """

    name: str
    users: Users
    cold_relevant: bool
    cold_candidates: bool
    title: str


SEGMENTS = (
    Segment("all", "all", False, False, "All users"),
    Segment("warm", "warm", False, False, "Users with history"),
    Segment("cold", "cold", False, False, "New users"),
    Segment("cold_items", "all", True, True, "New items, ranked among themselves"),
    Segment("cold_items_in_all", "all", True, False, "New items, ranked among all items"),
)


@dataclass(frozen=True)
class UserValues:
    """Metrics of each model for each user of a segment.

    Attributes:
        segment: Which segment.
        users: [n] indices of its users, ascending; the same for all models, so that differences are paired.
        values: By model: `{"ndcg@10": [n] float64, …}`.
        of_lists: By model: metrics of all lists together, coverage of the candidates and, where all items are
            candidates, the Gini coefficient of exposures: `{"coverage@10": share, …}`.
    """

    segment: Segment
    users: NDArray[np.intp]
    values: dict[str, dict[str, NDArray[np.float64]]]
    of_lists: dict[str, dict[str, float]]


def segment_values(rankings: Rankings, warm_users: NDArray[np.bool_]) -> list[UserValues]:
    """Values of each segment of SEGMENTS; segments without a user have empty ones.

    Args:
        rankings: Of all models.
        warm_users: [num_users] True for users with history in what the models were fitted on.
    """
    parts: list[UserValues] = []
    for segment in SEGMENTS:
        view = _view_of(rankings, segment)
        inside = _members(segment, warm_users[view.users])
        num_relevant = np.diff(view.relevant.indptr)[inside]
        values, of_lists = {}, {}
        for model, found in view.values.items():
            own = {name: column[inside] for name, column in found.items()}
            values[model] = own | {"gauc": weighted_mean_values(own["auc"], num_relevant)}
            of_lists[model] = _metrics_of_lists(view.lists[model][inside], rankings, segment)
        parts.append(UserValues(segment, view.users[inside], values, of_lists))
    return parts


def _view_of(rankings: Rankings, segment: Segment) -> View:
    if segment.cold_candidates:
        return rankings.cold
    return rankings.cold_in_all if segment.cold_relevant else rankings.whole


def _members(segment: Segment, is_warm: NDArray[np.bool_]) -> NDArray[np.bool_]:
    if segment.users == "all":
        return np.ones_like(is_warm)
    return is_warm if segment.users == "warm" else ~is_warm


def _metrics_of_lists(top: NDArray[np.int32], rankings: Rankings, segment: Segment) -> dict[str, float]:
    num_items = len(rankings.cold_items)
    candidates = rankings.cold_items if segment.cold_relevant else np.ones(num_items, np.bool_)
    found: dict[str, float] = {}
    for k in rankings.ks:
        is_shown = exposures(top, num_items, k) > 0
        found[f"coverage@{k}"] = float(is_shown[candidates].sum()) / max(int(candidates.sum()), 1)
        if not segment.cold_relevant:
            found[f"gini@{k}"] = gini(top, num_items, k)
    return found
