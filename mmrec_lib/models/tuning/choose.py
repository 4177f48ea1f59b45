"""Choosing a ranker's settings on train and validation: sources by themselves, fusion, length, popularity, cold items.

The order follows what each choice needs. Nothing here reads a clock: the same data and config give the same settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from mmrec_lib.models.config import EaseSettings, GraphSettings, IalsSettings, RankerSettings, TrainingConfig
from mmrec_lib.models.data import Bools, FitData, Floats, Interactions, history_rows
from mmrec_lib.models.ranker.fusion import standardise
from mmrec_lib.models.ranker.ranker import content_features, distilled_basis, fit_sources
from mmrec_lib.models.sources.base import Source, is_possible
from mmrec_lib.models.sources.content import ContentFeatures
from mmrec_lib.models.sources.ease import ease_inverse, ease_weights, gram
from mmrec_lib.models.sources.graph_filter import Spectrum, fit_graph_filter, fit_low_rank_filter
from mmrec_lib.models.sources.ials import fit_ials, fold_in
from mmrec_lib.models.sources.popularity import PopularityModel, half_life_candidates
from mmrec_lib.models.tuning.choose_cold import choose_cold_items
from mmrec_lib.models.tuning.coordinate_search import coordinate_search, learn_weights
from mmrec_lib.models.tuning.validation import ValidationUsers

WEIGHT_EXPONENTS = (0.0, 0.25, 0.5, 1.0)
EASE_GRIDS: dict[str, tuple[float, ...]] = {
    "regulariser": (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0),
    "content_scale": (0.0, 0.03, 0.06, 0.12, 0.25, 0.5, 1.0, 2.0),
    "dropout": (0.0, 0.5, 2.0),
}
CONTENT_EASE_EXPONENTS = (0.5, 0.75, 1.0)
RIDGE_EXPONENTS = (0.0, 0.25)
IALS_GRIDS: dict[str, tuple[float, ...]] = {
    "regulariser": (0.004, 0.0075, 0.015, 0.03, 0.06),
    "unobserved": (0.01, 0.03, 0.1, 0.3, 1.0),
    "rank": (16, 32, 64),
}
GRAPH_RANKS = (16, 32, 64, 128)
GRAPH_GRIDS: dict[str, tuple[float, ...]] = {
    "item_exponent": (0.3, 0.4, 0.5),
    "output_exponent": (0.0, 0.125, 0.25, 0.375, 0.5),
    "low_pass": (0.1, 0.3, 1.0, 3.0),
    "rank": GRAPH_RANKS,
}
BLOCK_WEIGHTS = (0.0, 0.5, 2.0)
WARM_POPULARITY = (0.0, 0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
GROUP_SHRINKAGES = (1.0, 3.0, 10.0, 30.0)
GROUP_WEIGHTS = (0.0, 0.25, 0.5, 1.0)
WARM_GROUP_WEIGHTS = (0.0, 0.25, 0.5)
# With fewer users without history in the validation part, all of them stand in, their histories unused.
_MIN_COLD_USERS = 30
# Relative gain that a choice against the simpler one needs.
_TOLERANCE = 1e-3


def choose_settings(train: FitData, valid: Interactions, config: TrainingConfig) -> RankerSettings:
    """Choose all settings of the ranker.

    Args:
        train: The training part; the only thing that is fitted.
        valid: [U, I] the validation part; the objective is nDCG@10 of its users, with and without history.
        config: What may be chosen from, and bounds.

    Returns:
        The settings; defaults where the validation part is empty.
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
    )
    users = ValidationUsers.of(train, valid, config)
    if not len(users) or not train.interactions.weights.nnz:
        return settings
    warm_items = train.interactions.item_counts() > 0
    warm_users = users.rows(np.flatnonzero(users.has_history))
    features = content_features(train, settings)
    if len(warm_users):
        settings = _choose_weighting(train, warm_users, warm_items, settings)
        stage = _SourceStage.of(train, warm_users, warm_items, features=features, settings=settings, config=config)
        settings = stage.choose_sources(settings)
        settings, fused = stage.choose_fusion(settings)
    else:
        fused = np.zeros((0, int(warm_items.sum())), dtype=np.float32)
    settings = _choose_popularity(train, users, warm_items, fused, settings)
    if features.rows:
        settings = choose_cold_items(train, valid, users=users, features=features, settings=settings, config=config)
    return settings


