"""Demographic groups of users from their attributes: values of categories, quantiles of numbers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from mmrec_lib.models.data import Attributes, Bools, Floats
from mmrec_lib.section import Section

# A number with more distinct values than this is cut at quantiles.
_MAX_DISTINCT = 12
_NUM_BINS = 5


class Group(Section):
    """Users with one value of an attribute, or a number in a range.

    Attributes:
        attribute: Name of the attribute.
        value: The value, for a category.
        low: Lower end (included), for a number.
        high: Upper end (excluded), for a number.
    """

    attribute: str
    value: str | None = None
    low: float | None = None
    high: float | None = None

    def members(self, attributes: Attributes, num_users: int) -> Bools:
        """[n] whether each user belongs to the group; unknown values belong to none."""
        values = attributes.get(self.attribute)
        if values is None:
            return np.zeros(num_users, dtype=np.bool_)
        if self.value is not None:
            return np.array([value is not None and str(value) == self.value for value in values], dtype=np.bool_)
        numbers = np.array([_number(value) for value in values])
        inside: Bools = np.ones(len(numbers), dtype=np.bool_) & ~np.isnan(numbers)
        if self.low is not None:
            inside &= numbers >= self.low
        if self.high is not None:
            inside &= numbers < self.high
        return inside


def find_groups(attributes: Attributes, has_history: Bools, min_users: int, max_groups: int) -> tuple[Group, ...]:
    """Groups with enough users that have a history, the largest first, ties by name."""
    ranked: list[tuple[int, str, Group]] = []
    for name in sorted(attributes):
        values = [
            value for value, known in zip(attributes[name], has_history, strict=True) if known and value is not None
        ]
        for group, size in _groups_of(name, values, min_users):
            if min_users <= size < int(has_history.sum()):
                ranked.append((-size, group.model_dump_json(), group))
    return tuple(group for _, _, group in sorted(ranked)[:max_groups])


def membership(groups: tuple[Group, ...], attributes: Attributes, num_users: int) -> Floats:
    """[n, groups] float32 of 0 and 1."""
    codes = np.zeros((num_users, len(groups)), dtype=np.float32)
    for column, group in enumerate(groups):
        codes[:, column] = group.members(attributes, num_users)
    return codes


def _groups_of(name: str, values: list[Any], min_users: int) -> list[tuple[Group, int]]:
    """Groups of an attribute and their sizes, counted in one pass: an attribute may have thousands of values."""
    numbers = np.array([_number(value) for value in values])
    if len(values) and not np.isnan(numbers).any() and len(np.unique(numbers)) > _MAX_DISTINCT:
        cuts = np.unique(np.quantile(numbers, np.linspace(0, 1, _NUM_BINS + 1)[1:-1]))
        lows: list[float | None] = [None, *map(float, cuts)]
        highs: list[float | None] = [*map(float, cuts), None]
        sizes = np.bincount(np.searchsorted(cuts, numbers, side="right"), minlength=len(lows)).tolist()
        return [
            (Group(attribute=name, low=low, high=high), size)
            for low, high, size in zip(lows, highs, sizes, strict=True)
        ]
    counts: Mapping[str, int] = Counter(str(value) for value in values)
    # Nearly every user may have a value of their own, such as a city or a token: each of those is no group.
    return [(Group(attribute=name, value=value), num) for value, num in sorted(counts.items()) if num >= min_users]


def _number(value: Any) -> float:
    """A finite number, or NaN: nothing lies between `inf` and another number, so it is a category."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return float("nan")
    return number if math.isfinite(number) else float("nan")
