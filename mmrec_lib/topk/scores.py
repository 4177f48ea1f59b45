"""The exact score of a user and an item, and the order of a list, the same on every path.

The score is the dot product in float64, summed in one fixed order and rounded to float32. A list is ordered by that
number, then by item index. So a list depends on the vectors alone: not on block sizes, threads, the library behind the
matrix product or the device, and equal scores in a table are truly ties. Products of float32 are exact in float64, so
the sum is that of the compiled kernel to the last bit, with or without fused multiply-add.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mmrec_lib.topk.selection import NO_ITEM, TopItems

LANES = 8
_PAIRS_AT_ONCE = 1 << 16
_ALL_BITS = np.uint32(0xFFFFFFFF)
_SIGN = np.uint32(0x80000000)
# After every item.
NO_KEY = np.uint64(0xFFFFFFFFFFFFFFFF)


def pad_dimensions(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Contiguous vectors whose length is a multiple of LANES; the added dimensions are 0."""
    missing = -vectors.shape[1] % LANES or (0 if vectors.shape[1] else LANES)
    return np.ascontiguousarray(np.pad(vectors, ((0, 0), (0, missing))) if missing else vectors)


def exact_scores(
    users: NDArray[np.float32], items: NDArray[np.float32], rows: NDArray[np.intp], columns: NDArray[np.intp]
) -> NDArray[np.float32]:
    """Scores [n] of pairs of a user and an item; both matrices are padded by `pad_dimensions`."""
    scores = np.empty(rows.size, dtype=np.float32)
    for start in range(0, rows.size, _PAIRS_AT_ONCE):
        pairs = slice(start, start + _PAIRS_AT_ONCE)
        left, right = users[rows[pairs]], items[columns[pairs]]
        sums = np.zeros((left.shape[0], LANES))
        for first in range(0, left.shape[1], LANES):
            lanes = slice(first, first + LANES)
            sums += left[:, lanes].astype(np.float64) * right[:, lanes]
        while sums.shape[1] > 1:
            sums = sums[:, 0::2] + sums[:, 1::2]
        scores[pairs] = sums[:, 0]
    scores += np.float32(0.0)  # makes one zero of two
    return scores


def order_keys(scores: NDArray[np.float32], indices: NDArray[np.int32]) -> NDArray[np.uint64]:
    """Keys that ascend from the best: score descending, then index; NO_KEY for NO_ITEM."""
    bits = np.ascontiguousarray(scores + np.float32(0.0), dtype=np.float32).view(np.uint32)
    ascending = bits ^ np.where(bits >> np.uint32(31) != 0, _ALL_BITS, _SIGN)
    keys = ((ascending ^ _ALL_BITS).astype(np.uint64) << np.uint64(32)) | indices.astype(np.uint32)
    return np.asarray(np.where(indices == NO_ITEM, NO_KEY, keys), dtype=np.uint64)


def lists_of_keys(keys: NDArray[np.uint64], k: int) -> TopItems:
    """The first k of each row of keys as lists.

    Args:
        keys: [n, width] in any order.
        k: Length of the lists.
    """
    best = np.full((keys.shape[0], k), NO_KEY, dtype=np.uint64)
    width = min(k, keys.shape[1])
    if keys.shape[1] > k:
        keys = np.partition(keys, k - 1, axis=1)
    best[:, :width] = np.sort(keys[:, :width], axis=1)
    is_none = best == NO_KEY
    ordered = (best >> np.uint64(32)).astype(np.uint32) ^ _ALL_BITS
    bits = ordered ^ np.where(ordered >> np.uint32(31) != 0, _SIGN, _ALL_BITS)
    return TopItems(
        indices=np.where(is_none, NO_ITEM, best.astype(np.uint32).view(np.int32)).astype(np.int32),
        scores=np.where(is_none, -np.inf, bits.view(np.float32)).astype(np.float32),
    )
