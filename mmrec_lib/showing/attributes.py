"""Attributes of users and items as Arrow columns, and conditions on them."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mmrec_lib.showing.config import Condition

Flags = npt.NDArray[np.bool_]

# What fits float64 whatever its digits are.
_NUMBER = r"^[+-]?([0-9]{1,40}(\.[0-9]{0,40})?|\.[0-9]{1,40})([eE][+-]?[0-9]{1,2})?$"


class Attributes:
    """Attributes of n users or items, read by name without a Python object a row.

    Args:
        maps: [n] map<string, string>; a null row has no attributes.
    """

    def __init__(self, maps: pa.Array | pa.ChunkedArray) -> None:
        self._maps = one_array(maps)

    def __len__(self) -> int:
        return len(self._maps)

    @cached_property
    def _flat(self) -> tuple[npt.NDArray[np.int64], pa.Array, pa.Array]:
        """Row, key and value of each entry."""
        rows, entries = rows_and_entries(self._maps)
        return rows, self._maps.keys.take(entries), self._maps.items.take(entries)

    @cached_property
    def names(self) -> list[str]:
        """Names of the attributes that some row has, sorted."""
        return sorted(pc.unique(self._flat[1]).to_pylist())

    def values(self, name: str) -> pa.Array:
        """[n] texts of one attribute; null where a row lacks it."""
        rows, keys, values = self._flat
        at = np.flatnonzero(pc.equal(keys, name).to_numpy(zero_copy_only=False))
        place = np.full(len(self), -1, dtype=np.int64)
        place[rows[at]] = at
        return values.take(pa.array(place, mask=place < 0)).cast(pa.string())


def one_array(column: pa.Array | pa.ChunkedArray) -> Any:
    """A column as one array."""
    if isinstance(column, pa.ChunkedArray):
        return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    return column


def rows_and_entries(lists: pa.Array) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Row of every entry of a list or map array, and its position in the array's values; null rows have none."""
    offsets = lists.offsets.to_numpy().astype(np.int64)
    lengths = np.diff(offsets)
    rows = np.repeat(np.arange(len(lists)), lengths)
    entries = np.arange(offsets[0], offsets[-1]) if len(offsets) else np.zeros(0, dtype=np.int64)
    if lists.null_count:
        kept = lists.is_valid().to_numpy(zero_copy_only=False)[rows]
        rows, entries = rows[kept], entries[kept]
    return rows, entries


def numbers(texts: pa.Array) -> npt.NDArray[np.float64]:
    """[n] texts as numbers; NaN where one is null or no number."""
    trimmed = pc.utf8_trim_whitespace(texts)
    is_number = pc.fill_null(pc.match_substring_regex(trimmed, _NUMBER), False)
    plain = pc.utf8_ltrim(pc.if_else(is_number, trimmed, pa.scalar(None, pa.string())), characters="+")
    values = pc.fill_null(pc.cast(plain, pa.float64()), float("nan"))
    return np.array(values.to_numpy(zero_copy_only=False), dtype=np.float64)


def meets(condition: Condition, values: pa.Array) -> Flags:
    """[n] True where the value of the condition's attribute meets it; see `Condition`."""
    is_there = np.asarray(values.is_valid().to_numpy(zero_copy_only=False), dtype=np.bool_)
    if condition.missing:
        return ~is_there
    result = is_there.copy()
    if condition.is_in is not None:
        result &= _is_one_of(values, condition.is_in)
    if condition.not_in is not None:
        result &= ~_is_one_of(values, condition.not_in)
    if condition.at_least is not None or condition.below is not None:
        parsed = numbers(values)
        if condition.at_least is not None:
            result &= parsed >= condition.at_least
        if condition.below is not None:
            result &= parsed < condition.below
    return result


def _is_one_of(values: pa.Array, texts: tuple[str, ...]) -> Flags:
    return np.asarray(pc.is_in(values, value_set=pa.array(texts, pa.string())).to_numpy(zero_copy_only=False))
