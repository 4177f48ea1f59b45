"""Stores of any size with planted tastes, as landing files of Parquet.

Items lie in clusters, and an item's vector is the centre of its cluster with noise. A user has a few clusters that most
of the user's events come from; all others follow popularity. So it is known which items a list should hold. Everything
is drawn in blocks of users or items from a seed of their own: memory is that of a block, and any block can be drawn
again later.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

Ints = npt.NDArray[np.int64]
EVENT_TYPES = ("view", "like", "cart", "purchase")
_EVENT_SHARES = (0.7, 0.15, 0.08, 0.07)
_COUNTRIES = ("DE", "FR", "GB", "IT", "PL")
_FIRST_SECOND, _NUM_DAYS = 1_735_689_600, 120  # 2025-01-01
_BLOCK_USERS, _BLOCK_ITEMS = 50_000, 20_000
# Share of the items, the least popular of each cluster, that nobody has acted on.
_NEW_SHARE = 0.02
_TASTE_SHARE = 0.8
_TASTE_WEIGHTS = (0.6, 0.3, 0.1)
# Larger: more of the events are on the few most popular items.
_POPULARITY_EXPONENT = 2.5
_SPREAD = 0.7
_USERS, _ITEMS, _EVENTS, _VECTORS, _HELD_OUT = range(5)


@dataclass(frozen=True)
class Planted:
    """A store that has not been written yet.

    Attributes:
        num_users: Users.
        num_items: Items, each with a vector.
        num_events: Events.
        dim: Length of the vectors.
        seed: Everything follows from it.
    """

    num_users: int
    num_items: int
    num_events: int
    dim: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.num_users, self.num_events, self.dim) < 1 or self.num_items < 20:
            raise ValueError("a planted store needs users, events, dimensions and at least 20 items")

    @property
    def num_clusters(self) -> int:
        """Clusters of items: 200 items each, 10 to 100 clusters."""
        return int(np.clip(self.num_items // 200, 10, 100))

    @property
    def user_blocks(self) -> list[range]:
        """Positions of the users of each block."""
        starts = range(0, self.num_users, _BLOCK_USERS)
        return [range(start, min(start + _BLOCK_USERS, self.num_users)) for start in starts]

    @cached_property
    def item_numbers(self) -> Ints:
        """[I] the number in the id of each item, so that ids tell nothing of popularity."""
        return self._rng(_ITEMS).permutation(self.num_items)

    @cached_property
    def cluster_sizes(self) -> Ints:
        """[clusters] items of each cluster that are acted on; an item's cluster is its position modulo clusters."""
        sizes = (self.num_items - np.arange(self.num_clusters) - 1) // self.num_clusters + 1
        return np.maximum(np.floor(sizes * (1 - _NEW_SHARE)), 1).astype(np.int64)

    def _rng(self, *key: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, *key])

    def clusters_of(self, items: Ints) -> Ints:
        """Cluster of each item."""
        return items % self.num_clusters

    def item_ids(self, items: Ints) -> pa.Array:
        """Ids of items by their positions."""
        return _ids("i", self.item_numbers[items])

    def items_of_ids(self, item_ids: pa.Array) -> Ints:
        """Positions of items by their ids."""
        numbers = pc.utf8_slice_codeunits(item_ids, 1).cast(pa.int64()).to_numpy(zero_copy_only=False)
        return np.argsort(self.item_numbers, kind="stable")[numbers]

    def tastes(self, block: int) -> Ints:
        """[users of the block, 3] clusters that each user likes, the strongest first."""
        users = self.user_blocks[block]
        first = self._rng(_USERS, block).integers(self.num_clusters, size=len(users))
        # Tastes lie near each other for many users, so that there is something to learn from others.
        steps = self._rng(_USERS, block, 1).integers(1, 4, size=(2, len(users)))
        return np.stack([first, first + steps[0], first + steps[0] + steps[1]], axis=1) % self.num_clusters

    def _draw_items(self, rng: np.random.Generator, clusters: Ints) -> Ints:
        ranks = np.floor(self.cluster_sizes[clusters] * rng.random(len(clusters)) ** _POPULARITY_EXPONENT)
        return ranks.astype(np.int64) * self.num_clusters + clusters

    def _draw_liked(self, rng: np.random.Generator, tastes: Ints) -> Ints:
        """An item of one of the user's clusters for each row of tastes."""
        chosen = rng.choice(len(_TASTE_WEIGHTS), size=len(tastes), p=_TASTE_WEIGHTS)
        return self._draw_items(rng, tastes[np.arange(len(tastes)), chosen])

    def interactions(self, block: int) -> tuple[Ints, Ints]:
        """User (position in the block) and item of each event of a block; users differ in how much they do."""
        users = self.user_blocks[block]
        rng = self._rng(_EVENTS, block)
        total = self.num_events * users.stop // self.num_users - self.num_events * users.start // self.num_users
        activity = rng.lognormal(0.0, 0.9, len(users))
        rows = np.repeat(np.arange(len(users)), rng.multinomial(total, activity / activity.sum()))
        liked = self._draw_liked(rng, self.tastes(block)[rows])
        other = self._draw_items(rng, rng.integers(self.num_clusters, size=total))
        return rows, np.where(rng.random(total) < _TASTE_SHARE, liked, other)

    def events(self, block: int) -> pa.Table:
        """Events of a block of users."""
        users = self.user_blocks[block]
        rows, items = self.interactions(block)
        rng = self._rng(_EVENTS, block, 1)
        number = self.num_events * users.start // self.num_users + np.arange(len(rows))
        seconds = _FIRST_SECOND + rng.integers(_NUM_DAYS * 86_400, size=len(rows))
        types = rng.choice(len(EVENT_TYPES), size=len(rows), p=_EVENT_SHARES)
        return pa.table(
            {
                "event_id": _ids("e", number),
                "user_id": _ids("u", users.start + rows),
                "item_id": self.item_ids(items),
                "event_type": pa.array(EVENT_TYPES).take(pa.array(types)),
                "ts": pa.array(seconds).cast(pa.timestamp("s", tz="UTC")).cast(pa.timestamp("us", tz="UTC")),
            }
        )

    def users(self, block: int) -> pa.Table:
        """Users of a block."""
        users = self.user_blocks[block]
        rng = self._rng(_USERS, block, 2)
        return pa.table(
            {
                "user_id": _ids("u", np.arange(users.start, users.stop)),
                "age": pa.array(rng.integers(16, 80, size=len(users)).astype(np.int64)),
                "country": pa.array(_COUNTRIES).take(pa.array(rng.integers(len(_COUNTRIES), size=len(users)))),
                "updated_at": _first_time(len(users)),
            }
        )

    def items(self, items: range) -> pa.Table:
        """Items; their cluster is no attribute, only vectors and events tell it."""
        rng = self._rng(_ITEMS, items.start, 1)
        return pa.table(
            {
                "item_id": self.item_ids(np.arange(items.start, items.stop)),
                "price": pa.array(np.round(rng.lognormal(3.0, 0.8, len(items)), 2)),
                "updated_at": _first_time(len(items)),
            }
        )

    def vectors(self, items: range) -> pa.Table:
        """Vectors of items: the centre of the cluster with noise."""
        centres = self._rng(_VECTORS).standard_normal((self.num_clusters, self.dim))
        at = np.arange(items.start, items.stop)
        noise = self._rng(_VECTORS, items.start).standard_normal((len(items), self.dim))
        values = (centres[self.clusters_of(at)] + _SPREAD * noise).astype(np.float32)
        offsets = np.arange(len(items) + 1, dtype=np.int32) * self.dim
        lists = pa.ListArray.from_arrays(pa.array(offsets), pa.array(values.reshape(-1)))
        return pa.table({"item_id": self.item_ids(at), "vector": lists})

    def held_out(self, block: int, num_likes: int) -> Ints:
        """[users of the block, num_likes] further items that the users of a block like, as new draws."""
        tastes = np.repeat(self.tastes(block), num_likes, axis=0)
        return self._draw_liked(self._rng(_HELD_OUT, block), tastes).reshape(-1, num_likes)

    def popular(self, number: int) -> Ints:
        """The most popular items, first those of rank 0 of each cluster."""
        return np.arange(min(number, self.num_items))


