"""Vectors in half precision: whole Arrow arrays at once, no Python object a row."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Storage = Literal["float32", "float16"]

# Former formats, and why they went; see docs/decisions/0012-one-stored-format-besides-float32.md.
REMOVED_STORAGES = {"int8": "it lost up to a sixth of the nearest neighbours; write `float16`"}


def quantize(vectors: pa.ListArray) -> dict[str, pa.Array]:
    """Vectors as `float16` stores them: each number rounded to IEEE half precision, half to even.

    The array stays one of float32. Few distinct numbers are left in it, which the dictionaries of Parquet write in
    about two bytes each. A vector that half precision cannot hold, because a number would not be finite in it (beyond
    65,504), stays as it is, and `storage` says so. What comes out is a function of each vector alone.

    Args:
        vectors: `list<float32>` of any lengths; null where there is no vector.

    Returns:
        `vector` (list<float32>) and `storage` (string), one row a vector; both null where there was no vector.
    """
    is_there = pc.is_valid(vectors).to_numpy(zero_copy_only=False)
    lengths = pc.fill_null(pc.list_value_length(vectors), 0).to_numpy(zero_copy_only=False)
    numbers = vectors.flatten().to_numpy(zero_copy_only=False)
    with np.errstate(over="ignore"):
        halves = numbers.astype(np.float16).astype(np.float32)
    is_half = _is_finite(halves, lengths)
    rounded = np.where(np.repeat(is_half, lengths), halves, numbers)
    return {
        "vector": _lists(pa.array(rounded, pa.float32()), lengths, is_there),
        "storage": pa.array(np.where(is_half, "float16", "float32"), pa.string(), mask=~is_there),
    }


def _is_finite(numbers: npt.NDArray[np.float32], lengths: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
    """Tell of each run of numbers if all are finite; those of an empty one are."""
    found = np.ones(len(lengths), dtype=np.bool_)
    has_numbers = lengths > 0
    if has_numbers.any():
        starts = np.concatenate([[0], np.cumsum(lengths[has_numbers])[:-1]])
        found[has_numbers] = np.logical_and.reduceat(np.isfinite(numbers), starts)
    return found


def _lists(numbers: pa.Array, lengths: npt.NDArray[np.int32], is_valid: npt.NDArray[np.bool_]) -> pa.ListArray:
    """One flat list array of the numbers of the valid rows; the others are null."""
    offsets = np.zeros(len(lengths) + 1, dtype=np.int32)
    np.cumsum(lengths, out=offsets[1:])
    return pa.ListArray.from_arrays(pa.array(offsets), numbers, mask=pa.array(~is_valid))
