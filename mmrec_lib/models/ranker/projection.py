"""Fused scores of users projected on the distilled basis, without scores over the whole catalogue where factors do.

A source of low rank has scores s = z F' for a user's factors z. Their mean and deviation over the catalogue follow from
the sums of F and F'F, less those of the seen items; their projection from F'B for the basis B; and the best unseen item
is a search of exact top-1. So a user costs as much as the history is long, and one search.

Shape letters: n users of a block, W items with interactions, R rank, D length of the distilled vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mmrec_lib.models.data import Doubles, Floats, row_product
from mmrec_lib.models.ranker.fusion import Scale, entry_rows, fuse_scaled, relative_weights
from mmrec_lib.models.sources.base import Source
from mmrec_lib.topk.items import PreparedItems, check_users, prepare_items
from mmrec_lib.topk.numpy_search import ITEM_BLOCK, USER_BLOCK, search_longest, search_with_numpy
from mmrec_lib.topk.selection import TopItems

# Below it whole score rows cost less than a search, and lists stay what they were to the last bit.
MIN_LOW_RANK_ITEMS = 20_000
_LEAST_DEVIATION = 1e-12
# So few are asked for again and again by a served model; for more, one long item decides too seldom for all of them.
_FEW_USERS = 4


Search = Callable[[PreparedItems, Floats, int, sparse.csr_matrix], TopItems]
"""Exact top-k of prepared items for users' vectors, k and seen items."""


def plain_search(items: PreparedItems, users_NR: Floats, k: int, seen: sparse.csr_matrix) -> TopItems:
    """Search with numpy alone, which is all that a served model brings; the lists are those of `topk.exact.search`."""
    users = check_users(items, users_NR, k, seen, None)
    if len(users) <= _FEW_USERS:
        found = search_longest(items, users)
        if found is not None:
            return found
    # Few users take longer blocks of as many scores: for one, most of the time is what a block costs anyway.
    item_block = ITEM_BLOCK * max(1, USER_BLOCK // max(len(users), 1))
    return search_with_numpy(items, users, user_block=USER_BLOCK, item_block=item_block)


@dataclass(frozen=True)
class _LowRankItems:
    """Of a source's item factors what all users share.

    Attributes:
        factors: [W, R] float32.
        sums: [R] float64.
        squares: [R, R] float64, F'F.
        projected: [R, D] float64, F'B.
        prepared: The factors for exact search.
    """

    factors: Floats
    sums: Doubles
    squares: Doubles
    projected: Doubles
    prepared: PreparedItems

    @classmethod
    def of(cls, factors_WR: Floats, basis_WD: Floats) -> _LowRankItems:
        factors = np.ascontiguousarray(factors_WR, dtype=np.float32)
        exact = factors.astype(np.float64)
        return cls(factors, exact.sum(axis=0), exact.T @ exact, exact.T @ basis_WD, prepare_items(factors))


class Projector:
    """Projects users' fused scores on the distilled basis; what is shared by all users is computed once."""

    def __init__(self, sources: Mapping[str, Source[Any]], weights: Mapping[str, float], basis_WD: Floats) -> None:
        """Bind sources, their weights in the fusion and the distilled vectors of the W items."""
        self._sources = sources
        self._weights = relative_weights(sources, weights)
        self._basis = basis_WD
        self._basis_sum = basis_WD.sum(axis=0, dtype=np.float64)
        self._items: dict[str, _LowRankItems] = {}

    @cached_property
    def _exact_basis(self) -> Doubles:
        return self._basis.astype(np.float64)

    def project(self, x_NW: sparse.csr_matrix, search: Search) -> tuple[Floats, dict[str, Scale]]:
        """Fused scores times the basis, [n, D] float32, and the scale of each source."""
        dense = dict(self._sources)
        vectors = np.zeros((x_NW.shape[0], self._basis.shape[1]), dtype=np.float32)
        scales: dict[str, Scale] = {}
        if x_NW.shape[1] >= MIN_LOW_RANK_ITEMS:
            for name, source in self._sources.items():
                factors = source.low_rank(x_NW)
                if factors is not None:
                    del dense[name]
                    scales[name] = self._add_low_rank(name, *factors, x_NW, vectors, search)
        if dense or not self._sources:
            fused, of_dense = fuse_scaled(dense, self._weights, x_NW)
            vectors += row_product(fused, self._exact_basis)
            scales |= of_dense
        return vectors, {name: scales[name] for name in self._sources}

    def _add_low_rank(
        self,
        name: str,
        codes_NR: Floats,
        factors_WR: Floats,
        x_NW: sparse.csr_matrix,
        vectors: Floats,
        search: Search,
    ) -> Scale:
        if name not in self._items:
            self._items[name] = _LowRankItems.of(factors_WR, self._basis)
        items = self._items[name]
        codes = codes_NR.astype(np.float64)
        rows, num_items = entry_rows(x_NW), x_NW.shape[1]
        num_users = x_NW.shape[0]
        seen = np.einsum("er,er->e", codes[rows], items.factors[x_NW.indices].astype(np.float64))
        count = np.maximum(num_items - np.diff(x_NW.indptr), 1)
        mean = (codes @ items.sums - np.bincount(rows, seen, num_users)) / count
        squares = np.einsum("nr,nr->n", codes @ items.squares, codes) - np.bincount(rows, seen**2, num_users)
        spread = np.sqrt(np.maximum(squares / count - mean**2, 0.0))
        # A difference of large sums: below its own rounding all scores are one.
        is_flat = spread <= np.maximum(_LEAST_DEVIATION, 1e-7 * np.abs(mean))
        deviation = np.where(is_flat, np.inf, spread)
        best = search(items.prepared, codes_NR, 1, x_NW).scores[:, 0].astype(np.float64)
        # A user who has seen everything has no best unseen item.
        top = np.maximum((np.where(np.isfinite(best), best, mean) - mean) / deviation, 0.0)
        scaled = (seen - mean[rows]) / deviation[rows]
        surplus = np.clip(scaled, -top[rows], top[rows]) - scaled
        # Of the basis only the rows of the entries, so that one user costs no pass over the catalogue.
        of_entries = sparse.csr_matrix((surplus, np.arange(x_NW.nnz), x_NW.indptr), shape=(num_users, x_NW.nnz))
        of_seen = of_entries @ self._basis[x_NW.indices].astype(np.float64)
        projected = (codes @ items.projected - mean[:, None] * self._basis_sum) / deviation[:, None] + of_seen
        vectors += (self._weights[name] * projected).astype(np.float32)
        return Scale(*(_float32(values) for values in (mean, deviation, top)))


def filled_up(x_NW: sparse.csr_matrix, num_rows: int) -> sparse.csr_matrix:
    """The same rows, followed by empty ones up to a number."""
    indptr = np.pad(x_NW.indptr, (0, num_rows - x_NW.shape[0]), mode="edge")
    return sparse.csr_matrix((x_NW.data, x_NW.indices, indptr), shape=(num_rows, x_NW.shape[1]))


def _float32(values: NDArray[np.float64]) -> Floats:
    return values.astype(np.float32)
