"""Shares of categories in users' histories and in items, for calibrated lists.

Source: H. Steck 2018, Calibrated Recommendations.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mmrec_lib.errors import ModelError
from mmrec_lib.reranking.facts import ItemFacts
from mmrec_lib.reranking.taste_kernels import Tastes


@dataclass(frozen=True)
class CategoryPatterns:
    """Distinct sets of categories of a catalogue: all items of one change a list's distribution alike.

    Attributes:
        of_item: [I] int32 set of each item.
        shares: [num_sets, G] the categories of each set with equal shares that add up to 1; an empty row for none.
        item_shares: [I, G] the same by item.
    """

    of_item: NDArray[np.int32]
    shares: sparse.csr_matrix
    item_shares: sparse.csr_matrix

    @classmethod
    def of(cls, items: ItemFacts) -> CategoryPatterns:
        """The sets of the items of a catalogue.

        Raises:
            ModelError: When no item has a category.
        """
        if items.categories.nnz == 0:
            raise ModelError("calibration: no item has a category; switch it off or provide categories")
        pattern = sparse.csr_matrix(items.categories, copy=True)
        pattern.sum_duplicates()
        num_items, num_categories = pattern.shape
        lengths = np.diff(pattern.indptr)
        pattern.data = np.repeat(1.0 / np.maximum(lengths, 1), lengths)
        # Sets are told apart one category at a time: a pair of the number so far and the next category is a number.
        number = np.zeros(num_items, np.int64)
        for place in range(int(lengths.max())):
            has = lengths > place
            following = np.zeros(num_items, np.int64)
            following[has] = pattern.indices[pattern.indptr[:-1][has] + place] + 1
            number = np.unique(number * (num_categories + 1) + following, return_inverse=True)[1]
        _, first, of_item = np.unique(number, return_index=True, return_inverse=True)
        return cls(of_item=of_item.astype(np.int32), shares=pattern[first], item_shares=pattern)

    def tastes(self, history: sparse.csr_matrix, smoothing: float) -> Tastes:
        """Shares of categories in histories: of each item its categories in equal parts, by the weight of the item.

        Items without a category say nothing. A user without any other has no shares, and a list of any kind.

        Args:
            history: [n, I] weights.
            smoothing: See `CalibrationConfig`.

        Raises:
            ModelError: When a weight is below 0 or not finite.
        """
        if history.nnz and not (np.isfinite(history.data).all() and history.data.min() >= 0):
            raise ModelError("calibration: weights of histories must be finite and at least 0")
        taste = sparse.csr_matrix(history.astype(np.float64) @ self.item_shares)
        taste.eliminate_zeros()
        rows = np.repeat(np.arange(taste.shape[0]), np.diff(taste.indptr))
        totals = np.bincount(rows, weights=taste.data, minlength=taste.shape[0])
        return Tastes(
            starts=taste.indptr.astype(np.int64),
            categories=taste.indices.astype(np.int32),
            shares=taste.data / totals[rows],
            patterns=self.of_item,
            pattern_starts=self.shares.indptr.astype(np.int64),
            pattern_categories=self.shares.indices.astype(np.int32),
            pattern_shares=self.shares.data,
            num_categories=int(self.shares.shape[1]),
            smoothing=smoothing,
        )


def no_tastes() -> Tastes:
    """Shares for lists that are not calibrated."""
    ints, longs, floats = np.zeros(0, np.int32), np.zeros(1, np.int64), np.zeros(0)
    return Tastes(longs, ints, floats, ints, longs, ints, floats, 0, 0.5)
