"""Explanations of scores: the share of each source, and the pull of each item of the history.

Shape letters: n users, K explained items of each, E stored entries of all histories (of items with interactions), T
reasons of an item.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mmrec_lib.models.data import Floats, Histories, Ints, row_blocks
from mmrec_lib.models.ranker.fusion import Scale

NO_REASON = -1
NO_MODALITY = "no modality"
"""Among shares of modalities, that of all that has nothing to do with contents: behaviour, popularity, distillation."""
# Users that are explained at once, at most, and entries of their histories times items.
_MAX_USERS, _MAX_CELLS = 256, 20_000_000
# Pairs of an entry of a history and an item without interactions that are compared at once.
_MAX_PAIRS = 200_000


def explained_blocks(lengths_N: NDArray[np.integer], num_items: int) -> Iterator[slice]:
    """Blocks of users, in order, whose explanations of some items each have bounded memory.

    Args:
        lengths_N: [n] entries of each history.
        num_items: Items of each user that are explained.
    """
    start, cells = 0, 0
    for end, own in enumerate((lengths_N.astype(np.int64) * num_items).tolist()):
        if end > start and (end - start == _MAX_USERS or cells + own > _MAX_CELLS):
            yield slice(start, end)
            start, cells = end, 0
        cells += own
    if start < len(lengths_N):
        yield slice(start, len(lengths_N))


def in_parts(entries: Ints, places: Ints) -> Iterator[tuple[Ints, Ints]]:
    """Pairs of an entry and a place in parts that have bounded memory."""
    for part in row_blocks(len(entries), _MAX_PAIRS):
        yield entries[part], places[part]


@dataclass(frozen=True)
class ProjectedUsers:
    """Users as a ranker scores them.

    Attributes:
        histories: What they were made of.
        vectors: [n, V] float32.
        known: [n, W] float32 their histories over the items with interactions.
        scales: Scale of each source's scores.
    """

    histories: Histories
    vectors: Floats
    known: sparse.csr_matrix
    scales: Mapping[str, Scale]

    def __len__(self) -> int:
        return len(self.histories)

    def rows(self, rows: slice) -> ProjectedUsers:
        """Some of the users."""
        index = np.arange(len(self))[rows]
        scales = {name: Scale(s.mean[rows], s.deviation[rows], s.top[rows]) for name, s in self.scales.items()}
        return ProjectedUsers(self.histories.rows(index), self.vectors[rows], self.known[index], scales)


@dataclass(frozen=True)
class Explanation:
    """Explanation of users' scores of some items.

    Attributes:
        shares: For each source, and `content` (items without interactions), `popularity`, `demographics` and
            `residual` (what distillation changed): [n, K] float32; they add up to the score.
        pulls: [E, K] float32 part of each entry of the history in the standardised and weighted scores of the sources.
            For an item without interactions it is the product of the distilled vectors: how alike both are to users.
    """

    shares: dict[str, Floats]
    pulls: Floats


def strongest_entries(pulls_EK: Floats, indptr: NDArray[np.integer], num_reasons: int) -> Ints:
    """Entries that pull most, [n, K, T] positions in E, the strongest first; NO_REASON where no other pulls upwards.

    Args:
        pulls_EK: See `Explanation`.
        indptr: [n + 1] where the entries of each user start.
        num_reasons: T.
    """
    num_users, num_items = len(indptr) - 1, pulls_EK.shape[1]
    found = np.full((num_users, num_items, num_reasons), NO_REASON, dtype=np.int64)
    lengths = np.diff(indptr)
    filled = np.flatnonzero(lengths)
    if not len(filled):
        return found
    starts = np.asarray(indptr[:-1])[filled]
    rows = np.repeat(np.arange(len(filled)), lengths[filled])
    left = pulls_EK.copy()
    places = np.arange(len(left))[:, None]
    for reason in range(num_reasons):
        best = np.maximum.reduceat(left, starts, axis=0)
        # The first of equal ones.
        at = np.minimum.reduceat(np.where(left == best[rows], places, len(left)), starts, axis=0)
        found[filled, :, reason] = np.where(best > 0, at, NO_REASON)
        np.put_along_axis(left, at, -np.inf, axis=0)
    return found
