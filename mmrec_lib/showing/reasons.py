"""Reasons why items are kept out of a user's list."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from mmrec_lib.errors import ShowingError
from mmrec_lib.showing.attributes import Attributes
from mmrec_lib.showing.controls import CONTROLS_TYPE, KEEP_OUT, FlatControls, blocked_items
from mmrec_lib.showing.item_rules import ItemRules
from mmrec_lib.showing.labels import positions


@dataclass(frozen=True)
class KeptOut:
    """One reason why an item is not shown; an item may have several.

    Attributes:
        item_id: The item.
        reason: unknown_item, not_available, seen, excluded, market, age, age_rating_unknown, or blocked.
        rule: Rule or setting that decided it; for blocked the user's control, such as `mute brand Acme`.
    """

    item_id: str
    reason: str
    rule: str


def why_kept_out(
    rules: ItemRules,
    user_attributes: Mapping[str, str],
    controls: Sequence[Mapping[str, Any]],
    item_ids: Sequence[str],
    *,
    seen_item_ids: Sequence[str] = (),
) -> list[KeptOut]:
    """Tell why items are kept out of the list of one user; items that may be shown have no row.

    Args:
        rules: The rules.
        user_attributes: Attributes of the user.
        controls: Controls of the user: action, target_kind, target.
        item_ids: Items that are asked about.
        seen_item_ids: Items that are hidden because the user saw them.

    Raises:
        ShowingError: When the user has controls, and the rules were built without.
    """
    places = positions(pa.array(item_ids, pa.string()), rules.item_ids).tolist()
    user = Attributes(pa.array([list(user_attributes.items())], pa.map_(pa.string(), pa.string())))
    seen = set(seen_item_ids)
    blocks = _blocks(rules, controls)
    rows = []
    for item_id, place in zip(item_ids, places, strict=True):
        if place < 0:
            rows.append(KeptOut(item_id, "unknown_item", "items"))
            continue
        if not rules.is_available[place]:
            rows.append(KeptOut(item_id, "not_available", "available"))
        if item_id in seen:
            rows.append(KeptOut(item_id, "seen", "events"))
        found = [*_exclusions(rules, user, place), *_market_and_age(rules, user, place)]
        found += [("blocked", name) for name, items in blocks if place in items]
        rows += [KeptOut(item_id, reason, rule) for reason, rule in found]
    return rows


def _exclusions(rules: ItemRules, user: Attributes, place: int) -> Iterator[tuple[str, str]]:
    for exclusion in rules.exclusions:
        holds = exclusion.segment is None or bool(rules.tests.in_segment(exclusion.segment, user)[0])
        if holds and place in exclusion.items:
            yield "excluded", exclusion.rule


def _market_and_age(rules: ItemRules, user: Attributes, place: int) -> Iterator[tuple[str, str]]:
    tests = rules.tests
    if tests.market_attribute is not None and rules.market_items is not None and rules.is_sold_everywhere is not None:
        code = int(tests.market_codes(user.values(tests.market_attribute))[0])
        is_sold = code < len(tests.markets) and place in rules.market_items.items[code].indices
        if not (is_sold or rules.is_sold_everywhere[place]):
            yield "market", tests.market_attribute
    if tests.age_attribute is not None and rules.least_age is not None:
        if np.isinf(rules.least_age[place]):
            yield "age_rating_unknown", tests.age_attribute
        else:
            code = int(tests.age_codes(user.values(tests.age_attribute))[0])
            if rules.least_age[place] > (0.0, *tests.age_limits)[code]:
                yield "age", tests.age_attribute


def _blocks(rules: ItemRules, controls: Sequence[Mapping[str, Any]]) -> list[tuple[str, set[int]]]:
    """Name and items of each control that keeps items out."""
    asked = [control for control in controls if control["action"] in KEEP_OUT]
    if asked and rules.controls is None:
        raise ShowingError("controls: the user has some, but the rules were built without. Build them with.")
    blocks: list[tuple[str, set[int]]] = []
    if rules.controls is None:
        return blocks
    for control in asked:
        row = {"action": control["action"], "target_kind": control["target_kind"], "target": control["target"]}
        flat = FlatControls.of(pa.array([[row]], CONTROLS_TYPE))
        blocked = blocked_items(flat, rules.controls, rules.item_ids, 1)
        name = " ".join(row.values())
        blocks.append((name, set() if blocked is None else set(blocked.indices.tolist())))
    return blocks
