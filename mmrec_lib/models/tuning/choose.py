"""Choosing a ranker's settings on train and validation: sources by themselves, fusion, length, popularity, cold items.

The order follows what each choice needs. No choice depends on a clock, which only the log tells: the same data and
config give the same settings.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import sparse

from mmrec_lib.evaluation.metrics import list_metrics
from mmrec_lib.models.config import RankerSettings, TrainingConfig
from mmrec_lib.models.data import Bools, FitData, Floats, Interactions, history_rows, sampled_rows
from mmrec_lib.models.ranker.first_stage import content_features, distilled_basis, fit_sources
from mmrec_lib.models.ranker.fusion import standardise
from mmrec_lib.models.sources.base import SearchInputs, Source
from mmrec_lib.models.sources.content import ContentFeatures
from mmrec_lib.models.sources.graph_filter import GraphFilter, GraphSettings, fit_low_rank_filter
from mmrec_lib.models.sources.ials import Ials, IalsSettings, learnable
from mmrec_lib.models.sources.popularity import PopularityModel, half_life_candidates
from mmrec_lib.models.sources.registry import SOURCES, possible_sources
from mmrec_lib.models.tuning.choose_cold import choose_cold_items
from mmrec_lib.models.tuning.fusion_weights import NUM_CANDIDATES, fusion_weights
from mmrec_lib.models.tuning.validation import CUT_OFF, Candidates, ValidationUsers, frequent_items
from mmrec_lib.section import Section
from mmrec_lib.topk.selection import select_top

_log = logging.getLogger(__name__)
WEIGHT_EXPONENTS = (0.0, 0.25, 0.5, 1.0)
WARM_POPULARITY = (0.0, 0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
GROUP_SHRINKAGES = (1.0, 3.0, 10.0, 30.0)
GROUP_WEIGHTS = (0.0, 0.25, 0.5, 1.0)
WARM_GROUP_WEIGHTS = (0.0, 0.25, 0.5)
# With fewer users without history in the validation part, all of them stand in, their histories unused.
_MIN_COLD_USERS = 30
# Relative gain that a choice against the simpler one needs.
_TOLERANCE = 1e-3


def choose_settings(
    train: FitData, valid: Interactions, config: TrainingConfig, chosen: RankerSettings | None = None
) -> RankerSettings:
    """Choose all settings of the ranker.

    Args:
        train: The training part; the only thing that is fitted.
        valid: [U, I] the validation part; the objective is nDCG@10 of its users, with and without history.
        config: Sources, dimensions and bounds of the search.
        chosen: Settings chosen on the same interactions with other content; what content has no part in is not searched
            again.

    Returns:
        The settings; defaults where the validation part is empty, with an iALS that learns something.
    """
    settings = RankerSettings(
        seed=config.seed,
        dim=min(config.dims),
        use_content=config.use_content,
        exclude_content=config.exclude_content,
        max_dense_items=config.max_dense_items,
        user_block=config.user_block,
        max_groups=config.max_groups,
        min_group_users=config.min_group_users,
        fusion={name: 1.0 for name in config.sources},
    ).with_sources(
        {
            Ials.name: IalsSettings(max_users=config.max_fit_users),
            GraphFilter.name: GraphSettings(max_users=config.max_fit_users),
        }
    )
    users = ValidationUsers.of(train, valid, config)
    if not len(users) or not train.interactions.weights.nnz:
        return _unsearched(train, settings)
    warm_items = train.interactions.item_counts() > 0
    warm_users = users.rows(np.flatnonzero(users.has_history))
    features = content_features(train, settings)
    if len(warm_users):
        if chosen is None:
            with _timed("weights of interactions"):
                settings = _choose_weighting(train, warm_users, warm_items, settings, config)
        else:
            settings = settings.model_copy(update={"weight_exponent": chosen.weight_exponent})
        stage = _SourceStage.of(train, warm_users, warm_items, features=features, settings=settings, config=config)
        settings = stage.choose_sources(settings, chosen)
        with _timed("fusion"):
            settings, fused = stage.choose_fusion(settings)
    else:
        settings = _unsearched(train, settings)
        fused = np.zeros((0, int(warm_items.sum())), dtype=np.float32)
    with _timed("popularity"):
        settings = _choose_popularity(train, users, warm_items, fused, settings)
    if features.rows:
        with _timed("items without interactions"):
            settings = choose_cold_items(train, valid, users=users, features=features, settings=settings, config=config)
    return settings


def _unsearched(train: FitData, settings: RankerSettings) -> RankerSettings:
    """Settings of sources where nobody's choice can be asked: those with which something is learned."""
    return settings.with_sources({Ials.name: learnable(settings.of(Ials), train.interactions.weights)})


