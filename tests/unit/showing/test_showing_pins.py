import random

import numpy as np
import pytest
from scipy import sparse

from mmrec_lib.errors import ShowingError
from mmrec_lib.showing.build import build_rules
from mmrec_lib.showing.config import ShowingConfig
from mmrec_lib.showing.item_rules import ItemRules
from mmrec_lib.showing.pins import place_pins
from tests.unit.showing.shop import DAY, control, controls_array, item, items_table, maps, used_segments

ITEMS = [item(f"i{number}") for number in range(8)]
USERS = [{"tier": "gold"}, {"tier": "tin"}, None]
SEGMENTS = {
    "gold": [{"attribute": "tier", "is_in": ["gold"]}],
    "tin": [{"attribute": "tier", "is_in": ["tin"]}],
}


def rules_with(*pins: tuple[str, int, str | None], records: list[dict] = ITEMS, **config: object) -> ItemRules:
    rules = [
        {"name": f"pin{n}", "kind": "pin", "position": place, "segment": segment, "items": {"item_ids": [item_id]}}
        for n, (item_id, place, segment) in enumerate(pins)
    ]
    parsed = ShowingConfig.model_validate({"segments": used_segments(SEGMENTS, rules), "rules": rules, **config})
    return build_rules(items_table(records), parsed, DAY, {"tier": ["gold", "tin"]}, soft_controls={})


def lists(*rows: list[int], width: int) -> tuple[np.ndarray, np.ndarray]:
    indices = np.array([[*row, *[-1] * (width - len(row))] for row in rows], dtype=np.int32)
    scores = np.where(indices >= 0, np.arange(width, 0, -1, dtype=np.float32)[None, :], -np.inf)
    return indices, scores.astype(np.float32)


def test_pins_stand_at_their_positions_and_the_others_keep_their_order() -> None:
    rules = rules_with(("i7", 1, "gold"), ("i2", 3, None))
    indices, scores = lists([0, 1, 2, 3], [0, 1, 2, 3], [2, 0, 1, 3], width=4)
    placed = place_pins(indices, scores, rules.of_users(maps(USERS)), rules, 4)
    assert placed.indices.tolist() == [[7, 0, 2, 1], [0, 1, 2, 3], [0, 1, 2, 3]]
    assert placed.is_pinned.tolist() == [
        [True, False, True, False],
        [False, False, True, False],
        [False, False, True, False],
    ]
    assert placed.scores.tolist() == [[4, 4, 3, 3], [4, 3, 1, 1], [3, 2, 1, 1]]


def test_a_short_list_has_no_gap_before_a_pin() -> None:
    rules = rules_with(("i7", 5, None))
    indices, scores = lists([0, 1], [], width=2)
    limits = rules.of_users(maps(USERS[:2]))
    placed = place_pins(indices, scores, limits, rules, 6)
    assert placed.indices.tolist() == [[0, 1, 7, -1, -1, -1], [7, -1, -1, -1, -1, -1]]
    assert placed.scores[0].tolist() == [2, 1, 1, -np.inf, -np.inf, -np.inf]
    assert placed.scores[1, 0] == 0.0
    beyond = place_pins(indices, scores, limits, rules, 4)
    assert beyond.indices[0].tolist() == [0, 1, -1, -1], "a position after the end of the lists is passed over"


def test_an_item_that_a_user_must_not_get_is_not_pinned() -> None:
    records = [item("i0", markets=["DE"]), item("i1"), item("i2", available=False), item("i3"), item("i4")]
    pins = [("i0", 1, None), ("i2", 2, None), ("i3", 3, None), ("i4", 4, None)]
    rules = rules_with(*pins, records=records, market_attribute="tier", default_market="DE")
    controls = controls_array([None, None, [control("block", "item", "i4")]])
    seen = sparse.csr_matrix((np.ones(1), ([1], [3])), shape=(3, 5))
    indices, scores = lists([1], [1], [1], width=1)
    placed = place_pins(indices, scores, rules.of_users(maps(USERS), controls), rules, 4, hidden=seen)
    assert [row[row >= 0].tolist() for row in placed.indices] == [[1, 3, 4], [1, 4], [0, 1, 3]]


def plain_pins(row: list[tuple[int, float]], pins: dict[int, int], k: int) -> tuple[list[int], list[float]]:
    """One list with its pins (position from 0 → item), one place after the other."""
    others = [entry for entry in row if entry[0] not in pins.values()]
    out: list[tuple[int, float | None]] = []
    for place in range(k):
        if place in pins:
            out.append((pins[place], None))
        elif others:
            out.append(others.pop(0))
    values: list[float] = []
    for place, (_, score) in enumerate(out):
        below = [s for _, s in out[place:] if s is not None]
        above = [s for _, s in out[:place] if s is not None]
        values.append(score if score is not None else below[0] if below else above[-1] if above else 0.0)
    return [entry for entry, _ in out], values


@pytest.mark.parametrize("seed", range(150))
def test_pinned_lists_are_as_filled_place_by_place(seed: int) -> None:
    rng = random.Random(seed)
    chosen = rng.sample(range(8), rng.randint(0, 4))
    places = rng.sample(range(1, 8), len(chosen))
    segments = [rng.choice([None, "gold", "tin"]) for _ in chosen]
    pins = [(f"i{entry}", place, segment) for entry, place, segment in zip(chosen, places, segments, strict=True)]
    rules = rules_with(*pins)
    width, k = rng.randint(1, 8), rng.randint(1, 8)
    rows = [rng.sample(range(8), rng.randint(0, width)) for _ in USERS]
    indices, scores = lists(*rows, width=width)
    placed = place_pins(indices, scores, rules.of_users(maps(USERS)), rules, k)
    for place, user in enumerate(USERS):
        mine = {
            position - 1: entry
            for entry, position, segment in zip(chosen, places, segments, strict=True)
            if position <= k and segment in (None, (user or {}).get("tier"))
        }
        expected = plain_pins(list(zip(rows[place], scores[place].tolist(), strict=False)), mine, k)
        length = len(expected[0])
        assert placed.indices[place].tolist() == [*expected[0], *[-1] * (k - length)]
        assert placed.scores[place].tolist() == [*expected[1], *[-np.inf] * (k - length)]
        assert set(placed.indices[place][placed.is_pinned[place]].tolist()) == set(mine.values())
    got = placed.scores[:, 1:] <= placed.scores[:, :-1]
    assert got.all(), "scores never increase"


def test_lists_of_another_shape_are_refused() -> None:
    rules = rules_with(("i7", 1, None))
    indices, scores = lists([0, 1], width=2)
    with pytest.raises(ShowingError, match=r"lists and scores of 3 users need one shape \[n, c\], got \(1, 2\)"):
        place_pins(indices, scores, rules.of_users(maps(USERS)), rules, 2)
