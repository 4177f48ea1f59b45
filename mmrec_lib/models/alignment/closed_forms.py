"""Ways to a joint space in closed form: PCA, CCA and factorised co-consumption.

Each gives one linear map a modality, from its leading directions to the joint space.

Shape letters: I items, R leading directions of a modality, d dimensions of the joint space.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
from scipy import sparse

from mmrec_lib.models.alignment.views import View
from mmrec_lib.models.data import Bools, Doubles, Floats
from mmrec_lib.models.sources.range_finder import top_right_vectors

Maps: TypeAlias = dict[str, Floats]
"""[R, d] of each modality."""


def pca_maps(views: Mapping[str, View], learned: Bools, dim: int, seed: int) -> Maps:
    """Leading directions of all modalities side by side; a missing one is zero.

    Args:
        views: The modalities.
        learned: [I] the items to learn from.
        dim: d at most.
        seed: Seed of the range finder.
    """
    rows = np.hstack([view.rows[learned] for view in views.values()])
    directions, _ = top_right_vectors(rows, dim, seed)
    return _by_view(views, directions)


def cca_maps(views: Mapping[str, View], learned: Bools, dim: int, regulariser: float) -> Maps:
    """Directions in which the modalities of an item agree, the most correlated first.

    Canonical correlations of Hotelling (1936), for more than two sets by the largest eigenvalue of the correlations
    between all of them (Kettenring 1971, MAXVAR). Each pair of modalities is looked at over the items that have both,
    so that nothing is filled in. A direction counts by its correlation, so that what agrees by chance counts little.

    Args:
        views: The modalities.
        learned: [I] the items to learn from.
        dim: d at most.
        regulariser: Penalty relative to the mean variance of a modality.
    """
    whitening = {
        name: _inverse_root(view.rows[view.has & learned], regulariser)
        for name, view in views.items()
        if (view.has & learned).any()
    }
    names = list(whitening)
    blocks: list[list[Doubles]] = []
    for left in names:
        line = []
        for right in names:
            both = views[left].has & views[right].has & learned
            one, other = views[left].rows[both].astype(np.float64), views[right].rows[both].astype(np.float64)
            if left == right or not both.any():
                size = (one.shape[1], other.shape[1])
                line.append(np.eye(*size) if left == right else np.zeros(size))
                continue
            line.append(whitening[left] @ (one.T @ other / both.sum()) @ whitening[right])
        blocks.append(line)
    values, vectors = np.linalg.eigh(np.block(blocks))
    # Two modalities agree in no more directions than the smaller one has; a third that is rare limits nothing.
    dim = min(dim, sorted(views[name].rows.shape[1] for name in names)[-2:][0])
    leading = np.argsort(-values)[:dim]
    strength = np.clip(values[leading] - 1.0, 0.0, None)
    ends = np.cumsum([views[name].rows.shape[1] for name in names])[:-1]
    parts = np.split(vectors[:, leading] * strength, ends)
    return {name: (whitening[name] @ part).astype(np.float32) for name, part in zip(names, parts, strict=True)}


def cooccurrence_maps(
    views: Mapping[str, View], learned: Bools, related: sparse.csr_matrix, *, dim: int, regulariser: float, seed: int
) -> Maps:
    """Ridge regression from each modality to the leading vectors of co-consumption.

    Args:
        views: The modalities.
        learned: [I] the items to learn from.
        related: [I, I] see `co_consumption`.
        dim: d at most.
        regulariser: Penalty relative to the mean variance of a modality.
        seed: Seed of the range finder.
    """
    known = np.flatnonzero(learned & (np.diff(related.indptr) > 0))
    own = related[known][:, known]
    directions, values = top_right_vectors(own, dim, seed)
    target = np.zeros((related.shape[0], directions.shape[1]))
    target[known] = directions * np.sqrt(np.maximum(values, 0.0))
    has_target = np.zeros(related.shape[0], dtype=np.bool_)
    has_target[known] = True
    maps = {}
    for name, view in views.items():
        both = view.has & has_target
        rows = view.rows[both].astype(np.float64)
        penalty = regulariser * float(np.square(rows).sum()) / rows.shape[1]
        system = rows.T @ rows + (penalty + 1e-9) * np.eye(rows.shape[1])
        maps[name] = np.linalg.solve(system, rows.T @ target[both]).astype(np.float32)
    return maps


def _by_view(views: Mapping[str, View], directions: Floats) -> Maps:
    ends = np.cumsum([view.rows.shape[1] for view in views.values()])[:-1]
    return dict(zip(views, np.split(directions, ends), strict=True))


def _inverse_root(rows: Floats, regulariser: float) -> Doubles:
    """[R, R] the inverse square root of the covariance with a penalty on its diagonal."""
    doubled = rows.astype(np.float64)
    covariance = doubled.T @ doubled / len(rows)
    covariance[np.diag_indices_from(covariance)] += regulariser * np.trace(covariance) / len(covariance) + 1e-9
    values, vectors = np.linalg.eigh(covariance)
    root: Doubles = (vectors / np.sqrt(values)) @ vectors.T
    return root
