"""Rows of pairs of users and items → one entry a pair."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mmrec_lib.models.request_context import latest_devices


def summed_pairs(
    keys: npt.NDArray[np.int64],
    weights: npt.NDArray[np.float64],
    times: npt.NDArray[np.float64],
    devices: npt.NDArray[np.int64] | None,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32], npt.NDArray[np.float64], npt.NDArray[np.int64] | None]:
    """Sum the weights of each pair, and keep its latest time and the device of that.

    Args:
        keys: [rows] pair of each row.
        weights: [rows] their weights.
        times: [rows] their times.
        devices: [rows] their devices, -1 where unknown; None where none is known.

    Returns:
        [pairs] keys in ascending order, and the weights, times and devices of each.
    """
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    is_first = np.append(True, keys[1:] != keys[:-1])[: len(keys)]
    if is_first.all():
        # Each pair once, as snapshots keep them: nothing is to be summed, which takes half the memory.
        return keys, weights[order].astype(np.float32), times[order], None if devices is None else devices[order]
    pairs, inverse = keys[is_first], np.empty(len(keys), dtype=np.int64)
    inverse[order] = np.cumsum(is_first) - 1
    summed = np.bincount(inverse, weights=weights, minlength=len(pairs)).astype(np.float32)
    latest = np.full(len(pairs), -np.inf)
    np.maximum.at(latest, inverse, times)
    if devices is None:
        return pairs, summed, latest, None
    return pairs, summed, latest, latest_devices(devices, inverse, times == latest[inverse], len(pairs))
