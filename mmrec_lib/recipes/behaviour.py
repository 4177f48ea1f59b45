"""Behaviour as a graph of contents: which texts or images belong together, because the same people turned to them."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array, csr_array, vstack
from scipy.sparse.csgraph import connected_components

from mmrec_lib.evaluation.significance import mean_intervals

Floats = npt.NDArray[np.float32]
PARTS = ("train", "valid", "test")
_ROWS_TOGETHER = 512


@dataclass(frozen=True)
class Behaviour:
    """Users and items.

    Attributes:
        item_ids: Items with a content, sorted.
        contents: Their texts, or the ids of their images; of a joint encoder texts, empty where an item has none.
        visits: `[num_users, num_items]`, 1 where a user turned to an item.
        parts: Part of each item: 0 train, 1 valid, 2 test.
    """

    item_ids: list[str]
    contents: list[str]
    visits: csr_array
    parts: npt.NDArray[np.int8]

    def items(self, part: str) -> npt.NDArray[np.intp]:
        """Items of a part."""
        return np.flatnonzero(self.parts == PARTS.index(part))


def make_behaviour(
    contents: Mapping[str, str],
    visits: Iterable[tuple[str, str]],
    valid_share: float,
    test_share: float,
    groups: Mapping[str, str] | None = None,
) -> Behaviour:
    """Behaviour of users, its items divided by a hash of their contents: those of valid and test are new to training.

    Items of one content, such as variants, are in one part.

    Args:
        contents: Text of each item, or the id of its image.
        visits: User and item; repetitions count once, items without a content do not count.
        valid_share: Share of the items that choose the epoch.
        test_share: Share of the items that the gate reads.
        groups: What is hashed for each item, in the place of its content.
    """
    item_ids = sorted(contents)
    place = {item: number for number, item in enumerate(item_ids)}
    users, rows, columns = dict[str, int](), array("q"), array("q")
    for user, item in visits:
        if item in place:
            rows.append(users.setdefault(user, len(users)))
            columns.append(place[item])
    rank = np.empty(len(users), np.int64)
    rank[[users[user] for user in sorted(users)]] = np.arange(len(users))
    entries = (rank[np.asarray(rows, np.int64)], np.asarray(columns, np.int64))
    visits_UI = csr_array(coo_array((np.ones(len(rows), np.float32), entries), shape=(len(users), len(item_ids))))
    visits_UI.sum_duplicates()
    visits_UI.data[:] = 1
    shares = np.array([_place((groups or contents)[item]) for item in item_ids])
    parts = np.where(shares < test_share, 2, np.where(shares < test_share + valid_share, 1, 0)).astype(np.int8)
    return Behaviour(item_ids, [contents[item] for item in item_ids], visits_UI, parts)


def groups_of_items(*contents: Mapping[str, str]) -> dict[str, str]:
    """Items that share a content, also by way of others, as groups.

    Args:
        contents: Content of each item that has one, such as texts and images.

    Returns:
        Name of each item's group, which follows from the group's contents.
    """
    items = {item: row for row, item in enumerate(sorted(set().union(*contents)))}
    ties = [(items[item], f"{number} {one}") for number, of in enumerate(contents) for item, one in of.items()]
    names = sorted({name for _, name in ties})
    place = {name: len(items) + column for column, name in enumerate(names)}
    rows, columns = [row for row, _ in ties], [place[name] for _, name in ties]
    size = len(items) + len(names)
    _, labels = connected_components(coo_array((np.ones(len(ties)), (rows, columns)), shape=(size, size)), False)
    first = dict[int, str]()
    for name in names:
        first.setdefault(int(labels[place[name]]), name)
    return {item: first[int(labels[row])] for item, row in items.items()}


def co_visits(behaviour: Behaviour, num_neighbours: int, shrinkage: float) -> csr_array:
    """Weights by which two items of train belong together: `[num_items, num_items]`, few entries a row, sum 1 a row.

    Cosine of the users of both, those of few common users shrunk: Bell and Koren, "Improved Neighborhood-based
    Collaborative Filtering" (2007).
    """
    train = np.zeros(len(behaviour.item_ids), np.float32)
    train[behaviour.items("train")] = 1
    visits_UI = csr_array(behaviour.visits.multiply(train))
    visits_UI.eliminate_zeros()
    visits_IU = csr_array(visits_UI.T)
    counts_I = np.maximum(np.asarray(visits_UI.sum(axis=0)).reshape(-1), 1)
    kept = []
    # In blocks: the common users of all pairs of items may fill items × items.
    for first in range(0, len(counts_I), _ROWS_TOGETHER):
        block = csr_array(visits_IU[first : first + _ROWS_TOGETHER] @ visits_UI)
        block.sort_indices()
        rows = np.repeat(np.arange(first, first + block.shape[0]), np.diff(block.indptr))
        together = np.where(block.indices == rows, 0, block.data)
        cosines = together / np.sqrt(counts_I[rows] * counts_I[block.indices])
        block.data = cosines * together / np.maximum(together + shrinkage, 1e-12)
        block.eliminate_zeros()
        kept.append(_strongest(block, num_neighbours))
    return csr_array(vstack(kept, format="csr"))


def _strongest(weights: csr_array, num_kept: int) -> csr_array:
    columns, values, ends = list[npt.NDArray[np.integer]](), list[npt.NDArray[np.floating]](), [0]
    for start, end in pairwise(weights.indptr.tolist()):
        own = weights.data[start:end]
        kept = np.argsort(-own, kind="stable")[:num_kept]
        columns.append(weights.indices[start:end][kept])
        values.append(own[kept] / own[kept].sum())
        ends.append(ends[-1] + len(kept))
    return csr_array((np.concatenate(values, dtype=np.float32), np.concatenate(columns), ends), shape=weights.shape)


def recalls(behaviour: Behaviour, vectors: Floats, part: str, k: int) -> npt.NDArray[np.float64]:
    """Recall of each user's items of a part among all items of it, found by the mean of their train items' vectors.

    Args:
        behaviour: Users and items.
        vectors: `[num_items, dim]`, of length 1.
        part: valid or test.
        k: Cut-off.

    Returns:
        `[num_users with items in train and in the part]`.
    """
    known, new = behaviour.items("train"), behaviour.items(part)
    visits_UI = behaviour.visits.tocsc()
    before_UT, after_UN = csr_array(visits_UI[:, known]), csr_array(visits_UI[:, new])
    users = np.flatnonzero((np.diff(before_UT.indptr) > 0) & (np.diff(after_UN.indptr) > 0))
    found = np.zeros(len(users))
    for start in range(0, len(users), 1024):
        chunk = users[start : start + 1024]
        scores = (before_UT[chunk] @ vectors[known]) @ vectors[new].T
        best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        wanted = after_UN[chunk].toarray() > 0
        hits = np.take_along_axis(wanted, best, axis=1).sum(axis=1)
        found[start : start + 1024] = hits / wanted.sum(axis=1)
    return found


def gain_interval(before: npt.NDArray[np.float64], after: npt.NDArray[np.float64], seed: int) -> tuple[float, float]:
    """Ends of the 95 % interval of the mean gain over users, paired."""
    low, high = mean_intervals((after - before).reshape(-1, 1), 2_000, seed)
    return float(low[0]), float(high[0])


@dataclass(frozen=True)
class Comparison:
    """Two encoders on the same users.

    Attributes:
        base_value: Mean of the one as it was.
        value: Mean of the new one.
        diff_low: Lower end of the 95 % interval of the difference, paired by user.
        diff_high: Upper end of it.
        num_users: Users averaged.
    """

    base_value: float
    value: float
    diff_low: float
    diff_high: float
    num_users: int

    @classmethod
    def of(cls, before: npt.NDArray[np.float64], after: npt.NDArray[np.float64], seed: int) -> Comparison:
        """A comparison of values by user."""
        low, high = gain_interval(before, after, seed)
        return cls(float(before.mean()), float(after.mean()), low, high, len(before))

    @property
    def interval(self) -> str:
        """The values and the interval in words."""
        return f"{self.base_value:.4f} → {self.value:.4f}, difference [{self.diff_low:.4f}, {self.diff_high:.4f}]"


def add_pairs(
    weights: csr_array, texts: Sequence[str], pairs: Sequence[tuple[str, int]], share: float
) -> tuple[csr_array, list[str]]:
    """The graph with further texts, such as searches and reviews, each tied to the item that it led to.

    Args:
        weights: See `co_visits`.
        texts: Texts of its nodes.
        pairs: A text and the item it belongs to.
        share: Weight of such a tie; those of an item to other items sum to 1.

    Returns:
        The larger graph, symmetric in the new ties, and its texts.
    """
    if not pairs:
        return weights, list(texts)
    size = weights.shape[0] + len(pairs)
    base = weights.tocoo()
    numbers = np.arange(weights.shape[0], size)
    items = np.array([item for _, item in pairs])
    ties = np.full(len(pairs), share, np.float32)
    rows = np.concatenate([base.row, numbers, items])
    columns = np.concatenate([base.col, items, numbers])
    values = np.concatenate([base.data, ties, ties])
    return csr_array(coo_array((values, (rows, columns)), shape=(size, size))), [*texts, *(text for text, _ in pairs)]


def _place(content: str) -> float:
    return int.from_bytes(hashlib.sha256(content.encode("utf-8", "replace")).digest()[:8], "big") / 2**64
