"""Segments: clusters of users by the categories that they turn to, named after these.

Shape letters: n users, G categories, K segments.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy import sparse

from mmrec_lib.showing.labels import positions
from mmrec_lib.tastes.sentences import safe_name

NO_SEGMENT = -1
# A segment with a smaller share of the users is none.
_LEAST_SHARE = 0.02
# Gain of silhouette that one segment more must bring, so that their number stays when little changes.
_LEAST_GAIN = 0.02
_MAX_ITERATIONS = 50
# A second category belongs into a name where it stands out at least this much as strongly as the first.
_SECOND = 0.25
_ROWS_AT_ONCE = 65_536

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Segments:
    """Clusters of users; make them with `fit_segments`.

    Attributes:
        categories: G names, sorted.
        names: K names, each once.
        centers: [K, G] of length 1.
    """

    categories: tuple[str, ...]
    names: tuple[str, ...]
    centers: Floats

    def assign(self, shares: sparse.csr_matrix) -> npt.NDArray[np.int64]:
        """[n] segment of each user; NO_SEGMENT for those of whom no category is known.

        Args:
            shares: [n, G] see `shares_of_names`.
        """
        if not self.names:
            return np.full(shares.shape[0], NO_SEGMENT, dtype=np.int64)
        nearest = np.concatenate(
            [np.zeros(0, np.int64), *(np.argmax(rows @ self.centers.T, axis=1) for rows in _blocks(_unit(shares)))]
        )
        return np.where(np.diff(shares.indptr) > 0, nearest, NO_SEGMENT)


NO_SEGMENTS = Segments((), (), np.zeros((0, 0)))
"""Nobody has a segment."""


def shares_of_names(
    rows: npt.NDArray[np.int64], names: pa.Array, shares: Floats, num_rows: int, known: Sequence[str]
) -> sparse.csr_matrix:
    """[num_rows, G] shares of the known categories of each user.

    Args:
        rows: [e] user of each entry.
        names: [e] its category.
        shares: [e] its share.
        num_rows: Users.
        known: G categories; others are left out.
    """
    columns = positions(names, pa.array(known, pa.string()))
    is_kept = (columns >= 0) & (shares > 0)
    matrix = sparse.csr_matrix((shares[is_kept], (rows[is_kept], columns[is_kept])), shape=(num_rows, len(known)))
    matrix.sum_duplicates()
    return matrix


def fit_segments(shares: sparse.csr_matrix, categories: Sequence[str], max_segments: int) -> Segments:
    """Cluster users by spherical k-means over the square roots of their shares.

    The cosine of such vectors is the Bhattacharyya coefficient of the shares. Spherical k-means: Dhillon and Modha
    (2001), Concept Decompositions for Large Sparse Text Data Using Clustering. The number of segments is the smallest
    one whose simplified silhouette is near the best (Hruschka, de Castro and Campello 2004, Evolutionary Algorithms for
    Clustering Gene-Expression Data). Nothing is drawn: the clusters begin with the users of the most frequent first
    categories, so that the same users give the same segments, and nearly the same users nearly the same.

    Args:
        shares: [n, G] see `shares_of_names`; users without an entry are passed over.
        categories: G names; those that are blank are passed over.
        max_segments: Most segments; with 1 all users are in one.

    Returns:
        Segments; none where no user has a category.
    """
    # A category without a name that can be told names no segment.
    places = [place for place, name in enumerate(categories) if safe_name(name)]
    categories, shares = [categories[place] for place in places], shares[:, places]
    known = shares[np.diff(shares.indptr) > 0]
    if not known.shape[0] or max_segments < 1:
        return NO_SEGMENTS
    units = _unit(known)
    best, best_value = _named(units, np.zeros(units.shape[0], dtype=np.int64), categories), 0.0
    assert best is not None
    firsts = _frequent_firsts(known)
    for number in range(2, min(max_segments, len(firsts)) + 1):
        labels = _clustered(units, firsts[:number], _first_categories(known))
        segments = _named(units, labels, categories)
        if segments is None or np.bincount(labels).min() < _LEAST_SHARE * len(labels):
            continue
        value = _silhouette(units, segments.centers)
        if value > best_value + _LEAST_GAIN:
            best, best_value = segments, value
    return best


def _unit(shares: sparse.csr_matrix) -> sparse.csr_matrix:
    """Rows of square roots, of length 1."""
    sums = np.asarray(shares.sum(axis=1)).ravel()
    rows = np.repeat(np.arange(shares.shape[0]), np.diff(shares.indptr))
    return sparse.csr_matrix((np.sqrt(shares.data / sums[rows]), shares.indices, shares.indptr), shape=shares.shape)


def _blocks(units: sparse.csr_matrix) -> list[sparse.csr_matrix]:
    return [units[start : start + _ROWS_AT_ONCE] for start in range(0, units.shape[0], _ROWS_AT_ONCE)]


def _first_categories(shares: sparse.csr_matrix) -> npt.NDArray[np.int64]:
    """[n] category with the largest share of each user, the first by name of equal ones; no row is empty."""
    rows = np.repeat(np.arange(shares.shape[0]), np.diff(shares.indptr))
    order = np.lexsort((shares.indices, -shares.data, rows))
    return np.asarray(shares.indices[order][shares.indptr[:-1]], dtype=np.int64)


def _frequent_firsts(shares: sparse.csr_matrix) -> npt.NDArray[np.int64]:
    """Categories that are some user's first, the most frequent in front."""
    counts = np.bincount(_first_categories(shares), minlength=shares.shape[1])
    order = np.lexsort((np.arange(len(counts)), -counts))
    return np.asarray(order[counts[order] > 0], dtype=np.int64)


