"""Shares of the modalities in scores: Shapley values over the few modalities of a fit.

The players are the modalities, each with all its content blocks. The value of a coalition is what the parts of a score
that look at contents give when the contents of all other modalities are masked: sources with a content kernel are
fitted again with the coalition's kernel (closed forms, so this is exact), and the vector of an item without
interactions is predicted from the coalition's blocks. The rest of the ranker stays: weights, the deviation that a
user's scores are measured in, popularity, groups and distilled vectors. Each source's score counts beside its mean over
the user's unseen items, as in the fusion.

Shapley, "A Value for n-Person Games" (1953): the values add up to the value of all modalities less that of none, equal
players get equal values, and one that changes nothing gets 0. With m modalities 2^m coalitions are fitted, so this is
for a few users who ask why, not for all.

Shape letters: n users, K items of each, W items with interactions, M modalities.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np
from scipy import sparse

from mmrec_lib.errors import ModelError
from mmrec_lib.models.data import Content, FitData, Floats, Ints
from mmrec_lib.models.ranker.explanation import ProjectedUsers
from mmrec_lib.models.ranker.first_stage import content_features, fit_histories
from mmrec_lib.models.ranker.fusion import entry_rows, relative_weights
from mmrec_lib.models.ranker.ranker import FittedRanker
from mmrec_lib.models.sources.base import FitInputs, Source
from mmrec_lib.models.sources.content import BlockKernels, ContentFeatures, modality_of

MAX_MODALITIES = 8
_TOLERANCE = 1e-3

Coalition = frozenset[str]


@dataclass(frozen=True)
class ModalityShares:
    """Shares of modalities in users' scores.

    Attributes:
        shares: [n, K] float32 by modality.
        others: [n, K] float32 of all else: behaviour, popularity, groups, distillation. With the shares it adds up to
            the score of the first stage.
    """

    shares: Mapping[str, Floats]
    others: Floats


def modality_shares(
    data: FitData, ranker: FittedRanker, users: ProjectedUsers, items: Ints, max_modalities: int = MAX_MODALITIES
) -> ModalityShares:
    """Shares of the modalities in the scores of some items of each user.

    Args:
        data: What the ranker was fitted on.
        ranker: The ranker; of a second stage, which adds no score, nothing is told.
        users: n users, see `FittedRanker.project`.
        items: [n, K] positions of items in the catalogue, of which none is in the user's history.
        max_modalities: Modalities up to which the coalitions are fitted.

    Raises:
        ModelError: When there are more modalities, an item is in the history, or the ranker was fitted on other data.
    """
    coalition_values = CoalitionValues.of(data, ranker, users, np.asarray(items, dtype=np.int64))
    players = coalition_values.modalities
    if len(players) > max_modalities:
        raise ModelError(
            f"explanation: {len(players)} modalities make {2 ** len(players)} coalitions, {max_modalities} modalities "
            f"are allowed; leave some out with training.exclude_content ({', '.join(players)})"
        )
    values = {coalition: coalition_values.value(coalition) for coalition in coalitions(players)}
    by_source = ranker.shares(users, coalition_values.items)
    coalition_values.check(values[frozenset(players)], by_source)
    shares = shapley_values(players, values)
    score = np.sum(list(by_source.values()), axis=0, dtype=np.float64)
    others = score - np.sum([share.astype(np.float64) for share in shares.values()], axis=0)
    return ModalityShares(shares, others.astype(np.float32))


def coalitions(players: Sequence[str]) -> list[Coalition]:
    """All sets of players, the smallest first."""
    return [frozenset(some) for size in range(len(players) + 1) for some in combinations(players, size)]


def shapley_values(players: Sequence[str], values: Mapping[Coalition, Floats]) -> dict[str, Floats]:
    """Each player's mean gain over all orders in which the players may come, in float64 inside.

    Args:
        players: M players.
        values: Value of each of the 2^M coalitions, arrays of one shape.
    """
    count = len(players)
    found = {}
    for player in players:
        total = np.zeros_like(values[frozenset()], dtype=np.float64)
        for coalition in coalitions([other for other in players if other != player]):
            size = len(coalition)
            weight = math.factorial(size) * math.factorial(count - size - 1) / math.factorial(count)
            total += weight * (values[coalition | {player}].astype(np.float64) - values[coalition])
        found[player] = total.astype(np.float32)
    return found


@dataclass(frozen=True)
class CoalitionValues:
    """Values of coalitions of modalities for some items of some users; see `modality_shares`.

    Attributes:
        ranker: The ranker.
        contents: Contents of the catalogue.
        users: n users.
        items: [n, K] positions of items.
        features: The contents that the settings allow.
        histories: [U, W] what sources are fitted on.
    """

    ranker: FittedRanker
    contents: Mapping[str, Content]
    users: ProjectedUsers
    items: Ints
    features: ContentFeatures
    histories: sparse.csr_matrix

    @classmethod
    def of(cls, data: FitData, ranker: FittedRanker, users: ProjectedUsers, items: Ints) -> CoalitionValues:
        """Check that data, ranker and items fit together.

        Raises:
            ModelError: When they do not.
        """
        if not np.array_equal(np.asarray(data.item_ids, dtype=np.str_), ranker.item_ids):
            raise ModelError("explanation: the data have other items than the ranker's fit; train again")
        if not np.array_equal(data.interactions.item_counts() > 0, ranker.warm):
            raise ModelError("explanation: other items have interactions than at the ranker's fit; train again")
        rows = np.repeat(np.arange(len(users)), items.shape[1])
        if np.any(users.histories.weights[rows, items.ravel()] != 0):
            raise ModelError("explanation: an item to explain is in the user's history; explain items that are listed")
        features = content_features(data, ranker.settings)
        histories = fit_histories(data, ranker.warm, ranker.settings)
        return cls(ranker, data.contents, users, items, features, histories)

    @cached_property
    def _kernels(self) -> BlockKernels:
        return BlockKernels.of(self.features, self.ranker.warm, self.ranker.warm)

    @property
    def modalities(self) -> tuple[str, ...]:
        """Modalities with a block that has a weight in a source or for items without interactions."""
        settings = self.ranker.settings
        blocks: set[str] = set()
        if any(source.uses_content for source in self.ranker.sources.values()):
            blocks |= set(self.features.weighted(settings.content_weights))
        if self.ranker.cold_items is not None:
            blocks |= set(self.ranker.cold_items.transforms)
        return tuple(sorted({modality_of(block) for block in blocks}))

    def value(self, coalition: Coalition) -> Floats:
        """[n, K] what content has a part in, with the contents of all other modalities masked."""
        is_cold = ~self.ranker.warm[self.items]
        of_warm = self._of_sources(coalition) if not is_cold.all() else np.zeros(self.items.shape, np.float32)
        of_cold = self._of_cold_items(coalition) if is_cold.any() else np.zeros(self.items.shape, np.float32)
        value: Floats = np.where(is_cold, of_cold, of_warm)
        return value

    def check(self, whole: Floats, by_source: Mapping[str, Floats]) -> None:
        """Check that the value of all modalities is what the ranker's own parts with content give.

        Args:
            whole: [n, K] value of all modalities.
            by_source: See `FittedRanker.shares`.

        Raises:
            ModelError: When it is not: contents or interactions have changed since the fit.
        """
        with_content = [name for name, source in self.ranker.sources.items() if source.uses_content]
        own = np.zeros(whole.shape, dtype=np.float32)
        for name in with_content:
            own += by_source[name]
        own = np.where(self.ranker.warm[self.items], own, by_source["content"] - self.ranker.shift[self.items])
        if not np.allclose(whole, own, rtol=_TOLERANCE, atol=_TOLERANCE):
            most = float(np.abs(whole - own).max())
            raise ModelError(
                f"explanation: fitted again on these data the model gives other scores, by up to {most:.3g}: "
                "interactions or contents have changed since its fit; train again"
            )

    def _of_sources(self, coalition: Coalition) -> Floats:
        """Weighted scores of the sources with content, beside their mean over unseen items; 0 without history."""
        ranker, x_NW = self.ranker, self.users.known
        weights = relative_weights(ranker.sources, ranker.settings.fusion)
        column = np.maximum((np.cumsum(ranker.warm) - 1)[self.items], 0)
        has_history = np.diff(x_NW.indptr) > 0
        total = np.zeros(self.items.shape, dtype=np.float32)
        for name, source in ranker.sources.items():
            if source.uses_content:
                scores = self._refitted(source, coalition).score(x_NW)
                own = np.take_along_axis(scores, column, axis=1) - _unseen_mean(scores, x_NW)[:, None]
                total += own * (weights[name] / self.users.scales[name].deviation)[:, None]
        return np.where(has_history[:, None], total, np.float32(0))

    def _refitted(self, source: Source[Any], coalition: Coalition) -> Source[Any]:
        settings = self.ranker.settings
        masked = {name: 0.0 for name in self.features.rows if modality_of(name) not in coalition}
        kernel = self._kernels.kernel({**settings.content_weights, **masked})
        inputs = FitInputs(self.histories, kernel, settings.seed, settings.max_dense_items)
        return type(source).fit(inputs, settings.of(type(source)))

    def _of_cold_items(self, coalition: Coalition) -> Floats:
        """Product of the distilled vectors, the item's predicted from the coalition's blocks."""
        model, dim = self.ranker.cold_items, self.ranker.distilled.shape[1]
        if model is None:
            return np.zeros(self.items.shape, dtype=np.float32)
        places, back = np.unique(self.items, return_inverse=True)
        own = {
            name: Content(name, content.kind, content.matrix[places], content.has[places], content.tokens)
            for name, content in self.contents.items()
            if modality_of(name) in coalition
        }
        vectors = model.vectors(own, len(places))[back.reshape(self.items.shape)]
        value: Floats = np.einsum("nd,nkd->nk", self.users.vectors[:, :dim], vectors)
        return value


def _unseen_mean(scores_NW: Floats, x_NW: sparse.csr_matrix) -> Floats:
    """[n] mean score of each user's unseen items."""
    rows = entry_rows(x_NW)
    seen = np.bincount(rows, scores_NW[rows, x_NW.indices], len(scores_NW))
    count = np.maximum(scores_NW.shape[1] - np.diff(x_NW.indptr), 1)
    mean: Floats = ((scores_NW.sum(axis=1, dtype=np.float64) - seen) / count).astype(np.float32)
    return mean
