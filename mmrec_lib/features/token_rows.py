"""Tokens of items from Arrow batches → a sparse block of features, without an object an item.

Shape letters: n rows of a batch, e tokens of all of them.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from scipy import sparse

from mmrec_lib.models.data import Content


class TokenRows:
    """Tokens of the items of one block, gathered batch by batch."""

    def __init__(self) -> None:
        self._items: list[npt.NDArray[np.int64]] = []
        self._tokens: list[pa.DictionaryArray] = []

    def add(self, items: npt.NDArray[np.int64], lists: pa.ListArray) -> None:
        """Note the tokens of some items.

        Args:
            items: [n] positions of the items.
            lists: [n] tokens of each; null counts as empty.
        """
        lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
        self._items.append(np.repeat(items, lengths))
        self._tokens.append(lists.flatten().cast(pa.string()).dictionary_encode())

    def content(self, name: str, num_items: int) -> Content:
        """All of them as a block, equal to `Content.from_tokens` of their lists.

        Args:
            name: Name of the block.
            num_items: Items of the catalogue, also those without a token.
        """
        encoded = pa.chunked_array(self._tokens, pa.dictionary(pa.int32(), pa.string())).unify_dictionaries()
        codes = [chunk.indices.to_numpy(zero_copy_only=False) for chunk in encoded.chunks]
        known = encoded.chunk(0).dictionary if codes else pa.array([], pa.string())
        # In the order of code points, which is that of the bytes.
        order = pc.sort_indices(known).to_numpy()
        column_of = np.empty(len(order), dtype=np.int64)
        column_of[order] = np.arange(len(order))
        rows = np.concatenate([np.zeros(0, np.int64), *self._items])
        columns = column_of[np.concatenate([np.zeros(0, np.int64), *codes])]
        matrix = sparse.csr_matrix(
            (np.ones(len(rows), dtype=np.float32), (rows, columns)), shape=(num_items, len(order))
        )
        matrix.data[:] = 1.0  # a token named twice counts once
        return Content(
            name, "sparse", matrix, np.diff(matrix.indptr) > 0, tuple(known.take(pa.array(order)).to_pylist())
        )