@contextmanager
def _timed(step: str) -> Iterator[None]:
    """Log the processor time of a step of the search."""
    started = time.process_time()
    yield
    _log.info("search: %s took %.1f processor seconds", step, time.process_time() - started)


def _choose_weighting(
    train: FitData, users: ValidationUsers, warm_items: Bools, settings: RankerSettings, config: TrainingConfig
) -> RankerSettings:
    """Choose the exponent of interaction weights by the graph filter, which is quick for any number of items."""
    weights = sampled_rows(
        train.interactions.weights[:, np.flatnonzero(warm_items)], config.max_search_fit_users, config.seed
    )
    if np.ptp(weights.data) == 0:
        return settings
    narrowed = users.columns(warm_items)
    graph_settings = settings.of(GraphFilter)
    best, best_value = 0.0, -1.0
    for exponent in WEIGHT_EXPONENTS:
        left, right = fit_low_rank_filter(history_rows(weights, exponent), graph_settings, settings.seed)
        value = narrowed.ndcg(np.asarray((history_rows(narrowed.histories.weights, exponent) @ left) @ right))
        if value > best_value * (1 + _TOLERANCE):
            best, best_value = exponent, value
    return settings.model_copy(update={"weight_exponent": best})


@dataclass(frozen=True)
class _SourceStage:
    """Inputs that all sources are chosen on: items with interactions only."""

    interactions: sparse.csr_matrix
    users: ValidationUsers
    known: sparse.csr_matrix
    warm_items: Bools
    features: ContentFeatures
    config: TrainingConfig

    @classmethod
    def of(
        cls,
        train: FitData,
        users: ValidationUsers,
        warm_items: Bools,
        *,
        features: ContentFeatures,
        settings: RankerSettings,
        config: TrainingConfig,
    ) -> _SourceStage:
        rows = history_rows(train.interactions.weights[:, np.flatnonzero(warm_items)], settings.weight_exponent)
        narrowed = users.columns(warm_items)
        known = history_rows(narrowed.histories.weights, settings.weight_exponent)
        rows = sampled_rows(rows[np.diff(rows.indptr) > 0], config.max_search_fit_users, config.seed)
        return cls(rows, narrowed, known, warm_items, features, config)

    def choose_sources(self, settings: RankerSettings, chosen: RankerSettings | None) -> RankerSettings:
        """Choose the settings of each source by itself, and the weights of content blocks that the sources share."""
        possible = possible_sources(settings.fusion, self.interactions.shape[1], settings.max_dense_items)
        inputs = SearchInputs(
            histories=self.interactions,
            known=self.known,
            evaluate=self.users.ndcg,
            features=self.features,
            warm_items=self.warm_items,
            seed=settings.seed,
            max_dense_items=settings.max_dense_items,
            rounds=self.config.search_rounds,
            frequent=frequent_items(
                self.interactions, self.users, self.known, self.warm_items, self.features, self.config.max_search_items
            ),
        )
        found: dict[str, Section] = {}
        for name, source in SOURCES.items():
            if name not in possible:
                continue
            if chosen is not None and not source.uses_content:
                found[name] = chosen.of(source)
            else:
                with _timed(name):
                    result = source.search(inputs, settings.of(source))
                found[name] = result.settings
                if result.content_weights is not None:
                    inputs = replace(inputs, content_weights=result.content_weights)
        update = {"content_weights": dict(inputs.content_weights or {}), "fusion": {name: 1.0 for name in possible}}
        return settings.with_sources(found).model_copy(update=update)

    def choose_fusion(self, settings: RankerSettings) -> tuple[RankerSettings, Floats]:
        """Fusion weights and the length of the distilled vectors; with the distilled scores [n, W] of these users."""
        sources = fit_sources(self.interactions, self.features, self.warm_items, settings)
        shares = {name: standardise(source.score(self.known), self.known)[0] for name, source in sources.items()}
        weights = fusion_weights(shares, self.users, settings.seed)
        settings = settings.model_copy(update={"fusion": {name: weight for name, weight in weights.items() if weight}})
        kept: dict[str, Source[Any]] = {name: sources[name] for name in settings.fusion}
        total = sum(settings.fusion.values())
        fused = np.zeros(self.known.shape, dtype=np.float32)
        for name in kept:
            fused += np.float32(settings.fusion[name] / total) * shares[name]
        return self._choose_dim(settings, kept, fused)

    def _choose_dim(
        self, settings: RankerSettings, sources: Mapping[str, Source[Any]], fused: Floats
    ) -> tuple[RankerSettings, Floats]:
        dims = sorted(set(self.config.dims))
        basis = distilled_basis(sources, self.interactions, settings.model_copy(update={"dim": dims[-1]}))
        values = [self.users.ndcg(_through(fused, basis[:, :dim])) for dim in dims]
        enough = max(values) * (1 - self.config.dim_tolerance)
        dim = next(dim for dim, value in zip(dims, values, strict=True) if value >= enough)
        return settings.model_copy(update={"dim": dim}), _through(fused, basis[:, :dim])


