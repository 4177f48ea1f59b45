"""Inputs of rankers: interactions, item contents and user attributes as arrays, without users' identities.

Shape letters: U users, I items of the catalogue (with or without interactions), n users of a block, D feature columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import sparse

from mmrec_lib.errors import ModelError
from mmrec_lib.models.ids import IdIndex
from mmrec_lib.models.pairs import summed_pairs
from mmrec_lib.models.request_context import RequestContext, Searches

Floats: TypeAlias = npt.NDArray[np.float32]
Doubles: TypeAlias = npt.NDArray[np.float64]
Bools: TypeAlias = npt.NDArray[np.bool_]
Ints: TypeAlias = npt.NDArray[np.int64]
Attributes: TypeAlias = Mapping[str, npt.NDArray[np.object_]]
_ROWS_AT_ONCE = 1_024


@dataclass(frozen=True)
class Interactions:
    """Who acted on what, how strongly and when last.

    Attributes:
        weights: [U, I] float32, every stored value above 0.
        times: [U, I] float64 with the same stored positions, epoch seconds of the latest event; 0 means unknown.
        devices: [stored positions] int64 device of the latest event, a position in `FitData.device_names`, -1 where
            unknown; None where no device is known.
    """

    weights: sparse.csr_matrix
    times: sparse.csr_matrix
    devices: Ints | None = None

    def __post_init__(self) -> None:
        if self.weights.shape != self.times.shape or self.weights.nnz != self.times.nnz:
            raise ModelError(
                f"interactions: times must have the shape and the stored positions of weights, got {self.times.shape} "
                f"with {self.times.nnz} against {self.weights.shape} with {self.weights.nnz}; build them with from_rows"
            )
        if self.weights.nnz and not (np.isfinite(self.weights.data).all() and self.weights.data.min() > 0):
            raise ModelError("interactions: weights must be finite and above 0; leave out what does not count")

    @classmethod
    def from_rows(
        cls,
        user_index: npt.ArrayLike,
        item_index: npt.ArrayLike,
        shape: tuple[int, int],
        weights: npt.ArrayLike | None = None,
        times: npt.ArrayLike | None = None,
        devices: Ints | None = None,
    ) -> Interactions:
        """Build from one row an event or a pair: weights are summed and the latest time is kept for each pair.

        Args:
            user_index: [rows] positions of users.
            item_index: [rows] positions of items.
            shape: (num_users, num_items).
            weights: [rows] weight of each row, default 1.
            times: [rows] epoch seconds, default 0 (unknown).
            devices: [rows] device of each row, -1 where unknown; that of the latest time is kept.

        Raises:
            ModelError: When a position is no whole number, or lies outside of the shape.
        """
        users = _positions("user", user_index, shape[0])
        items = _positions("item", item_index, shape[1])
        values = np.ones(len(users)) if weights is None else np.asarray(weights, dtype=np.float64)
        seconds = np.zeros(len(users)) if times is None else np.asarray(times, dtype=np.float64)
        pairs, summed, latest, own = summed_pairs(users * np.int64(shape[1]) + items, values, seconds, devices)
        indptr = np.searchsorted(pairs, np.arange(shape[0] + 1) * shape[1])
        columns = pairs % max(shape[1], 1)
        return cls(
            sparse.csr_matrix((summed, columns, indptr), shape=shape),
            sparse.csr_matrix((latest, columns.copy(), indptr.copy()), shape=shape),
            own,
        )

    @property
    def shape(self) -> tuple[int, int]:
        """(num_users, num_items)."""
        num_users, num_items = self.weights.shape
        return int(num_users), int(num_items)

    def item_counts(self) -> Ints:
        """[I] number of users who acted on each item."""
        return np.bincount(self.weights.indices, minlength=self.shape[1]).astype(np.int64)

    def where(self, kept: Bools) -> Interactions:
        """The stored interactions under a mask [stored positions]; the shape stays."""
        rows = np.repeat(np.arange(self.shape[0]), np.diff(self.weights.indptr))
        devices = None if self.devices is None else self.devices[kept]
        return Interactions.from_rows(
            rows[kept], self.weights.indices[kept], self.shape, self.weights.data[kept], self.times.data[kept], devices
        )

    def without_items(self, hidden: Bools) -> Interactions:
        """The same interactions less those on hidden items ([I] bool); the shape stays."""
        return self.where(~hidden[self.weights.indices])

    def __add__(self, other: Interactions) -> Interactions:
        """Union: weights are summed, the latest time is kept."""
        parts = [(np.repeat(np.arange(x.shape[0]), np.diff(x.weights.indptr)), x) for x in (self, other)]
        return Interactions.from_rows(
            np.concatenate([rows for rows, _ in parts]),
            np.concatenate([x.weights.indices for _, x in parts]),
            self.shape,
            np.concatenate([x.weights.data for _, x in parts]),
            np.concatenate([x.times.data for _, x in parts]),
            None if self.devices is None or other.devices is None else np.concatenate([self.devices, other.devices]),
        )


def _positions(kind: str, index: npt.ArrayLike, size: int) -> npt.NDArray[np.signedinteger]:
    """Positions as whole numbers within bounds; a float may be a missing value, which a cast turns into any number."""
    at = np.asarray(index)
    if not at.size:
        return np.zeros(0, dtype=np.int64)
    is_whole = np.issubdtype(at.dtype, np.integer)
    if not is_whole or at.min() < 0 or at.max() >= size:
        got = f"{at.min()} to {at.max()}" if is_whole else f"type {at.dtype}"
        raise ModelError(
            f"interactions: {kind} positions must be whole numbers from 0 to {size - 1}, got {got}; map ids with "
            "IdIndex.positions"
        )
    return at if np.issubdtype(at.dtype, np.signedinteger) else at.astype(np.int64)


@dataclass(frozen=True)
class Content:
    """One block of item features.

    Attributes:
        name: Name of the block, such as text:description or graph:directed_by.
        kind: dense vectors, or sparse tokens.
        matrix: [I, D] float32, an array (dense) or CSR (sparse); an item without this content is a zero row.
        has: [I] whether the item has this content.
        tokens: Names of the D columns of a sparse block, so that new items' tokens find them; empty for a dense one.
    """

    name: str
    kind: Literal["dense", "sparse"]
    matrix: Floats | sparse.csr_matrix
    has: Bools
    tokens: tuple[str, ...] = ()

    @classmethod
    def from_vectors(cls, name: str, vectors: npt.ArrayLike, has: npt.ArrayLike | None = None) -> Content:
        """Dense block from [I, D] vectors; without `has`, rows of zeros count as missing."""
        matrix = np.asarray(vectors, dtype=np.float32)
        present = np.any(matrix != 0, axis=1) if has is None else np.asarray(has, dtype=np.bool_)
        return cls(name, "dense", np.where(present[:, None], matrix, np.float32(0)), present)

    @classmethod
    def from_tokens(cls, name: str, token_lists: Sequence[Sequence[str]]) -> Content:
        """Sparse block from one list of tokens an item; an empty list means missing."""
        tokens = tuple(sorted({token for tokens in token_lists for token in tokens}))
        column = {token: position for position, token in enumerate(tokens)}
        rows = np.repeat(np.arange(len(token_lists)), [len(tokens) for tokens in token_lists])
        columns = np.array([column[token] for tokens in token_lists for token in tokens], dtype=np.int64)
        matrix = sparse.csr_matrix(
            (np.ones(len(rows), dtype=np.float32), (rows, columns)), shape=(len(token_lists), len(tokens))
        )
        matrix.data[:] = 1.0  # a token named twice counts once
        return cls(name, "sparse", matrix, np.diff(matrix.indptr) > 0, tokens)

    def rows(self, index: npt.NDArray[np.integer]) -> Content:
        """The same block of some of the items."""
        return replace(self, matrix=self.matrix[index], has=self.has[index])


def history_rows(weights: sparse.csr_matrix, exponent: float) -> sparse.csr_matrix:
    """Histories as sources take them, [n, I] float32: each weight over its row's mean weight, to a power.

    With exponent 0 every stored entry is 1. A row's values depend on that row alone, whatever the scale of the weights.
    """
    lengths = np.diff(weights.indptr)
    values = np.ones(weights.nnz, dtype=np.float32)
    if exponent > 0:
        rows = np.repeat(np.arange(weights.shape[0]), lengths)
        means = np.bincount(rows, weights=weights.data, minlength=weights.shape[0]) / np.maximum(lengths, 1)
        values = ((weights.data / means[rows]) ** exponent).astype(np.float32)
    return sparse.csr_matrix((values, weights.indices, weights.indptr), shape=weights.shape)


def picked_columns(matrix: sparse.csr_matrix, columns: npt.NDArray[np.int32], num_columns: int) -> sparse.csr_matrix:
    """Some columns of a matrix, in their order; an index of scipy looks at every column, this at the entries alone.

    Args:
        matrix: [n, I].
        columns: [I] ascending position that a column gets, or -1 for one that is left out.
        num_columns: How many are picked.
    """
    at = columns[matrix.indices]
    is_picked = at >= 0
    indptr = np.concatenate([[0], np.cumsum(is_picked)])[matrix.indptr]
    return sparse.csr_matrix((matrix.data[is_picked], at[is_picked], indptr), shape=(matrix.shape[0], num_columns))


def sampled_rows(x_UW: sparse.csr_matrix, max_rows: int, seed: int) -> sparse.csr_matrix:
    """At most `max_rows` of the rows that are not empty, a seeded sample in their order; all rows where they are few.

    Item-to-item structure needs many users, not all of them, so that the time of a fit does not grow with users.
    """
    filled = np.flatnonzero(np.diff(x_UW.indptr) > 0)
    if len(filled) <= max_rows:
        return x_UW
    return x_UW[np.sort(np.random.default_rng(seed).choice(filled, max_rows, replace=False))]


@dataclass(frozen=True)
class Histories:
    """All that scoring users needs; nothing of a user is kept in a model.

    Attributes:
        weights: [n, I] float32 CSR, what each user acted on.
        attributes: For each attribute [n] values (None where unknown).
        times: [n, I] with the same stored positions, epoch seconds of the latest event, 0 where unknown; None where
            none is known. Only the second stage looks at them.
        context: Context of the requests; None where nothing is known of them. Only the second stage looks at it.
    """

    weights: sparse.csr_matrix
    attributes: Attributes = field(default_factory=dict)
    times: sparse.csr_matrix | None = None
    context: RequestContext | None = None

    def __post_init__(self) -> None:
        if self.times is not None and not np.array_equal(self.times.indptr, self.weights.indptr):
            raise ModelError(
                "histories: times must have the stored positions of weights; build both from the same rows"
            )

    def __len__(self) -> int:
        return int(self.weights.shape[0])

    def rows(self, index: Ints) -> Histories:
        """The users at these positions."""
        attributes = {name: values[index] for name, values in self.attributes.items()}
        times = None if self.times is None else self.times[index]
        return Histories(self.weights[index], attributes, times, self.context and self.context.rows(index))


def histories_of_lists(
    catalogue: IdIndex,
    histories: Sequence[Sequence[str]],
    weights: Sequence[Sequence[float]] | None = None,
    attributes: Sequence[Mapping[str, Any]] | None = None,
    times: Sequence[Sequence[float]] | None = None,
) -> Histories:
    """Histories from lists of item ids, one list a user; ids that the catalogue does not know are left out.

    Args:
        catalogue: Items of the catalogue, the columns of the result.
        histories: Items of each user.
        weights: Their weights, all 1 without; entries that are not above 0 are left out.
        attributes: Attributes of each user.
        times: Epoch seconds of their entries, 0 where unknown, as all are without; of an item that stands twice the
            latest counts.

    Raises:
        ModelError: When a user's items differ in number from weights or times.
    """
    rows: list[int] = []
    named: list[str] = []
    values: list[float] = []
    seconds: list[float] = []
    for row, items in enumerate(histories):
        own = [1.0] * len(items) if weights is None else list(weights[row])
        if len(own) != len(items):
            raise ModelError(f"history {row}: needs one weight an item, got {len(own)} weights for {len(items)} items")
        moments = [0.0] * len(items) if times is None else list(times[row])
        if len(moments) != len(items):
            raise ModelError(f"history {row}: needs one time an item, got {len(moments)} times for {len(items)} items")
        for item_id, weight, moment in zip(items, own, moments, strict=True):
            if np.float32(weight) > 0:
                rows.append(row)
                named.append(str(item_id))
                values.append(float(weight))
                seconds.append(float(moment))
    wanted = np.array(named, dtype=np.object_)
    known = catalogue.known(wanted)
    found = Interactions.from_rows(
        np.array(rows, dtype=np.int64)[known],
        catalogue.positions(wanted[known]),
        (len(histories), len(catalogue)),
        np.array(values)[known],
        np.array(seconds)[known],
    )
    names = sorted({name for known in attributes or () for name in known})
    return Histories(
        found.weights,
        {name: np.array([known.get(name) for known in attributes or ()], dtype=np.object_) for name in names},
        None if times is None else found.times,
    )


@dataclass(frozen=True)
class FitData:
    """Inputs of one fit.

    Attributes:
        item_ids: [I] ids of the whole catalogue, also items without interactions.
        interactions: [U, I].
        contents: Feature blocks by name; rows follow item_ids.
        user_attributes: For each attribute [U] values (None where unknown).
        cut_ts: Epoch seconds; nothing later may be in the interactions or searches.
        searches: Searches that are known at the cut; None where none are, or nobody asks for them.
        device_names: Names of the devices of the interactions.
        item_texts: [I] texts of the items, for the words of searches; None where nobody asks for them.
    """

    item_ids: npt.NDArray[np.str_]
    interactions: Interactions
    contents: Mapping[str, Content] = field(default_factory=dict)
    user_attributes: Attributes = field(default_factory=dict)
    cut_ts: float = float("inf")
    searches: Searches | None = None
    device_names: tuple[str, ...] = ()
    item_texts: npt.NDArray[np.object_] | None = None

    def __post_init__(self) -> None:
        num_users, num_items = self.interactions.shape
        if len(self.item_ids) != num_items:
            raise ModelError(f"fit data: {len(self.item_ids)} item ids for {num_items} columns of interactions")
        for name, content in self.contents.items():
            if content.matrix.shape[0] != num_items:
                raise ModelError(
                    f"content {name}: {content.matrix.shape[0]} rows, needs one for each of {num_items} items"
                )
        for name, values in self.user_attributes.items():
            if len(values) != num_users:
                raise ModelError(
                    f"user attribute {name}: {len(values)} values, needs one for each of {num_users} users"
                )
        latest = self.interactions.times.data.max(initial=-np.inf)
        if self.searches is not None:
            latest = max(latest, self.searches.times.max(initial=-np.inf))
        if latest > self.cut_ts:
            raise ModelError(
                f"fit data: nothing after the cut {self.cut_ts:.0f} may be trained on, but the latest event is at "
                f"{latest:.0f}; filter by time before building the fit data"
            )

    def histories(self) -> Histories:
        """The histories of all users of this fit."""
        context = None if self.searches is None else self.searches.context(self.interactions.shape[0])
        return Histories(self.interactions.weights, self.user_attributes, self.interactions.times, context)

    def with_interactions(self, interactions: Interactions, cut_ts: float | None = None) -> FitData:
        """The same catalogue and users with other interactions."""
        return replace(self, interactions=interactions, cut_ts=self.cut_ts if cut_ts is None else cut_ts)

    def without_content(self) -> FitData:
        """The same data without any content block."""
        return replace(self, contents={})


def row_product(left_NR: npt.NDArray[Any], right_RW: npt.NDArray[Any]) -> Floats:
    """The product [n, W] float32 whose rows do not depend on who stands beside or before them.

    Products of float32 round differently at another place of a block, by the kernels of some processors. So they are
    summed in float64 and rounded once, after which places differ only where a sum lies within the last bit of a double
    from the middle of two floats: about one number in a hundred million, and with OpenBLAS none was found.

    Args:
        left_NR: Rows.
        right_RW: The other factor; what is float64 already is not copied.
    """
    right = np.asarray(right_RW, dtype=np.float64)
    product = np.empty((left_NR.shape[0], right.shape[1]), dtype=np.float32)
    for rows in row_blocks(len(product), _ROWS_AT_ONCE):
        product[rows] = left_NR[rows].astype(np.float64) @ right
    return product


def unit_rows(rows: npt.NDArray[np.floating]) -> Floats:
    """Rows [n, W] float32 of length 1; zeros stay."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(lengths > 0, lengths, 1), dtype=np.float32)


def row_blocks(length: int, size: int) -> Iterator[slice]:
    """Slices of at most `size` rows that cover `length` rows in order."""
    for start in range(0, length, size):
        yield slice(start, min(start + size, length))
