"""Implicit alternating least squares: the source that scales with the interactions, not with items squared.

Hu, Koren and Volinsky, "Collaborative Filtering for Implicit Feedback Datasets" (2008), with the penalty scaled by
row counts of Rendle et al., "Revisiting the Performance of iALS on Item Recommendation Benchmarks" (2021).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field
from scipy import sparse

from mmrec_lib.models.coordinate_search import coordinate_search
from mmrec_lib.models.data import Bools, Floats, Ints, row_product, sampled_rows
from mmrec_lib.models.sources.base import FitInputs, SearchInputs, SearchResult, Source
from mmrec_lib.section import Section

# Gathered factors of one batch of rows: bounded, so that memory is too (float32 numbers).
_BATCH_NUMBERS = 16_000_000
# Of the regulariser under which all factors vanish: with more, so much is lost that a search begins elsewhere.
_BEARABLE = 0.25
_POWER_ITERATIONS = 10
_log = logging.getLogger(__name__)


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
    grids = MappingProxyType(
        {
            "regulariser": (0.004, 0.0075, 0.015, 0.03, 0.06),
            "unobserved": (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0),
            "rank": (16, 32, 64),
        }
    )

    items: Floats
    settings: IalsSettings

    @classmethod
    def fit(cls, inputs: FitInputs, settings: IalsSettings) -> Self:
        """Alternate between factors of users and items."""
        rows = sampled_rows(inputs.histories, settings.max_users, inputs.seed)
        return cls(fit_ials(rows, settings, inputs.seed), settings)

    def score(self, x_NW: sparse.csr_matrix) -> Floats:
        """[n, W] float32."""
        codes, factors = self.low_rank(x_NW)
        return row_product(codes, factors.T)

    def contributions(self, x_NW: sparse.csr_matrix, items_NK: Ints) -> Floats:
        """[nnz, K] float32: with the other entries' confidence as it is, factors are linear in what is fitted."""
        parts = np.zeros((x_NW.nnz, items_NK.shape[1]), dtype=np.float32)
        for rows in _alike_rows(x_NW, self.items.shape[1], self.settings):
            parts[rows.position[rows.filled]] = rows.contributions(self._basis, items_NK)[rows.filled]
        return parts

    def low_rank(self, x_NW: sparse.csr_matrix) -> tuple[Floats, Floats]:
        """The factors of users and items, along axes of their own."""
        return _codes(x_NW, self._basis, self.settings), self._basis.factors

    @cached_property
    def _basis(self) -> _Basis:
        return _Basis.of(self.items, self.settings)

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
        """Choose penalties at a small rank, where a fit costs little; the rank comes last.

        The search begins where something is learned: a step from one vanished model to the next gains nothing.
        """

        def evaluate(candidate: IalsSettings) -> float:
            return inputs.evaluate(cls.fit(inputs.fit_inputs(), candidate).score(inputs.known))

        small = learnable(start, inputs.histories).model_copy(update={"rank": 32})
        return SearchResult(coordinate_search(small, cls.grids, evaluate, inputs.rounds)[0])


def learnable(settings: IalsSettings, x_UW: sparse.csr_matrix) -> IalsSettings:
    """The settings, with a smaller weight of unobserved pairs where all factors would vanish.

    The penalty of a row grows with the weight of its unobserved pairs, so that in a large catalogue the same settings
    leave nothing to learn.
    """
    if not x_UW.nnz:
        return settings
    lower = [weight for weight in Ials.grids["unobserved"] if weight < settings.unobserved]
    chosen = settings
    while chosen.regulariser > _BEARABLE * largest_regulariser(x_UW, chosen.unobserved) and lower:
        chosen = chosen.model_copy(update={"unobserved": lower.pop()})
    if chosen != settings:
        _log.info(
            "iALS begins with unobserved = %g instead of %g, with which a regulariser of %g lets nothing be learned",
            chosen.unobserved,
            settings.unobserved,
            settings.regulariser,
        )
    return chosen


def largest_regulariser(x_UW: sparse.csr_matrix, unobserved: float) -> float:
    """The regulariser from which on all factors vanish.

    At factors of zero the loss curves downwards in some direction only where the largest singular value of the
    confidences, each divided by the roots of the penalties of its row and column at a regulariser of 1, is above the
    regulariser. Power iteration from a positive start finds it to a percent or two; the matrix has no negative entry.
    """
    num_users, num_items = x_UW.shape
    if not x_UW.nnz:
        return 0.0
    columns = sparse.csr_matrix(x_UW.T, dtype=np.float64)
    of_users = 1 / np.sqrt(np.diff(x_UW.indptr) + unobserved * num_items)
    of_items = 1 / np.sqrt(np.diff(columns.indptr) + unobserved * num_users)
    vector, value = of_items / np.linalg.norm(of_items), 0.0
    for _ in range(_POWER_ITERATIONS):
        left = of_users * (vector * of_items @ columns)
        value = float(np.linalg.norm(left))
        vector = of_items * (columns @ (left * of_users))
        vector /= np.linalg.norm(vector)
    return value


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
    basis = _Basis.of(items_WK, settings)
    factors: Floats = _codes(x_NW, basis, settings) @ basis.axes.T
    return factors


