"""From candidates to lists: the second stage, then the choice place by place, then the slots of new items."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from mmrec_lib.errors import ModelError
from mmrec_lib.reranking.config import RerankingConfig
from mmrec_lib.reranking.exploration import explore
from mmrec_lib.reranking.facts import NO_ITEM, Candidates, ItemFacts, RerankedLists, UserFacts, check_block
from mmrec_lib.reranking.second_stage import ContentSimilarity, SecondStage, rescored, scaled_scores

if TYPE_CHECKING:
    from mmrec_lib.reranking.calibration import CategoryPatterns
    from mmrec_lib.reranking.greedy_kernels import Quotas

# Fewer users do not pay for a thread.
_USERS_A_THREAD = 64


class Reranker(Protocol):
    """Anything that turns candidates into lists."""

    def __call__(self, candidates: Candidates, items: ItemFacts, users: UserFacts, k: int) -> RerankedLists:
        """Lists of k items; see `RerankedLists`."""
        ...


def build_reranker(
    config: RerankingConfig, *, second_stage: SecondStage | None = None, num_threads: int | None = None
) -> Reranker | None:
    """The steps that a configuration switches on; None where there are none.

    Args:
        config: Steps and strengths.
        second_stage: A model in place of the configured second stage.
        num_threads: Threads of the choice, each with users of its own; as many as BLAS would use where not given. The
            lists are the same.
    """
    if not config.is_on and second_stage is None:
        return None
    if second_stage is None and config.second_stage is not None:
        second_stage = ContentSimilarity(config.second_stage.weight)
    return _Chain(config, second_stage, num_threads)


@dataclass(frozen=True)
class _Prepared:
    """Arrays of the items for the choice, made once.

    Attributes:
        items: The facts that it was made from.
        vectors: [I, d]; empty where diversity is off.
        duplicate_group: [I]; empty where duplicates may be shown.
        quotas: Labels of the items.
        patterns: Sets of categories; None where calibration is off.
    """

    items: ItemFacts
    vectors: NDArray[np.float32]
    duplicate_group: NDArray[np.int32]
    quotas: Quotas
    patterns: CategoryPatterns | None


class _Chain:
    """The steps in their order."""

    def __init__(self, config: RerankingConfig, second_stage: SecondStage | None, num_threads: int | None) -> None:
        self._config, self._second_stage, self._num_threads = config, second_stage, num_threads
        self._prepared: _Prepared | None = None

    def __call__(self, candidates: Candidates, items: ItemFacts, users: UserFacts, k: int) -> RerankedLists:
        """Lists of k items."""
        check_block(candidates, items, users, k)
        if self._second_stage is not None:
            candidates = rescored(candidates, self._second_stage.scores(candidates, items, users))
        places = self._places(candidates, items, users, k) if self._config.selects else None
        lists = _cut(candidates, k) if places is None else _at_places(candidates, places)
        if self._config.exploration is None:
            return lists
        pool = candidates if users.new_items is None else users.new_items
        if self._second_stage is not None and users.new_items is not None:
            pool = rescored(pool, self._second_stage.scores(pool, items, users))
        return explore(lists, pool, items, users.seeds, self._config.exploration)

    def _places(self, candidates: Candidates, items: ItemFacts, users: UserFacts, k: int) -> NDArray[np.int32]:
        """[n, k] positions among the candidates."""
        from mmrec_lib.reranking.calibration import no_tastes
        from mmrec_lib.reranking.greedy_kernels import DPP, MMR, NO_DIVERSITY, Objective, select_greedily
        from mmrec_lib.topk.threads import usable_threads

        config, prepared = self._config, self._prepare(items)
        diversity, calibration = config.diversity_strength, config.calibration_strength
        kind = NO_DIVERSITY if config.diversity is None else MMR if config.diversity.kind == "mmr" else DPP
        objective = Objective(1.0 - diversity - calibration, diversity, calibration, kind)
        tastes = no_tastes()
        if prepared.patterns is not None and config.calibration is not None:
            tastes = prepared.patterns.tastes(users.history, config.calibration.smoothing)
        relevance = _relevance(candidates, config.relevance)
        places = np.empty((len(candidates), k), np.int32)
        chosen_from = np.ascontiguousarray(candidates.indices, dtype=np.int32)

        def select(start: int, end: int) -> None:
            select_greedily(
                chosen_from[start:end],
                relevance[start:end],
                objective,
                prepared.vectors,
                prepared.duplicate_group,
                prepared.quotas,
                tastes,
                start,
                places[start:end],
            )

        threads = usable_threads() if self._num_threads is None else self._num_threads
        size = max(_USERS_A_THREAD, -(-len(candidates) // threads))
        starts = range(0, len(candidates), size)
        if len(starts) <= 1:
            select(0, len(candidates))
        else:
            with ThreadPoolExecutor(len(starts)) as pool:
                list(pool.map(lambda start: select(start, min(start + size, len(candidates))), starts))
        return places

    def _prepare(self, items: ItemFacts) -> _Prepared:
        from mmrec_lib.reranking.calibration import CategoryPatterns
        from mmrec_lib.reranking.quotas import label_items

        if self._prepared is not None and self._prepared.items is items:
            return self._prepared
        config = self._config
        vectors = np.zeros((0, 0), np.float32)
        if config.diversity is not None:
            if items.vectors is None:
                raise ModelError(f"diversity {config.diversity.kind}: items have no content vectors; switch it off")
            vectors = np.ascontiguousarray(items.vectors)
        prepared = _Prepared(
            items=items,
            vectors=vectors,
            duplicate_group=np.zeros(0, np.int32) if config.duplicates is None else items.duplicate_group,
            quotas=label_items(config.quotas, items, fill=config.fill),
            patterns=None if config.calibration is None else CategoryPatterns.of(items),
        )
        self._prepared = prepared
        return prepared


def _relevance(candidates: Candidates, scale: str) -> NDArray[np.float64]:
    """[n, c] what a candidate is worth on its own, not ascending; 0 beside -1."""
    is_item = candidates.indices >= 0
    if scale == "minmax":
        return scaled_scores(candidates)
    if scale == "score":
        return np.where(is_item, candidates.scores, 0.0).astype(np.float64)
    last_N1 = np.maximum(candidates.counts - 1, 1)[:, None]
    return np.where(is_item, 1.0 - np.arange(candidates.indices.shape[1])[None, :] / last_N1, 0.0)


def _cut(candidates: Candidates, k: int) -> RerankedLists:
    """The first k candidates."""
    missing = max(0, k - candidates.indices.shape[1])
    indices = np.pad(candidates.indices[:, :k], ((0, 0), (0, missing)), constant_values=NO_ITEM)
    scores = np.pad(candidates.scores[:, :k], ((0, 0), (0, missing)), constant_values=-np.inf)
    return RerankedLists(indices=indices.astype(np.int32), scores=scores.astype(np.float32))


def _at_places(candidates: Candidates, places: NDArray[np.int32]) -> RerankedLists:
    """The candidates of the chosen places."""
    if candidates.indices.shape[1] == 0:
        return _cut(candidates, places.shape[1])
    is_chosen, at = places >= 0, np.maximum(places, 0)
    indices = np.where(is_chosen, np.take_along_axis(candidates.indices, at, axis=1), np.int32(NO_ITEM))
    scores = np.where(is_chosen, np.take_along_axis(candidates.scores, at, axis=1), np.float32(-np.inf))
    return RerankedLists(indices=indices.astype(np.int32), scores=scores.astype(np.float32))
