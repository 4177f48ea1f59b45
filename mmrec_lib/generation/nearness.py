"""The weight of the nearness to a user's history, against that to the item, chosen on validation.

The weight is asked of the texts that every history allows: of each held-out item, and of items drawn from the rest of
the catalogue, the text that names the item of the user's training history nearest to it.

Shape letters: p pairs of a user and an item, r rows, I items, d dimensions.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

GRID = (0.0, 0.25, 0.5, 0.75, 1.0)
DEFAULT_ALPHA = 0.5
# Items that nobody turned to, against which the held-out ones of a user are held.
_NUM_OTHERS = 20

Floats = NDArray[np.float64]


def choose_alpha(to_profile: Floats, to_item: Floats, held_out: NDArray[np.bool_], users: NDArray[np.int64]) -> float:
    """The weight with which the score of a text tells held-out items from others best: the mean over users of AUC.

    Args:
        to_profile: [p] cosine of the text and the user's history.
        to_item: [p] cosine of the text and the item.
        held_out: [p] true where the user turned to the item in validation.
        users: [p] user of each pair.

    Returns:
        A value of `GRID`; `DEFAULT_ALPHA` where no other is better by a standard error of the difference, or where no
        user has both kinds of items.
    """
    areas = {alpha: _areas(alpha * to_profile + (1 - alpha) * to_item, held_out, users) for alpha in GRID}
    base = areas[DEFAULT_ALPHA]
    if len(base) < 2:
        return DEFAULT_ALPHA
    best, best_gain = DEFAULT_ALPHA, 0.0
    for alpha in GRID:
        difference = areas[alpha] - base
        gain = float(difference.mean())
        if gain > best_gain and gain > float(difference.std(ddof=1)) / np.sqrt(len(difference)):
            best, best_gain = alpha, gain
    return best


def validation_pairs(
    rows: Floats, items: NDArray[np.float32]
) -> tuple[Floats, Floats, NDArray[np.bool_], NDArray[np.int64]]:
    """Pairs that `choose_alpha` looks at, in the order of its arguments.

    Args:
        rows: [r, 4] user, place of the item, weight in train and in valid; NaN where it is in none.
        items: [I, d] vectors of length 1 of the items; zero where there is none.
    """
    rng = np.random.default_rng(0)
    with_vector = np.flatnonzero(items.any(axis=1))
    found: list[tuple[Floats, Floats, NDArray[np.bool_], NDArray[np.int64]]] = []
    for user in np.unique(rows[:, 0]):
        own = rows[rows[:, 0] == user]
        places = own[:, 1].astype(np.int64)
        in_train = ~np.isnan(own[:, 2]) & items[places].any(axis=1)
        held_out = np.intersect1d(places[~np.isnan(own[:, 3]) & np.isnan(own[:, 2])], with_vector)
        drawn = rng.choice(with_vector, min(_NUM_OTHERS, len(with_vector)), replace=False)
        others = np.setdiff1d(drawn, places)
        profile = own[in_train, 2] @ items[places[in_train]]
        if not len(held_out) or not len(others) or not np.linalg.norm(profile):
            continue
        asked = np.concatenate([held_out, others])
        nearness = items[asked] @ items[places[in_train]].T
        texts = items[places[in_train]][nearness.argmax(axis=1)]
        to_profile = texts @ (profile / np.linalg.norm(profile))
        found.append(
            (to_profile, nearness.max(axis=1), np.arange(len(asked)) < len(held_out), np.full(len(asked), int(user)))
        )
    if not found:
        return np.zeros(0), np.zeros(0), np.zeros(0, bool), np.zeros(0, np.int64)
    to_profile, to_item, is_held_out, users = (np.concatenate(column) for column in zip(*found, strict=True))
    return to_profile, to_item, is_held_out, users


def _areas(scores: Floats, held_out: NDArray[np.bool_], users: NDArray[np.int64]) -> Floats:
    """AUC of each user who has held-out items and others."""
    areas = []
    for user in np.unique(users):
        own = users == user
        positive, negative = scores[own & held_out], scores[own & ~held_out]
        if len(positive) and len(negative):
            above = (positive[:, None] > negative).mean() + 0.5 * (positive[:, None] == negative).mean()
            areas.append(float(above))
    return np.array(areas)
