"""Nearest vectors: an exact search over all vectors of all items, and the cosine from which on they are near.

Shape letters: R vectors (an item may have several: of its title and description, of each image), I items, n queries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mmrec_lib.topk.exact import nearest, search
from mmrec_lib.topk.items import PreparedItems, prepare_items
from mmrec_lib.topk.selection import NO_ITEM, TopItems

_VECTORS, _ABOUT = "vectors.npy", "about.npz"
# Enough to know a quantile; more would take minutes of a large store.
_CALIBRATED_ON = 2_000
_LEAST_PAIRS = 20
# Of 394 images of the sample store, cropped by a fifth and compressed, all come nearer; 20 images of noise do not.
_CHANCE = 0.75
# An item with more vectors could fill a list of candidates alone.
_MOST_ROWS = 8


@dataclass(frozen=True)
class VectorSpace:
    """Vectors of items by one encoder.

    Attributes:
        vectors: [R, dim] float32, each of length 1.
        owners: [R] int32 item of each.
        least_cosine: A query is near an item from this cosine on.
    """

    vectors: NDArray[np.float32]
    owners: NDArray[np.int32]
    least_cosine: float

    @classmethod
    def of(
        cls, vectors: NDArray[np.float32], owners: NDArray[np.integer], fields: Sequence[str], least_like: float
    ) -> VectorSpace:
        """A space whose threshold is calibrated on itself.

        Args:
            vectors: [R, dim].
            owners: [R] item of each; rows without length are left out.
            fields: [R] what each was made from.
            least_like: Quantile of the cosines of what belongs together, see `calibrated`.
        """
        lengths = np.linalg.norm(vectors, axis=1)
        kept = np.flatnonzero(lengths > 0)
        order = kept[np.lexsort((np.asarray(fields, dtype=np.str_)[kept], owners[kept]))]
        unit = np.ascontiguousarray(vectors[order] / lengths[order, None], dtype=np.float32)
        items = owners[order].astype(np.int32)
        return cls(unit, items, calibrated(unit, items, least_like))

    @property
    def rows_per_item(self) -> int:
        """Vectors of the item that has most, at most `_MOST_ROWS`."""
        return min(_MOST_ROWS, int(np.bincount(self.owners).max(initial=1)))

    @cached_property
    def _prepared(self) -> PreparedItems:
        return prepare_items(self.vectors)

    def prepared(self, is_listed: NDArray[np.bool_], allowed: NDArray[np.bool_] | None) -> PreparedItems:
        """The vectors for searches under limits, to be kept for many queries.

        Args:
            is_listed: [I] False for items that nobody may get.
            allowed: [G, I] items that users of a group may get; None without groups.
        """
        return prepare_items(
            self.vectors,
            unavailable=~is_listed[self.owners],
            allowed=None if allowed is None else allowed[:, self.owners],
        )

    def find(
        self,
        queries: NDArray[np.float32],
        k: int,
        prepared: PreparedItems | None = None,
        blocked: sparse.csr_matrix | None = None,
        groups: NDArray[np.int32] | None = None,
    ) -> TopItems:
        """The k nearest items of each query by its best vector, of those that are near.

        Args:
            queries: [n, dim] float32.
            k: Length of the lists.
            prepared: See `prepared`; without limits where not given.
            blocked: [n, I] items that must not be listed for a query.
            groups: [n] row of the allowed items, or -1.

        Returns:
            Lists [n, k]: items and cosines.
        """
        norms = np.linalg.norm(queries, axis=1, keepdims=True)
        unit = (queries / np.where(norms > 0, norms, 1)).astype(np.float32)
        seen = None if blocked is None else sparse.csr_matrix(sparse.csc_matrix(blocked)[:, self.owners])
        width = min(k * self.rows_per_item, len(self.owners)) or 1
        top = search(prepared or self._prepared, unit, width, seen=seen, group_of_user=groups, num_threads=1)
        indices = np.full((len(queries), k), NO_ITEM, np.int32)
        scores = np.full((len(queries), k), -np.inf, np.float32)
        for row in range(len(queries)):
            near = (top.indices[row] != NO_ITEM) & (top.scores[row] >= self.least_cosine)
            items, first = np.unique(self.owners[top.indices[row][near]], return_index=True)
            best = np.lexsort((items, -top.scores[row][near][first]))[:k]
            indices[row, : len(best)] = items[best]
            scores[row, : len(best)] = top.scores[row][near][first][best]
        return TopItems(indices, scores)

    def save(self, folder: Path) -> None:
        """Write the space to a folder, which is made where it is missing; without pickles."""
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / _VECTORS, self.vectors)
        np.savez(folder / _ABOUT, owners=self.owners, least_cosine=np.float64(self.least_cosine))

    @classmethod
    def load(cls, folder: Path) -> VectorSpace:
        """Read the space of a folder; the vectors are mapped, not read."""
        with np.load(folder / _ABOUT, allow_pickle=False) as about:
            owners, least = about["owners"], float(about["least_cosine"])
        return cls(np.load(folder / _VECTORS, mmap_mode="r"), owners, least)


def calibrated(vectors: NDArray[np.float32], owners: NDArray[np.int32], quantile: float) -> float:
    """The cosine from which on a query is near, from what the store itself holds.

    What the store says of one item in two ways (title and description, two images) belongs together as a query and what
    it is about do: almost all such pairs must be near. Where items have one vector each, near is what exceeds three
    quarters of the pairs of items, which are alike by chance.

    Args:
        vectors: [R, dim] of length 1, those of an item side by side.
        owners: [R] item of each.
        quantile: Share of the pairs that belong together which may lie below.

    Returns:
        At least 0; 0 where nothing can be compared.
    """
    first = np.flatnonzero(owners[1:] == owners[:-1])
    if len(first) >= _LEAST_PAIRS:
        pairs = _some(first)
        cosines = np.einsum("rd,rd->r", vectors[pairs], vectors[pairs + 1])
        return max(0.0, float(np.quantile(cosines, quantile)))
    rows = vectors[_some(np.arange(len(owners)))]
    pairs_of_rows = np.triu_indices(len(rows), 1)
    by_chance = (rows @ rows.T)[pairs_of_rows]
    return max(0.0, float(np.quantile(by_chance, _CHANCE))) if len(by_chance) else 0.0


def _some(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """At most `_CALIBRATED_ON` rows, evenly spread."""
    return rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), _CALIBRATED_ON)).astype(np.int64))]


def nearest_cosines(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """[R] the cosine of each vector with the nearest other one; -inf for one that has none."""
    return nearest(vectors, 1).scores[:, 0]
