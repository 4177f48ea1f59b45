"""Counterfactuals of a user's list: the ranks of items had one item not been in the history.

No fit is needed: a ranker keeps nothing of a user and folds histories in, so scores without an item are those of the
shorter history, exactly, for every source and for the second stage.

Shape letters: H items of the history that are left out one at a time, K items that are looked at, I items.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from mmrec_lib.errors import ModelError
from mmrec_lib.models.data import Bools, Floats, Histories, Ints, row_blocks
from mmrec_lib.models.ranker.ranker import FittedRanker

# Scores that are held at once.
_MAX_CELLS = 20_000_000


@dataclass(frozen=True)
class Counterfactuals:
    """Ranks and scores of some items with the whole history, and without one item of it.

    Attributes:
        removed: [H] positions of the items that are left out.
        ranks: [K] from 1, with the whole history.
        ranks_without: [H, K] without each of them.
        scores: [K] score of the model's dot product.
        scores_without: [H, K].
    """

    removed: Ints
    ranks: Ints
    ranks_without: Ints
    scores: Floats
    scores_without: Floats


def leave_one_out(
    ranker: FittedRanker,
    history: Histories,
    items: npt.NDArray[np.integer],
    removed: npt.NDArray[np.integer] | None = None,
    hidden: Bools | None = None,
) -> Counterfactuals:
    """Ranks of some items among all that the user may get, with the whole history and without one item of it.

    What the user has seen stays seen: an item that is left out of the history does not come back as a candidate. The
    order is the model's, before rules and re-ranking.

    Args:
        ranker: The ranker.
        history: One user.
        items: [K] positions of the items.
        removed: [H] positions of items of the history to leave out; None takes all of them in their order.
        hidden: [I] further items that the user must not get; the history is hidden always.

    Raises:
        ModelError: When there is not one user, an item is hidden, or one to leave out is not in the history.
    """
    if len(history) != 1:
        raise ModelError(f"counterfactual: one user is needed, got {len(history)}; ask for each by itself")
    own = history.weights.indices.astype(np.int64)
    left_out = np.sort(own) if removed is None else np.asarray(removed, dtype=np.int64)
    if not np.isin(left_out, own).all():
        raise ModelError(
            "counterfactual: only items of the history can be left out, got "
            f"{', '.join(ranker.item_ids[left_out[~np.isin(left_out, own)]][:3])}"
        )
    masked = np.zeros(len(ranker.item_ids), dtype=np.bool_) if hidden is None else hidden.copy()
    masked[own] = True
    at = np.asarray(items, dtype=np.int64)
    if masked[at].any():
        named = ", ".join(ranker.item_ids[at[masked[at]]][:3])
        raise ModelError(f"counterfactual: items that the user must not get have no rank: {named}")
    variants = _without_each(history, left_out)
    ranks = np.zeros((len(variants), len(at)), dtype=np.int64)
    scores = np.zeros((len(variants), len(at)), dtype=np.float32)
    for rows in row_blocks(len(variants), max(_MAX_CELLS // max(len(masked), 1), 1)):
        block = variants.rows(np.arange(rows.start, rows.stop))
        users = ranker.project(block)
        found: Floats = users.vectors @ ranker.item_vectors().T
        scores[rows] = found[:, at]
        found[:, masked] = -np.inf
        listed = ranker.select(users, found, len(masked)).indices
        # Hidden items stand last or are no items at all; the others are all there.
        ranks[rows] = 1 + np.argmax(listed[:, :, None] == at[None, None, :], axis=1)
    return Counterfactuals(left_out, ranks[0], ranks[1:], scores[0], scores[1:])


def _without_each(history: Histories, left_out: Ints) -> Histories:
    """The history, then the history without each of some items."""
    own = history.weights.indices
    kept = own[None, :] != np.concatenate([[-1], left_out])[:, None]
    indptr = np.concatenate([[0], np.cumsum(kept.sum(axis=1))])
    columns = np.broadcast_to(own, kept.shape)[kept]

    def variants(row: sparse.csr_matrix) -> sparse.csr_matrix:
        values = np.broadcast_to(row.data, kept.shape)[kept]
        return sparse.csr_matrix((values, columns, indptr), shape=(len(kept), row.shape[1]))

    attributes = {name: np.repeat(values, len(kept)) for name, values in history.attributes.items()}
    times = None if history.times is None else variants(history.times)
    context = None if history.context is None else history.context.rows(np.zeros(len(kept), dtype=np.int64))
    return Histories(variants(history.weights), attributes, times, context)
