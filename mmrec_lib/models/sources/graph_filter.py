"""Graph filters: histories smoothed over the normalised user-item graph.

Shen et al., "How Powerful is Graph Convolution for Recommendation?" (2021): a linear filter plus an ideal low-pass one,
here with free exponents of the items' degrees.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from mmrec_lib.models.config import GraphSettings
from mmrec_lib.models.data import Floats
from mmrec_lib.models.sources.range_finder import top_right_vectors


def normalised(x_UW: sparse.csr_matrix, item_exponent: float) -> sparse.csr_matrix:
    """[U, W] interactions over the square root of users' and a power of items' degrees."""
    users_U = np.maximum(np.asarray(x_UW.sum(axis=1)).ravel(), 1e-12)
    items_W = item_degrees(x_UW)
    return sparse.csr_matrix(
        sparse.diags_array(users_U**-0.5) @ x_UW @ sparse.diags_array(items_W**-item_exponent)
    ).astype(np.float32)


def item_degrees(x_UW: sparse.csr_matrix) -> Floats:
    """[W] summed weights of each item, at least a small positive number."""
    degrees: Floats = np.maximum(np.asarray(x_UW.sum(axis=0)).ravel(), 1e-12).astype(np.float32)
    return degrees


@dataclass(frozen=True)
class Spectrum:
    """The item-to-item graph of one normalisation with its leading eigenvectors, [W, W] and [W, K], strongest first."""

    linear: Floats
    vectors: Floats

    @classmethod
    def of(cls, x_UW: sparse.csr_matrix, item_exponent: float, rank: int, seed: int) -> Spectrum:
        """Propagate once from items to items over users, and find the leading vectors."""
        graph = normalised(x_UW, item_exponent)
        vectors_WK, singular_K = top_right_vectors(graph, rank, seed)
        linear: Floats = (graph.T @ graph).toarray().astype(np.float32)
        return cls(linear / np.float32(max(float(singular_K.max(initial=0.0)) ** 2, 1e-12)), vectors_WK)


def fit_graph_filter(
    x_UW: sparse.csr_matrix, settings: GraphSettings, seed: int, spectrum: Spectrum | None = None
) -> Floats:
    """The filter as an item-to-item matrix, [W, W] float32: a user's scores are history @ filter.

    Args:
        x_UW: [U, W] interactions.
        settings: Exponents, rank and weight of the low-pass part.
        seed: Seed of the range finder.
        spectrum: The spectrum of the same item exponent and at least the same rank, where it is known already.
    """
    known = spectrum or Spectrum.of(x_UW, settings.item_exponent, settings.rank, seed)
    low_WK = known.vectors[:, : settings.rank]
    degrees_W = item_degrees(x_UW)
    before = (degrees_W ** np.float32(-settings.item_exponent))[:, None]
    smooth = known.linear + np.float32(settings.low_pass) * (low_WK @ low_WK.T)
    around: Floats = before * smooth * degrees_W ** np.float32(settings.output_exponent)
    return around.astype(np.float32)


def fit_low_rank_filter(x_UW: sparse.csr_matrix, settings: GraphSettings, seed: int) -> tuple[Floats, Floats]:
    """The filter through its leading vectors only, as factors [W, rank] and [rank, W] float32, for large catalogues."""
    graph = normalised(x_UW, settings.item_exponent)
    vectors_WK, singular_K = top_right_vectors(graph, settings.rank, seed)
    response_K = (singular_K / max(float(singular_K.max(initial=0.0)), 1e-12)) ** 2 + settings.low_pass
    degrees_W = item_degrees(x_UW)
    left = (degrees_W ** np.float32(-settings.item_exponent))[:, None] * vectors_WK * response_K.astype(np.float32)
    right = vectors_WK.T * degrees_W ** np.float32(settings.output_exponent)
    return left.astype(np.float32), right.astype(np.float32)