def _codes(x_NW: sparse.csr_matrix, basis: _Basis, settings: IalsSettings) -> Floats:
    """Factors of rows along the axes of a basis, [n, rank] float32; those of a row follow from that row alone."""
    codes = np.zeros((x_NW.shape[0], len(basis.spread)), dtype=np.float32)
    for rows in _alike_rows(x_NW, len(basis.spread), settings):
        codes[rows.rows] = rows.solve(basis)
    return codes


@dataclass(frozen=True)
class _Basis:
    """Item factors along the axes of what all rows share, unobserved * F'F.

    Attributes:
        factors: [W, rank] float32.
        spread: [rank] float32 eigenvalues.
        axes: [rank, rank] float32 eigenvectors, as columns.
    """

    factors: Floats
    spread: Floats
    axes: Floats

    @classmethod
    def of(cls, items_WK: Floats, settings: IalsSettings) -> _Basis:
        shared = (settings.unobserved * (items_WK.T @ items_WK)).astype(np.float64)
        values, axes = np.linalg.eigh(shared)
        turned = axes.astype(np.float32)
        return cls(items_WK @ turned, np.maximum(values, 0.0).astype(np.float32), turned)


@dataclass(frozen=True)
class _AlikeRows:
    """Rows of alike length, padded to one width, whatever other rows there are: b rows of L entries.

    With D the diagonal of shared eigenvalues plus penalty, and B the entries' factors times the roots of their
    confidence c, a row's matrix is D + B'B. Its inverse times B' is D^-1 B' (I + B D^-1 B')^-1 (the push-through
    identity), a system of L equations; where entries outnumber the rank, the one of rank equations is solved.

    Attributes:
        rows: [b] which rows.
        roots: [b, L] float32 roots of the confidence, 0 for padding.
        columns: [b, L] columns of the entries.
        position: [b, L] where the entries are stored.
        filled: [b, L] False for padding.
        penalty: [b] float32.
    """

    rows: Ints
    roots: Floats
    columns: Ints
    position: Ints
    filled: Bools
    penalty: Floats

    def solve(self, basis: _Basis) -> Floats:
        """Factors of the rows along the axes, [b, rank]."""
        weighted, scaled, left = self._system(basis)
        if self._is_short(basis):
            answers = np.linalg.solve(left, self.roots[:, :, None])
            factors: Floats = (scaled.transpose(0, 2, 1) @ answers)[:, :, 0]
        else:
            right = (weighted * self.roots[:, :, None]).sum(axis=1)
            factors = np.linalg.solve(left, right[:, :, None])[:, :, 0]
        return factors

    def contributions(self, basis: _Basis, items_NK: Ints) -> Floats:
        """Parts of the entries in scores of some items of each row, [b, L, K]."""
        weighted, scaled, left = self._system(basis)
        picked = basis.factors[items_NK[self.rows]].transpose(0, 2, 1)
        if self._is_short(basis):
            of_entries = np.linalg.solve(left, scaled @ picked)
        else:
            of_entries = weighted @ np.linalg.solve(left, picked)
        parts: Floats = of_entries * self.roots[:, :, None]
        return parts

    def _is_short(self, basis: _Basis) -> bool:
        return bool(self.columns.shape[1] <= len(basis.spread))

    def _system(self, basis: _Basis) -> tuple[Floats, Floats, Floats]:
        """B [b, L, rank], B D^-1, and the matrix of the smaller system."""
        diagonal = basis.spread[None, :] + self.penalty[:, None]
        weighted = basis.factors[self.columns] * self.roots[:, :, None]
        scaled = weighted / diagonal[:, None, :]
        is_short, turned = self._is_short(basis), weighted.transpose(0, 2, 1)
        left = scaled @ turned if is_short else turned @ weighted
        at = np.arange(left.shape[1])
        left[:, at, at] += 1.0 if is_short else diagonal
        return weighted, scaled, left


def _alike_rows(x_NW: sparse.csr_matrix, rank: int, settings: IalsSettings) -> Iterator[_AlikeRows]:
    lengths = np.diff(x_NW.indptr)
    widths = _widths(int(lengths.max(initial=0)))
    width_of = np.searchsorted(widths, lengths)
    order = np.argsort(width_of, kind="stable")
    order = order[lengths[order] > 0]
    for at, width in enumerate(widths):
        alike = order[slice(*np.searchsorted(width_of[order], [at, at + 1]))]
        size = max(1, _BATCH_NUMBERS // 4 // (width * rank))
        for start in range(0, len(alike), size):
            rows = alike[start : start + size]
            place = np.arange(width)[None, :]
            filled = place < lengths[rows][:, None]
            position = np.where(filled, x_NW.indptr[rows][:, None] + place, 0)
            penalty = settings.regulariser * (lengths[rows] + settings.unobserved * x_NW.shape[1])
            yield _AlikeRows(
                rows=rows,
                roots=np.sqrt(np.where(filled, x_NW.data[position], 0)).astype(np.float32),
                columns=x_NW.indices[position].astype(np.int64),
                position=position,
                filled=filled,
                penalty=penalty.astype(np.float32),
            )


def _widths(longest: int) -> list[int]:
    """Lengths that rows are padded to, so that padding is small and follows from a row's own length alone."""
    widths = [8]
    while widths[-1] < longest:
        widths.append(widths[-1] * 3 // 2 + 8)
    return widths
