"""Late fusion: each source's scores are standardised for each user over unseen items and added with few weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from scipy import sparse

from mmrec_lib.models.data import Floats
from mmrec_lib.models.sources.base import Source


def standardise(scores_NW: Floats, x_NW: sparse.csr_matrix) -> Floats:
    """Scores with mean 0 and deviation 1 over each user's unseen items, [n, W] float32.

    Seen items keep their place on that scale, but no higher than the best unseen item: a source may say anything about
    them, and the distilled vectors shall not spend their length on it.
    """
    rows = np.repeat(np.arange(x_NW.shape[0]), np.diff(x_NW.indptr))
    seen = scores_NW[rows, x_NW.indices]
    unseen = scores_NW.copy()
    unseen[rows, x_NW.indices] = 0.0
    count = np.maximum(scores_NW.shape[1] - np.diff(x_NW.indptr), 1).astype(np.float32)[:, None]
    mean = unseen.sum(axis=1, keepdims=True) / count
    unseen -= mean
    unseen[rows, x_NW.indices] = 0.0
    deviation = np.sqrt(np.einsum("ij,ij->i", unseen, unseen)[:, None] / count)
    deviation = np.where(deviation > 1e-12, deviation, np.float32(np.inf))
    unseen /= deviation
    top = unseen.max(axis=1, initial=0.0)
    unseen[rows, x_NW.indices] = np.clip((seen - mean[rows, 0]) / deviation[rows, 0], -top[rows], top[rows])
    return unseen


def source_shares(
    sources: Mapping[str, Source[Any]], weights: Mapping[str, float], x_NW: sparse.csr_matrix
) -> Iterator[tuple[str, Floats]]:
    """Each source's part of the fused scores, [n, W] float32, one after the other; they add up to the fused scores."""
    total = sum(weights[name] for name in sources) or 1.0
    for name, source in sources.items():
        yield name, standardise(source.score(x_NW), x_NW) * np.float32(weights[name] / total)


def fuse(sources: Mapping[str, Source[Any]], weights: Mapping[str, float], x_NW: sparse.csr_matrix) -> Floats:
    """Fused scores over items with interactions, [n, W] float32; zeros without any source."""
    fused = np.zeros(x_NW.shape, dtype=np.float32)
    for _, share in source_shares(sources, weights, x_NW):
        fused += share
    return fused
