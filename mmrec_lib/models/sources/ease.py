"""EASE with item content in its Gram matrix, and the ridge form of it.

Harald Steck, "Embarrassingly Shallow Autoencoders for Sparse Data" (2019); the dropout penalty follows Harald Steck,
"Autoencoders that don't overfit towards the Identity" (2020); the content term adds item kernels to the Gram matrix as
interactions of imagined users who act on alike items (as in Jeunen, Van Balen and Goethals, "Closed-Form Models for
Collaborative Filtering with Side-Information", 2020).

The ridge form is user-side EASE without per-user state: for a user with history x, regressing x on all other users
gives x(I - regulariser * P) up to a factor of the user alone, with the same inverse P.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from pydantic import Field
from scipy import sparse
from scipy.linalg import lapack

from mmrec_lib.models.data import Floats
from mmrec_lib.section import Section


class EaseSettings(Section):
    """Settings of EASE with item content in its Gram matrix.

    Attributes:
        regulariser: L2 penalty, as a multiple of the interactions per item.
        dropout: Extra penalty of each item, as a multiple of its own interactions.
        content_scale: Weight of the content kernel, as a multiple of the interactions per item.
        user_exponent: Rows of active users are scaled by (their interactions)^-user_exponent in the Gram matrix.
        diagonal_exponent: 1 divides by the diagonal of the inverse as EASE does, 0 is ridge.
    """

    regulariser: float = Field(default=8.0, gt=0)
    dropout: float = Field(default=0.5, ge=0)
    content_scale: float = Field(default=0.12, ge=0)
    user_exponent: float = Field(default=0.25, ge=0)
    diagonal_exponent: float = Field(default=0.75, ge=0)


EaseT = TypeVar("EaseT", bound=EaseSettings)


def gram_unit(x_UW: sparse.csr_matrix, user_exponent: float) -> float:
    """Mean of the Gram matrix' diagonal, which penalties are relative to, without the matrix."""
    rows = np.repeat(_activity(x_UW) ** np.float32(-user_exponent), np.diff(x_UW.indptr))
    return float((x_UW.data**2 * rows).sum(dtype=np.float64) / max(x_UW.shape[1], 1))


def rescale_penalties(settings: EaseT, chosen_on: sparse.csr_matrix, fitted_on: sparse.csr_matrix) -> EaseT:
    """The settings that make the penalties on some histories those that were chosen on others, as absolute numbers."""
    units = [gram_unit(x_UW, settings.user_exponent) for x_UW in (chosen_on, fitted_on)]
    ratio = units[0] / units[1]
    update = {"regulariser": settings.regulariser * ratio, "content_scale": settings.content_scale * ratio}
    return settings.model_copy(update=update)


def gram(x_UW: sparse.csr_matrix, user_exponent: float) -> Floats:
    """[W, W] float32 Gram matrix of items over users scaled by their activity."""
    scaled = sparse.csr_matrix(sparse.diags_array(_activity(x_UW) ** np.float32(-user_exponent)) @ x_UW)
    product: Floats = (x_UW.T @ scaled).toarray().astype(np.float32)
    return product


def _activity(x_UW: sparse.csr_matrix) -> Floats:
    """[U] number of entries of each row, at least 1."""
    return np.maximum(np.diff(x_UW.indptr), 1).astype(np.float32)


def fit_ease(gram_WW: Floats, kernel_WW: Floats | None, settings: EaseSettings) -> Floats:
    """The item-to-item matrix B, [W, W] float32 with a zero diagonal: a user's scores are history @ B.

    Args:
        gram_WW: Gram matrix of the interactions.
        kernel_WW: Weighted content kernel of the same items, or None.
        settings: Penalties, relative to the mean of the Gram matrix' diagonal.
    """
    inverse = ease_inverse(gram_WW, kernel_WW, settings)
    return ease_weights(inverse, settings.diagonal_exponent)


def ease_inverse(gram_WW: Floats, kernel_WW: Floats | None, settings: EaseSettings) -> Floats:
    """[W, W] float32 inverse of the penalised Gram matrix."""
    counts_W = np.diag(gram_WW).copy()
    unit = float(counts_W.mean()) if len(counts_W) else 1.0
    penalised = gram_WW.copy()
    if kernel_WW is not None and settings.content_scale > 0:
        penalised += np.float32(settings.content_scale * unit) * kernel_WW
    penalised[np.diag_indices_from(penalised)] += np.float32(settings.regulariser * unit) + settings.dropout * counts_W
    return symmetric_inverse(penalised)


def ease_weights(inverse_WW: Floats, diagonal_exponent: float) -> Floats:
    """[W, W] float32: minus the inverse, columns over its diagonal, the own column left out."""
    diagonal_W = np.maximum(np.diag(inverse_WW), np.float32(1e-20))
    weights: Floats = -inverse_WW / (diagonal_W / diagonal_W.mean()) ** np.float32(diagonal_exponent)
    weights /= diagonal_W.mean()
    weights[np.diag_indices_from(weights)] = 0.0
    return weights


def symmetric_inverse(matrix: Floats) -> Floats:
    """Inverse of a positive definite [W, W] matrix through its Cholesky factor, in float64 where float32 fails."""
    for dtype, factorise, invert in (
        (np.float32, lapack.spotrf, lapack.spotri),
        (np.float64, lapack.dpotrf, lapack.dpotri),
    ):
        factor, failed = factorise(matrix.astype(dtype), lower=1, clean=1)
        if not failed:
            lower, failed = invert(factor, lower=1)
        if not failed:
            full: Floats = (np.tril(lower) + np.tril(lower, -1).T).astype(np.float32)
            return full
    # Not positive definite even in float64: the penalty is too small for rounding.
    pseudo: Floats = np.linalg.pinv(matrix.astype(np.float64), hermitian=True).astype(np.float32)
    return pseudo
