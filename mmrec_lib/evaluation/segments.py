"""Segments: the users and items that an average is taken over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

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
        coverage: By model: share of the candidate items that stands in at least one list, `{"coverage@10": share}`.
    """

    segment: Segment
    users: NDArray[np.intp]
    values: dict[str, dict[str, NDArray[np.float64]]]
    coverage: dict[str, dict[str, float]]
