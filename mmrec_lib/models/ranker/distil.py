"""Distillation: fused scores of any number of sources become one dot product.

The fused scores F [users, W] are projected on their leading right singular vectors V [W, dim]: a user's vector is
fused(history) @ V, an item's vector its row of V. F is seen in blocks of users only, by a randomised range finder
(Halko, Martinsson and Tropp, 2011). It is F that is factored, never an item-to-item matrix alone: that keeps what
users' scores really use. `sklearn.utils.extmath.randomized_svd` takes one array, which would be a second copy of F.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmrec_lib.models.data import Floats

OVERSAMPLING = 16
NUM_PASSES = 3


def leading_items_basis(blocks: Sequence[Floats], num_items: int, dim: int, seed: int) -> Floats:
    """Orthonormal leading right singular vectors of stacked blocks, [W, dim] float32, strongest first.

    Args:
        blocks: The blocks [n, W] of F.
        num_items: W.
        dim: Number of vectors; fewer real ones are followed by zeros.
        seed: Seed of the sketch.
    """
    width = min(dim + OVERSAMPLING, num_items)
    sketch = np.random.default_rng(seed).standard_normal((num_items, width)).astype(np.float32)
    for _ in range(NUM_PASSES):
        product = np.zeros((num_items, width), dtype=np.float64)
        for block in blocks:
            product += block.T @ (block @ sketch)
        sketch = np.linalg.qr(product)[0].astype(np.float32)
    small = np.zeros((width, width), dtype=np.float64)
    for block in blocks:
        projected = block @ sketch
        small += projected.T @ projected
    _, vectors = np.linalg.eigh(small)
    basis = np.zeros((num_items, dim), dtype=np.float32)
    kept = min(dim, width)
    basis[:, :kept] = sketch @ vectors[:, ::-1][:, :kept].astype(np.float32)
    return basis
