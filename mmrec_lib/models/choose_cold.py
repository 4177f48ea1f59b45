"""Choosing how items without interactions are ranked, on simulated ones.

Some items with interactions are hidden from a fit on train. Their contents predict their vectors; what users did with them
tells which penalty and block weights predict best, and which scale and shift let them compete with the others.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from mmrec_lib.models.cold_items import ColdItemModel
from mmrec_lib.models.config import ColdItemSettings, RankerSettings, TrainingConfig
from mmrec_lib.models.content import ContentFeatures
from mmrec_lib.models.data import Bools, FitData, Floats, Histories, Interactions
from mmrec_lib.models.fusion import fuse
from mmrec_lib.models.popularity import PopularityModel
from mmrec_lib.models.ranker import as_binary, distilled_basis, fit_ranker, fit_sources
from mmrec_lib.models.search import climb
from mmrec_lib.models.validation import ValidationUsers, without

REGULARISERS = (0.03, 0.1, 0.3, 1.0, 3.0)
BLOCK_WEIGHTS = (0.0, 0.5, 2.0, 4.0)
SCALES = (0.0, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0)
SHIFTS = (-8.0, -4.0, -2.0, -1.0, -0.5, -0.25, 0.0, 0.25, 0.5, 1.0, 2.0)
PENALTIES = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)
_TOLERANCE = 1e-3
_MIN_HIDDEN = 5


def choose_cold_items(
    train: FitData,
    valid: Interactions,
    users: ValidationUsers,
    features: ContentFeatures,
    settings: RankerSettings,
    config: TrainingConfig,
) -> RankerSettings:
    """Choose penalty, block weights, scale and shift; then a penalty if real new items of valid deserve less.

    Args:
        train: The training part.
        valid: The validation part.
        users: The users of the objective.
        features: Contents as unit rows.
        settings: All other settings, chosen before.
        config: Share of items to hide, seed.
    """
    hidden = _hide(train, features, config)
    if hidden is None or not settings.fusion:
        return settings
    simulation = _Simulation.of(train, valid, hidden, features, settings, config)
    if simulation is None:
        return settings
    chosen = simulation.choose_scale(simulation.choose_ridge(settings.cold_items))
    settings = settings.model_copy(update={"cold_items": chosen})
    return _choose_penalty(train, users, settings)


def _hide(train: FitData, features: ContentFeatures, config: TrainingConfig) -> Bools | None:
    """[I] a seeded share of the items that have interactions and content."""
    eligible = np.flatnonzero((train.interactions.item_counts() > 0) & features.has_any({}))
    number = int(round(config.cold_item_share * len(eligible)))
    if number < _MIN_HIDDEN:
        return None
    hidden = np.zeros(len(train.item_ids), dtype=np.bool_)
    hidden[np.random.default_rng(config.seed).choice(eligible, number, replace=False)] = True
    return hidden


class _Simulation:
    """A fit without the hidden items, and the users who acted on hidden and other items."""

    def __init__(
        self,
        warm: Bools,
        hidden: Bools,
        features: ContentFeatures,
        basis: Floats,
        projected: Floats,
        popularity: Floats,
        only_hidden: ValidationUsers,
        among_all: ValidationUsers,
        settings: RankerSettings,
    ) -> None:
        self._warm = warm
        self._hidden = hidden
        self._features = features
        self._basis = basis
        self._projected = projected
        self._popularity = popularity
        self._only_hidden = only_hidden
        self._among_all = among_all
        self._settings = settings

    @classmethod
    def of(
        cls,
        train: FitData,
        valid: Interactions,
        hidden: Bools,
        features: ContentFeatures,
        settings: RankerSettings,
        config: TrainingConfig,
    ) -> _Simulation | None:
        """Fit the sources on train without the hidden items; None where no user with history acted on them."""
        rest = train.with_interactions(train.interactions.without_items(hidden))
        warm = rest.interactions.item_counts() > 0
        x_UW = as_binary(rest.interactions.weights[:, np.flatnonzero(warm)])
        active = np.diff(x_UW.indptr) > 0
        if not active.any():
            return None
        sources = fit_sources(x_UW[active], features, warm, settings)
        basis = distilled_basis(sources, x_UW[active], settings)

        everything = as_binary((train.interactions + valid).weights)
        on_hidden = without(everything, as_binary(rest.interactions.weights))
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
        only_hidden = ValidationUsers(
            Histories(sparse.csr_matrix((len(users), len(columns)), dtype=np.float32)), on_hidden[users][:, columns]
        )
        return cls(
            warm,
            hidden,
            features,
            basis,
            projected,
            popularity.log_popularity * np.float32(settings.popularity.warm_weight),
            only_hidden,
            ValidationUsers(histories, in_valid[users]),
            settings,
        )

    def choose_ridge(self, start: ColdItemSettings) -> ColdItemSettings:
        """Penalty and block weights by the ranking of hidden items among themselves."""
        judged = np.flatnonzero(np.diff(self._only_hidden.relevant.indptr) > 0)
        if not len(judged):
            return start
        users = self._only_hidden.rows(judged)
        projected = self._projected[judged]

        def evaluate(candidate: ColdItemSettings) -> float:
            return users.ndcg(projected @ self._predicted(candidate, self._hidden).T)

        best, value = climb(start, {"regulariser": REGULARISERS}, evaluate)
        for name in self._features.rows:
            for weight in BLOCK_WEIGHTS:
                candidate = best.model_copy(update={"weights": {**best.weights, name: weight}})
                if not self._features.weighted(candidate.weights):
                    continue
                found = evaluate(candidate)
                if found > value * (1 + 3 * _TOLERANCE):
                    best, value = candidate, found
        return climb(best, {"regulariser": REGULARISERS}, evaluate)[0]

    def choose_scale(self, start: ColdItemSettings) -> ColdItemSettings:
        """Scale and shift by the ranking of everything: hidden items compete with the others in the validation part."""
        judged = np.flatnonzero(np.diff(self._among_all.relevant.indptr) > 0)
        if not len(judged):
            return start
        users = self._among_all.rows(judged)
        projected = self._projected[judged]
        warm_scores = np.full((len(judged), len(self._warm)), -1e6, dtype=np.float32)
        warm_scores[:, self._warm] = projected @ self._basis.T
        warm_scores += self._popularity
        plain = start.model_copy(update={"scale": 1.0, "shift": 0.0})
        predicted = projected @ self._predicted(plain, self._hidden).T
        floor = self._popularity[self._hidden]

        def evaluate(candidate: ColdItemSettings) -> float:
            scores = warm_scores.copy()
            scores[:, self._hidden] = predicted * np.float32(candidate.scale) + np.float32(candidate.shift) + floor
            return users.ndcg(scores)

        return climb(plain, {"shift": SHIFTS, "scale": SCALES}, evaluate, rounds=3, tolerance=0.0)[0]

    def _predicted(self, candidate: ColdItemSettings, wanted: Bools) -> Floats:
        model = ColdItemModel.fit(
            self._features, self._warm, self._basis, candidate, self._settings.max_dense_items
        )
        rows = np.tile(model.mean, (int(wanted.sum()), 1))
        for name, coefficients in model.coefficients.items():
            rows += np.asarray(self._features.rows[name][wanted] @ coefficients)
        return rows


def _choose_penalty(train: FitData, users: ValidationUsers, settings: RankerSettings) -> RankerSettings:
    """Lower the shift where the real items without interactions do worse in the validation part than simulated ones."""
    cold = train.interactions.item_counts() == 0
    if not cold.any() or not len(users):
        return settings
    scores = fit_ranker(train, settings).score(users.histories)
    best, best_value = 0.0, -1.0
    for penalty in PENALTIES:
        shifted = scores.copy()
        shifted[:, cold] -= np.float32(penalty)
        value = users.ndcg(shifted)
        if value > best_value * (1 + _TOLERANCE):
            best, best_value = penalty, value
    chosen = settings.cold_items.model_copy(update={"shift": settings.cold_items.shift - best})
    return settings.model_copy(update={"cold_items": chosen})
