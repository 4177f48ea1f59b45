"""Pairs of users and items, gathered batch by batch → interactions."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mmrec_lib.features.request_context import DeviceCodes
from mmrec_lib.models.data import Doubles, Interactions, Ints

_LARGEST_INT32 = 2**31 - 1


class PairColumns:
    """Columns of the pairs of one part, 28 bytes a pair, until they become interactions."""

    def __init__(self, shape: tuple[int, int]) -> None:
        """Begin without pairs.

        Args:
            shape: (num_users, num_items).
        """
        self._shape = shape
        self._place: type[np.int32 | np.int64] = np.int32 if max(shape) <= _LARGEST_INT32 else np.int64
        self._columns: dict[str, list[npt.NDArray[Any]]] = {
            name: [] for name in ("users", "items", "weights", "times", "devices")
        }

    def add(self, users: Ints, items: Ints, weights: Doubles, times: Doubles, devices: Ints) -> None:
        """Add the pairs of a batch.

        Args:
            users: [n] positions of users.
            items: [n] positions of items.
            weights: [n] their weights.
            times: [n] epoch seconds, 0 where unknown.
            devices: [n] codes of devices.
        """
        places: list[npt.NDArray[Any]] = [users.astype(self._place), items.astype(self._place)]
        columns = [*places, weights, times, devices.astype(np.int32)]
        for own, column in zip(self._columns.values(), columns, strict=True):
            own.append(column)

    def interactions(self, devices: DeviceCodes) -> Interactions:
        """The pairs as interactions; the columns are emptied.

        Args:
            devices: Knows the codes of all batches.
        """
        codes = self._taken("devices")
        return Interactions.from_rows(
            self._taken("users"),
            self._taken("items"),
            self._shape,
            self._taken("weights"),
            self._taken("times"),
            devices.in_order(codes) if devices.names else None,
        )

    def _taken(self, name: str) -> npt.NDArray[Any]:
        """A whole column, whose batches are let go."""
        batches = self._columns.pop(name)
        return np.concatenate(batches) if batches else np.zeros(0, dtype=np.int64)