def _clustered(
    units: sparse.csr_matrix, seeds: npt.NDArray[np.int64], firsts: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """[n] cluster of each user; clusters begin with the users whose first category is a seed."""
    centers = np.vstack([_mean(units, firsts == seed) for seed in seeds])
    labels = np.full(units.shape[0], NO_SEGMENT, dtype=np.int64)
    for _ in range(_MAX_ITERATIONS):
        nearest = np.argmax(np.round(units @ centers.T, 9), axis=1)
        if np.array_equal(nearest, labels):
            break
        labels = nearest
        # A cluster that lost all its users stays where it is.
        centers = np.vstack(
            [_mean(units, labels == k) if (labels == k).any() else centers[k] for k in range(len(seeds))]
        )
    return labels


def _mean(units: sparse.csr_matrix, chosen: npt.NDArray[np.bool_]) -> Floats:
    """[1, G] direction of the mean of some rows."""
    total = np.asarray(units[chosen].sum(axis=0), dtype=np.float64)
    return np.asarray(total / np.linalg.norm(total), dtype=np.float64)


def _silhouette(units: sparse.csr_matrix, centers: Floats) -> float:
    """Mean over users of (b - a) / max(a, b) for the distances to the own and to the nearest other centre."""
    distances = np.sort(1.0 - np.clip(units @ centers.T, 0.0, 1.0), axis=1)
    own, other = distances[:, 0], distances[:, 1]
    return float(np.mean(np.where(other > 0, (other - own) / np.where(other > 0, other, 1.0), 0.0)))


def _named(units: sparse.csr_matrix, labels: npt.NDArray[np.int64], categories: Sequence[str]) -> Segments | None:
    """Segments of clusters, the largest in front; None where one is empty or two would have the same name."""
    sizes = np.bincount(labels)
    if not sizes.all():
        return None
    overall = np.asarray(units.power(2).mean(axis=0)).ravel()
    means = np.vstack([np.asarray(units[labels == k].power(2).mean(axis=0)) for k in range(len(sizes))])
    # Of a single segment nothing stands out; its categories are simply the most frequent.
    above = means - overall if len(sizes) > 1 else means
    names = [_name(above[k], categories) for k in range(len(sizes))]
    if len(set(names)) < len(names):
        return None
    order = np.lexsort((np.array(names), -sizes))
    centers = np.vstack([_mean(units, labels == k) for k in order])
    return Segments(tuple(categories), tuple(names[k] for k in order), centers)


def _name(above: Floats, categories: Sequence[str]) -> str:
    """The one or two categories that stand out most, by name: which is the stronger of two may change any day."""
    first, *others = np.lexsort((np.arange(len(above)), -np.round(above, 6)))[:2]
    named = [first, *(other for other in others if above[other] > 0 and above[other] >= _SECOND * above[first])]
    return " and ".join(sorted({safe_name(categories[place]) for place in named}))
