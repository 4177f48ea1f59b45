"""Lists in Arrow as arrays and back, without an object a row.

Shape letters: n rows, E elements of all lists.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mmrec_lib.models.attributes import group_value


def list_offsets(lists: pa.ListArray) -> NDArray[np.int64]:
    """[n + 1] where the elements of each row start in `lists.flatten()`; a row that is null has none."""
    lengths = lists.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])


def lists_of_rows(values: pa.Array, lengths: NDArray[np.integer]) -> pa.ListArray:
    """Lists of these lengths from all their elements, row after row."""
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), values)


def vectors_to_arrow(vectors: NDArray[np.float32]) -> pa.ListArray:
    """Rows of a matrix [n, dim] as lists."""
    num_rows, dim = vectors.shape
    return lists_of_rows(pa.array(np.ascontiguousarray(vectors).ravel()), np.full(num_rows, dim))


def vectors_of_arrow(lists: pa.ListArray) -> NDArray[np.floating]:
    """[n, dim] matrix of lists of one length; without rows it has no columns."""
    values: NDArray[np.floating] = lists.flatten().to_numpy()
    return values.reshape(len(lists), -1) if len(lists) else values.reshape(0, 0)


def groups_of_maps(maps: pa.MapArray, names: Sequence[str]) -> dict[str, NDArray[np.object_]]:
    """Groups of users by attribute, [n] each, as `models.attributes.group_values` finds them.

    An attribute's value is parsed once for all users that share it.
    """
    found = {}
    for name in names:
        values = pc.map_lookup(maps, pa.scalar(name), "first").dictionary_encode()
        groups = np.array([group_value(value) for value in values.dictionary.to_pylist()] + [None], dtype=np.object_)
        found[name] = groups[values.indices.fill_null(len(groups) - 1).to_numpy(zero_copy_only=False)]
    return found


def maps_of_rows(values: NDArray[np.float64], names: list[str], *, always: str) -> pa.MapArray:
    """Maps from names to values, one a row; a value of 0 is left out.

    Args:
        values: [rows, names].
        names: Keys of the columns.
        always: Name whose value stays also where it is 0.
    """
    is_kept = values != 0
    is_kept[:, names.index(always)] = True
    offsets = np.concatenate([[0], np.cumsum(is_kept.sum(axis=1))]).astype(np.int32)
    keys = pa.array(names).take(pa.array(np.nonzero(is_kept)[1]))
    return pa.MapArray.from_arrays(pa.array(offsets), keys, pa.array(values[is_kept]))