def _choose_weighting(
    train: FitData, users: ValidationUsers, warm_items: Bools, settings: RankerSettings
) -> RankerSettings:
    """Choose the exponent of interaction weights by the graph filter, which is quick for any number of items."""
    weights = train.interactions.weights[:, np.flatnonzero(warm_items)]
    if np.ptp(weights.data) == 0:
        return settings
    narrowed = users.columns(warm_items)
    best, best_value = 0.0, -1.0
    for exponent in WEIGHT_EXPONENTS:
        left, right = fit_low_rank_filter(history_rows(weights, exponent), settings.graph_filter, settings.seed)
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
        return cls(rows[np.diff(rows.indptr) > 0], narrowed, known, warm_items, features, config)

    def choose_sources(self, settings: RankerSettings) -> RankerSettings:
        """Settings of each source by itself."""
        updates: dict[str, Any] = {}
        num_items = self.interactions.shape[1]
        possible = [name for name in settings.fusion if is_possible(name, num_items, settings)] or ["ials"]
        if "content_ease" in possible or "ridge" in possible:
            weights: dict[str, float] = {}
            grams: dict[float, Floats] = {}
            if "content_ease" in possible:
                updates["content_ease"], weights = self._choose_ease(
                    settings.content_ease, CONTENT_EASE_EXPONENTS, grams, None
                )
            if "ridge" in possible:
                chosen = weights if "content_ease" in possible else None
                updates["ridge"], weights = self._choose_ease(settings.ridge, RIDGE_EXPONENTS, grams, chosen)
            updates["content_weights"] = weights
        if "ials" in possible:
            updates["ials"] = self._choose_ials(settings)
        if "graph_filter" in possible:
            updates["graph_filter"] = self._choose_graph_filter(settings)
        updates["fusion"] = {name: 1.0 for name in possible}
        return settings.model_copy(update=updates)

    def choose_fusion(self, settings: RankerSettings) -> tuple[RankerSettings, Floats]:
        """Fusion weights and the length of the distilled vectors; with the distilled scores [n, W] of these users."""
        sources = fit_sources(self.interactions, self.features, self.warm_items, settings)
        shares = {name: standardise(source.score(self.known), self.known) for name, source in sources.items()}
        order = np.random.default_rng(settings.seed).permutation(len(self.users))
        half = len(order) // 2
        parts = [np.sort(order[:half]), np.sort(order[half:]), np.arange(len(order))]
        part_users = [self.users.rows(part) for part in parts]

        def evaluate(weights: Mapping[str, float], part: int) -> float:
            fused = np.zeros((len(parts[part]), self.known.shape[1]), dtype=np.float32)
            for name, weight in weights.items():
                if weight:
                    fused += np.float32(weight) * shares[name][parts[part]]
            return part_users[part].ndcg(fused)

        weights = learn_weights(list(shares), evaluate)
        settings = settings.model_copy(update={"fusion": {name: weight for name, weight in weights.items() if weight}})
        kept: dict[str, Source] = {name: sources[name] for name in settings.fusion}
        total = sum(settings.fusion.values())
        fused = np.zeros(self.known.shape, dtype=np.float32)
        for name in kept:
            fused += np.float32(settings.fusion[name] / total) * shares[name]
        return self._choose_dim(settings, kept, fused)

    def _choose_dim(
        self, settings: RankerSettings, sources: Mapping[str, Source], fused: Floats
    ) -> tuple[RankerSettings, Floats]:
        dims = sorted(set(self.config.dims))
        basis = distilled_basis(sources, self.interactions, settings.model_copy(update={"dim": dims[-1]}))
        values = [self.users.ndcg(_through(fused, basis[:, :dim])) for dim in dims]
        enough = max(values) * (1 - self.config.dim_tolerance)
        dim = next(dim for dim, value in zip(dims, values, strict=True) if value >= enough)
        return settings.model_copy(update={"dim": dim}), _through(fused, basis[:, :dim])

    def _choose_ease(
        self,
        start: EaseSettings,
        exponents: tuple[float, ...],
        grams: dict[float, Floats],
        block_weights: Mapping[str, float] | None,
    ) -> tuple[EaseSettings, dict[str, float]]:
        """Penalties, then (for the first of the two) content block weights; grams are shared between both."""
        has_content = bool(self.features.rows)
        weights = dict(block_weights or {})
        latest: dict[str, Floats] = {}

        def kernel() -> Floats | None:
            return self.features.kernel(weights, self.warm_items, self.warm_items) if has_content else None

        current = kernel()

        def evaluate(candidate: EaseSettings) -> float:
            key = candidate.model_copy(update={"diagonal_exponent": 1.0}).model_dump_json()
            if key not in latest:
                if candidate.user_exponent not in grams:
                    grams[candidate.user_exponent] = gram(self.interactions, candidate.user_exponent)
                latest.clear()
                latest[key] = ease_inverse(grams[candidate.user_exponent], current, candidate)
            return self.users.ndcg(np.asarray(self.known @ ease_weights(latest[key], candidate.diagonal_exponent)))

        grids: dict[str, tuple[float, ...]] = {"diagonal_exponent": exponents, **EASE_GRIDS}
        if not has_content:
            grids["content_scale"] = (0.0,)
        best, value = coordinate_search(start, grids, evaluate, self.config.search_rounds + 1)
        if block_weights is None and best.content_scale > 0:
            for name in self.features.rows:
                before = weights.get(name, 1.0)
                for weight in BLOCK_WEIGHTS:
                    tried = weights.get(name, 1.0)
                    weights[name] = weight
                    latest.clear()
                    current = kernel()
                    found = evaluate(best)
                    if found > value * (1 + _TOLERANCE):
                        value = found
                    else:
                        weights[name] = tried
                if weights[name] == before == 1.0:
                    del weights[name]
            latest.clear()
        return best, weights

    def _choose_ials(self, settings: RankerSettings) -> IalsSettings:
        def evaluate(candidate: IalsSettings) -> float:
            items = fit_ials(self.interactions, candidate, settings.seed)
            return self.users.ndcg(fold_in(self.known, items, candidate) @ items.T)

        # Penalties are found at a small rank, where a fit costs little; the rank comes last.
        start = settings.ials.model_copy(update={"rank": 32})
        return coordinate_search(start, IALS_GRIDS, evaluate, self.config.search_rounds)[0]

    def _choose_graph_filter(self, settings: RankerSettings) -> GraphSettings:
        dense = self.interactions.shape[1] <= settings.max_dense_items
        spectra: dict[float, Spectrum] = {}

        def evaluate(candidate: GraphSettings) -> float:
            if not dense:
                left, right = fit_low_rank_filter(self.interactions, candidate, settings.seed)
                return self.users.ndcg(np.asarray((self.known @ left) @ right))
            if candidate.item_exponent not in spectra:
                spectra.clear()
                spectra[candidate.item_exponent] = Spectrum.of(
                    self.interactions, candidate.item_exponent, max(GRAPH_RANKS), settings.seed
                )
            matrix = fit_graph_filter(self.interactions, candidate, settings.seed, spectra[candidate.item_exponent])
            return self.users.ndcg(np.asarray(self.known @ matrix))

        return coordinate_search(settings.graph_filter, GRAPH_GRIDS, evaluate, self.config.search_rounds + 1)[0]


