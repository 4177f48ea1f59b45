"""Items without interactions: ridge regression from all their contents to the vectors of items that have some.

The kernel form is solved where the items fit in a matrix, conjugate gradients elsewhere; both give one coefficient
matrix a block, so that new items need their contents only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.linalg import cho_factor, cho_solve

from mmrec_lib.models.config import ColdItemSettings
from mmrec_lib.models.data import Bools, Content, Floats
from mmrec_lib.models.sources.content import BlockTransform, ContentFeatures

_CG_STEPS = 100
_CG_TOLERANCE = 1e-4


@dataclass(frozen=True)
class ColdItemModel:
    """Item vectors from contents.

    Attributes:
        mean: [dim] float32, the prediction for an item without any content.
        coefficients: [D, dim] float32 of each block.
        transforms: How raw features become unit rows.
        settings: Scale and shift.
    """

    mean: Floats
    coefficients: Mapping[str, Floats]
    transforms: Mapping[str, BlockTransform]
    settings: ColdItemSettings

    @classmethod
    def fit(
        cls,
        features: ContentFeatures,
        warm_I: Bools,
        vectors_WV: Floats,
        settings: ColdItemSettings,
        max_dense_items: int,
    ) -> ColdItemModel:
        """Fit the ridge from the contents of items with interactions to their vectors.

        Args:
            features: Unit rows of all items.
            warm_I: [I] which items have interactions.
            vectors_WV: [W, dim] their vectors.
            settings: Penalty and block weights.
            max_dense_items: Largest W for a kernel matrix.
        """
        mean = vectors_WV.mean(axis=0).astype(np.float32)
        weights = features.weighted(settings.weights)
        rows = {name: features.rows[name][warm_I] for name in weights}
        penalty = ridge_penalty(settings, weights)
        target = vectors_WV - mean
        if not weights:
            dual = np.zeros_like(target)
        elif len(vectors_WV) <= max_dense_items:
            kernel = features.kernel(settings.weights, warm_I, warm_I)
            assert kernel is not None
            dual = kernel_ridge(kernel, penalty, target)
        else:
            dual = _conjugate_gradients(rows, weights, penalty, target)
        coefficients = {
            name: np.ascontiguousarray(np.asarray(rows[name].T @ dual) * weight, dtype=np.float32)
            for name, weight in weights.items()
        }
        return cls(mean, coefficients, {name: features.transforms[name] for name in weights}, settings)

    def vectors(self, contents: Mapping[str, Content], num_items: int) -> Floats:
        """Predicted and scaled vectors of any items from their contents, [num_items, dim] float32."""
        predicted = np.tile(self.mean, (num_items, 1))
        for name, coefficients in self.coefficients.items():
            if name in contents:
                predicted += np.asarray(self.transforms[name].apply(contents[name]) @ coefficients)
        return predicted * np.float32(self.settings.scale)


def ridge_penalty(settings: ColdItemSettings, weights: Mapping[str, float]) -> float:
    """The penalty on the kernel of blocks with these weights."""
    return settings.regulariser * max(sum(weights.values()), 1e-12)


def kernel_ridge(kernel_WW: Floats, penalty: float, target_WV: Floats) -> Floats:
    """Solve (kernel + penalty) @ dual = target, [W, dim] float32; the kernel is overwritten."""
    kernel_WW[np.diag_indices_from(kernel_WW)] += np.float32(penalty)
    dual: Floats = cho_solve(cho_factor(kernel_WW, lower=True, overwrite_a=True), target_WV)
    return dual


def _conjugate_gradients(
    rows: Mapping[str, Floats | sparse.csr_matrix], weights: Mapping[str, float], penalty: float, target: Floats
) -> Floats:
    """Solve (sum of weighted kernels + penalty) @ dual = target, every column at once, without the kernel matrix."""
    dual = np.zeros_like(target)
    residual = target.copy()
    direction = residual.copy()
    square = np.einsum("ij,ij->j", residual, residual)
    limit = _CG_TOLERANCE**2 * np.maximum(square, 1e-30)
    for _ in range(_CG_STEPS):
        moved = np.float32(penalty) * direction
        for name, weight in weights.items():
            moved += np.float32(weight) * np.asarray(rows[name] @ (rows[name].T @ direction))
        step = square / np.maximum(np.einsum("ij,ij->j", direction, moved), 1e-30)
        dual += direction * step
        residual -= moved * step
        following = np.einsum("ij,ij->j", residual, residual)
        if bool((following <= limit).all()):
            break
        direction = residual + direction * (following / np.maximum(square, 1e-30))
        square = following
    return dual
