"""Contradictions between rules that hold on one day."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import pyarrow as pa

from mmrec_lib.errors import ShowingError
from mmrec_lib.showing.item_rules import Exclusion, Pin
from mmrec_lib.showing.user_tests import UserTests


def check_pins(
    pins: Sequence[Pin],
    exclusions: Sequence[Exclusion],
    tests: UserTests,
    user_values: Mapping[str, Sequence[str]],
    item_ids: pa.Array,
) -> None:
    """Refuse pins that contradict each other or an exclusion for users who may exist.

    An exclusion by price or attributes is no contradiction: a pinned item that runs out of stock is not shown until it
    is back, as one that is not available.

    Args:
        pins: The pins.
        exclusions: The exclusions.
        tests: Segments of users.
        user_values: Values that occur among the users, by attribute.
        item_ids: [I] ids of the items.

    Raises:
        ShowingError: When one user could have two items pinned at one position, one item at two, or an item that is
            excluded for the same user.
    """
    for one, other in combinations(pins, 2):
        if one.position != other.position and one.item != other.item:
            continue
        if not tests.may_overlap(one.segment, other.segment, user_values):
            continue
        whose = _whose(one.segment, other.segment)
        rules = f"rule `{one.rule}`" if one.rule == other.rule else f"rules `{one.rule}` and `{other.rule}`"
        if one.item == other.item:
            raise ShowingError(
                f"{rules}: one position an item is needed, but item {_id(item_ids, one.item)} is pinned at "
                f"{one.position} and {other.position}{whose}."
            )
        raise ShowingError(
            f"{rules}: one item a position is needed, but items {_id(item_ids, one.item)} and "
            f"{_id(item_ids, other.item)} are pinned at position {one.position}{whose}."
        )
    for pin in pins:
        for exclusion in exclusions:
            if exclusion.follows_data:
                continue
            at = int(np.searchsorted(exclusion.items, pin.item))
            is_excluded = at < len(exclusion.items) and exclusion.items[at] == pin.item
            if is_excluded and tests.may_overlap(pin.segment, exclusion.segment, user_values):
                raise ShowingError(
                    f"rules `{pin.rule}` and `{exclusion.rule}`: they contradict each other, one pins item "
                    f"{_id(item_ids, pin.item)}, the other excludes it{_whose(pin.segment, exclusion.segment)}."
                )


def _id(item_ids: pa.Array, item: int) -> str:
    return repr(item_ids[item].as_py())


def _whose(one: str | None, other: str | None) -> str:
    named = list(dict.fromkeys(name for name in (one, other) if name is not None))
    if not named:
        return ""
    return f" for users of the segment{'s' if len(named) > 1 else ''} {' and '.join(f'`{name}`' for name in named)}"