def _choose_popularity(
    train: FitData, users: ValidationUsers, warm_items: Bools, fused_NW: Floats, settings: RankerSettings
) -> RankerSettings:
    """Half-life and the weight of popularity for users with history, by the sum over all users; then groups."""
    cold = np.flatnonzero(~users.has_history)
    warm = np.flatnonzero(users.has_history)
    warm_users, cold_users = users.rows(warm), users.rows(cold)
    personal = np.full((len(warm), len(train.item_ids)), -1e6, dtype=np.float32)
    personal[:, warm_items] = fused_NW

    chosen, best_value = settings.popularity, -1.0
    for half_life in half_life_candidates(train):
        tried = settings.popularity.model_copy(update={"half_life_days": half_life})
        model = PopularityModel.fit(train, settings.model_copy(update={"popularity": tried, "max_groups": 0}))
        cold_sum = float(cold_users.ndcg_by_user(_repeat(model.log_popularity, len(cold))).sum()) if len(cold) else 0.0
        for weight in WARM_POPULARITY:
            scores: Floats = personal + np.float32(weight) * model.log_popularity
            warm_sum = float(warm_users.ndcg_by_user(scores).sum()) if len(warm) else 0.0
            value = warm_sum + cold_sum
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


def _repeat(values_I: Floats, num_rows: int) -> Floats:
    return np.tile(values_I, (num_rows, 1))


def _through(fused_NW: Floats, basis_WV: Floats) -> Floats:
    users_NV: Floats = fused_NW @ basis_WV
    distilled: Floats = users_NV @ basis_WV.T
    return distilled
