"""Fitting the second stage: a network on what users turned to in windows that a first stage has not seen.

Each window has a first stage of its own, fitted on the rest of the data, so that the network learns from candidates and
scores as it will meet them, and never from what the first stage was fitted on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy import sparse

from mmrec_lib.errors import ModelError
from mmrec_lib.evaluation.metrics import hit_lists
from mmrec_lib.evaluation.rankings import without_seen
from mmrec_lib.models.config import RankerSettings
from mmrec_lib.models.data import FitData, Interactions, Ints
from mmrec_lib.models.ranker.explanation import explained_blocks
from mmrec_lib.models.ranker.first_stage import content_features, fit_first_stage
from mmrec_lib.models.ranker.ranker import FittedRanker
from mmrec_lib.models.second_stage.inputs import CandidateInputs, Examples, candidate_inputs, movable_items
from mmrec_lib.models.second_stage.learn_signals import learn_signals
from mmrec_lib.models.second_stage.model import SecondStage
from mmrec_lib.models.second_stage.signals import ItemSignals
from mmrec_lib.models.second_stage_settings import SecondStageSettings
from mmrec_lib.models.sources.registry import source_type


@dataclass(frozen=True)
class WindowExamples:
    """Examples of a window, with what a metric and a fitted second stage need besides.

    Attributes:
        examples: n users with history and with something relevant.
        users: [n] which users.
        num_relevant: [n] relevant items of each, also those that are no candidates.
        sources: Names of the shares of the first stage's score.
        signals: Signals of the items before the window.
    """

    examples: Examples
    users: Ints
    num_relevant: Ints
    sources: tuple[str, ...]
    signals: ItemSignals

    @property
    def has_hits(self) -> bool:
        """True where a user turned to a candidate that the network orders."""
        return bool((self.examples.relevant & self.examples.inputs.is_item).any())


def fit_second_stage(data: FitData, settings: RankerSettings) -> SecondStage | None:
    """Fit the second stage on windows of the data; None where no window has a candidate that a user turned to.

    Args:
        data: What to fit on.
        settings: Settings with a second stage.
    """
    return fit_on_windows(data, settings, window_examples(data, settings))


def fit_on_windows(data: FitData, settings: RankerSettings, windows: Sequence[WindowExamples]) -> SecondStage | None:
    """Fit the second stage for a fit on this data from examples that are there already; None without any."""
    # Torch takes seconds to import, which a run that trains nothing does not spend.
    from mmrec_lib.models.second_stage.train import train_network

    chosen = _of(settings)
    if not any(window.has_hits for window in windows):
        return None
    signals = learn_signals(data, content_features(data, settings), chosen.content_dim, settings.seed)
    losses: list[float] = []
    sources = windows[0].sources
    parts = [window.examples for window in windows]
    network = train_network(parts, signals.blocks, len(sources), chosen, settings.seed, on_epoch=losses.append)
    return SecondStage(sources, signals, network, chosen.num_candidates, chosen.history_length, tuple(losses))


def window_examples(data: FitData, settings: RankerSettings) -> list[WindowExamples]:
    """Examples of each window of the data, the latest first; windows in which no candidate was turned to are left out.

    Raises:
        ModelError: When the settings do not say how windows are cut.
    """
    # The sources of the whole fit: a window's smaller catalogue would allow others.
    num_items = int((data.interactions.item_counts() > 0).sum())
    fusion = {
        name: weight
        for name, weight in settings.fusion.items()
        if source_type(name).is_possible(num_items, settings.max_dense_items)
    }
    first_stage = settings.model_copy(update={"second_stage": None, "fusion": fusion})
    windows = _windows(data.interactions, _of(settings), settings.seed)
    found = [_examples(data.with_interactions(before), after, first_stage, settings) for before, after in windows]
    return [window for window in found if window is not None and window.has_hits]


def _examples(
    rest: FitData, after: Interactions, first_stage: RankerSettings, settings: RankerSettings
) -> WindowExamples | None:
    """Examples of one window; its first stage goes with the call."""
    if not rest.interactions.weights.nnz or not after.weights.nnz:
        return None
    return examples_of(rest, fit_first_stage(rest, first_stage), after.weights, settings)


def examples_of(
    data: FitData, ranker: FittedRanker, later: sparse.csr_matrix, settings: RankerSettings
) -> WindowExamples | None:
    """Examples from a first stage and what users turned to later; None where nobody with history found anything.

    Args:
        data: What the first stage was fitted on.
        ranker: The first stage.
        later: [U, I] an entry for what users turned to after, or apart from, the data.
        settings: Settings with a second stage.
    """
    chosen = _of(settings)
    relevant = without_seen(later, data.interactions.weights)
    has_history = np.diff(data.interactions.weights.indptr) > 0
    users = np.flatnonzero((np.diff(relevant.indptr) > 0) & has_history)
    if len(users) > chosen.max_users:
        users = np.sort(np.random.default_rng(settings.seed).choice(users, chosen.max_users, replace=False))
    if not len(users):
        return None
    signals = learn_signals(data, content_features(data, settings), chosen.content_dim, settings.seed)
    parts, hits = [], []
    sources: tuple[str, ...] = ()
    lengths = np.diff(data.interactions.weights.indptr)[users]
    for rows in explained_blocks(lengths, chosen.num_candidates):
        histories = data.histories().rows(users[rows])
        projected = ranker.project(histories)
        top = ranker.candidates(projected, chosen.num_candidates)
        shares = ranker.shares(projected, np.maximum(top.indices, 0))
        sources = tuple(shares)
        movable = movable_items(signals, top.indices)
        parts.append(candidate_inputs(signals, histories, movable, shares, chosen.history_length))
        hits.append(hit_lists(top.indices, relevant[users[rows]]))
    examples = Examples(CandidateInputs.joined(parts), np.concatenate(hits))
    return WindowExamples(examples, users, np.diff(relevant[users].indptr), sources, signals)


def _of(settings: RankerSettings) -> SecondStageSettings:
    assert settings.second_stage is not None
    return settings.second_stage


def _windows(
    interactions: Interactions, settings: SecondStageSettings, seed: int
) -> Iterator[tuple[Interactions, Interactions]]:
    """Interactions before each window, or beside it, and those in it."""
    times = interactions.times.data
    if settings.windows == "auto":
        raise ModelError("second stage: windows must be time or random for a fit; choose_second_stage decides on auto")
    if settings.windows == "time":
        shares = 1 - settings.window_share * np.arange(settings.num_windows + 1)
        ends = np.quantile(times, np.maximum(shares, 0)) if len(times) else np.zeros(len(shares))
        masks = [(times <= start, (times > start) & (times <= end)) for end, start in pairwise(ends)]
    else:
        drawn = np.random.default_rng(seed).random(len(times)) / settings.window_share
        masks = [
            (drawn.astype(np.int64) != place, drawn.astype(np.int64) == place) for place in range(settings.num_windows)
        ]
    for before, after in masks:
        yield interactions.where(before), interactions.where(after)
