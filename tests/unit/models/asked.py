"""Stores whose right answer is in the context: what users turn to follows from the hour, device or last search."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mmrec_lib.models.data import Content, FitData, Interactions
from mmrec_lib.models.request_context import Searches

NUM_USERS, NUM_ITEMS, NUM_ROUNDS, NUM_GROUPS = 120, 48, 12, 8
DAY, HOUR, START = 86_400.0, 3_600.0, 1_699_920_000.0  # 2023-11-14, midnight
WORDS = tuple(f"kind{group}" for group in range(NUM_GROUPS))
DEVICES = ("phone", "web")


@dataclass(frozen=True)
class Asked:
    """A store of which all rounds but the last are to train on.

    Attributes:
        train: Every user took one item a round.
        rest: The last round.
        kinds: [I] kind of each item.
        wanted: [U] kind that each user takes in the last round.
    """

    train: FitData
    rest: Interactions
    kinds: np.ndarray
    wanted: np.ndarray


def by_hour(seed: int = 0) -> Asked:
    """Items of an even place are taken at 8 o'clock on the phone, others at 20 on the web; who acts when is chance."""
    rng = np.random.default_rng(seed)
    kinds = np.arange(NUM_ITEMS) % 2
    wanted = rng.integers(2, size=(NUM_USERS, NUM_ROUNDS))
    times = START + DAY * np.arange(NUM_ROUNDS) + HOUR * np.where(wanted == 0, 8, 20)
    times = times + HOUR * rng.random(times.shape)
    return _store(rng, kinds, wanted, times, None, {})


def by_search(seed: int = 0, *, with_names: bool = True) -> Asked:
    """Users search for a kind right after they acted, and take an item of it half a day later.

    Args:
        seed: Everything follows from it.
        with_names: Items bear the word of their kind; else only what others took after their searches can tell.
    """
    rng = np.random.default_rng(seed)
    kinds = np.arange(NUM_ITEMS) % NUM_GROUPS
    wanted = rng.integers(NUM_GROUPS, size=(NUM_USERS, NUM_ROUNDS))
    times = START + DAY / 2 * (np.arange(NUM_ROUNDS) + 0.4 * rng.random(wanted.shape))
    users = np.repeat(np.arange(NUM_USERS), NUM_ROUNDS - 1)
    words = [f"{WORDS[kind]} please" for kind in wanted[:, 1:].ravel()]
    searches = Searches.of(users, times[:, :-1].ravel() + 60, words)
    contents = {}
    if with_names:
        contents["attribute:kind"] = Content.from_tokens("attribute:kind", [[WORDS[kind]] for kind in kinds])
    return _store(rng, kinds, wanted, times, searches, contents)


def _store(
    rng: np.random.Generator,
    kinds: np.ndarray,
    wanted: np.ndarray,
    times: np.ndarray,
    searches: Searches | None,
    contents: dict[str, Content],
) -> Asked:
    """Each user takes an unseen item of the wanted kind a round, or any where none is left."""
    items = np.zeros(wanted.shape, dtype=np.int64)
    for user in range(NUM_USERS):
        left = set(range(NUM_ITEMS))
        for number in range(NUM_ROUNDS):
            own = [item for item in sorted(left) if kinds[item] == wanted[user, number]] or sorted(left)
            items[user, number] = own[rng.integers(len(own))]
            left.discard(int(items[user, number]))
    users = np.repeat(np.arange(NUM_USERS), NUM_ROUNDS).reshape(wanted.shape)
    parts = []
    for rounds in (slice(0, NUM_ROUNDS - 1), slice(NUM_ROUNDS - 1, NUM_ROUNDS)):
        chosen = (users[:, rounds].ravel(), items[:, rounds].ravel(), (NUM_USERS, NUM_ITEMS))
        devices = (wanted[:, rounds].ravel() % 2).astype(np.int64)
        parts.append(Interactions.from_rows(*chosen, times=times[:, rounds].ravel(), devices=devices))
    item_ids = np.array([f"i{position:02d}" for position in range(NUM_ITEMS)])
    cut = float(times[:, -1].min())
    train = FitData(item_ids, parts[0], contents, cut_ts=cut, searches=searches, device_names=DEVICES)
    return Asked(train, parts[1], kinds, wanted[:, -1])
