"""Late fusion: each source's scores are standardised for each user over unseen items and added with few weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from mmrec_lib.models.data import Bools, Floats, Ints
from mmrec_lib.models.sources.base import Source


@dataclass(frozen=True)
class Scale:
    """The scale of a source's scores for each user, over the user's unseen items.

    Attributes:
        mean: [n] float32.
        deviation: [n] float32; infinite where all unseen items have one score.
        top: [n] float32 standardised score of the best unseen item, at least 0.
    """

    mean: Floats
    deviation: Floats
    top: Floats

    @classmethod
    def joined(cls, scales: Sequence[Scale]) -> Scale:
        """One scale of the users of several blocks."""
        parts = ([scale.mean for scale in scales], [scale.deviation for scale in scales], [s.top for s in scales])
        return cls(*(np.concatenate(part) if part else np.zeros(0, np.float32) for part in parts))

    def first(self, num_users: int) -> Scale:
        """The scale of the first users."""
        return Scale(self.mean[:num_users], self.deviation[:num_users], self.top[:num_users])

    def apply(self, scores_NK: Floats, is_seen_NK: Bools) -> Floats:
        """Standardised scores of some items of each user, [n, K] float32; see `standardise`."""
        scaled = (scores_NK - self.mean[:, None]) / self.deviation[:, None]
        capped = np.clip(scaled, -self.top[:, None], self.top[:, None])
        applied: Floats = np.where(is_seen_NK, capped, scaled).astype(np.float32)
        return applied


def standardise(scores_NW: Floats, x_NW: sparse.csr_matrix) -> tuple[Floats, Scale]:
    """Scores with mean 0 and deviation 1 over each user's unseen items, [n, W] float32, and their scale.

    Seen items keep their place on that scale, but no higher than the best unseen item: a source may say anything about
    them, and the distilled vectors shall not spend their length on it.
    """
    rows = entry_rows(x_NW)
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
    return unseen, Scale(mean[:, 0], deviation[:, 0], top)


def relative_weights(sources: Mapping[str, Source[Any]], weights: Mapping[str, float]) -> dict[str, np.float32]:
    """Weights of the sources that are there; they add up to 1."""
    total = sum(weights[name] for name in sources) or 1.0
    return {name: np.float32(weights[name] / total) for name in sources}


def fuse(sources: Mapping[str, Source[Any]], weights: Mapping[str, float], x_NW: sparse.csr_matrix) -> Floats:
    """Fused scores over items with interactions, [n, W] float32; zeros without any source."""
    return fuse_scaled(sources, relative_weights(sources, weights), x_NW)[0]


def fuse_scaled(
    sources: Mapping[str, Source[Any]], weights: Mapping[str, np.float32], x_NW: sparse.csr_matrix
) -> tuple[Floats, dict[str, Scale]]:
    """Sum of the sources' standardised scores times their weights, [n, W] float32, and the scale of each source."""
    fused, scales = np.zeros(x_NW.shape, dtype=np.float32), {}
    for name, source in sources.items():
        share, scales[name] = standardise(source.score(x_NW), x_NW)
        share *= weights[name]
        fused += share
    return fused, scales


def entry_rows(x_NW: sparse.csr_matrix) -> Ints:
    """[nnz] row of each stored entry."""
    return np.repeat(np.arange(x_NW.shape[0]), np.diff(x_NW.indptr))
