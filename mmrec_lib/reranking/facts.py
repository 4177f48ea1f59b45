"""Arrays that re-ranking works on: candidates and lists of a block of users, facts of items and users, by position.

Shape letters: N users of a block, C candidates a user (K in lists), I items, G categories.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mmrec_lib.errors import ModelError
from mmrec_lib.files import write_text_atomic

NO_ITEM = -1
_ARRAYS = "item_facts.npz"
_NAMES = "item_facts.json"


@dataclass(frozen=True)
class Candidates:
    """Candidates of a block of users, best first.

    Attributes:
        indices: [n, c] int32 item indices; -1 after the last one.
        scores: [n, c] float32, not ascending; -inf beside -1.
    """

    indices: NDArray[np.int32]
    scores: NDArray[np.float32]

    def __post_init__(self) -> None:
        if self.indices.ndim != 2 or self.indices.shape != self.scores.shape:
            raise ModelError(
                f"candidates: indices and scores must have one shape [n, c], got {self.indices.shape} and "
                f"{self.scores.shape}"
            )
        is_item = self.indices >= 0
        if not (is_item[:, 1:] <= is_item[:, :-1]).all():
            raise ModelError("candidates: -1 may only stand at the end of a list, got an item after it")
        if not np.isfinite(self.scores[is_item]).all():
            raise ModelError("candidates: the score of an item must be finite, got NaN or infinity")
        if not (np.isneginf(self.scores) | is_item).all():
            raise ModelError("candidates: the score beside -1 must be -inf")
        if not (self.scores[:, 1:] <= self.scores[:, :-1]).all():
            raise ModelError("candidates: the best must come first, got a score above the one before it")

    def __len__(self) -> int:
        return int(self.indices.shape[0])

    @property
    def counts(self) -> NDArray[np.int64]:
        """[n] number of candidates of each user."""
        return np.asarray((self.indices >= 0).sum(axis=1), dtype=np.int64)


@dataclass(frozen=True)
class RerankedLists:
    """Lists of a block of users, best first.

    Attributes:
        indices: [n, k] int32 item indices; -1 after the last one.
        scores: [n, k] float32 scores of the last stage that scored, in the order of the list, which they need not
            descend in; -inf beside -1.
        propensity: [n, k] float32 probability that this place shows this item; 0 beside -1. None where nothing is
            left to chance.
    """

    indices: NDArray[np.int32]
    scores: NDArray[np.float32]
    propensity: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class ItemFacts:
    """Facts of the items of a catalogue, for one run; make them with `of`.

    Attributes:
        vectors: [I, d] float32 content vectors of length 1, all-zero where unknown; None where there are none.
        categories: [I, G] every stored entry is a category of the item.
        brands: [I] int32 position in `brand_names`; -1 for unknown.
        is_new: [I] bool.
        duplicate_group: [I] int32 number of the group of near-duplicates; -1 for items without duplicates.
        popularity: [I] float32 number of interactions; for novelty.
        category_names: G names.
        brand_names: Names of brands.
    """

    vectors: NDArray[np.float32] | None
    categories: sparse.csr_matrix
    brands: NDArray[np.int32]
    is_new: NDArray[np.bool_]
    duplicate_group: NDArray[np.int32]
    popularity: NDArray[np.float32]
    category_names: tuple[str, ...] = ()
    brand_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        num_items = self.num_items
        shapes = {
            "brands": self.brands.shape,
            "is_new": self.is_new.shape,
            "duplicate_group": self.duplicate_group.shape,
            "popularity": self.popularity.shape,
        }
        for name, shape in shapes.items():
            if shape != (num_items,):
                raise ModelError(f"item facts: {name} must have shape ({num_items},) as categories, got {shape}")
        if self.vectors is not None:
            _check_unit(self.vectors, num_items)
        if self.categories.shape[1] != len(self.category_names):
            raise ModelError(
                f"item facts: {self.categories.shape[1]} categories need as many names, got {len(self.category_names)}"
            )
        for name, codes, bound in (
            ("brands", self.brands, len(self.brand_names)),
            ("duplicate_group", self.duplicate_group, num_items),
        ):
            if codes.size and (int(codes.min()) < -1 or int(codes.max()) >= bound):
                raise ModelError(
                    f"item facts: {name} must lie between -1 and {bound - 1}, got {codes.min()} to {codes.max()}"
                )

    @classmethod
    def of(
        cls,
        num_items: int,
        *,
        vectors: NDArray[np.float32] | None = None,
        categories: sparse.csr_matrix | None = None,
        brands: NDArray[np.integer] | None = None,
        is_new: NDArray[np.bool_] | None = None,
        duplicate_group: NDArray[np.integer] | None = None,
        popularity: NDArray[np.floating] | None = None,
        category_names: tuple[str, ...] = (),
        brand_names: tuple[str, ...] = (),
    ) -> ItemFacts:
        """Facts with everything that is not given unknown: no categories, brands, duplicates or new items.

        Args:
            num_items: Number of items.
            vectors: [I, d] of any length; they are scaled to 1, all-zero ones stay.
            categories: See the attributes.
            brands: See the attributes.
            is_new: See the attributes.
            duplicate_group: See the attributes.
            popularity: See the attributes.
            category_names: See the attributes.
            brand_names: See the attributes.

        Raises:
            ModelError: When shapes do not fit, a vector is not finite or a code is out of bounds.
        """
        unknown = np.full(num_items, -1, dtype=np.int32)
        matrix = sparse.csr_matrix((num_items, len(category_names))) if categories is None else categories.tocsr()
        return cls(
            vectors=None if vectors is None else unit_rows(vectors),
            categories=matrix.astype(np.float32),
            brands=unknown if brands is None else brands.astype(np.int32),
            is_new=np.zeros(num_items, dtype=np.bool_) if is_new is None else is_new.astype(np.bool_),
            duplicate_group=unknown.copy() if duplicate_group is None else duplicate_group.astype(np.int32),
            popularity=(np.zeros(num_items, dtype=np.float32) if popularity is None else popularity.astype(np.float32)),
            category_names=category_names,
            brand_names=brand_names,
        )

    @property
    def num_items(self) -> int:
        """Number of items."""
        return int(self.categories.shape[0])

    def save(self, folder: Path) -> None:
        """Write the facts into a folder that exists: arrays as npz, names as JSON."""
        arrays: dict[str, NDArray[Any]] = {
            "category_indices": self.categories.indices,
            "category_indptr": self.categories.indptr,
            "brands": self.brands,
            "is_new": self.is_new,
            "duplicate_group": self.duplicate_group,
            "popularity": self.popularity,
        }
        if self.vectors is not None:
            arrays["vectors"] = self.vectors
        with (folder / _ARRAYS).open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
        names = {"category_names": list(self.category_names), "brand_names": list(self.brand_names)}
        write_text_atomic(folder / _NAMES, json.dumps(names, ensure_ascii=False))

    @classmethod
    def load(cls, folder: Path) -> ItemFacts:
        """Read what `save` wrote.

        Raises:
            ModelError: When a file is missing or is not what `save` wrote.
        """
        try:
            names: Mapping[str, list[str]] = json.loads((folder / _NAMES).read_text(encoding="utf-8"))
            with np.load(folder / _ARRAYS, allow_pickle=False) as file:
                arrays = dict(file)
            indices, indptr = arrays.pop("category_indices"), arrays.pop("category_indptr")
            shape = (len(indptr) - 1, len(names["category_names"]))
            return cls(
                vectors=arrays.pop("vectors", None),
                categories=sparse.csr_matrix((np.ones(len(indices), np.float32), indices, indptr), shape=shape),
                category_names=tuple(names["category_names"]),
                brand_names=tuple(names["brand_names"]),
                **arrays,
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelError(f"item facts: {folder} does not hold what ItemFacts.save wrote: {error}") from error


@dataclass(frozen=True)
class UserFacts:
    """Facts of a block of users, in the order of their candidates.

    Attributes:
        history: [n, I] weights of what a user turned to.
        seeds: [n] uint64, such as a hash of user id and date: what chance decides depends on it alone, whatever the
            block.
        new_items: New items that each user may be shown, already filtered, such as an exact top-k over new items; None
            takes the new ones among the candidates.
    """

    history: sparse.csr_matrix
    seeds: NDArray[np.uint64]
    new_items: Candidates | None = None


def unit_rows(vectors: NDArray[np.floating]) -> NDArray[np.float32]:
    """Vectors [I, d] scaled to length 1; all-zero ones stay.

    Raises:
        ModelError: When a vector is not finite.
    """
    if not np.isfinite(vectors).all():
        bad = int(np.flatnonzero(~np.isfinite(vectors).all(axis=1))[0])
        raise ModelError(f"content vectors: every number must be finite, but row {bad} has NaN or infinity")
    # The largest entry first, so that squares neither overflow nor vanish.
    largest = np.abs(vectors).max(axis=1, initial=0.0, keepdims=True).astype(np.float64)
    scaled = vectors / np.where(largest == 0, 1.0, largest)
    lengths = np.sqrt(np.square(scaled).sum(axis=1, keepdims=True))
    return np.ascontiguousarray(scaled / np.where(lengths == 0, 1.0, lengths), dtype=np.float32)


def check_block(candidates: Candidates, items: ItemFacts, users: UserFacts, k: int) -> None:
    """Check that a block fits together.

    Raises:
        ModelError: When k is below 1, numbers of users or items differ or an index names no item.
    """
    if k < 1:
        raise ModelError(f"re-ranking: k must be at least 1, got {k}")
    n, num_items = len(candidates), items.num_items
    expected = {"history": (n, num_items), "seeds": (n,)}
    for name, shape in (("history", users.history.shape), ("seeds", users.seeds.shape)):
        if shape != expected[name]:
            raise ModelError(f"re-ranking: {name} must have shape {expected[name]}, got {shape}")
    if users.new_items is not None and len(users.new_items) != n:
        raise ModelError(f"re-ranking: new items must be given for {n} users, got {len(users.new_items)}")
    for block in (candidates, users.new_items):
        if block is not None and block.indices.size and int(block.indices.max()) >= num_items:
            raise ModelError(
                f"re-ranking: candidates must be items 0 to {num_items - 1}, got {int(block.indices.max())}"
            )


def _check_unit(vectors: NDArray[np.float32], num_items: int) -> None:
    if vectors.ndim != 2 or vectors.shape[0] != num_items or vectors.dtype != np.float32:
        raise ModelError(
            f"item facts: vectors must be float32 [{num_items}, d] as categories, got {vectors.dtype} {vectors.shape}"
        )
    squares = np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64)
    # NaN fails the comparison too.
    if not ((squares == 0) | (np.abs(squares - 1) < 1e-4)).all():
        raise ModelError("item facts: vectors must have length 1, or 0 where unknown; make them with ItemFacts.of")
