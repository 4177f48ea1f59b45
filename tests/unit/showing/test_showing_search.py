"""Rules and exact top-k together: lists are those of a plain sort over what each user may get."""

from __future__ import annotations

import random

import numpy as np
import pytest

from mmrec_lib.errors import ShowingError
from mmrec_lib.showing.build import build_rules
from mmrec_lib.showing.config import ShowingConfig
from mmrec_lib.showing.pins import place_pins
from mmrec_lib.topk.exact import search
from mmrec_lib.topk.items import prepare_items
from tests.unit.showing.shop import (
    DAY,
    controls_array,
    items_table,
    maps,
    plain_boost,
    plain_reasons,
    plain_selects,
    random_config,
    random_controls,
    random_items,
    random_users,
    values_of,
)

K = 6


@pytest.mark.parametrize("seed", range(40))
def test_lists_are_those_of_a_plain_sort(seed: int) -> None:
    rng = random.Random(seed)
    records, users = random_items(rng, 14), random_users(rng, 20)
    controls = [random_controls(rng) for _ in users]
    pin = {"name": "pin", "kind": "pin", "position": 2, "segment": "adults", "items": {"item_ids": ["i007"]}}
    config = ShowingConfig.model_validate(random_config(rng, pin))
    soft = {"category": ["Coats", "Shoes"], "brand": ["Bolt"]}
    (pinned,) = (place for place, record in enumerate(records) if record["item_id"] == "i007")
    excluded = [
        rule
        for rule in config.rules
        if rule.kind == "exclude" and rule.holds_on(DAY) and plain_selects(rule, records[pinned])
    ]
    if any(not rule.items.follows_data for rule in excluded):
        with pytest.raises(ShowingError, match="contradict each other"):
            build_rules(items_table(records), config, DAY, values_of(users), soft_controls=soft)
        return
    rules = build_rules(items_table(records), config, DAY, values_of(users), soft_controls=soft)
    limits = rules.of_users(maps(users), controls_array(controls))

    # Eighths: sums are exact, so that equal scores are ties in both.
    random_vectors = np.random.default_rng(seed)
    item_vectors = (random_vectors.integers(-8, 9, (14, 3)) / 8).astype(np.float32)
    user_vectors = (random_vectors.integers(-8, 9, (20, 3)) / 8).astype(np.float32)
    items = prepare_items(
        np.concatenate([item_vectors, rules.item_boosts], axis=1), unavailable=~rules.is_listed, allowed=rules.allowed
    )
    found = search(
        items,
        np.concatenate([user_vectors, limits.user_boosts], axis=1),
        K,
        seen=limits.blocked,
        group_of_user=limits.group_of_user,
    )
    placed = place_pins(found.indices, found.scores, limits, rules, K)

    for row, user in enumerate(users):
        mine, own = user or {}, controls[row] or []
        may = [place for place, record in enumerate(records) if not plain_reasons(config, record, mine, own)]
        score = {
            place: float(user_vectors[row] @ item_vectors[place]) + plain_boost(config, records[place], mine, own)
            for place in may
        }
        best = sorted(may, key=lambda place: (-score[place], place))[:K]
        assert [i for i in found.indices[row].tolist() if i >= 0] == best
        assert found.scores[row, : len(best)].tolist() == [score[place] for place in best]
        is_adult = (mine.get("age") or "old") == "44" or mine.get("age") == "30"
        if is_adult and pinned in may:
            others = [place for place in best if place != pinned]
            best = [*others[:1], pinned, *others[1:]][:K]
        assert [i for i in placed.indices[row].tolist() if i >= 0] == best
