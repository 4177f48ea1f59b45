"""Data whose right answer is known: what comes next is the item after the last one, on a circle."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mmrec_lib.models.data import Content, FitData, Interactions

NUM_USERS, NUM_ITEMS, NUM_ROUNDS = 120, 40, 12
DAY, START = 86_400.0, 1_700_000_000.0


@dataclass(frozen=True)
class Circle:
    """All rounds but the last to train on, and the last, in which each user takes the next item.

    Attributes:
        train: Every user took one item a round.
        rest: The last round.
    """

    train: FitData
    rest: Interactions


def circle(seed: int = 0) -> Circle:
    """Users start anywhere and go round; one step in ten skips an item, so that sets have gaps on all sides."""
    generator = np.random.default_rng(seed)
    steps = 1 + (generator.random((NUM_USERS, NUM_ROUNDS)) < 0.1)
    items = (generator.integers(NUM_ITEMS, size=(NUM_USERS, 1)) + np.cumsum(steps, axis=1)) % NUM_ITEMS
    items[:, -1] = (items[:, -2] + 1) % NUM_ITEMS
    times = START + DAY * (np.arange(NUM_ROUNDS) + generator.random((NUM_USERS, NUM_ROUNDS)))
    users = np.repeat(np.arange(NUM_USERS), NUM_ROUNDS).reshape(NUM_USERS, NUM_ROUNDS)
    parts = []
    for rounds in (slice(0, NUM_ROUNDS - 1), slice(NUM_ROUNDS - 1, NUM_ROUNDS)):
        chosen = (users[:, rounds].ravel(), items[:, rounds].ravel(), (NUM_USERS, NUM_ITEMS))
        parts.append(Interactions.from_rows(*chosen, times=times[:, rounds].ravel()))
    vectors = generator.standard_normal((NUM_ITEMS, 6))
    vectors[5] = 0.0  # an item without an image
    contents = {"image:images": Content.from_vectors("image:images", vectors)}
    item_ids = np.array([f"i{position:02d}" for position in range(NUM_ITEMS)])
    return Circle(FitData(item_ids, parts[0], contents), parts[1])
