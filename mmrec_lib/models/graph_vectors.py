"""Vectors of items from a knowledge graph, over several hops.

Shape letters: I items, V entities (items and what the graph names besides), d dimensions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
from scipy import sparse

from mmrec_lib.models.data import Floats, Ints, unit_rows

# Exponent of the degree that keeps hubs from filling all vectors; the middle of the range that the source found good.
_DEGREE_EXPONENT = -0.5
_WORD = 64


def graph_vectors(
    heads: Ints, tails: Ints, seeds: npt.NDArray[np.uint64], num_items: int, dim: int, hops: int
) -> Floats:
    """Random projections of the powers of the graph's random walk: items whose surroundings are alike are near.

    Two steps lead from an item over what both share to another, four over items or entities between. Chen et al.
    (2019), Fast and Accurate Network Embeddings via Very Sparse Random Projection: memory and time are in proportion to
    entities, edges and `dim`. The direction of an entity follows from its name alone, so that vectors of later graphs
    can be compared with those of a fit.

    Args:
        heads: [edges] positions of entities; the items are the first ones.
        tails: [edges] likewise.
        seeds: [V] see `entity_seeds`.
        num_items: I.
        dim: d.
        hops: Longest walk.

    Returns:
        [I, d] float32 of length 1; zeros for items without an edge.
    """
    ones = np.ones(len(heads), dtype=np.float32)
    one_way = sparse.csr_matrix((ones, (heads, tails)), shape=(len(seeds), len(seeds)))
    both = sparse.csr_matrix(one_way + one_way.T)
    both.data[:] = 1.0
    degrees = np.maximum(np.asarray(both.sum(axis=1), dtype=np.float32).ravel(), np.float32(1))
    walk = sparse.csr_matrix(sparse.diags(1 / degrees) @ both)
    reached: Floats = _signs(seeds, dim) * (degrees**_DEGREE_EXPONENT)[:, None].astype(np.float32)
    total = np.zeros((num_items, dim), dtype=np.float32)
    for _ in range(hops):
        reached = np.asarray(walk @ reached, dtype=np.float32)
        total += unit_rows(reached[:num_items])
    return unit_rows(total)


def entity_seeds(names: Iterable[str]) -> npt.NDArray[np.uint64]:
    """[V] hash of the name of each entity."""
    digests = b"".join(hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest() for name in names)
    return np.frombuffer(digests, dtype="<u8").astype(np.uint64)


def _signs(seeds: npt.NDArray[np.uint64], dim: int) -> Floats:
    """[V, d] 1 or -1, by the bits of splitmix64 (Steele, Lea and Flood 2014, Fast Splittable Pseudorandom Numbers)."""
    found = np.empty((len(seeds), dim), dtype=np.float32)
    for start in range(0, dim, _WORD):
        word = seeds + np.full(1, start // _WORD + 1, np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        word ^= word >> np.uint64(31)
        bits = np.unpackbits(word.astype("<u8").view(np.uint8).reshape(-1, 8), axis=1)
        found[:, start : start + _WORD] = 2.0 * bits[:, : dim - start] - 1.0
    return found
