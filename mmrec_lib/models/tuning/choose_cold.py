"""Choosing how items without interactions are ranked, on simulated ones.

Some items with interactions are hidden from a fit on train. Their contents predict their vectors; what users did with
them tells which penalty and block weights predict best, and which scale and shift let them compete with the others.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from mmrec_lib.evaluation.metrics import hit_lists, list_metrics
from mmrec_lib.models.config import ColdItemSettings, RankerSettings, TrainingConfig
from mmrec_lib.models.coordinate_search import coordinate_search
from mmrec_lib.models.data import Bools, Doubles, FitData, Floats, Histories, Interactions, history_rows, sampled_rows
from mmrec_lib.models.ranker.first_stage import distilled_basis, fit_first_stage, fit_sources
from mmrec_lib.models.ranker.fusion import fuse
from mmrec_lib.models.sources.cold_items import ColdItemModel, kernel_ridge, ridge_penalty
from mmrec_lib.models.sources.content import BlockKernels, ContentFeatures
from mmrec_lib.models.sources.popularity import PopularityModel
from mmrec_lib.models.tuning.validation import CUT_OFF, ValidationUsers, without
from mmrec_lib.topk.selection import NO_ITEM, TopItems, select_top

REGULARISERS = (0.03, 0.1, 0.3, 1.0, 3.0)
BLOCK_WEIGHTS = (0.0, 0.5, 2.0, 4.0)
SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0)
SHIFTS = (-8.0, -4.0, -2.0, -1.5, -1.0, -0.75, -0.5, -0.25, 0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)
_TOLERANCE = 1e-3
# Relative loss of nDCG that showing cold items may cost.
_FREE = 2e-3
_DEPTH = 20
# Interactions of the validation part on real cold items from which on they, not simulated ones, tell scale and shift.
_MIN_REAL_PAIRS = 100
_MIN_HIDDEN = 5


def choose_cold_items(
    train: FitData,
    valid: Interactions,
    *,
    users: ValidationUsers,
    features: ContentFeatures,
    settings: RankerSettings,
    config: TrainingConfig,
) -> RankerSettings:
    """Choose penalty and block weights, then scale and shift.

    Args:
        train: The training part.
        valid: The validation part.
        users: The users of the objective.
        features: Contents as unit rows.
        settings: All other settings, chosen before.
        config: Share of items to hide, bounds of the search, seed.
    """
    hidden = _hide(train, features, config)
    if hidden is None or not settings.fusion:
        return settings
    simulation = _Simulation.of(train, valid, hidden=hidden, features=features, settings=settings, config=config)
    if simulation is None:
        return settings
    ridge = simulation.choose_ridge(config).model_copy(update={"scale": 1.0, "shift": 0.0})
    settings = settings.model_copy(update={"cold_items": ridge})
    few_users = settings.with_max_users(config.max_search_fit_users)
    contest = _real_contest(train, valid, users, few_users) or simulation.contest(ridge)
    return settings if contest is None else settings.model_copy(update={"cold_items": _choose_scale(ridge, contest)})


@dataclass(frozen=True)
class _Contest:
    """The best items with and without interactions of each user, all that can reach the first ranks.

    Attributes:
        warm_top: Items with interactions, final scores.
        cold_top: Items without, scores before scale and shift.
        floor: Popularity part of the cold scores, which is not scaled.
        relevant: [n, I] what counts.
        cold: [I] items without interactions.
    """

    warm_top: TopItems
    cold_top: TopItems
    floor: float
    relevant: sparse.csr_matrix
    cold: Bools

    @classmethod
    def of(cls, scores: Floats, cold: Bools, *, cold_scores: Floats, floor: float, users: ValidationUsers) -> _Contest:
        """From scores [n, I], of which the cold columns do not matter, and scores [n, cold items]."""
        weights = users.histories.weights
        masked = scores.copy()
        masked[np.repeat(np.arange(len(users)), np.diff(weights.indptr)), weights.indices] = -np.inf
        masked[:, cold] = -np.inf
        top = select_top(np.ascontiguousarray(cold_scores), _DEPTH)
        columns = np.append(np.flatnonzero(cold), NO_ITEM).astype(np.int32)
        return cls(select_top(masked, _DEPTH), TopItems(columns[top.indices], top.scores), floor, users.relevant, cold)

    def outcome(self, scale: float, shift: float) -> Doubles:
        """[nDCG@10, hits on cold items in the first 20], summed over users, with this scale and shift of cold items."""
        cold_scores = self.cold_top.scores * np.float32(scale) + np.float32(shift + self.floor)
        scores = np.hstack([self.warm_top.scores, cold_scores])
        indices = np.hstack([self.warm_top.indices, self.cold_top.indices])
        order = np.argsort(-scores, axis=1, kind="stable")[:, :_DEPTH]
        ranked = np.take_along_axis(indices, order, axis=1)
        ndcg = list_metrics(ranked, self.relevant, (CUT_OFF,))[f"ndcg@{CUT_OFF}"].sum()
        return np.array([ndcg, (hit_lists(ranked, self.relevant) & self.cold[ranked]).sum()], dtype=np.float64)


def _choose_scale(start: ColdItemSettings, contest: _Contest) -> ColdItemSettings:
    """The scale and shift with most hits on cold items among those that keep nearly all of the best nDCG.

    New items are worth being shown as far as it costs nothing, so that the best nDCG is a bound here and not the aim.
    """
    pairs = [(start.scale, start.shift), *((scale, shift) for scale in SCALES for shift in SHIFTS)]
    outcomes = np.array([contest.outcome(scale, shift) for scale, shift in pairs])
    enough = outcomes[:, 0] >= outcomes[:, 0].max() * (1 - _FREE)
    scale, shift = pairs[int(np.argmax(np.where(enough, outcomes[:, 1], -1.0)))]
    return start.model_copy(update={"scale": scale, "shift": shift})


def _real_contest(
    train: FitData, valid: Interactions, users: ValidationUsers, settings: RankerSettings
) -> _Contest | None:
    """Items without interactions in train that the validation part holds; None where there are too few to tell.

    Items that neither part knows are no competitors: they may not have been in the store yet.
    """
    cold = (train.interactions.item_counts() == 0) & (
        np.bincount(valid.weights.indices, minlength=len(train.item_ids)) > 0
    )
    evaluated = users.rows(np.flatnonzero(users.has_history))
    if not len(evaluated) or evaluated.relevant[:, np.flatnonzero(cold)].nnz < _MIN_REAL_PAIRS:
        return None
    fitted = fit_first_stage(train, settings)
    scores = fitted.score(evaluated.histories)
    floor = settings.popularity.warm_weight * float(fitted.popularity.log_popularity[cold].max())
    cold_scores = scores[:, cold] - np.float32(floor)
    scores[:, ~fitted.warm] = -np.inf
    return _Contest.of(scores, cold, cold_scores=cold_scores, floor=floor, users=evaluated)


def _hide(train: FitData, features: ContentFeatures, config: TrainingConfig) -> Bools | None:
    """[I] a seeded share of the items that have interactions and content; None where they are too few."""
    eligible = np.flatnonzero((train.interactions.item_counts() > 0) & features.has_any({}))
    number = min(round(config.cold_item_share * len(eligible)), config.max_search_items)
    if number < _MIN_HIDDEN:
        return None
    hidden = np.zeros(len(train.item_ids), dtype=np.bool_)
    hidden[np.random.default_rng(config.seed).choice(eligible, number, replace=False)] = True
    return hidden


@dataclass(frozen=True, kw_only=True)
class _Simulation:
    """A fit without the hidden items, and the users who acted on hidden and other items.

    Attributes:
        warm: [I] items with interactions in the fit.
        hidden: [I] items that were hidden from it.
        features: Contents as unit rows.
        basis: [W, dim] distilled vectors of warm items.
        projected: [n, dim] distilled vectors of users.
        popularity: [I] popularity part of the scores.
        only_hidden: The users over hidden items: whatever they did with them in train or valid.
        among_all: The users over all items: what they did in valid.
        settings: All settings chosen so far.
    """

    warm: Bools
    hidden: Bools
    features: ContentFeatures
    basis: Floats
    projected: Floats
    popularity: Floats
    only_hidden: ValidationUsers
    among_all: ValidationUsers
    settings: RankerSettings

    @classmethod
    def of(
        cls,
        train: FitData,
        valid: Interactions,
        *,
        hidden: Bools,
        features: ContentFeatures,
        settings: RankerSettings,
        config: TrainingConfig,
    ) -> _Simulation | None:
        """Fit the sources on train without the hidden items; None where no user with history acted on them."""
        rest = train.with_interactions(train.interactions.without_items(hidden))
        warm = rest.interactions.item_counts() > 0
        x_UW = history_rows(rest.interactions.weights[:, np.flatnonzero(warm)], settings.weight_exponent)
        active = np.diff(x_UW.indptr) > 0
        if not active.any():
            return None
        fitted_on = sampled_rows(x_UW[active], config.max_search_fit_users, config.seed)
        sources = fit_sources(fitted_on, features, warm, settings)
        basis = distilled_basis(sources, fitted_on, settings)

        on_hidden = without((train.interactions + valid).weights, rest.interactions.weights)
        on_hidden = sparse.csr_matrix(on_hidden @ sparse.diags_array(hidden.astype(np.float32)))
        on_hidden.eliminate_zeros()
        in_valid = without(valid.weights, rest.interactions.weights)
        users = np.flatnonzero(active & ((np.diff(on_hidden.indptr) > 0) | (np.diff(in_valid.indptr) > 0)))
        limit = max(min(config.max_search_users, config.max_search_cells // len(hidden)), 1)
        if len(users) > limit:
            users = np.sort(np.random.default_rng(config.seed).choice(users, limit, replace=False))
        if not len(users):
            return None
        projected = np.vstack(
            [
                fuse(sources, settings.fusion, x_UW[users[start : start + settings.user_block]]) @ basis
                for start in range(0, len(users), settings.user_block)
            ]
        )
        histories = rest.histories().rows(users)
        popularity = PopularityModel.fit(rest, settings.model_copy(update={"max_groups": 0}))
        columns = np.flatnonzero(hidden)
        nothing = np.zeros(0, dtype=np.int64)
        no_history = sparse.csr_matrix(
            (nothing.astype(np.float32), (nothing, nothing)), shape=(len(users), len(columns)), dtype=np.float32
        )
        only_hidden = ValidationUsers(Histories(no_history), on_hidden[users][:, columns])
        return cls(
            warm=warm,
            hidden=hidden,
            features=features,
            basis=basis,
            projected=projected,
            popularity=popularity.log_popularity * np.float32(settings.popularity.warm_weight),
            only_hidden=only_hidden,
            among_all=ValidationUsers(histories, in_valid[users]),
            settings=settings,
        )

    def choose_ridge(self, config: TrainingConfig) -> ColdItemSettings:
        """Penalty and block weights by the ranking of hidden items among themselves, fitted on some of the others."""
        start = self.settings.cold_items
        evaluated = np.flatnonzero(np.diff(self.only_hidden.relevant.indptr) > 0)
        if not len(evaluated):
            return start
        users = self.only_hidden.rows(evaluated)
        projected = self.projected[evaluated]
        warm = np.flatnonzero(self.warm)
        number = min(config.max_search_items, len(warm))
        chosen = np.sort(np.random.default_rng(config.seed).choice(len(warm), number, replace=False))
        fitted = np.zeros_like(self.warm)
        fitted[warm[chosen]] = True
        within, across = (BlockKernels.of(self.features, items, fitted) for items in (fitted, self.hidden))
        mean = self.basis[chosen].mean(axis=0)

        def evaluate(candidate: ColdItemSettings) -> float:
            kernel, to_hidden = within.kernel(candidate.weights), across.kernel(candidate.weights)
            assert kernel is not None and to_hidden is not None
            penalty = ridge_penalty(candidate, self.features.weighted(candidate.weights))
            dual = kernel_ridge(kernel, penalty, self.basis[chosen] - mean)
            return users.ndcg(projected @ (to_hidden @ dual + mean).T)

        best, value = coordinate_search(start, {"regulariser": REGULARISERS}, evaluate)
        for name in self.features.rows:
            for weight in BLOCK_WEIGHTS:
                candidate = best.model_copy(update={"weights": {**best.weights, name: weight}})
                if not self.features.weighted(candidate.weights):
                    continue
                candidate_value = evaluate(candidate)
                if candidate_value > value * (1 + 3 * _TOLERANCE):
                    best, value = candidate, candidate_value
        return coordinate_search(best, {"regulariser": REGULARISERS}, evaluate)[0]

    def contest(self, ridge: ColdItemSettings) -> _Contest | None:
        """Hidden items against all others, by what users did in the validation part."""
        evaluated = np.flatnonzero(np.diff(self.among_all.relevant.indptr) > 0)
        if not len(evaluated):
            return None
        projected = self.projected[evaluated]
        scores = np.full((len(evaluated), len(self.warm)), -np.inf, dtype=np.float32)
        scores[:, self.warm] = projected @ self.basis.T
        scores += self.popularity
        predicted = projected @ self._predicted(ridge).T
        # Items that really have no interactions are neither: they stay at the bottom here.
        floor = float(self.popularity[self.hidden].max())
        return _Contest.of(
            scores, self.hidden, cold_scores=predicted, floor=floor, users=self.among_all.rows(evaluated)
        )

    def _predicted(self, ridge: ColdItemSettings) -> Floats:
        """Vectors of the hidden items by a fit on all others."""
        model = ColdItemModel.fit(self.features, self.warm, self.basis, ridge, self.settings.max_dense_items)
        rows = np.tile(model.mean, (int(self.hidden.sum()), 1))
        for name, coefficients in model.coefficients.items():
            rows += np.asarray(self.features.rows[name][self.hidden] @ coefficients)
        return rows
