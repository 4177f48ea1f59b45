"""The ranker's part of the gate: better vectors raise its nDCG on validation, worse ones lower it, in any order."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime

import numpy as np
import pytest

from mmrec_lib.errors import RecipeError
from mmrec_lib.features.interactions import Cuts
from mmrec_lib.features.load import Snapshot
from mmrec_lib.fine_tuning.ranker_gate import RankerCheck
from mmrec_lib.models.config import TrainingConfig
from mmrec_lib.models.data import Content, Interactions
from mmrec_lib.recipes.adapt_config import AdaptationConfig

NUM_USERS, NUM_ITEMS, NUM_KINDS = 60, 80, 4
TRAINING = TrainingConfig(sources=("content_ease",), dims=(16,), second_stage=None, heads=None)
CONFIG = AdaptationConfig()
NAMES = ("text:title",)
KINDS = np.arange(NUM_ITEMS) % NUM_KINDS


def snapshot_of(contents: dict[str, Content] | None = None) -> Snapshot:
    """Users of one kind each, who turn to a few items in train and to others of the same kind in valid."""
    rng = np.random.default_rng(0)
    shape, found = (NUM_USERS, NUM_ITEMS), dict[str, Interactions]()
    rows: dict[str, list[tuple[int, int]]] = {"train": [], "valid": []}
    for user in range(NUM_USERS):
        chosen = rng.choice(np.flatnonzero(user % NUM_KINDS == KINDS), 6, replace=False).tolist()
        rows["train"] += [(user, item) for item in chosen[:3]]
        rows["valid"] += [(user, item) for item in chosen[3:]]
    for part, pairs in rows.items():
        found[part] = Interactions.from_rows([u for u, _ in pairs], [i for _, i in pairs], shape)
    return Snapshot(
        snapshot_id="s1",
        cuts=Cuts(date(2025, 1, 1), "by_time", datetime(2024, 12, 1, tzinfo=UTC), None),
        user_ids=np.array([f"u{n:02d}" for n in range(NUM_USERS)]),
        item_ids=np.array([f"i{n:02d}" for n in range(NUM_ITEMS)]),
        is_available=np.ones(NUM_ITEMS, np.bool_),
        parts={**found, "test": Interactions.from_rows([], [], shape)},
        contents={("all", name): content for name, content in (contents or {}).items()},
        user_attributes={},
    )


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(NUM_ITEMS, 8)).astype(np.float32)


TELLING = np.hstack([np.eye(NUM_KINDS, dtype=np.float32)[KINDS] * 4, noise(1)[:, :4] / 4])
ITEM_IDS = [f"i{n:02d}" for n in range(NUM_ITEMS)]


def test_vectors_that_tell_more_raise_the_value_and_the_other_way_round_lower_it() -> None:
    check = RankerCheck(snapshot_of(), ITEM_IDS, CONFIG, TRAINING, NAMES)
    better, worse = check.compare(noise(2), TELLING), check.compare(TELLING, noise(2))
    assert better.num_users == NUM_USERS
    assert better.diff_low > 0 > worse.diff_high
    assert better.value > better.base_value and worse.value < worse.base_value
    assert check.compare(TELLING, TELLING).diff_low == pytest.approx(0.0, abs=1e-6)


def test_vectors_follow_their_items_whatever_the_order() -> None:
    order = np.random.default_rng(3).permutation(NUM_ITEMS)
    straight = RankerCheck(snapshot_of(), ITEM_IDS, CONFIG, TRAINING, NAMES).compare(noise(2), TELLING)
    others = [*(ITEM_IDS[n] for n in order), "of another snapshot"]
    extra = np.ones((1, 8), np.float32)
    check = RankerCheck(snapshot_of(), others, CONFIG, TRAINING, NAMES)
    assert check.compare(np.vstack([noise(2)[order], extra]), np.vstack([TELLING[order], extra])) == straight


def test_blocks_of_the_same_fields_are_replaced_and_others_stay() -> None:
    snapshot = snapshot_of(
        {
            name: Content.from_vectors(name, TELLING)
            for name in ("text:title", "text:title:other-encoder", "text:titles", "image:images")
        }
    )
    names = set(RankerCheck(snapshot, ITEM_IDS, CONFIG, TRAINING, NAMES)._data.contents)
    assert names == {"text:titles", "image:images"}


def test_too_few_users_to_tell_are_refused() -> None:
    nobody = Interactions.from_rows([], [], (NUM_USERS, NUM_ITEMS))
    snapshot = snapshot_of()
    empty = replace(snapshot, parts={**snapshot.parts, "valid": nobody})
    with pytest.raises(RecipeError, match=r"at least 30 users .*valid part.*got 0.*ranker_margin=null"):
        RankerCheck(empty, ITEM_IDS, CONFIG, TRAINING, NAMES)
