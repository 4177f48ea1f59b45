"""Graph filters: histories smoothed over the normalised user-item graph.

Shen et al., "How Powerful is Graph Convolution for Recommendation?" (2021): a linear filter plus an ideal low-pass one,
here with free exponents of the items' degrees.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field
from scipy import sparse

from mmrec_lib.models.coordinate_search import coordinate_search
from mmrec_lib.models.data import Floats, Ints, row_product, sampled_rows
from mmrec_lib.models.sources.base import FitInputs, SearchInputs, SearchResult, Source, matrix_contributions
from mmrec_lib.models.sources.range_finder import top_right_vectors
from mmrec_lib.section import Section

RANKS = (16, 32, 64, 128)


class GraphSettings(Section):
    """Graph filter over the normalised user-item graph.

    Attributes:
        rank: Rank of the ideal low-pass part.
        low_pass: Weight of the ideal low-pass part against the linear filter.
        item_exponent: Exponent of the items' degrees in the normalisation.
        output_exponent: Exponent of the items' degrees in the output; above 0 favours popular items.
        max_users: Users whose histories a filter of low rank is fitted on, at most (a seeded sample above).
    """

    rank: int = Field(default=32, ge=1)
    low_pass: float = Field(default=1.0, ge=0)
    item_exponent: float = Field(default=0.4, ge=0)
    output_exponent: float = Field(default=0.25, ge=0)
    max_users: int = Field(default=200_000, ge=1)


@dataclass(frozen=True)
class GraphFilter(Source[GraphSettings]):
    """The filter as a product of matrices: scores are history @ factors[0] @ factors[1] ...

    Attributes:
        factors: One item-by-item matrix [W, W], or [W, rank] and [rank, W] for a large catalogue.
    """

    name: ClassVar[str] = "graph_filter"
    settings_type = GraphSettings
    grids = MappingProxyType(
        {
            "item_exponent": (0.3, 0.4, 0.5),
            "output_exponent": (0.0, 0.125, 0.25, 0.375, 0.5),
            "low_pass": (0.1, 0.3, 1.0, 3.0),
            "rank": RANKS,
        }
    )

    factors: tuple[Floats, ...]

    @classmethod
    def fit(cls, inputs: FitInputs, settings: GraphSettings) -> Self:
        """Fit the whole filter where items fit in a matrix, its leading vectors elsewhere."""
        if inputs.is_dense:
            return cls((fit_graph_filter(inputs.histories, settings, inputs.seed),))
        return cls(fit_low_rank_filter(inputs.histories, settings, inputs.seed))

    def score(self, x_NW: sparse.csr_matrix) -> Floats:
        """[n, W] float32."""
        product = np.asarray(x_NW @ self.factors[0], dtype=np.float32)
        for factor in self.factors[1:]:
            product = row_product(product, factor)
        return product

    def contributions(self, x_NW: sparse.csr_matrix, items_NK: Ints) -> Floats:
        """[nnz, K] float32."""
        if len(self.factors) == 1:
            return matrix_contributions(x_NW, self.factors[0], items_NK)
        left, right = self.factors
        right_NKR = right.T[items_NK]
        parts = np.empty((x_NW.nnz, items_NK.shape[1]), dtype=np.float32)
        for user, (start, stop) in enumerate(pairwise(x_NW.indptr.tolist())):
            parts[start:stop] = left[x_NW.indices[start:stop]] @ right_NKR[user].T
        parts *= x_NW.data[:, None]
        return parts

    def low_rank(self, x_NW: sparse.csr_matrix) -> tuple[Floats, Floats] | None:
        """Both factors of a large catalogue."""
        if len(self.factors) == 1:
            return None
        left, right = self.factors
        return np.asarray(x_NW @ left, dtype=np.float32), right.T

    def arrays(self) -> dict[str, Floats]:
        """The matrix, or both factors."""
        names = ("matrix",) if len(self.factors) == 1 else ("left", "right")
        return dict(zip(names, self.factors, strict=True))

    @classmethod
    def load(cls, arrays: Mapping[str, npt.NDArray[Any]], settings: GraphSettings) -> Self:
        """Rebuild from the matrix, or from both factors."""
        cls.check_arrays(arrays, {"matrix"}, {"left", "right"})
        names = ("matrix",) if "matrix" in arrays else ("left", "right")
        return cls(tuple(arrays[name] for name in names))

    @classmethod
    def search(cls, inputs: SearchInputs, start: GraphSettings) -> SearchResult[GraphSettings]:
        """Choose exponents, low-pass part and rank; one spectrum serves all candidates of an item exponent."""
        is_dense = inputs.fit_inputs().is_dense
        rows = inputs.histories if is_dense else sampled_rows(inputs.histories, start.max_users, inputs.seed)
        degrees_W = item_degrees(rows)
        smoothed: dict[float, tuple[Spectrum, Floats | None, Floats]] = {}

        def score(candidate: GraphSettings) -> Floats:
            exponent = candidate.item_exponent
            if exponent not in smoothed:
                spectrum = Spectrum.of(rows, exponent, max(RANKS), inputs.seed)
                known = sparse.csr_matrix(inputs.known @ sparse.diags_array(degrees_W**-exponent)).astype(np.float32)
                linear_NW = np.asarray(known @ spectrum.linear()) if is_dense else None
                smoothed[exponent] = (spectrum, linear_NW, np.asarray(known @ spectrum.vectors))
            spectrum, linear_NW, low_NK = smoothed[exponent]
            return spectrum.filtered(linear_NW, low_NK, degrees_W, candidate)

        def evaluate(candidate: GraphSettings) -> float:
            return inputs.evaluate(score(candidate))

        return SearchResult(coordinate_search(start, cls.grids, evaluate, inputs.rounds + 1)[0])


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
    """The leading eigenvectors of the item-to-item graph of one normalisation.

    Attributes:
        graph: [U, W] the normalised interactions over their largest singular value.
        vectors: [W, K] float32, strongest first.
        response: [K] float32 eigenvalues of graph.T @ graph, the largest 1.
    """

    graph: sparse.csr_matrix
    vectors: Floats
    response: Floats

    @classmethod
    def of(cls, x_UW: sparse.csr_matrix, item_exponent: float, rank: int, seed: int) -> Spectrum:
        """Normalise the interactions and find the leading vectors."""
        graph = normalised(x_UW, item_exponent)
        vectors_WK, singular_K = top_right_vectors(graph, rank, seed)
        largest = max(float(singular_K.max(initial=0.0)), 1e-12)
        return cls(graph / np.float32(largest), vectors_WK, ((singular_K / largest) ** 2).astype(np.float32))

    def linear(self) -> Floats:
        """[W, W] float32 one step from items to items over users."""
        step: Floats = (self.graph.T @ self.graph).toarray().astype(np.float32)
        return step

    def filtered(self, linear_NW: Floats | None, low_NK: Floats, degrees_W: Floats, settings: GraphSettings) -> Floats:
        """Rows through the filter, [n, W] float32: history rows give scores, rows of the identity the filter itself.

        Args:
            linear_NW: The rows over degrees, times graph.T @ graph; None takes its leading vectors alone.
            low_NK: The rows over degrees, times the vectors.
            degrees_W: Degrees of the items.
            settings: Rank, weight of the low-pass part and exponent of the output.
        """
        low_NR, vectors_WR = low_NK[:, : settings.rank], self.vectors[:, : settings.rank]
        if linear_NW is None:
            smooth = (low_NR * (self.response[: settings.rank] + np.float32(settings.low_pass))) @ vectors_WR.T
        else:
            smooth = linear_NW + np.float32(settings.low_pass) * (low_NR @ vectors_WR.T)
        smooth *= degrees_W ** np.float32(settings.output_exponent)
        return smooth


def fit_graph_filter(x_UW: sparse.csr_matrix, settings: GraphSettings, seed: int) -> Floats:
    """The filter as an item-to-item matrix, [W, W] float32: a user's scores are history @ filter."""
    spectrum = Spectrum.of(x_UW, settings.item_exponent, settings.rank, seed)
    degrees_W = item_degrees(x_UW)
    before = (degrees_W ** np.float32(-settings.item_exponent))[:, None]
    return spectrum.filtered(before * spectrum.linear(), before * spectrum.vectors, degrees_W, settings)


def fit_low_rank_filter(x_UW: sparse.csr_matrix, settings: GraphSettings, seed: int) -> tuple[Floats, Floats]:
    """The filter through its leading vectors only, as factors [W, rank] and [rank, W] float32, for large catalogues."""
    x_UW = sampled_rows(x_UW, settings.max_users, seed)
    spectrum = Spectrum.of(x_UW, settings.item_exponent, settings.rank, seed)
    response_K = spectrum.response + np.float32(settings.low_pass)
    degrees_W = item_degrees(x_UW)
    left = (degrees_W ** np.float32(-settings.item_exponent))[:, None] * spectrum.vectors * response_K
    right = spectrum.vectors.T * degrees_W ** np.float32(settings.output_exponent)
    return left, right