def _choose_popularity(
    train: FitData, users: ValidationUsers, warm_items: Bools, fused_NW: Floats, settings: RankerSettings
) -> RankerSettings:
    """Half-life and the weight of popularity for users with history, by the sum over all users; then groups."""
    cold = np.flatnonzero(~users.has_history)
    warm = np.flatnonzero(users.has_history)
    warm_users, cold_users = users.rows(warm), users.rows(cold)
    personal = np.full((len(warm), len(train.item_ids)), -1e6, dtype=np.float32)
    personal[:, warm_items] = fused_NW
    personal_top = warm_users.top(personal, NUM_CANDIDATES)

    chosen, best_value = settings.popularity, -1.0
    for half_life in half_life_candidates(train):
        tried = settings.popularity.model_copy(update={"half_life_days": half_life})
        model = PopularityModel.fit(train, settings.model_copy(update={"popularity": tried, "max_groups": 0}))
        popular = select_top(model.log_popularity[None], NUM_CANDIDATES).indices
        # Without history everybody's list is the same.
        cold_lists = np.repeat(popular[:, :CUT_OFF], len(cold), axis=0)
        cold_sum = float(list_metrics(cold_lists, cold_users.relevant, (CUT_OFF,))[f"ndcg@{CUT_OFF}"].sum())
        candidates = Candidates.of(warm_users, [personal_top, np.repeat(popular, len(warm), axis=0)])
        # Where there is no candidate, the own score is -inf, whatever is added.
        own, log_popularity = candidates.scores(personal), model.log_popularity[candidates.items]
        for weight in WARM_POPULARITY:
            scores: Floats = own + np.float32(weight) * log_popularity
            value = float(candidates.ndcg_by_user(scores).sum()) + cold_sum
            if value > best_value * (1 + _TOLERANCE):
                chosen, best_value = tried.model_copy(update={"warm_weight": weight}), value
    if not train.user_attributes or settings.max_groups == 0:
        return settings.model_copy(update={"popularity": chosen})

    as_cold = cold_users if len(cold) >= _MIN_COLD_USERS else users
    best, best_value = chosen.model_copy(update={"group_weight": 0.0}), -1.0
    for shrinkage in GROUP_SHRINKAGES:
        tried = chosen.model_copy(update={"group_shrinkage": shrinkage})
        model = PopularityModel.fit(train, settings.model_copy(update={"popularity": tried}))
        ratios = model.codes(as_cold.histories.attributes, len(as_cold)) @ model.log_ratios.T
        for weight in GROUP_WEIGHTS:
            value = as_cold.ndcg(model.log_popularity + np.float32(weight) * ratios)
            if value > best_value * (1 + _TOLERANCE):
                best, best_value = tried.model_copy(update={"group_weight": weight}), value
    if best.group_weight > 0 and len(warm):
        model = PopularityModel.fit(train, settings.model_copy(update={"popularity": best}))
        ratios = model.codes(warm_users.histories.attributes, len(warm)) @ model.log_ratios.T
        base: Floats = personal + np.float32(best.warm_weight) * model.log_popularity
        values = [warm_users.ndcg(base + np.float32(weight) * ratios) for weight in WARM_GROUP_WEIGHTS]
        place = int(np.argmax(values))
        if values[place] > values[0] * (1 + _TOLERANCE):
            best = best.model_copy(update={"warm_group_weight": WARM_GROUP_WEIGHTS[place]})
    return settings.model_copy(update={"popularity": best})


def _through(fused_NW: Floats, basis_WV: Floats) -> Floats:
    users_NV: Floats = fused_NW @ basis_WV
    distilled: Floats = users_NV @ basis_WV.T
    return distilled
