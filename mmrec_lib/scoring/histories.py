"""Histories of the users of a batch as sparse matrices over the items of the fit, or those of today's catalogue.

Shape letters: n users of a batch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import DataFrame
from scipy import sparse

from mmrec_lib.models.data import Histories
from mmrec_lib.models.ranker.ranker import FittedRanker
from mmrec_lib.models.request_context import RequestContext, Searches
from mmrec_lib.scoring.arrow_lists import groups_of_maps, list_offsets
from mmrec_lib.scoring.catalogue import Catalogue


def known_histories(batch: pa.RecordBatch, catalogue: Catalogue) -> Histories:
    """Histories of what is in today's catalogue and in that of the fit, over the items of the fit.

    Args:
        batch: attributes, history_items, history_weights; history_times where they are known; and last_search where the
            model looks at it.
        catalogue: Items and model.
    """
    offsets = list_offsets(batch["history_items"])
    is_listed, today = catalogue.listed(batch["history_items"].flatten())
    weights = batch["history_weights"].flatten().fill_null(1.0).to_numpy(zero_copy_only=False).astype(np.float32)
    is_known = is_listed & (weights > 0)
    is_known[is_listed] &= catalogue.in_model.known[today]
    columns = catalogue.in_model.of(today[is_known[is_listed]])
    num_items = len(catalogue.ranker.item_ids)
    times = None
    if "history_times" in batch.schema.names:
        seconds = batch["history_times"].flatten().fill_null(0.0).to_numpy(zero_copy_only=False)
        times = _csr(offsets, is_known, columns, seconds[is_known], num_items)
    matrix = _csr(offsets, is_known, columns, weights[is_known], num_items)
    context = None
    if "last_search" in batch.schema.names:
        context = RequestContext.after_searches(batch["last_search"].to_pylist())
    return Histories(matrix, groups_of_maps(batch["attributes"], catalogue.ranker.attribute_names), times, context)


def without_unread(profiles: DataFrame, ranker: FittedRanker) -> DataFrame:
    """Profiles without the words of the last search, where lists do not follow from them."""
    reads_searches = ranker.second_stage is not None and "search" in ranker.second_stage.context_kinds
    return profiles if reads_searches else profiles.drop("last_search")


def last_searches(searches: Searches | None, users: NDArray[np.intp], num_users: int) -> dict[str, pa.Array]:
    """Column last_search of a batch of users of a snapshot; none where no searches are known.

    Args:
        searches: Searches before the lists.
        users: [n] positions of the users.
        num_users: Users of the snapshot.
    """
    if searches is None:
        return {}
    return {"last_search": pa.array(searches.latest(num_users)[users].tolist(), pa.string())}


def history_of_today(batch: pa.RecordBatch, catalogue: Catalogue) -> sparse.csr_matrix:
    """[n, today's items] weights of the history."""
    offsets = list_offsets(batch["history_items"])
    is_listed, columns = catalogue.listed(batch["history_items"].flatten())
    weights = batch["history_weights"].flatten().to_numpy(zero_copy_only=False)[is_listed]
    return _csr(offsets, is_listed, columns, weights.astype(np.float32), len(catalogue.item_ids))


def histories_of_today(batch: pa.RecordBatch, catalogue: Catalogue) -> Histories:
    """Histories over today's items, with times where they are known; without attributes."""
    weights = history_of_today(batch, catalogue)
    if "history_times" not in batch.schema.names:
        return Histories(weights)
    offsets = list_offsets(batch["history_items"])
    is_listed, columns = catalogue.listed(batch["history_items"].flatten())
    seconds = batch["history_times"].flatten().fill_null(0.0).to_numpy(zero_copy_only=False)[is_listed]
    return Histories(weights, {}, _csr(offsets, is_listed, columns, seconds, len(catalogue.item_ids)))


def seen_items(batch: pa.RecordBatch, catalogue: Catalogue) -> sparse.csr_matrix:
    """[n, today's items] an entry for each item that the user must not get."""
    offsets = list_offsets(batch["seen_item_ids"])
    is_listed, columns = catalogue.listed(batch["seen_item_ids"].flatten())
    return _csr(offsets, is_listed, columns, np.ones(len(columns), np.float32), len(catalogue.item_ids))


def _csr(
    offsets: NDArray[np.int64],
    is_kept: NDArray[np.bool_],
    columns: NDArray[np.int64],
    values: NDArray[Any],
    num_columns: int,
) -> sparse.csr_matrix:
    """Kept elements of lists as a sparse matrix; a column that stands twice in a list is summed."""
    kept_before = np.concatenate([[0], np.cumsum(is_kept)])
    matrix = sparse.csr_matrix((values, columns, kept_before[offsets]), shape=(len(offsets) - 1, num_columns))
    matrix.sum_duplicates()
    return matrix
