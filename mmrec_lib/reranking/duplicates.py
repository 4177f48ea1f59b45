"""Groups of near-duplicates: the same product in several colours, the same film in two editions."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from mmrec_lib.errors import ModelError
from mmrec_lib.reranking.facts import unit_rows
from mmrec_lib.topk.exact import search
from mmrec_lib.topk.items import prepare_items

_FIRST_NEIGHBORS = 16
_BLOCK = 16_384
# Rounding of cosines from float32 vectors of length 1.
_ROUNDING = 1e-6
_SEPARATOR = re.compile(r"\s[-–—]\s|[,;:(\[|/]")


def find_duplicate_groups(
    vectors: NDArray[np.float32],
    threshold: float,
    *,
    brands: NDArray[np.integer] | None = None,
    titles: NDArray[np.integer] | None = None,
    max_neighbors: int = 256,
    block: int = _BLOCK,
) -> NDArray[np.int32]:
    """The group of near-duplicates that each item belongs to.

    Two items are linked when their cosine reaches the threshold and their brands and titles, where given, are equal;
    linked items are a group, through others too. All neighbours that reach the threshold are found by exact search in
    blocks, first 16 an item, then more for those whose sixteenth reaches it too. Items with equal vectors, brand and
    title are linked without a search, however many there are.

    Args:
        vectors: [I, d] content vectors of any length; an all-zero one is like no other.
        threshold: Least cosine, above 0.
        brands: [I] codes; -1 (unknown) is a code too, so that items of two brands are not linked through it.
        titles: [I] codes of titles, such as `title_codes` gives; likewise.
        max_neighbors: Neighbours of an item that are looked at; of those with more, the nearest.
        block: Items searched for at once.

    Returns:
        [I] int32 numbers of groups from 0, in the order of their first items; -1 for items without a duplicate.

    Raises:
        ModelError: When shapes do not fit, the threshold is not in (0, 1] or a vector is not finite.

    Example:
        Items 0 and 2 point into the same direction; so do 1 and 3, but their brands differ.

        >>> vectors = np.array([[1, 0], [0, 2], [3, 0], [0, 1]], dtype=np.float32)
        >>> find_duplicate_groups(vectors, 0.95, brands=np.array([5, 6, 5, 7])).tolist()
        [0, -1, 0, -1]
    """
    num_items = len(vectors)
    if not 0 < threshold <= 1:
        raise ModelError(f"near-duplicates: the threshold must lie above 0 and be 1 at most, got {threshold:g}")
    if max_neighbors < 1 or block < 1:
        raise ModelError(f"near-duplicates: max_neighbors and block must be at least 1, got {max_neighbors}, {block}")
    codes = np.zeros((num_items, 2), np.int64)
    for column, (name, given) in enumerate((("brands", brands), ("titles", titles))):
        if given is not None:
            if given.shape != (num_items,):
                raise ModelError(f"near-duplicates: {name} must have shape ({num_items},), got {given.shape}")
            codes[:, column] = given
    if num_items == 0:
        return np.zeros(0, np.int32)
    unit = unit_rows(vectors)
    known = np.flatnonzero(unit.any(axis=1))
    representatives, copy_of = _equal_items(unit[known], codes[known])
    firsts = known[representatives]
    rows, columns = _similar_pairs(unit[firsts], codes[firsts], threshold, max_neighbors, block)
    left = np.concatenate([known, firsts[rows]])
    right = np.concatenate([firsts[copy_of], firsts[columns]])
    links = sparse.csr_matrix((np.ones(left.size, np.float32), (left, right)), shape=(num_items, num_items))
    _, component = connected_components(links, directed=False)
    return _numbered(component)


def title_codes(titles: Sequence[str | None]) -> NDArray[np.int32]:
    """[I] int32 codes of the stems of titles, from 0 in the order of their first use; -1 for no title.

    Example:
        >>> title_codes(["Runner 2 - red", "RUNNER 3 (blue)", "Walker", None]).tolist()
        [0, 0, 1, -1]
    """
    known: dict[str, int] = {"": -1}
    return np.array([known.setdefault(title_stem(title or ""), len(known) - 1) for title in titles], dtype=np.int32)


def title_stem(title: str) -> str:
    """A title without what tells variants apart: all from the first comma, colon, slash, bracket or spaced dash on,
    words with digits, and case.

    Where nothing would be left, the whole title stays.
    """  # noqa: D205
    folded = " ".join(unicodedata.normalize("NFKC", title).casefold().split())
    words = [word for word in _SEPARATOR.split(folded, maxsplit=1)[0].split() if not any(c.isdigit() for c in word)]
    return " ".join(words) or folded


def _equal_items(unit: NDArray[np.float32], codes: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First of the items with equal vectors and codes, and the place among these that each item belongs to."""
    if not len(unit):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    # Adding 0 makes one zero of two.
    keys = np.concatenate([(unit + np.float32(0)).view(np.uint8), codes.view(np.uint8)], axis=1)
    as_one = np.ascontiguousarray(keys).view(np.dtype((np.void, keys.shape[1])))[:, 0]
    _, first, inverse = np.unique(as_one, return_index=True, return_inverse=True)
    return first, inverse


def _similar_pairs(
    unit: NDArray[np.float32], codes: NDArray[np.int64], threshold: float, max_neighbors: int, block: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of items with at least a cosine and equal codes."""
    num_items = len(unit)
    prepared = prepare_items(unit)
    rows: list[NDArray[np.int64]] = [np.zeros(0, np.int64)]
    columns: list[NDArray[np.int64]] = [np.zeros(0, np.int64)]
    least = threshold - _ROUNDING
    wanted, k = np.arange(num_items), min(_FIRST_NEIGHBORS, max_neighbors)
    while wanted.size and num_items > 1:
        k = min(k, num_items - 1)
        unfinished: list[NDArray[np.int64]] = []
        for start in range(0, wanted.size, block):
            part = wanted[start : start + block]
            itself = sparse.csr_matrix(
                (np.ones(part.size, np.bool_), part, np.arange(part.size + 1)), shape=(part.size, num_items)
            )
            top = search(prepared, unit[part], k, seen=itself)
            is_near = (top.indices >= 0) & (top.scores >= least)
            found, places = np.nonzero(is_near)
            left, right = part[found], top.indices[found, places].astype(np.int64)
            is_same = (codes[left] == codes[right]).all(axis=1)
            rows.append(left[is_same])
            columns.append(right[is_same])
            unfinished.append(part[is_near[:, -1]])
        if k >= min(max_neighbors, num_items - 1):
            break
        wanted, k = np.concatenate(unfinished), min(4 * k, max_neighbors)
    return np.concatenate(rows), np.concatenate(columns)


def _numbered(component: NDArray[np.integer]) -> NDArray[np.int32]:
    """Components of more than one item as numbers from 0, in the order of their first items; -1 for the others."""
    _, first, inverse, sizes = np.unique(component, return_index=True, return_inverse=True, return_counts=True)
    number = np.full(sizes.size, -1, np.int32)
    groups = np.flatnonzero(sizes > 1)
    number[groups[np.argsort(first[groups])]] = np.arange(groups.size)
    return number[inverse]
