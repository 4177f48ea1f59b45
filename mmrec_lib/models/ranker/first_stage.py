"""Fitting the first stage: sources, distilled vectors, popularity, and vectors from content for new items.

Shape letters: U users with interactions, I items, W items with interactions.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from scipy import sparse

from mmrec_lib.errors import ModelError
from mmrec_lib.models.config import RankerSettings
from mmrec_lib.models.data import Bools, FitData, Floats, history_rows, row_blocks, sampled_rows
from mmrec_lib.models.ranker.distil import leading_items_basis
from mmrec_lib.models.ranker.fusion import fuse
from mmrec_lib.models.ranker.ranker import FittedRanker
from mmrec_lib.models.sources.base import FitInputs, Source
from mmrec_lib.models.sources.cold_items import ColdItemModel
from mmrec_lib.models.sources.content import ContentFeatures
from mmrec_lib.models.sources.popularity import PopularityModel
from mmrec_lib.models.sources.registry import SOURCES

# Users whose fused scores shape the distilled vectors, at most; a seeded sample above.
_MAX_BASIS_USERS = 20_000
# Users times items of these scores, at most, as long as there are `_MIN_BASIS_USERS`; they are kept between passes.
_MAX_BASIS_CELLS = 100_000_000
# Sources of a large catalogue have low rank: the scores of more users than that span nothing new.
_MIN_BASIS_USERS = 1_000


def fit_first_stage(
    data: FitData,
    settings: RankerSettings,
    fitted: FittedRanker | None = None,
    known: Mapping[str, Source[Any]] = MappingProxyType({}),
) -> FittedRanker:
    """Fit sources, popularity, distilled vectors, and vectors from content for items without interactions.

    Args:
        data: What to fit on.
        settings: Settings of the fit.
        fitted: A fit on the same interactions, whose sources are taken over where theirs would be the same.
        known: Sources that were fitted on this data with these settings, which are taken as they are.

    Raises:
        ModelError: When there are no interactions at all.
    """
    warm = data.interactions.item_counts() > 0
    if not warm.any():
        raise ModelError("ranker: needs at least one interaction to fit on, got none; check split and as-of date")
    features = content_features(data, settings)
    x_UW = fit_histories(data, warm, settings)
    sources = fit_sources(x_UW, features, warm, settings, {**_same_sources(fitted, settings), **known})
    basis = distilled_basis(sources, x_UW, settings)
    return assemble_ranker(data, settings, features, sources, basis)


def fit_histories(data: FitData, warm: Bools, settings: RankerSettings) -> sparse.csr_matrix:
    """[U, W] histories that sources are fitted on: those of users who have one, over the items with interactions."""
    x_UW = history_rows(data.interactions.weights[:, np.flatnonzero(warm)], settings.weight_exponent)
    return x_UW[np.diff(x_UW.indptr) > 0]


def content_features(data: FitData, settings: RankerSettings) -> ContentFeatures:
    """The content blocks that the settings allow, as unit rows."""
    excluded = set(settings.exclude_content)
    allowed = {name: content for name, content in data.contents.items() if name not in excluded}
    return ContentFeatures.learn(allowed if settings.use_content else {})


def _same_sources(fitted: FittedRanker | None, settings: RankerSettings) -> dict[str, Source[Any]]:
    """The sources of a fit that these settings make again on the same interactions: those without content."""
    shared = ("seed", "weight_exponent", "max_dense_items")
    if fitted is None or any(getattr(fitted.settings, name) != getattr(settings, name) for name in shared):
        return {}
    return {
        name: source
        for name, source in fitted.sources.items()
        if not source.uses_content and fitted.settings.sources[name] == settings.sources[name]
    }


def fit_sources(
    x_UW: sparse.csr_matrix,
    features: ContentFeatures,
    warm: Bools,
    settings: RankerSettings,
    known: Mapping[str, Source[Any]] = MappingProxyType({}),
) -> dict[str, Source[Any]]:
    """Fit every source of positive weight that the number of items allows; those that are known already are taken."""
    chosen = {
        name: source
        for name, source in SOURCES.items()
        if settings.fusion.get(name, 0.0) > 0 and source.is_possible(x_UW.shape[1], settings.max_dense_items)
    }
    needs_kernel = any(source.uses_content for source in chosen.values())
    kernel = features.kernel(settings.content_weights, warm, warm) if needs_kernel else None
    inputs = FitInputs(x_UW, kernel, settings.seed, settings.max_dense_items)
    return {name: known.get(name) or source.fit(inputs, settings.of(source)) for name, source in chosen.items()}


def distilled_basis(sources: Mapping[str, Source[Any]], x_UW: sparse.csr_matrix, settings: RankerSettings) -> Floats:
    """Distilled vectors of the items with interactions, [W, dim] float32."""
    if not sources:
        return np.zeros((x_UW.shape[1], settings.dim), dtype=np.float32)
    num_users = min(_MAX_BASIS_USERS, max(_MAX_BASIS_CELLS // x_UW.shape[1], _MIN_BASIS_USERS))
    x_UW = sampled_rows(x_UW, num_users, settings.seed)
    fused = [fuse(sources, settings.fusion, x_UW[rows]) for rows in row_blocks(x_UW.shape[0], settings.user_block)]
    return leading_items_basis(fused, x_UW.shape[1], settings.dim, settings.seed)


def assemble_ranker(
    data: FitData,
    settings: RankerSettings,
    features: ContentFeatures,
    sources: Mapping[str, Source[Any]],
    basis: Floats,
) -> FittedRanker:
    """Put fitted sources and their distilled vectors together with popularity and cold items."""
    warm = data.interactions.item_counts() > 0
    distilled = np.zeros((len(warm), basis.shape[1]), dtype=np.float32)
    distilled[warm] = basis
    shift = np.where(warm, np.float32(0), np.float32(settings.cold_items.shift))
    cold_items = None
    if features.weighted(settings.cold_items.weights):
        cold_items = ColdItemModel.fit(features, warm, basis, settings.cold_items, settings.max_dense_items)
        if not warm.all():
            cold = np.flatnonzero(~warm)
            distilled[cold] = cold_items.vectors(
                {name: data.contents[name].rows(cold) for name in cold_items.transforms}, len(cold)
            )
    return FittedRanker(
        settings=settings,
        item_ids=np.asarray(data.item_ids, dtype=np.str_),
        warm=warm,
        sources=dict(sources),
        popularity=PopularityModel.fit(data, settings),
        cold_items=cold_items,
        distilled=distilled,
        shift=shift.astype(np.float32),
    )
