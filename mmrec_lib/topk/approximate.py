"""Approximate search through faiss for very large catalogues, with filters that hold and exact scores.

An index proposes more items than a list needs; what a user must not get is left out, the rest is scored exactly, as on
every path. A user whose list would be short is searched for exactly, so that only the order's tail may differ from that
of exact search.

Sources: H. Jégou, M. Douze, C. Schmid 2011, Product Quantization for Nearest Neighbor Search (ivf and pq); Y. Malkov,
D. Yashunin 2016, Efficient and Robust Approximate Nearest Neighbor Search Using Hierarchical Navigable Small World
Graphs (hnsw); implemented by faiss (M. Douze et al. 2024, The Faiss Library).

Shape letters: n users, F proposed items a user, D dimensions.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy import sparse

from mmrec_lib.errors import ModelError
from mmrec_lib.section import Section
from mmrec_lib.topk.exact import search
from mmrec_lib.topk.items import NO_GROUP, PreparedItems, UserBatch, check_users
from mmrec_lib.topk.numpy_search import lowest_candidates, screening_errors
from mmrec_lib.topk.scores import NO_KEY, exact_scores, lists_of_keys, order_keys, pad_dimensions
from mmrec_lib.topk.selection import NO_ITEM, TopItems

IndexKind = Literal["ivf", "hnsw", "pq"]
_INDEX, _PLACES, _ABOUT = "index.faiss", "places.npy", "index.json"
# Dimensions that one byte of a product quantizer stands for.
_SUBSPACE = 4
_HNSW_LINKS = 32
_LISTS_PER_ROOT = 4
# Fewer items do not fill the codebooks of a product quantizer, nor pay for any index.
MIN_ITEMS = 256


class ApproximateConfig(Section):
    """Effort of approximate search, and the recall that it must reach.

    Attributes:
        effort: Lists that ivf and pq look at, of four times the square root of the number of items, or candidates that
            hnsw keeps.
        over_fetch: Items that the index proposes for each place of a list, beside those that users have seen.
        min_recall: Share of the exact lists' items that must be found on the sample; below it the job fails.
        sample_users: Users of the sample that is searched for exactly too.
    """

    effort: int = Field(default=64, ge=1)
    over_fetch: float = Field(default=4.0, ge=1, allow_inf_nan=False)
    min_recall: float = Field(default=0.95, ge=0, le=1)
    sample_users: int = Field(default=500, ge=1)


@dataclass(frozen=True)
class ApproximateIndex:
    """An index of the listed items of a catalogue; make it with `build_index`.

    Attributes:
        index: The index of faiss.
        places: [m] position in the catalogue of each item of the index.
        over_fetch: See `ApproximateConfig`.
    """

    index: Any
    places: NDArray[np.int32]
    over_fetch: float

    def search(
        self,
        items: PreparedItems,
        user_vectors: NDArray[np.float32],
        k: int,
        *,
        seen: sparse.csr_matrix | None = None,
        group_of_user: NDArray[np.integer] | None = None,
        num_threads: int = 1,
    ) -> TopItems:
        """The k best of the items that the index proposes; see `topk.exact.search` for arguments and order.

        Args:
            items: The catalogue that the index was built of.
            user_vectors: [n, D].
            k: Length of the lists.
            seen: [n, items] entries that a user must not get.
            group_of_user: [n] row of the items' `allowed`.
            num_threads: Threads of the search.

        Raises:
            ModelError: As `topk.exact.search`.
        """
        users = check_users(items, user_vectors, k, seen, group_of_user)
        num_seen = np.zeros(len(users), np.int64) if seen is None else np.diff(seen.indptr)
        # Users who saw more than most are searched for exactly where that is too little.
        usual = int(np.quantile(num_seen, 0.9)) if len(users) else 0
        num_proposed = min(len(self.places), math.ceil(k * self.over_fetch) + usual)
        found, products = self._proposed(users, num_proposed, num_threads)
        found[users.norms == 0] = NO_ITEM
        found[_is_filtered(items, users, found)] = NO_ITEM
        if _gives_products(self.index):  # what is surely below the list need not be scored exactly
            errors = screening_errors(users.vectors.shape[1], users.norms, items.largest_norm)
            products[found == NO_ITEM] = -np.inf
            nothing = np.full(len(users), -np.inf, np.float32)
            found[products < lowest_candidates(products, nothing, errors, k)[:, None]] = NO_ITEM
        rows, columns = np.nonzero(found != NO_ITEM)
        keys = np.full(found.shape, NO_KEY, dtype=np.uint64)
        chosen = found[rows, columns]
        scores = exact_scores(pad_dimensions(users.vectors), items.padded, rows, chosen.astype(np.intp))
        keys[rows, columns] = order_keys(scores, chosen)
        top = lists_of_keys(keys, k)
        short = np.flatnonzero((top.indices == NO_ITEM).any(axis=1))
        if len(short):
            exact = search(
                items,
                users.vectors[short],
                k,
                seen=None if seen is None else seen[short],
                group_of_user=users.groups[short],
                num_threads=num_threads,
            )
            top.indices[short], top.scores[short] = exact.indices, exact.scores
        return top

    def set_effort(self, effort: int) -> None:
        """Change the effort of the next searches; see `ApproximateConfig`."""
        if hasattr(self.index, "hnsw"):
            self.index.hnsw.efSearch = effort
        else:
            self.index.nprobe = min(effort, self.index.nlist)

    def _proposed(
        self, users: UserBatch, num_proposed: int, num_threads: int
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """[n, F] positions in the catalogue, NO_ITEM where the index proposes less, and the index's scores of them."""
        faiss = _faiss()
        before = faiss.omp_get_max_threads()
        faiss.omp_set_num_threads(num_threads)
        try:
            products, found = self.index.search(_padded(users.vectors, self.index.d), num_proposed)
        finally:
            faiss.omp_set_num_threads(before)
        return np.where(found >= 0, self.places[found], NO_ITEM).astype(np.int32), products

    def save(self, folder: Path) -> None:
        """Write the index into a folder, which is made where it is missing."""
        folder.mkdir(parents=True, exist_ok=True)
        _faiss().write_index(self.index, str(folder / _INDEX))
        np.save(folder / _PLACES, self.places)
        (folder / _ABOUT).write_text(json.dumps({"over_fetch": self.over_fetch}), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> ApproximateIndex:
        """Read what `save` wrote."""
        faiss = _faiss()
        about = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
        index = faiss.read_index(str(folder / _INDEX))
        return cls(index, np.load(folder / _PLACES), float(about["over_fetch"]))


def build_index(items: PreparedItems, kind: IndexKind, config: ApproximateConfig) -> ApproximateIndex:
    """Index the listed items of a catalogue, in one thread, so that the same items make the same index.

    Args:
        items: The catalogue.
        kind: ivf (inverted lists of whole vectors), hnsw (a graph over whole vectors) or pq (inverted lists of vectors
            in one byte for each four dimensions).
        config: Effort.

    Raises:
        ModelError: When faiss is not installed, or fewer than `MIN_ITEMS` items are listed.
    """
    faiss = _faiss()
    places = np.flatnonzero(items.is_listed).astype(np.int32)
    if len(places) < MIN_ITEMS:
        raise ModelError(
            f"scoring.search {kind}: approximate search needs at least {MIN_ITEMS} items that may be listed, got "
            f"{len(places)}. Use exact."
        )
    vectors, metric = items.vectors[places], faiss.METRIC_INNER_PRODUCT
    if kind == "hnsw":
        vectors = _of_one_length(vectors)
    dim = -(-vectors.shape[1] // _SUBSPACE) * _SUBSPACE
    vectors = _padded(vectors, dim)
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        if kind == "hnsw":
            index = faiss.IndexHNSWFlat(dim, _HNSW_LINKS, faiss.METRIC_L2)
        else:
            num_lists = max(1, min(int(_LISTS_PER_ROOT * math.sqrt(len(places))), len(places) // 39))
            coarse = faiss.IndexFlatIP(dim)
            if kind == "ivf":
                index = faiss.IndexIVFFlat(coarse, dim, num_lists, metric)
            else:
                index = faiss.IndexIVFPQ(coarse, dim, num_lists, dim // _SUBSPACE, 8, metric)
            # More than so many items a list make the centroids no better.
            index.cp.max_points_per_centroid = 64
            index.train(vectors)
        index.add(vectors)
    finally:
        faiss.omp_set_num_threads(before)
    made = ApproximateIndex(index, places, config.over_fetch)
    made.set_effort(config.effort)
    return made


def recall(found: NDArray[np.int32], exact: NDArray[np.int32]) -> float:
    """Share of the items of exact lists that other lists of the same users hold too; 1 where all are empty.

    Args:
        found: [n, k] items, NO_ITEM where a list ends.
        exact: [n, k] those of exact search.

    Example:
        >>> recall(np.array([[1, 2], [3, -1]], np.int32), np.array([[2, 5], [3, -1]], np.int32)).__round__(3)
        0.667
    """
    is_found = (exact[:, :, None] == found[:, None, :]).any(axis=2) & (exact != NO_ITEM)
    return float(is_found.sum() / max((exact != NO_ITEM).sum(), 1)) if (exact != NO_ITEM).any() else 1.0


def _is_filtered(items: PreparedItems, users: UserBatch, found: NDArray[np.int32]) -> NDArray[np.bool_]:
    """[n, F] True for proposed items that the user must not get."""
    filtered = np.zeros(found.shape, dtype=np.bool_)
    at = np.maximum(found, 0)
    if items.allowed is not None:
        limited = users.groups != NO_GROUP
        filtered[limited] = ~items.allowed[users.groups[limited][:, None], at[limited]]
    if users.seen is not None:
        num_items = items.num_items
        owners = np.repeat(np.arange(len(users)), np.diff(users.seen.indptr))
        pairs = np.sort(owners * num_items + users.seen.indices)
        wanted = np.arange(len(users))[:, None] * num_items + at
        if len(pairs):
            filtered |= pairs[np.minimum(np.searchsorted(pairs, wanted), len(pairs) - 1)] == wanted
    return filtered


def _gives_products(index: Any) -> bool:
    """True where an index scores by products of whole vectors, neither by distances nor by quantized ones."""
    return not hasattr(index, "hnsw") and not hasattr(index, "pq")


def _of_one_length(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Vectors with one more dimension, which makes all as long as the longest.

    The nearest of them to a user's vector, which is 0 there, is the one of the largest product. A graph over products
    of vectors of different lengths has few ways out of the longest ones.

    Source: Y. Bachrach et al. 2014, Speeding Up the Xbox Recommender System Using a Euclidean Transformation for
    Inner-Product Spaces.
    """
    squares = np.einsum("md,md->m", vectors, vectors, dtype=np.float64)
    missing = np.sqrt(np.maximum(squares.max(initial=0.0) - squares, 0.0)).astype(np.float32)
    return np.hstack([vectors, missing[:, None]])


def _padded(vectors: NDArray[np.float32], dim: int) -> NDArray[np.float32]:
    """Contiguous vectors with zeros up to the dimensions of an index."""
    return np.ascontiguousarray(np.pad(vectors, ((0, 0), (0, dim - vectors.shape[1]))), dtype=np.float32)


def _faiss() -> Any:
    try:
        import faiss
    except ModuleNotFoundError as error:
        raise ModelError(
            "scoring.search: approximate search needs faiss, which is not installed. Install `mmrec[search]`, or use "
            "exact."
        ) from error
    return faiss
