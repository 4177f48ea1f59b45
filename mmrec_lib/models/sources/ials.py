"""Implicit alternating least squares: the source that scales with the interactions, not with items squared.

Hu, Koren and Volinsky, "Collaborative Filtering for Implicit Feedback Datasets" (2008), with the penalty scaled by
row counts of Rendle et al., "Revisiting the Performance of iALS on Item Recommendation Benchmarks" (2021).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field
from scipy import sparse

from mmrec_lib.models.coordinate_search import coordinate_search
from mmrec_lib.models.data import Bools, Floats, Ints, sampled_rows
from mmrec_lib.models.sources.base import FitInputs, SearchInputs, SearchResult, Source
from mmrec_lib.section import Section

GRIDS: dict[str, tuple[float, ...]] = {
    "regulariser": (0.004, 0.0075, 0.015, 0.03, 0.06),
    "unobserved": (0.01, 0.03, 0.1, 0.3, 1.0),
    "rank": (16, 32, 64),
}

# Gathered factors of one batch of rows: bounded, so that memory is too (float32 numbers).
_BATCH_NUMBERS = 16_000_000


class IalsSettings(Section):
    """Implicit alternating least squares.

    Attributes:
        rank: Length of the factors.
        unobserved: Weight of unobserved pairs against observed ones.
        regulariser: L2 penalty, multiplied by (interactions + unobserved weight) of the row.
        iterations: Alternations.
        max_users: Users whose histories the factors of items are fitted on, at most (a seeded sample above).
    """

    rank: int = Field(default=64, ge=1)
    unobserved: float = Field(default=0.1, gt=0)
    regulariser: float = Field(default=0.03, gt=0)
    iterations: int = Field(default=8, ge=1)
    max_users: int = Field(default=200_000, ge=1)


@dataclass(frozen=True)
class Ials(Source[IalsSettings]):
    """Implicit ALS: a user's factors are folded in from the history.

    Attributes:
        items: [W, rank] float32 factors of the items.
        settings: Weights and penalties of the fold-in.
    """

    name: ClassVar[str] = "ials"
    settings_type = IalsSettings

    items: Floats
    settings: IalsSettings

    @classmethod
    def fit(cls, inputs: FitInputs, settings: IalsSettings) -> Self:
        """Alternate between factors of users and items."""
        rows = sampled_rows(inputs.histories, settings.max_users, inputs.seed)
        return cls(fit_ials(rows, settings, inputs.seed), settings)

    def score(self, x_NW: sparse.csr_matrix) -> Floats:
        """[n, W] float32."""
        product: Floats = fold_in(x_NW, self.items, self.settings) @ self.items.T
        return product

    def contributions(self, x_NW: sparse.csr_matrix, items_NK: Ints) -> Floats:
        """[nnz, K] float32: with the other entries' confidence as it is, factors are linear in what is fitted."""
        parts = np.zeros((x_NW.nnz, items_NK.shape[1]), dtype=np.float32)
        for equations in _normal_equations(x_NW, self.items, self.settings):
            picked = self.items[items_NK[equations.rows]].transpose(0, 2, 1)
            of_entries = equations.weighted @ np.linalg.solve(equations.left, picked)
            parts[equations.position[equations.filled]] = of_entries[equations.filled]
        return parts

    def low_rank(self, x_NW: sparse.csr_matrix) -> tuple[Floats, Floats] | None:
        """The factors of users and items."""
        return fold_in(x_NW, self.items, self.settings), self.items

    def arrays(self) -> dict[str, Floats]:
        """The factors of the items."""
        return {"items": self.items}

    @classmethod
    def load(cls, arrays: Mapping[str, npt.NDArray[Any]], settings: IalsSettings) -> Self:
        """Rebuild from the factors of the items."""
        cls.check_arrays(arrays, {"items"})
        return cls(arrays["items"], settings)

    @classmethod
    def search(cls, inputs: SearchInputs, start: IalsSettings) -> SearchResult[IalsSettings]:
        """Choose penalties at a small rank, where a fit costs little; the rank comes last."""

        def evaluate(candidate: IalsSettings) -> float:
            return inputs.evaluate(cls.fit(inputs.fit_inputs(), candidate).score(inputs.known))

        small = start.model_copy(update={"rank": 32})
        return SearchResult(coordinate_search(small, GRIDS, evaluate, inputs.rounds)[0])


