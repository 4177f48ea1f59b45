"""Lifts of pairs that occur together, shrunken where they are seldom, as sparse matrices."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import sparse

# Pseudo-count that keeps rare rows and columns from looking certain.
_PRIOR = 5.0
_MAX_ENTRIES = 50


def no_pairs(num_rows: int, num_columns: int) -> sparse.csr_matrix:
    """A matrix [num_rows, num_columns] float32 without entries."""
    return sparse.csr_matrix((np.zeros(0, np.float32), (np.zeros(0, np.int64),) * 2), shape=(num_rows, num_columns))


def log_lifts(counts: sparse.csr_matrix) -> sparse.csr_matrix:
    """float32 log(1 + lift) of pairs by their counts, shrunken where seldom; at most 50 a row, the strongest.

    The lift is count · total / (count of the row · count of the column).
    """
    total = counts.sum()
    before, after = (np.asarray(counts.sum(axis=axis)).ravel() + _PRIOR for axis in (1, 0))
    first = np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr))
    trust = counts.data / (counts.data + 2.0)
    lift = np.log1p(counts.data * total / (before[first] * after[counts.indices]) * trust)
    return _strongest(sparse.csr_matrix((lift.astype(np.float32), counts.indices, counts.indptr), shape=counts.shape))


def _strongest(matrix: sparse.csr_matrix) -> sparse.csr_matrix:
    """The largest entries of each row, ties by column."""
    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    order = np.lexsort((matrix.indices, -matrix.data, rows))
    place = np.arange(matrix.nnz) - matrix.indptr[rows[order]]
    kept = np.sort(order[place < _MAX_ENTRIES])
    return sparse.csr_matrix((matrix.data[kept], (rows[kept], matrix.indices[kept])), shape=matrix.shape)


def picked_entries(
    matrix: sparse.csr_matrix, rows_N: npt.NDArray[np.integer], columns_NC: npt.NDArray[np.integer]
) -> npt.NDArray[np.float32]:
    """[n, C] float32 entries of a sparse matrix, one row of it a user."""
    width = matrix.shape[1]
    lengths = np.diff(matrix.indptr)[rows_N]
    users = np.repeat(np.arange(len(rows_N)), lengths)
    starts = np.repeat(np.cumsum(lengths) - lengths, lengths)
    places = np.repeat(matrix.indptr[rows_N], lengths) + np.arange(len(users)) - starts
    # One larger than every pair, so that a place found by bisection always holds one.
    stored = np.append(users.astype(np.int64) * width + matrix.indices[places], len(rows_N) * width)
    wanted = np.arange(len(rows_N), dtype=np.int64)[:, None] * width + columns_NC
    found = np.searchsorted(stored, wanted)
    values = np.append(matrix.data[places], np.float32(0)).astype(np.float32)
    entries: npt.NDArray[np.float32] = np.where(stored[found] == wanted, values[found], np.float32(0))
    return entries
