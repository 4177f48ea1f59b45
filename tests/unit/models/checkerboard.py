"""Data whose right answer is known: users and items have a colour, and users act on items of theirs only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mmrec_lib.models.config import RankerSettings
from mmrec_lib.models.data import Content, FitData, Interactions
from mmrec_lib.models.sources.ease import EaseSettings
from mmrec_lib.models.sources.graph_filter import GraphSettings
from mmrec_lib.models.sources.ials import IalsSettings
from mmrec_lib.models.sources.ridge import RidgeSettings

NUM_USERS = 60
NUM_ITEMS = 40
NUM_COLD = 6
DAY = 86_400.0
START = 1_700_000_000.0
# Of a ranker that is small enough for so few items.
SETTINGS = RankerSettings(
    dim=8,
    sources={
        "content_ease": EaseSettings(regulariser=1.0),
        "ridge": RidgeSettings(regulariser=1.0),
        "ials": IalsSettings(rank=8, iterations=5),
        "graph_filter": GraphSettings(rank=8),
    },
    min_group_users=5,
)


@dataclass(frozen=True)
class Checkerboard:
    """Train, what was left out, and colours.

    Attributes:
        train: Two thirds of what users did; the last NUM_COLD items have no interactions, the last two users no past.
        rest: [U, I] the other interactions, those on cold items among them.
        user_colour: [U] 0 or 1.
        item_colour: [I] 0 or 1.
    """

    train: FitData
    rest: Interactions
    user_colour: np.ndarray
    item_colour: np.ndarray

    @property
    def cold_items(self) -> np.ndarray:
        """[I] items without interactions."""
        return self.train.interactions.item_counts() == 0


def checkerboard(seed: int = 0) -> Checkerboard:
    """The board: every user acts on about four of five items of the own colour."""
    generator = np.random.default_rng(seed)
    user_colour = np.arange(NUM_USERS) % 2
    item_colour = np.arange(NUM_ITEMS) % 2
    acts = (user_colour[:, None] == item_colour[None, :]) & (generator.random((NUM_USERS, NUM_ITEMS)) < 0.8)
    users, items = np.nonzero(acts)
    times = START + DAY * generator.random(len(users)) * 30
    in_rest = (generator.random(len(users)) < 0.33) | (items >= NUM_ITEMS - NUM_COLD) | (users >= NUM_USERS - 2)
    shape = (NUM_USERS, NUM_ITEMS)
    train = Interactions.from_rows(users[~in_rest], items[~in_rest], shape, times=times[~in_rest])
    rest = Interactions.from_rows(users[in_rest], items[in_rest], shape, times=times[in_rest])
    noise = generator.standard_normal((NUM_ITEMS, 8)) * 0.3
    vectors = np.where(item_colour[:, None] == 1, 1.0, -1.0) * np.ones((1, 8)) + noise
    vectors[3] = 0.0  # an item without an image
    contents = {
        "image:images": Content.from_vectors("image:images", vectors),
        "attribute:colour": Content.from_tokens("attribute:colour", [["red" if c else "blue"] for c in item_colour]),
    }
    attributes = {
        "likes": np.array(["red" if colour else "blue" for colour in user_colour], dtype=object),
        "age": np.array([str(20 + position) for position in range(NUM_USERS)], dtype=object),
    }
    item_ids = np.array([f"i{position:02d}" for position in range(NUM_ITEMS)])
    data = FitData(item_ids, train, contents, attributes, cut_ts=START + 31 * DAY)
    return Checkerboard(data, rest, user_colour, item_colour)
