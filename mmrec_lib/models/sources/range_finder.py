"""Leading right singular vectors of a matrix that is only multiplied, never held dense.

Halko, Martinsson and Tropp, "Finding structure with randomness" (2011). `sklearn.utils.extmath.randomized_svd` computes
the same in less time, but the code of the sources travels with a registered model, whose requirements are the packages
that this code imports: a served model would need scikit-learn, which it never calls.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from mmrec_lib.models.data import Doubles, Floats

OVERSAMPLING = 16
POWER_STEPS = 4


def top_right_vectors(matrix: sparse.csr_matrix | Floats, rank: int, seed: int) -> tuple[Floats, Doubles]:
    """The leading right singular vectors [W, rank] float32 and singular values [rank], largest first."""
    num_rows, num_columns = matrix.shape
    rank = min(rank, num_rows, num_columns)
    width = min(rank + OVERSAMPLING, num_rows, num_columns)
    sketch = np.random.default_rng(seed).standard_normal((num_columns, width))
    for _ in range(POWER_STEPS):
        sketch, _ = np.linalg.qr(matrix.T @ (matrix @ sketch))
    _, singular, right = np.linalg.svd(matrix @ sketch, full_matrices=False)
    vectors = sketch @ right.T[:, :rank]
    return vectors.astype(np.float32), singular[:rank]
