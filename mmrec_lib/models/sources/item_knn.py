"""Nearest items by common users (Sarwar et al., "Item-based Collaborative Filtering Recommendation Algorithms", 2001).

Shape letters: U users of a fit, W items with interactions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field
from scipy import sparse

from mmrec_lib.models.data import Floats, Ints, sampled_rows
from mmrec_lib.models.sources.base import FitInputs, Source, matrix_contributions
from mmrec_lib.section import Section


class KnnSettings(Section):
    """Settings of item kNN.

    Attributes:
        num_neighbors: Neighbours kept for each item.
        shrinkage: Users added to the denominator of the cosine, against chance.
        max_users: Users whose histories the similarities are counted on, at most (a seeded sample above).
    """

    num_neighbors: int = Field(default=100, ge=1)
    shrinkage: float = Field(default=10.0, ge=0)
    max_users: int = Field(default=200_000, ge=1)


@dataclass(frozen=True)
class ItemKnn(Source[KnnSettings]):
    """Item kNN: scores are history @ matrix. No search chooses it; it publishes the baseline `item_knn` as a ranker.

    Attributes:
        matrix: [W, W] CSR, few neighbours an item.
    """

    name: ClassVar[str] = "item_knn"
    settings_type = KnnSettings
    is_searched: ClassVar[bool] = False

    matrix: sparse.csr_matrix

    @classmethod
    def fit(cls, inputs: FitInputs, settings: KnnSettings) -> Self:
        """Keep the nearest items of each item."""
        rows = sampled_rows(inputs.histories, settings.max_users, inputs.seed)
        return cls(nearest_items(rows, settings.num_neighbors, settings.shrinkage))

    def score(self, x_NW: sparse.csr_matrix) -> Floats:
        """[n, W] float32."""
        product: Floats = (x_NW @ self.matrix).toarray().astype(np.float32)
        return product

    def contributions(self, x_NW: sparse.csr_matrix, items_NK: Ints) -> Floats:
        """[nnz, K] float32."""
        return matrix_contributions(x_NW, self.matrix, items_NK)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The matrix in its parts."""
        return {"data": self.matrix.data, "indices": self.matrix.indices, "indptr": self.matrix.indptr}

    @classmethod
    def load(cls, arrays: Mapping[str, npt.NDArray[Any]], settings: KnnSettings) -> Self:
        """Rebuild from the parts of the matrix."""
        cls.check_arrays(arrays, {"data", "indices", "indptr"})
        size = len(arrays["indptr"]) - 1
        return cls(sparse.csr_matrix((arrays["data"], arrays["indices"], arrays["indptr"]), shape=(size, size)))


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