def fit_ials(x_UW: sparse.csr_matrix, settings: IalsSettings, seed: int) -> Floats:
    """Item factors, [W, rank] float32; users' factors are folded in from histories."""
    num_users, num_items = x_UW.shape
    rank = min(settings.rank, max(min(num_users, num_items) - 1, 1))
    generator = np.random.default_rng(seed)
    items_WK: Floats = (generator.standard_normal((num_items, rank)) * (0.1 / np.sqrt(rank))).astype(np.float32)
    columns = sparse.csr_matrix(x_UW.T)
    for _ in range(settings.iterations):
        users_UK = fold_in(x_UW, items_WK, settings)
        items_WK = fold_in(columns, users_UK, settings)
    return items_WK


def fold_in(x_NW: sparse.csr_matrix, items_WK: Floats, settings: IalsSettings) -> Floats:
    """Best factors of rows for given factors of their columns, [n, rank] float32; an empty row is zero.

    A row minimises sum over its entries c(1 - s)^2 + unobserved * sum over all s^2 + penalty * |factor|^2.
    """
    out = np.zeros((x_NW.shape[0], items_WK.shape[1]), dtype=np.float32)
    for equations in _normal_equations(x_NW, items_WK, settings):
        right = equations.weighted.sum(axis=1)
        out[equations.rows] = np.linalg.solve(equations.left, right[:, :, None])[:, :, 0]
    return out


@dataclass(frozen=True)
class _Equations:
    """Normal equations of rows of alike length, padded to the longest: b rows, L entries.

    Attributes:
        rows: [b] which rows.
        left: [b, rank, rank] matrices.
        weighted: [b, L, rank] confidence times factors of the entries; their sum is the right side.
        position: [b, L] where the entries are stored.
        filled: [b, L] False for padding.
    """

    rows: Ints
    left: Floats
    weighted: Floats
    position: Ints
    filled: Bools


def _normal_equations(x_NW: sparse.csr_matrix, items_WK: Floats, settings: IalsSettings) -> Iterator[_Equations]:
    num_columns, rank = items_WK.shape
    base = settings.unobserved * (items_WK.T @ items_WK)
    lengths = np.diff(x_NW.indptr)
    order = np.argsort(lengths, kind="stable")
    order = order[lengths[order] > 0]
    eye = np.eye(rank, dtype=np.float32)
    start = 0
    while start < len(order):
        # Rows of alike length share a batch, so that padding is small.
        stop = start + 1
        while stop < len(order) and (stop + 1 - start) * int(lengths[order[stop]]) * rank <= _BATCH_NUMBERS // 4:
            if lengths[order[stop]] > 1.5 * lengths[order[start]] + 8:
                break
            stop += 1
        rows = order[start:stop]
        width = int(lengths[rows[-1]])
        place = np.arange(width)[None, :]
        filled = place < lengths[rows][:, None]
        position = np.where(filled, x_NW.indptr[rows][:, None] + place, 0)
        weights = np.where(filled, x_NW.data[position], 0).astype(np.float32)
        gathered = items_WK[x_NW.indices[position]]
        weighted = gathered * weights[:, :, None]
        penalty = settings.regulariser * (lengths[rows] + settings.unobserved * num_columns)
        left = base + weighted.transpose(0, 2, 1) @ gathered + penalty[:, None, None].astype(np.float32) * eye
        yield _Equations(rows, left, weighted, position, filled)
        start = stop
