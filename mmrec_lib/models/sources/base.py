"""Collaborative sources: each turns histories into scores over the items that had interactions.

A source keeps nothing of a user. A later source (a deep one) needs a class with the methods of `Source`, a branch in
`fit_source` and `load_source`, a settings section, and a search in `choose`.

Shape letters: n users of a block, U users of a fit, W items with interactions, K factors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from scipy import sparse

from mmrec_lib.errors import ModelError
from mmrec_lib.models.config import IalsSettings, RankerSettings
from mmrec_lib.models.data import Floats
from mmrec_lib.models.sources.ease import fit_ease, gram
from mmrec_lib.models.sources.graph_filter import fit_graph_filter, fit_low_rank_filter
from mmrec_lib.models.sources.ials import fit_ials, fold_in
from mmrec_lib.models.sources.item_knn import nearest_items


class Source(Protocol):
    """A fitted source: histories in, scores out."""

    def score(self, x_NW: sparse.csr_matrix) -> Floats:
        """Scores of users from their histories, [n, W] float32; see `history_rows`."""
        ...

    def arrays(self) -> Mapping[str, npt.NDArray[Any]]:
        """All of its state, for saving."""
        ...


@dataclass(frozen=True)
class ItemOperator:
    """A linear source: scores are history @ matrix, [W, W]."""

    matrix: Floats

    def score(self, x_NW: sparse.csr_matrix) -> Floats:
        """[n, W] float32."""
        product: Floats = np.asarray(x_NW @ self.matrix, dtype=np.float32)
        return product

    def arrays(self) -> dict[str, Floats]:
        """The matrix."""
        return {"matrix": self.matrix}


@dataclass(frozen=True)
class LowRankOperator:
    """A linear source in factors: scores are history @ left @ right, [W, K] and [K, W]."""

    left: Floats
    right: Floats

    def score(self, x_NW: sparse.csr_matrix) -> Floats:
        """[n, W] float32."""
        product: Floats = np.asarray((x_NW @ self.left) @ self.right, dtype=np.float32)
        return product

    def arrays(self) -> dict[str, Floats]:
        """Both factors."""
        return {"left": self.left, "right": self.right}


@dataclass(frozen=True)
class FactorSource:
    """Implicit ALS: a user's factors are folded in from the history."""

    items: Floats
    settings: IalsSettings

    def score(self, x_NW: sparse.csr_matrix) -> Floats:
        """[n, W] float32."""
        product: Floats = fold_in(x_NW, self.items, self.settings) @ self.items.T
        return product

    def arrays(self) -> dict[str, Floats]:
        """The items' factors."""
        return {"items": self.items}


@dataclass(frozen=True)
class NeighborOperator:
    """A linear source with few neighbours an item: scores are history @ matrix, [W, W] CSR."""

    matrix: sparse.csr_matrix

    def score(self, x_NW: sparse.csr_matrix) -> Floats:
        """[n, W] float32."""
        product: Floats = (x_NW @ self.matrix).toarray().astype(np.float32)
        return product

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The matrix in its parts."""
        return {"data": self.matrix.data, "indices": self.matrix.indices, "indptr": self.matrix.indptr}


def is_possible(name: str, num_items: int, settings: RankerSettings) -> bool:
    """True when a source can be fitted on that many items: EASE and ridge need item-by-item matrices."""
    return name in ("ials", "graph_filter", "item_knn") or num_items <= settings.max_dense_items


def fit_source(name: str, x_UW: sparse.csr_matrix, kernel_WW: Floats | None, settings: RankerSettings) -> Source:
    """Fit one source on the histories of all users.

    Args:
        name: Which source.
        x_UW: [U, W] histories, see `history_rows`.
        kernel_WW: Weighted content kernel, for EASE and ridge.
        settings: All settings.
    """
    if name == "item_knn":
        return NeighborOperator(nearest_items(x_UW, settings.item_knn.num_neighbors, settings.item_knn.shrinkage))
    if name == "ials":
        return FactorSource(fit_ials(x_UW, settings.ials, settings.seed), settings.ials)
    if name == "graph_filter":
        if x_UW.shape[1] <= settings.max_dense_items:
            return ItemOperator(fit_graph_filter(x_UW, settings.graph_filter, settings.seed))
        return LowRankOperator(*fit_low_rank_filter(x_UW, settings.graph_filter, settings.seed))
    chosen = settings.content_ease if name == "content_ease" else settings.ridge
    return ItemOperator(fit_ease(gram(x_UW, chosen.user_exponent), kernel_WW, chosen))


def load_source(name: str, arrays: Mapping[str, npt.NDArray[Any]], settings: RankerSettings) -> Source:
    """Rebuild a source from its arrays.

    Raises:
        ModelError: When the arrays are of no known source.
    """
    if set(arrays) == {"matrix"}:
        return ItemOperator(arrays["matrix"])
    if set(arrays) == {"left", "right"}:
        return LowRankOperator(arrays["left"], arrays["right"])
    if set(arrays) == {"items"}:
        return FactorSource(arrays["items"], settings.ials)
    if set(arrays) == {"data", "indices", "indptr"}:
        size = len(arrays["indptr"]) - 1
        return NeighborOperator(
            sparse.csr_matrix((arrays["data"], arrays["indices"], arrays["indptr"]), shape=(size, size))
        )
    raise ModelError(f"source {name}: its saved arrays must be those of a known source, got {sorted(arrays)}")
