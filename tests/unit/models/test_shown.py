"""Lists of the served model under rules and controls, against those of the scoring job's search."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy import sparse

from mmrec_lib.errors import ModelError, ShowingError
from mmrec_lib.models.ranker.shown import read_controls, select_shown
from mmrec_lib.showing.build import build_rules
from mmrec_lib.showing.config import ShowingConfig
from mmrec_lib.showing.item_rules import ItemRules
from mmrec_lib.showing.pins import place_pins
from mmrec_lib.topk.exact import search
from mmrec_lib.topk.items import prepare_items
from tests.unit.showing.shop import (
    DAY,
    Record,
    control,
    controls_array,
    item,
    items_table,
    maps,
    random_config,
    random_controls,
    random_items,
    random_users,
    values_of,
)

K, NUM_ITEMS, NUM_USERS = 6, 14, 20
SOFT = {"category": ["Coats", "Shoes"], "brand": ["Bolt"]}


def lists_of_the_job(
    rules: ItemRules, users: list[Any], controls: list[Any], vectors: tuple[np.ndarray, np.ndarray]
) -> list[list[int]]:
    """Items with boosts as more dimensions, groups, block lists, search, pins."""
    limits = rules.of_users(maps(users), controls_array(controls))
    items = prepare_items(
        np.hstack([vectors[1], rules.item_boosts]), unavailable=~rules.is_listed, allowed=rules.allowed
    )
    top = search(
        items,
        np.hstack([vectors[0], limits.user_boosts]),
        K,
        seen=limits.blocked,
        group_of_user=limits.group_of_user,
    )
    return place_pins(top.indices, top.scores, limits, rules, K).indices.tolist()  # type: ignore[no-any-return]


def served_lists(
    rules: ItemRules, users: list[Any], controls: list[list[Record] | None], vectors: tuple[np.ndarray, np.ndarray]
) -> list[list[int]]:
    scores = vectors[0] @ vectors[1].T
    seen = sparse.csr_matrix(scores.shape)
    read = [read_controls(row, own) for row, own in enumerate(controls)]
    return select_shown(scores, seen, rules, [user or {} for user in users], read, K).indices.tolist()  # type: ignore[no-any-return]


@pytest.mark.parametrize("seed", range(30))
def test_lists_are_those_of_the_scoring_job_also_for_users_whose_attributes_are_new(seed: int) -> None:
    rng = random.Random(seed)
    records, users = random_items(rng, NUM_ITEMS), random_users(rng, NUM_USERS)
    controls = [random_controls(rng) for _ in users]
    pin = {"name": "pin", "kind": "pin", "position": 2, "items": {"item_ids": ["i007"]}}
    config = ShowingConfig.model_validate(random_config(rng, pin))
    # Eighths: sums are exact, so that equal scores are ties in both.
    numbers = np.random.default_rng(seed)
    vectors = tuple((numbers.integers(-8, 9, (n, 3)) / 8).astype(np.float32) for n in (NUM_USERS, NUM_ITEMS))
    try:
        whole = build_rules(items_table(records), config, DAY, values_of(users), soft_controls=SOFT)
    except ShowingError as error:
        assert "contradict" in str(error), "a pinned item that is excluded"
        return
    expected = lists_of_the_job(whole, users, controls, vectors)  # type: ignore[arg-type]
    # Built with the values of one user and without the targets of controls, and put into another order.
    few = build_rules(items_table(records), config, DAY, values_of(users[:1]), soft_controls={})
    order = numbers.permutation(NUM_ITEMS)
    names = [*(records[place]["item_id"] for place in order), "of the model alone"]
    moved = few.of_items(pa.array(names, pa.string()))
    extended = np.vstack([vectors[1][order], np.full((1, 3), 9, np.float32)])
    found = served_lists(moved, users, controls, (vectors[0], extended))
    assert NUM_ITEMS not in np.array(found), "rules do not know it"
    if not ties(whole, users, controls, vectors):  # type: ignore[arg-type]
        assert [[int(order[place]) if place >= 0 else -1 for place in own] for own in found] == expected
    assert served_lists(few, users, controls, vectors) == expected  # type: ignore[arg-type]


def ties(rules: ItemRules, users: list[Any], controls: list[Any], vectors: tuple[np.ndarray, np.ndarray]) -> bool:
    """True where some user has equal scores, which the order of items decides."""
    limits = rules.of_users(maps(users), controls_array(controls))
    scores = vectors[0] @ vectors[1].T + limits.user_boosts @ rules.item_boosts.T
    return any(len(np.unique(own)) < NUM_ITEMS for own in scores)


def test_items_that_others_lack_are_left_out_of_pins_and_exclusions() -> None:
    shop = items_table([item("a"), item("b"), item("c"), item("d")])
    rules = [
        {"name": "p", "kind": "pin", "position": 1, "items": {"item_ids": ["a", "b"]}},
        {"name": "x", "kind": "exclude", "items": {"item_ids": ["c"]}},
    ]
    built = build_rules(shop, ShowingConfig.model_validate({"rules": rules}), DAY, {}, soft_controls={})
    moved = built.of_items(pa.array(["d", "c", "b"]))
    assert [(pin.position, pin.item) for pin in moved.pins] == [(2, 2)]
    assert moved.is_listed.tolist() == [True, False, True]
    assert [exclusion.items.tolist() for exclusion in moved.exclusions] == [[1]]


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ({"action": "block"}, "row 3: controls must be a list"),
        ("{", "row 3: controls is no JSON"),
        ([{"action": "block", "target_kind": "item"}], "must be a mapping with action, target_kind and target"),
        ([control("hide", "item", "a")], "needs as action one of block, mute, less, boost, got 'hide'"),
        ([control("block", "shop", "a")], "needs as target_kind one of item, category, brand, got 'shop'"),
        ([control("boost", "item", "a")], "on an item must be block or mute, got 'boost'"),
        ([control("less", "brand", "a", -1.0)], "needs a strength above 0 or none, got -1.0"),
    ],
)
def test_controls_that_cannot_be_read_name_their_row(value: Any, sentence: str) -> None:
    with pytest.raises(ModelError, match=sentence):
        read_controls(3, value)


def test_controls_are_read_from_json_and_missing_ones_are_none() -> None:
    assert [read_controls(0, value) for value in (None, float("nan"), "", "[]", [])] == [[]] * 5
    one = control("less", "brand", "Acme", 0.5)
    text = '[{"action": "less", "target_kind": "brand", "target": "Acme", "strength": 0.5}]'
    assert read_controls(0, text) == read_controls(0, [one]) == [one]