def _ids(letter: str, numbers: Ints) -> pa.Array:
    digits = pc.utf8_lpad(pa.array(numbers).cast(pa.string()), 9, "0")
    return pc.binary_join_element_wise(letter, digits, "")


def _first_time(size: int) -> pa.Array:
    return pa.array(np.full(size, _FIRST_SECOND)).cast(pa.timestamp("s", tz="UTC"))


def write_store(planted: Planted, landing: Path) -> None:
    """Write the landing files of a store, block by block."""
    for block in range(len(planted.user_blocks)):
        _write(landing / "users" / f"part-{block:05d}.parquet", iter([planted.users(block)]))
        _write(landing / "events" / f"part-{block:05d}.parquet", iter([planted.events(block)]))
    starts = range(0, planted.num_items, _BLOCK_ITEMS)
    blocks = [range(start, min(start + _BLOCK_ITEMS, planted.num_items)) for start in starts]
    _write(landing / "items" / "part-00000.parquet", map(planted.items, blocks))
    _write(landing / "vectors" / "image-planted.parquet", map(planted.vectors, blocks))


def _write(path: Path, tables: Iterator[pa.Table]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    first = next(tables)
    with pq.ParquetWriter(path, first.schema, compression="zstd") as writer:
        for table in (first, *tables):
            writer.write_table(table, row_group_size=100_000)


@dataclass(frozen=True)
class ListQuality:
    """Quality of lists against planted tastes, means over users.

    Attributes:
        num_users: Users looked at.
        taste_share: Share of a list that lies in the user's clusters; by chance it is 3 over the clusters.
        taste_share_popular: The same for the most popular items as everybody's list.
        recall: Share of the held-out likes that are in the list, of those that the user had not acted on.
        recall_popular: The same for the most popular items that the user had not acted on.
    """

    num_users: int
    taste_share: float
    taste_share_popular: float
    recall: float
    recall_popular: float


def measure_lists(planted: Planted, block: int, rows: Ints, items: Ints, num_likes: int = 20) -> ListQuality:
    """Compare the lists of users of a block with what was planted.

    Args:
        planted: The store.
        block: Block of users.
        rows: [n] users, as positions in the block, one entry a place of a list.
        items: [n] items of those places.
        num_likes: Held-out likes drawn for each user.
    """
    width = planted.num_items
    listed = np.unique(rows)
    tastes, likes = planted.tastes(block), planted.held_out(block, num_likes)
    acted_rows, acted_items = planted.interactions(block)
    acted = np.unique(acted_rows * width + acted_items)
    k = int(np.bincount(rows).max())
    popular_rows, popular_items = _popular_lists(planted, listed, acted, k)
    wanted = np.unique(np.repeat(listed, num_likes) * width + likes[listed].reshape(-1))
    wanted = wanted[~np.isin(wanted, acted)]

    def taste_share(of: Ints, which: Ints) -> float:
        return float((tastes[of] == planted.clusters_of(which)[:, None]).any(axis=1).mean())

    def recall(of: Ints, which: Ints) -> float:
        return float(np.isin(wanted, of * width + which).mean()) if len(wanted) else 0.0

    return ListQuality(
        len(listed),
        taste_share(rows, items),
        taste_share(popular_rows, popular_items),
        recall(rows, items),
        recall(popular_rows, popular_items),
    )


def _popular_lists(planted: Planted, users: Ints, acted: Ints, k: int) -> tuple[Ints, Ints]:
    """The k most popular items that each user has not acted on."""
    found_rows, found_items = [], []
    for user in users.tolist():
        own = acted[np.searchsorted(acted, user * planted.num_items) :]
        own = own[own < (user + 1) * planted.num_items] - user * planted.num_items
        candidates = planted.popular(k + len(own))
        chosen = candidates[~np.isin(candidates, own)][:k]
        found_rows.append(np.full(len(chosen), user))
        found_items.append(chosen)
    return np.concatenate(found_rows), np.concatenate(found_items)
