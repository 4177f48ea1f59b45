"""Vectors in fewer bytes: half precision, or int8 with a scale; whole Arrow arrays at once, no Python object a row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Storage = Literal["float32", "float16", "int8"]


_MOST_CODE = 127


def quantize(vectors: pa.ListArray, storage: Storage) -> dict[str, pa.Array]:
    """Vectors in the form in which they are stored.

    - `float32`: as they are.
    - `float16`: each number rounded to IEEE half precision, half to even, in an array of float32 as before. Few
      distinct numbers are left, which the dictionaries of Parquet write in about two bytes each.
    - `int8`: `codes` and one `scale` a vector, such that `codes * scale` is the vector: symmetric, the largest
      magnitude has the code 127 or -127, rounded half to even. A vector of zeros has the scale 0.

    A vector that a form cannot hold, because a number would not be finite in it (beyond 65,504 in half precision),
    stays float32, and `storage` says so. What comes out is a function of each vector alone.

    Args:
        vectors: `list<float32>` of any lengths; null where there is no vector.
        storage: The form.

    Returns:
        `vector` (list<float32>), `codes` (list<int8>), `scale` (float32) and `storage` (string), one row a vector:
        either `vector` or `codes` and `scale` is null, and all four where there was no vector.
    """
    is_there = pc.is_valid(vectors).to_numpy(zero_copy_only=False)
    lengths = pc.fill_null(pc.list_value_length(vectors), 0).to_numpy(zero_copy_only=False)
    numbers = vectors.flatten().to_numpy(zero_copy_only=False)
    is_code = np.zeros(len(lengths), dtype=bool)
    is_half = np.zeros(len(lengths), dtype=bool)
    codes, scales = np.zeros(0, dtype=np.int8), np.zeros(len(lengths), dtype=np.float32)
    if storage == "float16":
        with np.errstate(over="ignore"):
            halves = numbers.astype(np.float16).astype(np.float32)
        is_half = is_there & np.isfinite(_magnitudes(halves, lengths))
        numbers = np.where(np.repeat(is_half, lengths), halves, numbers)
    elif storage == "int8":
        with np.errstate(over="ignore"):
            scales = _magnitudes(numbers, lengths) / np.float32(_MOST_CODE)
            is_code = is_there & np.isfinite(scales * np.float32(_MOST_CODE))
        is_coded_number = np.repeat(is_code, lengths)
        codes = _codes(numbers[is_coded_number], np.repeat(scales[is_code], lengths[is_code]))
        numbers = numbers[~is_coded_number]
    form = np.where(is_code | is_half, storage, "float32")
    return {
        "vector": _lists(pa.array(numbers), lengths, is_there & ~is_code),
        "codes": _lists(pa.array(codes), lengths, is_code),
        "scale": pa.array(scales, mask=~is_code),
        "storage": pa.array(form, pa.string(), mask=~is_there),
    }


def dequantize(quantized: Mapping[str, pa.Array]) -> pa.ListArray:
    """The vectors (`list<float32>`) that readers get from what `pack` gives; null where there is none."""
    vectors, codes, scales = quantized["vector"], quantized["codes"], quantized["scale"]
    is_code = pc.is_valid(codes).to_numpy(zero_copy_only=False)
    is_there = is_code | pc.is_valid(vectors).to_numpy(zero_copy_only=False)
    both = pc.coalesce(pc.list_value_length(vectors), pc.list_value_length(codes), pa.scalar(0, pa.int32()))
    lengths = both.to_numpy(zero_copy_only=False)
    is_coded_number = np.repeat(is_code, lengths)
    numbers = np.empty(len(is_coded_number), dtype=np.float32)
    numbers[~is_coded_number] = vectors.flatten().to_numpy(zero_copy_only=False)
    coded_scales = scales.filter(codes.is_valid()).to_numpy(zero_copy_only=False)
    numbers[is_coded_number] = codes.flatten().to_numpy(zero_copy_only=False).astype(np.float32) * np.repeat(
        coded_scales, lengths[is_code]
    )
    return _lists(pa.array(numbers), lengths, is_there)


def _magnitudes(numbers: npt.NDArray[np.float32], lengths: npt.NDArray[np.int32]) -> npt.NDArray[np.float32]:
    """Largest magnitude of each run of numbers; 0 of an empty one, NaN of one that holds NaN."""
    found = np.zeros(len(lengths), dtype=np.float32)
    has_numbers = lengths > 0
    if has_numbers.any():
        starts = np.concatenate([[0], np.cumsum(lengths[has_numbers])[:-1]])
        found[has_numbers] = np.maximum.reduceat(np.abs(numbers), starts)
    return found


def _codes(numbers: npt.NDArray[np.float32], scales: npt.NDArray[np.float32]) -> npt.NDArray[np.int8]:
    """Number by number, the nearest multiple of its scale."""
    # In double precision a quotient never moves over the middle between two codes.
    divisors = np.where(scales == 0, 1.0, scales.astype(np.float64))
    quotients = np.where(scales == 0, 0.0, numbers.astype(np.float64) / divisors)
    # Near the least float a scale is coarse, and its multiples may end before the largest number.
    return np.clip(np.rint(quotients), -_MOST_CODE, _MOST_CODE).astype(np.int8)


def _lists(numbers: pa.Array, lengths: npt.NDArray[np.int32], is_valid: npt.NDArray[np.bool_]) -> pa.ListArray:
    """One flat list array of the numbers of the valid rows; the others are null."""
    offsets = np.zeros(len(lengths) + 1, dtype=np.int32)
    np.cumsum(np.where(is_valid, lengths, 0), out=offsets[1:])
    return pa.ListArray.from_arrays(pa.array(offsets), numbers, mask=pa.array(~is_valid))
