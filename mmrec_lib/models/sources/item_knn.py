"""Nearest items by common users (Sarwar et al., "Item-based Collaborative Filtering Recommendation Algorithms", 2001).

Shape letters: U users of a fit, W items with interactions.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse


def nearest_items(x_UW: sparse.csr_matrix, num_neighbors: int, shrinkage: float) -> sparse.csr_matrix:
    """[W, W] CSR: column j holds the similarities of item j to its nearest neighbours.

    Similarity is the number of common users over (the geometric mean of both items' users + shrinkage).
    """
    counts_W = np.diff(x_UW.tocsc().indptr).astype(np.float32)
    common = sparse.csr_matrix(x_UW.T @ x_UW)
    rows = np.repeat(np.arange(common.shape[0]), np.diff(common.indptr))
    similarity = common.data / (np.sqrt(counts_W[rows] * counts_W[common.indices]) + np.float32(shrinkage))
    similarity[rows == common.indices] = 0.0
    # Within a row (the matrix is symmetric): largest first, ties by item.
    order = np.lexsort((common.indices, -similarity, rows))
    place = np.arange(len(order)) - np.repeat(common.indptr[:-1], np.diff(common.indptr))
    kept = order[(place < num_neighbors) & (similarity[order] > 0)]
    return sparse.csr_matrix(
        (similarity[kept].astype(np.float32), (common.indices[kept], rows[kept])), shape=common.shape
    )
