"""Tests on users: their market, age and segments, and which combinations of them occur."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mmrec_lib.errors import ShowingError
from mmrec_lib.showing.attributes import Attributes, meets, numbers
from mmrec_lib.showing.catalogue import require_numbers
from mmrec_lib.showing.config import Condition
from mmrec_lib.showing.labels import positions

Flags = npt.NDArray[np.bool_]
Integers = npt.NDArray[np.int64]
MAX_EXCLUDING_SEGMENTS = 32
"""Segments with exclusions; their combinations are told apart by one bit each."""

_STATES_A_GROUP = 64


@dataclass(frozen=True)
class UserTests:
    """Attributes of users that rules look at, and how.

    Attributes:
        market_attribute: Attribute that names the market; None without markets.
        markets: Markets that items name; all other markets are one: the last.
        default_market: Market of users without one.
        age_attribute: Attribute with the age; None without age limits.
        age_limits: Ages above 0 that items ask for, ascending.
        default_age: Age of users without a readable one.
        segments: Conditions by name of the segment.
        excluding: Segments for which items are excluded: users in and out of them are of different groups.
    """

    market_attribute: str | None
    markets: tuple[str, ...]
    default_market: str | None
    age_attribute: str | None
    age_limits: tuple[float, ...]
    default_age: float | None
    segments: Mapping[str, tuple[Condition, ...]]
    excluding: tuple[str, ...]

    @property
    def attributes(self) -> tuple[str, ...]:
        """Attributes of users that are looked at, sorted."""
        named = {self.market_attribute, self.age_attribute} - {None}
        asked = {condition.attribute for conditions in self.segments.values() for condition in conditions}
        return tuple(sorted(asked | {name for name in named if name is not None}))

    @property
    def has_groups(self) -> bool:
        """True where users may differ in what they may get."""
        return self.market_attribute is not None or self.age_attribute is not None or bool(self.excluding)

    def market_codes(self, values: pa.Array) -> Integers:
        """[n] position among `markets`; their number for any other market and for none."""
        known = pa.array(self.markets, pa.string())
        codes = positions(values.fill_null(self.default_market) if self.default_market else values, known)
        return np.where(codes < 0, len(self.markets), codes)

    def age_codes(self, values: pa.Array) -> Integers:
        """[n] number of age limits that a user has reached."""
        ages = numbers(values)
        ages[~(ages >= 0)] = 0.0 if self.default_age is None else self.default_age
        return np.searchsorted(np.array(self.age_limits), ages, side="right").astype(np.int64)

    def in_segment(self, name: str, users: Attributes) -> Flags:
        """[n] True for users that meet all conditions of a segment."""
        found = np.ones(len(users), dtype=np.bool_)
        for condition in self.segments[name]:
            found &= meets(condition, users.values(condition.attribute))
        return found

    def states(self, users: Attributes) -> Integers:
        """[n, 2 + excluding] market, age and membership of each segment with exclusions; 0 where there is no such."""
        columns = [np.zeros(len(users), dtype=np.int64), np.zeros(len(users), dtype=np.int64)]
        if self.market_attribute is not None:
            columns[0] = self.market_codes(users.values(self.market_attribute))
        if self.age_attribute is not None:
            columns[1] = self.age_codes(users.values(self.age_attribute))
        columns += [self.in_segment(name, users).astype(np.int64) for name in self.excluding]
        return np.stack(columns, axis=1)

    def codes(self, states: Integers) -> Integers:
        """[n] one number for each state."""
        codes = states[:, 0] * (len(self.age_limits) + 1) + states[:, 1]
        for column in range(2, states.shape[1]):
            codes = codes * 2 + states[:, column]
        return np.asarray(codes, dtype=np.int64)

    def occurring_states(self, user_values: Mapping[str, Sequence[str]], max_groups: int) -> Integers:
        """[S, 2 + excluding] the states that users with these attributes may be in; see `states`.

        Args:
            user_values: Values that occur, by attribute. All combinations of them count, whether or not some user has
                them.
            max_groups: Most groups; far more states than that are refused early.

        Raises:
            ShowingError: When there are too many.
        """
        found = np.concatenate([[[0, 0]], np.ones((1, len(self.excluding)), np.int64)], axis=1).astype(np.int64)
        for attribute in self.attributes:
            values = _with_null(user_values[attribute])
            of_value = np.ones((len(values), found.shape[1]), dtype=np.int64)
            of_value[:, 0] = self.market_codes(values) if attribute == self.market_attribute else 0
            of_value[:, 1] = self.age_codes(values) if attribute == self.age_attribute else 0
            for column, name in enumerate(self.excluding, start=2):
                for condition in self.segments[name]:
                    if condition.attribute == attribute:
                        of_value[:, column] &= meets(condition, values)
            of_value = np.unique(of_value, axis=0)
            if len(found) * len(of_value) > _STATES_A_GROUP * max_groups:
                raise self.too_many_groups(len(found) * len(of_value), max_groups)
            joined = found[:, None, :] + of_value[None, :, :]
            joined[:, :, 2:] = found[:, None, 2:] & of_value[None, :, 2:]
            found = np.unique(joined.reshape(-1, found.shape[1]), axis=0)
        return found

    def too_many_groups(self, num: int, max_groups: int) -> ShowingError:
        """The error about more groups of users than configured."""
        return ShowingError(
            f"groups of users: at most {max_groups} with different catalogues are allowed (showing.max_groups), but "
            f"{len(self.markets)} markets, {len(self.age_limits)} age limits and {len(self.excluding)} segments with "
            f"exclusions make {num}. Use fewer of them, or raise the limit: each group takes one byte an item."
        )

    def may_overlap(self, one: str | None, other: str | None, user_values: Mapping[str, Sequence[str]]) -> bool:
        """Tell whether a user may be in two segments at once; None is everybody."""
        conditions = [condition for name in (one, other) if name is not None for condition in self.segments[name]]
        for attribute in {condition.attribute for condition in conditions}:
            values = _with_null(user_values[attribute])
            together = np.ones(len(values), dtype=np.bool_)
            for condition in conditions:
                if condition.attribute == attribute:
                    together &= meets(condition, values)
            if not together.any():
                return False
        return True

    def check_values(self, user_values: Mapping[str, Sequence[str]]) -> None:
        """Refuse tests of attributes that no user has, or that never are the numbers they are compared with.

        Raises:
            ShowingError: See above.
        """
        asked = {condition.attribute: f"segment `{name}`" for name, many in self.segments.items() for condition in many}
        for attribute in self.attributes:
            if not user_values.get(attribute):
                subject = asked.get(attribute, "showing")
                raise ShowingError(f"{subject}: an attribute of users is needed, but no user has `{attribute}`.")
        for name, conditions in self.segments.items():
            for condition in conditions:
                values = pa.array(user_values[condition.attribute], pa.string())
                require_numbers(f"segment `{name}`", condition, values)


def _with_null(values: Sequence[str]) -> pa.Array:
    return pa.array([*values, None], pa.string())
