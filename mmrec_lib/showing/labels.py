"""Names that items carry: categories, brands, markets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from scipy import sparse

from mmrec_lib.showing.attributes import one_array, rows_and_entries

# So many times fewer texts than names are looked up the other way round.
_FEW = 8


@dataclass(frozen=True)
class Labels:
    """Names and the items that carry each.

    Attributes:
        names: [K] distinct names, sorted.
        items: [K, I] csr of ones.
    """

    names: pa.Array
    items: sparse.csr_matrix

    @classmethod
    def of_lists(cls, lists: pa.Array | pa.ChunkedArray) -> Labels:
        """Labels of items that carry a list of names each (or null)."""
        array = one_array(lists)
        rows, entries = rows_and_entries(array)
        return cls._of(rows, array.values.take(entries), len(array))

    @classmethod
    def of_texts(cls, texts: pa.Array | pa.ChunkedArray) -> Labels:
        """Labels of items that carry one name each (or null)."""
        array = one_array(texts)
        rows = np.flatnonzero(array.is_valid().to_numpy(zero_copy_only=False))
        return cls._of(rows, array.take(rows), len(array))

    @classmethod
    def _of(cls, rows: npt.NDArray[np.int64], texts: pa.Array, num_items: int) -> Labels:
        is_there = texts.is_valid().to_numpy(zero_copy_only=False)
        rows, texts = rows[is_there], texts.filter(pa.array(is_there)).cast(pa.string())
        names = pc.unique(texts)
        names = names.take(pc.sort_indices(names))
        codes = pc.index_in(texts, value_set=names).to_numpy(zero_copy_only=False).astype(np.int64)
        matrix = sparse.csr_matrix((np.ones(len(rows), np.uint8), (codes, rows)), shape=(len(names), num_items))
        matrix.sum_duplicates()
        matrix.data[:] = 1
        return cls(names, matrix)

    def codes(self, texts: pa.Array) -> npt.NDArray[np.int64]:
        """[n] row of each name, -1 where no item carries it or the text is null."""
        return positions(texts, self.names)

    def items_of(self, names: Sequence[str]) -> npt.NDArray[np.bool_]:
        """[I] True for items that carry one of some names."""
        codes = self.codes(pa.array(names, pa.string()))
        found = np.zeros(self.items.shape[1], dtype=np.bool_)
        found[self.items[codes[codes >= 0]].indices] = True
        return found


def positions(texts: pa.Array, names: pa.Array) -> npt.NDArray[np.int64]:
    """[n] position of each text among distinct names, -1 where it is none of them or null."""
    if len(texts) * _FEW < len(names):
        # A table of the few texts instead of all names.
        of_texts = texts.cast(pa.string()).dictionary_encode()
        place = pc.fill_null(pc.index_in(names, value_set=of_texts.dictionary), -1).to_numpy(zero_copy_only=False)
        of_distinct = np.full(len(of_texts.dictionary) + 1, -1, dtype=np.int64)
        known = np.flatnonzero(place >= 0)
        of_distinct[place[known]] = known
        codes = np.asarray(pc.fill_null(of_texts.indices, -1).to_numpy(zero_copy_only=False), dtype=np.int64)
        return np.asarray(of_distinct[codes], dtype=np.int64)
    found = pc.fill_null(pc.index_in(texts.cast(pa.string()), value_set=names), -1)
    result = np.asarray(found.to_numpy(zero_copy_only=False), dtype=np.int64)
    return np.where(texts.is_valid().to_numpy(zero_copy_only=False), result, -1)
