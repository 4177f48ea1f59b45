"""Rankers without one part, fitted on train: a source, or a modality of the contents.

Their difference to the whole ranker is what the part adds to all others, not what it can do alone: two sources that say
the same cost nothing one by one. The other parts take over as well as they can: weights in the fusion are chosen again
on the validation part. All of it is about the first stage.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import sparse

from mmrec_lib.evaluation.rows import WITHOUT_MODALITY, WITHOUT_SOURCE
from mmrec_lib.models.config import RankerSettings, TrainingConfig
from mmrec_lib.models.data import Bools, FitData, Floats, Interactions, history_rows
from mmrec_lib.models.ranker.first_stage import content_features, fit_first_stage, fit_histories, fit_sources
from mmrec_lib.models.ranker.fusion import standardise
from mmrec_lib.models.ranker.ranker import FittedRanker
from mmrec_lib.models.sources.base import Source
from mmrec_lib.models.sources.content import modality_of
from mmrec_lib.models.tuning.fusion_weights import fusion_weights
from mmrec_lib.models.tuning.validation import ValidationUsers

POPULARITY, DEMOGRAPHICS = "popularity", "demographics"


def ablated_rankers(train: FitData, valid: Interactions, ranker: FittedRanker) -> dict[str, FittedRanker]:
    """The ranker's first stage without each of its parts, by `WITHOUT_SOURCE` or `WITHOUT_MODALITY` and part.

    What has weight 0 is no part.

    Without popularity users with history lose it; those without keep it, as they have little else.

    Args:
        train: What the ranker was fitted on.
        valid: [U, I] the validation part, which fusion weights are chosen on.
        ranker: The whole ranker.
    """
    whole = replace(ranker, second_stage=None)
    found = {}
    stage = _Stage.of(train, valid, whole)
    for name in whole.sources if len(whole.sources) > 1 else ():
        kept = {other: source for other, source in whole.sources.items() if other != name}
        found[f"{WITHOUT_SOURCE}{name}"] = stage.fitted(whole.settings, kept)
    for name, settings in _without_popularity(whole):
        found[f"{WITHOUT_SOURCE}{name}"] = replace(whole, settings=settings)
    for modality, blocks in sorted(used_modalities(train, whole.settings).items()):
        excluded = tuple(sorted({*whole.settings.exclude_content, *blocks}))
        settings = whole.settings.model_copy(update={"exclude_content": excluded})
        found[f"{WITHOUT_MODALITY}{modality}"] = stage.fitted(settings, stage.sources(settings))
    return found


def used_modalities(data: FitData, settings: RankerSettings) -> dict[str, list[str]]:
    """Content blocks that a fit gives a weight above 0, by modality."""
    features = content_features(data, settings)
    found: dict[str, list[str]] = {}
    for name in {**features.weighted(settings.content_weights), **features.weighted(settings.cold_items.weights)}:
        found.setdefault(modality_of(name), []).append(name)
    return found


def _without_popularity(ranker: FittedRanker) -> Iterator[tuple[str, RankerSettings]]:
    """Settings without popularity for users with history, and without groups, where they have a weight."""
    chosen = ranker.settings.popularity
    without = {}
    if chosen.warm_weight > 0:
        without[POPULARITY] = {"warm_weight": 0.0}
    if ranker.popularity.groups and (chosen.group_weight > 0 or chosen.warm_group_weight > 0):
        without[DEMOGRAPHICS] = {"group_weight": 0.0, "warm_group_weight": 0.0}
    for name, update in without.items():
        yield name, ranker.settings.model_copy(update={"popularity": chosen.model_copy(update=update)})


@dataclass(frozen=True)
class _Stage:
    """Data that all ablations share.

    Attributes:
        train: What is fitted on.
        ranker: The whole ranker.
        warm: [I] items with interactions.
        histories: [U, W] what sources are fitted on.
        users: Users with history of the validation part, over the W items.
        known: [n, W] their histories.
    """

    train: FitData
    ranker: FittedRanker
    warm: Bools
    histories: sparse.csr_matrix
    users: ValidationUsers
    known: sparse.csr_matrix

    @classmethod
    def of(cls, train: FitData, valid: Interactions, ranker: FittedRanker) -> _Stage:
        # Bounds of the search as they are by default: users are a sample where there are many.
        users = ValidationUsers.of(train, valid, TrainingConfig(seed=ranker.settings.seed))
        users = users.rows(np.flatnonzero(users.has_history)).columns(ranker.warm)
        known = history_rows(users.histories.weights, ranker.settings.weight_exponent)
        return cls(train, ranker, ranker.warm, fit_histories(train, ranker.warm, ranker.settings), users, known)

    def sources(self, settings: RankerSettings) -> dict[str, Source[Any]]:
        """The sources with other content; those that see none are the ranker's."""
        same = {name: source for name, source in self.ranker.sources.items() if not source.uses_content}
        return fit_sources(self.histories, content_features(self.train, settings), self.warm, settings, same)

    def fitted(self, settings: RankerSettings, sources: Mapping[str, Source[Any]]) -> FittedRanker:
        """The first stage of these sources, with fusion weights of their own."""
        weights = {name: settings.fusion[name] for name in sources}
        if len(self.users) and len(sources) > 1:
            shares: dict[str, Floats] = {
                name: standardise(source.score(self.known), self.known)[0] for name, source in sources.items()
            }
            chosen = fusion_weights(shares, self.users, settings.seed)
            weights = {name: weight for name, weight in chosen.items() if weight}
        return fit_first_stage(self.train, settings.model_copy(update={"fusion": weights}), known=sources)
