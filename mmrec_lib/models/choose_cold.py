"""Choosing how items without interactions are ranked, on simulated ones.

Some items with interactions are hidden from a fit on train. Their contents predict their vectors; what users did with them
tells which penalty and block weights predict best, and which scale and shift let them compete with the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from mmrec_lib.evaluation.metrics import list_metrics
from mmrec_lib.models.cold_items import ColdItemModel
from mmrec_lib.models.config import ColdItemSettings, RankerSettings, TrainingConfig
from mmrec_lib.models.content import ContentFeatures
from mmrec_lib.models.data import Bools, FitData, Floats, Histories, Interactions
from mmrec_lib.models.fusion import fuse
from mmrec_lib.models.popularity import PopularityModel
from mmrec_lib.models.ranker import as_binary, distilled_basis, fit_ranker, fit_sources
from mmrec_lib.models.search import climb
from mmrec_lib.models.validation import CUT_OFF, ValidationUsers, without
from mmrec_lib.topk.selection import NO_ITEM, TopItems, select_top

REGULARISERS = (0.03, 0.1, 0.3, 1.0, 3.0)
BLOCK_WEIGHTS = (0.0, 0.5, 2.0, 4.0)
SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0)
SHIFTS = (-8.0, -4.0, -2.0, -1.5, -1.0, -0.75, -0.5, -0.25, 0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)
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
    """Choose penalty and block weights, then scale and shift.

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
    ridge = simulation.choose_ridge(settings.cold_items).model_copy(update={"scale": 1.0, "shift": 0.0})
    settings = settings.model_copy(update={"cold_items": ridge})
    contests = [simulation.contest(ridge), _real_contest(train, users, settings)]
    return settings.model_copy(update={"cold_items": _choose_scale(ridge, [c for c in contests if c is not None])})


@dataclass(frozen=True)
class _Contest:
    """The best items with and without interactions of each user, all that can reach the first ranks.

    Attributes:
        warm_top: Items with interactions, final scores.
        cold_top: Items without, scores before scale and shift.
        floor: Popularity part of the cold scores, which is not scaled.
        relevant: [n, I] what counts.
    """

    warm_top: TopItems
    cold_top: TopItems
    floor: float
    relevant: sparse.csr_matrix

    @classmethod
    def of(
        cls, scores: Floats, cold: Bools, cold_scores: Floats, floor: float, users: ValidationUsers
    ) -> _Contest:
        """From scores [n, I], of which the cold columns do not matter, and scores [n, cold items]."""
        weights = users.histories.weights
        masked = scores.copy()
        masked[np.repeat(np.arange(len(users)), np.diff(weights.indptr)), weights.indices] = -np.inf
        masked[:, cold] = -np.inf
        top = select_top(np.ascontiguousarray(cold_scores), CUT_OFF)
        columns = np.append(np.flatnonzero(cold), NO_ITEM).astype(np.int32)
        return cls(select_top(masked, CUT_OFF), TopItems(columns[top.indices], top.scores), floor, users.relevant)

    def ndcg_sum(self, scale: float, shift: float) -> float:
        """Sum over users of nDCG@10 when cold items compete with this scale and shift."""
        cold_scores = self.cold_top.scores * np.float32(scale) + np.float32(shift + self.floor)
        scores = np.hstack([self.warm_top.scores, cold_scores])
        indices = np.hstack([self.warm_top.indices, self.cold_top.indices])
        order = np.argsort(-scores, axis=1, kind="stable")[:, :CUT_OFF]
        ranked = np.take_along_axis(indices, order, axis=1)
        return float(list_metrics(ranked, self.relevant, (CUT_OFF,))[f"ndcg@{CUT_OFF}"].sum())


def _choose_scale(start: ColdItemSettings, contests: Sequence[_Contest]) -> ColdItemSettings:
    """Scale and shift by the ranking of everything, summed over simulated and real items without interactions."""
    best, best_value = start, sum(contest.ndcg_sum(start.scale, start.shift) for contest in contests)
    for scale in SCALES:
        for shift in SHIFTS:
            value = sum(contest.ndcg_sum(scale, shift) for contest in contests)
            if value > best_value:
                best, best_value = start.model_copy(update={"scale": scale, "shift": shift}), value
    return best


def _real_contest(train: FitData, users: ValidationUsers, settings: RankerSettings) -> _Contest | None:
    """Items without interactions in train that the validation part may hold; None where there are none."""
    cold = train.interactions.item_counts() == 0
    judged = users.rows(np.flatnonzero(users.has_history))
    if not cold.any() or not len(judged):
        return None
    fitted = fit_ranker(train, settings)
    scores = fitted.score(judged.histories)
    floor = settings.popularity.warm_weight * float(fitted.popularity.log_popularity[cold].max())
    return _Contest.of(scores, cold, scores[:, cold] - np.float32(floor), floor, judged)


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

    def contest(self, ridge: ColdItemSettings) -> _Contest | None:
        """Hidden items against all others, by what users did in the validation part."""
        judged = np.flatnonzero(np.diff(self._among_all.relevant.indptr) > 0)
        if not len(judged):
            return None
        projected = self._projected[judged]
        scores = np.full((len(judged), len(self._warm)), -1e6, dtype=np.float32)
        scores[:, self._warm] = projected @ self._basis.T
        scores += self._popularity
        predicted = projected @ self._predicted(ridge, self._hidden).T
        # Items that really have no interactions are neither: they stay at the bottom here.
        floor = float(self._popularity[self._hidden].max())
        return _Contest.of(scores, self._hidden, predicted, floor, self._among_all.rows(judged))

    def _predicted(self, candidate: ColdItemSettings, wanted: Bools) -> Floats:
        model = ColdItemModel.fit(
            self._features, self._warm, self._basis, candidate, self._settings.max_dense_items
        )
        rows = np.tile(model.mean, (int(wanted.sum()), 1))
        for name, coefficients in model.coefficients.items():
            rows += np.asarray(self._features.rows[name][wanted] @ coefficients)
        return rows

