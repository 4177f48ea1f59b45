"""Items that the same users turn to, as a sparse matrix of associations.

Shape letters: U users, I items.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from mmrec_lib.models.alignment.config import AlignmentConfig
from mmrec_lib.models.data import row_blocks, sampled_rows

_ROWS_AT_ONCE = 512


def co_consumption(weights: sparse.csr_matrix, config: AlignmentConfig) -> sparse.csr_matrix:
    """[I, I] float32 symmetric positive pointwise mutual information of items by their common users.

    Church and Hanks, "Word association norms, mutual information, and lexicography" (1990), shrunken where few users
    are common; its factorisation is what word vectors do: Levy and Goldberg, "Neural word embedding as implicit matrix
    factorization" (2014). Only the strongest `num_neighbours` of each item are kept, and blocks of rows are counted at
    once, so that memory does not grow with items squared.

    Args:
        weights: [U, I] interactions of the training part; their strength does not count.
        config: Bounds and seed.
    """
    visits_UI = _bounded(weights, config)
    num_items = visits_UI.shape[1]
    counts_I = np.maximum(np.asarray(visits_UI.sum(axis=0)).ravel(), 1.0)
    total = max(visits_UI.shape[0], 1)
    visits_IU = sparse.csr_matrix(visits_UI.T)
    rows, columns, values = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros(0, np.float32)]
    for part in row_blocks(num_items, _ROWS_AT_ONCE):
        together = sparse.coo_matrix(visits_IU[part] @ visits_UI)
        left, right = together.row + part.start, together.col
        information = np.log(together.data * total / (counts_I[left] * counts_I[right]))
        information *= together.data / (together.data + 1.0)
        information[left == right] = 0
        order = np.lexsort((right, -information, left))
        order = order[information[order] > 0]
        first = np.searchsorted(left[order], np.arange(part.start, part.stop))
        place = np.arange(len(order)) - first[left[order] - part.start]
        kept = order[place < config.num_neighbours]
        rows.append(left[kept])
        columns.append(right[kept])
        values.append(information[kept].astype(np.float32))
    found = sparse.csr_matrix(
        (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), shape=(num_items, num_items)
    )
    return sparse.csr_matrix(found.maximum(found.T))


def _bounded(weights: sparse.csr_matrix, config: AlignmentConfig) -> sparse.csr_matrix:
    """[users, I] ones where a user turned to an item, of users with two items at least, at most `max_items_of_user`."""
    active = weights[np.diff(weights.indptr) > 1]
    some = sampled_rows(active, config.max_users, config.seed)
    lengths = np.diff(some.indptr)
    users = np.repeat(np.arange(len(lengths)), lengths)
    order = np.lexsort((np.random.default_rng(config.seed).random(some.nnz), users))
    kept = np.sort(order[np.arange(some.nnz) - some.indptr[users[order]] < config.max_items_of_user])
    ones = np.ones(len(kept), dtype=np.float32)
    return sparse.csr_matrix((ones, (users[kept], some.indices[kept])), shape=some.shape)
