"""Lists of an audience: trending, and popular among people like you."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import sparse

from mmrec_lib.listing.audiences import ALL, AudienceItems, parent_of
from mmrec_lib.listing.config import PopularLikeYouConfig, TrendingConfig
from mmrec_lib.listing.measures import growth_bound, shrunk_share
from mmrec_lib.listing.selection import LISTS, Entries, select_lists
from mmrec_lib.showing.attributes import one_array
from mmrec_lib.showing.labels import positions

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class AudienceCounts:
    """Counts of one list type.

    Attributes:
        audiences: [A] keys; the parent of each is there too.
        num: [A, I] csr: users of an audience who took an item, or users and days in the window.
        num_before: [A, I] csr: users and days before the window, where growth is asked for.
        num_users: [A] users of an audience with a history, where shares are asked for.
    """

    audiences: tuple[str, ...]
    num: sparse.csr_matrix
    num_before: sparse.csr_matrix
    num_users: NDArray[np.int64]

    @classmethod
    def of(cls, rows: pa.Table, item_ids: pa.Array) -> AudienceCounts:
        """Counts as arrays.

        Args:
            rows: audience, item_id (null in the row that counts users), num, num_before; items that are not in the
                catalogue do not count.
            item_ids: [I] the catalogue.
        """
        audience, items = one_array(rows["audience"]), one_array(rows["item_id"])
        keys = pa.array(sorted({ALL, *audience.unique().to_pylist()}), pa.string())
        row_of = positions(audience, keys)
        at = positions(items, item_ids)
        num = one_array(rows["num"]).to_numpy(zero_copy_only=False)
        is_total = items.is_null().to_numpy(zero_copy_only=False)
        num_users = np.zeros(len(keys), dtype=np.int64)
        num_users[row_of[is_total]] = num[is_total]

        def matrix(counts: NDArray[np.int64]) -> sparse.csr_matrix:
            known = at >= 0
            return sparse.csr_matrix((counts[known], (row_of[known], at[known])), shape=(len(keys), len(item_ids)))

        before = one_array(rows["num_before"]).to_numpy(zero_copy_only=False)
        return cls(tuple(keys.to_pylist()), matrix(num), matrix(before), num_users)


def audience_lists(
    list_type: str, entries: Iterable[Entries], audiences: Sequence[str], items: AudienceItems, k: int
) -> pa.Table:
    """Lists of audiences, rows of `selection.LISTS`; one audience is in memory at a time.

    What not every user of an audience may get is left out before selection, so that lists stay full.

    Args:
        list_type: Name of the type.
        entries: Entries of one audience each.
        audiences: Keys of the audiences.
        items: What may be shown.
        k: Longest list.
    """
    owners = pa.array(audiences, pa.string())
    lists = []
    for one in entries:
        if len(one.owners):
            allowed = items.allowed(audiences[int(one.owners[0])])
            lists.append(select_lists(list_type, one.where(allowed[one.items]), owners, items.rules.item_ids, k))
    return pa.Table.from_batches(lists, LISTS)


def rising(counts: AudienceCounts, config: TrendingConfig) -> Iterator[Entries]:
    """Items that grow against what was expected, for each audience.

    What is expected of an item is its share before the window, times all of the audience in the window: growth of the
    whole store makes nothing trend. The share before of a market is drawn towards that of all markets. The score is
    the lower 5 % quantile of the growth, so that few cases must grow much.
    """
    overall = counts.audiences.index(ALL)
    before_all = _row(counts.num_before, overall)
    share_all = before_all / max(before_all.sum(), 1.0)
    for row in range(len(counts.audiences)):
        num, before = _row(counts.num, row), _row(counts.num_before, row)
        share = shrunk_share(before, before.sum(), share_all, config.market_prior)
        expected = share * num.sum()
        growing = np.flatnonzero((num >= config.min_support) & (num > expected))
        yield _entries(row, growing, growth_bound(num[growing], expected[growing], config.prior), num)


def popular(counts: AudienceCounts, config: PopularLikeYouConfig) -> Iterator[Entries]:
    """Items by the share of an audience's users who took them, drawn towards the share of the next larger audience.

    Audiences with fewer than `config.min_users` have no list; that of all users always has one.
    """
    row_of = {key: row for row, key in enumerate(counts.audiences)}

    def share(key: str) -> Floats:
        num, num_users, above = _row(counts.num, row_of[key]), int(counts.num_users[row_of[key]]), parent_of(key)
        return num / max(num_users, 1) if above is None else shrunk_share(num, num_users, share(above), config.prior)

    for key, row in row_of.items():
        if key == ALL or counts.num_users[row] >= config.min_users:
            shares = share(key)
            taken = np.flatnonzero(shares > 0)
            yield _entries(row, taken, shares[taken], _row(counts.num, row))


def _entries(row: int, items: NDArray[np.int64], scores: Floats, num: Floats) -> Entries:
    return Entries(np.full(len(items), row), items, scores, num[items].astype(np.int64))


def _row(matrix: sparse.csr_matrix, row: int) -> Floats:
    return np.asarray(matrix[row].toarray()[0], dtype=np.float64)
