"""Outcomes: what users did with items in a part, as values of pairs.

Shape letters: N pairs with an outcome, P pairs that are asked for.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mmrec_lib.models.data import Doubles, Ints

VALUE, SHARE = "value", "share"
"""Kinds of a quantity of an event: its value, such as that of a rating, and the share of it that was watched."""


def quantity_name(event: str, kind: str) -> str:
    """Name of a quantity of an event, such as `rating:value`."""
    return f"{event}:{kind}"


def event_of(name: str) -> str | None:
    """The event that a quantity is of; None for the name of an outcome that happens or does not."""
    event, _, kind = name.rpartition(":")
    return event if event and kind in (VALUE, SHARE) else None


@dataclass(frozen=True)
class PairValues:
    """Values of pairs of a user and an item.

    Attributes:
        keys: [N] user * num_items + item, ascending, each once.
        values: [N] 1 for an outcome that happened, or the quantity of an event.
        num_items: Items of the catalogue.
    """

    keys: Ints
    values: Doubles
    num_items: int

    @classmethod
    def of(
        cls, num_items: int, users: npt.NDArray[np.integer], items: npt.NDArray[np.integer], values: npt.ArrayLike
    ) -> PairValues:
        """Values of distinct pairs in any order.

        Args:
            num_items: Items of the catalogue.
            users: [N] positions of users.
            items: [N] positions of items.
            values: [N] finite.
        """
        keys = users.astype(np.int64) * num_items + items
        order = np.argsort(keys)
        return cls(keys[order], np.asarray(values, dtype=np.float64)[order], num_items)

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def users(self) -> Ints:
        """[N] positions of the users."""
        return self.keys // max(self.num_items, 1)

    def at(self, users: npt.NDArray[np.integer], items: npt.NDArray[np.integer]) -> Doubles:
        """[P] values of pairs; NaN for a pair that has none."""
        wanted = users.astype(np.int64) * self.num_items + items
        if not len(self):
            return np.full(len(wanted), np.nan)
        places = np.minimum(np.searchsorted(self.keys, wanted), len(self) - 1)
        found: Doubles = np.where(self.keys[places] == wanted, self.values[places], np.nan)
        return found
