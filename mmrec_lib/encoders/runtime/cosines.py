"""Cosines of two results for the same inputs."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def row_cosines(a_BD: npt.NDArray[np.float32], b_BD: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """`res[i] = cos_sim(a[i], b[i])`."""
    a, b = a_BD.astype(np.float64), b_BD.astype(np.float64)
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    cosines: npt.NDArray[np.float64] = (a * b).sum(axis=1) / np.maximum(norms, 1e-12)
    return cosines
