"""Items prepared for exact search: checked once, and ordered once for all batches of users."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mmrec_lib.errors import ModelError
from mmrec_lib.topk.scores import pad_dimensions

NO_GROUP = -1
# Above it squares that float32 cannot hold do not matter.
_SURE_NORM = 1e-15
_NUM_PARTS = 64


@dataclass
class SearchHistory:
    """Searches so far.

    Attributes:
        num_users: Users of all of them.
    """

    num_users: int = 0


@dataclass(frozen=True)
class PreparedItems:
    """A catalogue to search; make it with `prepare_items`, keep it for all batches of users.

    Attributes:
        vectors: [num_items, dim] float32.
        is_listed: [num_items] False for items that nobody must get.
        allowed: [num_groups, num_items] items that the users of a group may get; None without groups.
        largest_norm: Largest length of an item vector.
    """

    vectors: NDArray[np.float32]
    is_listed: NDArray[np.bool_]
    allowed: NDArray[np.bool_] | None
    largest_norm: float

    @property
    def num_items(self) -> int:
        """Number of items."""
        return int(self.vectors.shape[0])

    @cached_property
    def are_all_listed(self) -> bool:
        """True where every item may be listed."""
        return bool(self.is_listed.all())

    @cached_property
    def padded(self) -> NDArray[np.float32]:
        """The vectors for exact scores; the given ones where their length fits."""
        return pad_dimensions(self.vectors)

    @cached_property
    def cache(self) -> dict[str, object]:
        """Preparations of the paths of the search, made once."""
        return {}

    @cached_property
    def history(self) -> SearchHistory:
        """Searches of these items so far."""
        return SearchHistory()


@dataclass(frozen=True)
class UserBatch:
    """Users to search for, checked.

    Attributes:
        vectors: [num_users, dim] float32.
        norms: [num_users] float64 lengths.
        seen: [num_users, num_items] stored entries are excluded; None without.
        groups: [num_users] row of `allowed` or NO_GROUP.
        k: Length of the lists.
    """

    vectors: NDArray[np.float32]
    norms: NDArray[np.float64]
    seen: sparse.csr_matrix | None
    groups: NDArray[np.int32]
    k: int

    def __len__(self) -> int:
        return int(self.vectors.shape[0])

    def of(self, rows: NDArray[np.intp]) -> UserBatch:
        """Some of the users."""
        seen = None if self.seen is None else self.seen[rows]
        return UserBatch(self.vectors[rows], self.norms[rows], seen, self.groups[rows], self.k)


def prepare_items(
    item_vectors: NDArray[np.float32],
    *,
    unavailable: NDArray[np.bool_] | None = None,
    allowed: NDArray[np.bool_] | None = None,
) -> PreparedItems:
    """Check items once for many searches.

    Args:
        item_vectors: [num_items, dim] float32; kept, not copied, where they are contiguous.
        unavailable: [num_items] True for items that nobody must get.
        allowed: [num_groups, num_items] True for items that users of a group (a market, an age rating) may get.

    Raises:
        ModelError: When shapes do not fit or a vector is not finite.
    """
    vectors, norms = checked_vectors(item_vectors, "item vectors")
    num_items = vectors.shape[0]
    if unavailable is not None and unavailable.shape != (num_items,):
        raise ModelError(f"top-k: the unavailable mask must have shape {(num_items,)}, got {unavailable.shape}")
    if allowed is not None and (allowed.ndim != 2 or allowed.shape[1] != num_items):
        raise ModelError(
            f"top-k: allowed items must have shape [num_groups, {num_items}], one row a group, got {allowed.shape}"
        )
    is_listed = np.ones(num_items, np.bool_) if unavailable is None else ~np.asarray(unavailable, np.bool_)
    groups = None if allowed is None or not len(allowed) else np.asarray(allowed, np.bool_)
    return PreparedItems(vectors, is_listed, groups, float(norms.max(initial=0.0)))


def check_users(
    items: PreparedItems,
    user_vectors: NDArray[np.float32],
    k: int,
    seen: sparse.csr_matrix | None,
    group_of_user: NDArray[np.integer] | None,
) -> UserBatch:
    """The users of a search.

    Raises:
        ModelError: When shapes do not fit, k is below 1, a vector is not finite, scores may exceed float32, or a group
            is unknown.
    """
    vectors, norms = checked_vectors(user_vectors, "user vectors")
    num_users = vectors.shape[0]
    if k < 1:
        raise ModelError(f"top-k: k must be at least 1, got {k}")
    if vectors.shape[1] != items.vectors.shape[1]:
        raise ModelError(
            f"top-k: user and item vectors need one length, got {vectors.shape[1]} and {items.vectors.shape[1]}"
        )
    if seen is not None and seen.shape != (num_users, items.num_items):
        raise ModelError(f"top-k: seen items must have shape {(num_users, items.num_items)}, got {seen.shape}")
    largest = float(norms.max(initial=0.0)) * items.largest_norm
    if largest >= float(np.finfo(np.float32).max):
        raise ModelError(
            f"top-k: scores must fit float32 (below 3.4e38), but vectors this long may reach {largest:.3g}. Scale the "
            "user vectors down; lists do not change by that."
        )
    num_groups = 0 if items.allowed is None else len(items.allowed)
    groups = np.full(num_users, NO_GROUP, np.int32)
    if group_of_user is not None:
        if group_of_user.shape != (num_users,):
            raise ModelError(f"top-k: groups of users must have shape {(num_users,)}, got {group_of_user.shape}")
        outside = (group_of_user < NO_GROUP) | (group_of_user >= num_groups)
        if outside.any():
            raise ModelError(
                f"top-k: the group of a user must be one of the {num_groups} rows of allowed items, or {NO_GROUP} for "
                f"none, got {int(group_of_user[outside][0])}"
            )
        groups[:] = group_of_user
    return UserBatch(vectors, norms, seen, groups, k)


def checked_vectors(vectors: NDArray[np.float32], subject: str) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Contiguous float32 [n, dim] and their lengths [n], after the checks.

    Raises:
        ModelError: When it is no matrix or a number is not finite.
    """
    if vectors.ndim != 2:
        raise ModelError(f"{subject}: a matrix [n, dim] is needed, got shape {vectors.shape}")
    kept = np.ascontiguousarray(vectors, dtype=np.float32)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        norms = np.sqrt(np.einsum("nd,nd->n", kept, kept)).astype(np.float64)
    # Squares of float32 fit float64, so there a length is finite exactly where all its numbers are.
    unsure = np.flatnonzero(~((norms > _SURE_NORM) & np.isfinite(norms)))
    for row in np.array_split(unsure, _NUM_PARTS) if len(unsure) else ():
        norms[row] = np.sqrt(np.square(kept[row], dtype=np.float64).sum(axis=1))
    if not np.isfinite(norms).all():
        bad = int(np.flatnonzero(~np.isfinite(norms))[0])
        raise ModelError(f"{subject}: every number must be finite, but row {bad} has NaN or infinity")
    return kept, norms
