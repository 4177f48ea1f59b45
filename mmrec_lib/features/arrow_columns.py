"""Columns of Arrow batches as arrays."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mmrec_lib.errors import ModelError

_QUANTITIES = pa.list_(pa.struct([pa.field("key", pa.string()), pa.field("value", pa.float64())]))


def map_entries(maps: pa.MapArray) -> Iterator[tuple[str, npt.NDArray[np.intp], npt.NDArray[np.float64]]]:
    """Rows that have a key and their values, key by key; rows without any are null."""
    lists = maps.cast(_QUANTITIES)
    rows = np.repeat(np.arange(len(maps)), pc.fill_null(lists.value_lengths(), 0).to_numpy(zero_copy_only=False))
    keys, values = (lists.flatten().field(at) for at in (0, 1))
    codes = keys.dictionary_encode()
    numbers, code_of = values.to_numpy(zero_copy_only=False), codes.indices.to_numpy(zero_copy_only=False)
    for code, name in enumerate(codes.dictionary.to_pylist()):
        own = code_of == code
        yield name, rows[own], numbers[own]


def vector_matrix(lists: pa.ListArray, subject: str) -> npt.NDArray[np.float32]:
    """Rows of equal length as [rows, length] float32.

    Raises:
        ModelError: When their lengths differ.
    """
    lengths = np.unique(lists.value_lengths().to_numpy(zero_copy_only=False))
    if len(lengths) != 1:
        raise ModelError(f"{subject}: vectors must have one length, got {lengths.tolist()}; encode its items again")
    flat: npt.NDArray[np.float32] = lists.flatten().to_numpy(zero_copy_only=False).astype(np.float32, copy=False)
    return flat.reshape(len(lists), -1)


def objects_of(column: pa.Array) -> npt.NDArray[np.object_]:
    """The values as objects, None where null."""
    return np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.object_)
