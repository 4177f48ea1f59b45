"""Scored entries → the best of each list, in Arrow, one row a list."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Ints = NDArray[np.int64]
NO_SUPPORT = -1
LISTS = pa.schema(
    [
        ("list_type", pa.string()),
        ("owner", pa.string()),
        ("item_ids", pa.list_(pa.string())),
        ("scores", pa.list_(pa.float64())),
        ("supports", pa.list_(pa.int64())),
    ]
)
"""A list a row, best first: its type, item or audience that it belongs to, and what its entries are."""
# Digits that are published: counts are whole, but their logarithms are not the same on every machine.
_DIGITS = 6


@dataclass(frozen=True)
class Entries:
    """Entries of lists, each at most once, in any order; all of them may be shown.

    Attributes:
        owners: [n] positions of what the lists belong to.
        items: [n] positions of the listed items.
        scores: [n] finite.
        supports: [n] number of cases that stand behind an entry, or `NO_SUPPORT`.
    """

    owners: Ints
    items: Ints
    scores: NDArray[np.float64]
    supports: Ints

    def where(self, is_kept: NDArray[np.bool_]) -> Entries:
        """The entries that a mask [n] keeps."""
        return Entries(self.owners[is_kept], self.items[is_kept], self.scores[is_kept], self.supports[is_kept])

    @classmethod
    def joined(cls, *parts: Entries) -> Entries:
        """The entries of several parts."""
        columns = zip(*((p.owners, p.items, p.scores, p.supports) for p in parts), strict=True)
        owners, items, scores, supports = (np.concatenate(column) for column in columns)
        return cls(owners, items, scores, supports)


def select_lists(list_type: str, entries: Entries, owners: pa.Array, item_ids: pa.Array, k: int) -> pa.RecordBatch:
    """The k best entries of each list, by score as published, then by item; lists without an entry are no rows.

    Args:
        list_type: Name of the type.
        entries: What may be listed.
        owners: Names of what the lists belong to.
        item_ids: Ids of the items, sorted.
        k: Longest list.

    Returns:
        Rows of `LISTS`, in the order of the owners.

    Example:
        >>> entries = Entries(np.array([0, 0, 0]), np.array([2, 1, 0]), np.array([0.5, 0.9, 0.5]), np.array([3, 4, 3]))
        >>> select_lists("t", entries, pa.array(["x"]), pa.array(["a", "b", "c"]), k=2)["item_ids"].to_pylist()
        [['b', 'a']]
    """
    scores = np.round(entries.scores, _DIGITS)
    order = np.lexsort((entries.items, -scores, entries.owners))
    sorted_owners = entries.owners[order]
    place = np.arange(len(order)) - np.searchsorted(sorted_owners, sorted_owners)
    order = order[place < k]
    own, lengths = np.unique(entries.owners[order], return_counts=True)
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))
    supports = entries.supports[order]
    columns = (
        item_ids.take(pa.array(entries.items[order])),
        pa.array(scores[order]),
        pa.array(supports, mask=supports == NO_SUPPORT),
    )
    names = pa.array([list_type], pa.string()).take(pa.array(np.zeros(len(own), np.int64)))
    lists = [pa.ListArray.from_arrays(offsets, column) for column in columns]
    return pa.RecordBatch.from_arrays([names, owners.take(pa.array(own)), *lists], schema=LISTS)
