"""Fitting the second stage: a network on what users turned to in windows that a first stage has not seen.

Each window has a first stage of its own, fitted on the rest of the data, so that the network learns from candidates and
scores as it will meet them, and never from what the first stage was fitted on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from scipy import sparse

from mmrec_lib.errors import ModelError
from mmrec_lib.evaluation.metrics import hit_lists
from mmrec_lib.evaluation.rankings import without_seen
from mmrec_lib.models.config import RankerSettings
from mmrec_lib.models.data import Bools, FitData, Interactions, Ints
from mmrec_lib.models.ranker.explanation import explained_blocks
from mmrec_lib.models.ranker.first_stage import content_features, fit_first_stage
from mmrec_lib.models.ranker.ranker import FittedRanker
from mmrec_lib.models.ranker.requests import PER_REQUEST, draw_requests, with_parts_hidden
from mmrec_lib.models.second_stage.context import num_context_columns
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
        examples: n lists of users with history and with something relevant.
        users: [n] which users.
        num_relevant: [n] relevant items of each, also those that are no candidates.
        sources: Names of the shares of the first stage's score.
        signals: Signals of the items before the window.
        num_requests: How many of the lists, the last ones, are answers to single requests; the others are one a user.
    """

    examples: Examples
    users: Ints
    num_relevant: Ints
    sources: tuple[str, ...]
    signals: ItemSignals
    num_requests: int = 0

    @property
    def has_hits(self) -> bool:
        """True where a user turned to a candidate that the network orders."""
        return bool((self.examples.relevant & self.examples.inputs.is_item).any())

    @property
    def is_request(self) -> Bools:
        """[n] True for answers to single requests."""
        return np.arange(len(self.users)) >= len(self.users) - self.num_requests

    def without_features(self) -> WindowExamples:
        """The same lists without features of the context."""
        context = self.signals.context
        if context is None:
            return self
        examples = self.examples.without_last_features(num_context_columns(context.kinds))
        return replace(self, examples=examples, signals=replace(self.signals, context=None))

    def without_context(self) -> WindowExamples:
        """One list a user, without features of the context."""
        if self.signals.context is None:
            return self
        kept, plain = np.flatnonzero(~self.is_request), self.without_features()
        examples, users = plain.examples.rows(kept), self.users[kept]
        return replace(plain, examples=examples, users=users, num_relevant=self.num_relevant[kept], num_requests=0)


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
    signals = learn_signals(data, content_features(data, settings), chosen, settings.seed)
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
    windows = _windows(data, _of(settings), settings.seed)
    found = [_examples(before, after, first_stage, settings) for before, after in windows]
    return [window for window in found if window is not None and window.has_hits]


def _examples(
    rest: FitData, after: Interactions, first_stage: RankerSettings, settings: RankerSettings
) -> WindowExamples | None:
    """Examples of one window; its first stage goes with the call."""
    if not rest.interactions.weights.nnz or not after.weights.nnz:
        return None
    return examples_of(rest, fit_first_stage(rest, first_stage), after, settings, hides=True)


def examples_of(
    data: FitData, ranker: FittedRanker, later: Interactions, settings: RankerSettings, *, hides: bool = False
) -> WindowExamples | None:
    """Examples from a first stage and what users turned to later; None where nobody with history found anything.

    Where the context has parts that only a request knows, some of the requests follow the lists of the users: with the
    same candidates, but what was turned to at the request alone is relevant.

    Args:
        data: What the first stage was fitted on.
        ranker: The first stage.
        later: [U, I] what users turned to after, or apart from, the data.
        settings: Settings with a second stage.
        hides: Hide parts of the context at random, as training needs it.
    """
    chosen = _of(settings)
    relevant = without_seen(later.weights, data.interactions.weights)
    has_history = np.diff(data.interactions.weights.indptr) > 0
    users = np.flatnonzero((np.diff(relevant.indptr) > 0) & has_history)
    if len(users) > chosen.max_users:
        users = np.sort(np.random.default_rng(settings.seed).choice(users, chosen.max_users, replace=False))
    if not len(users):
        return None
    signals = learn_signals(data, content_features(data, settings), chosen, settings.seed)
    requests = None
    if PER_REQUEST & set(chosen.context):
        is_judged = np.isin(np.arange(relevant.shape[0]), users).astype(np.int32)
        own = sparse.csr_matrix(relevant.multiply(is_judged[:, None]))
        own.eliminate_zeros()
        requests = draw_requests(later, own, data.device_names, chosen.max_users, settings.seed)
    rng = np.random.default_rng(settings.seed)
    parts, hits, of_requests = [], [], []
    sources: tuple[str, ...] = ()
    lengths = np.diff(data.interactions.weights.indptr)[users]
    known = data.histories()
    for rows in explained_blocks(lengths, chosen.num_candidates):
        histories = known.rows(users[rows])
        projected = ranker.project(histories)
        top = ranker.candidates(projected, chosen.num_candidates)
        shares = ranker.shares(projected, np.maximum(top.indices, 0))
        sources = tuple(shares)
        movable = movable_items(signals, top.indices)
        told = with_parts_hidden(histories, chosen, rng) if hides and chosen.context else histories
        parts.append(candidate_inputs(signals, told, movable, shares, chosen.history_length))
        hits.append(hit_lists(top.indices, relevant[users[rows]]))
        if requests is not None:
            asked = requests.of_users(users[rows])
            at = np.searchsorted(users[rows], asked.users)
            told = replace(histories.rows(at), context=asked.context(histories.context, at))
            told = with_parts_hidden(told, chosen, rng) if hides else told
            of_list = {name: share[at] for name, share in shares.items()}
            inputs = candidate_inputs(signals, told, movable[at], of_list, chosen.history_length)
            of_requests.append((inputs, hit_lists(top.indices[at], asked.relevant)))
    num_relevant = np.diff(relevant[users].indptr)
    num_requests = 0
    if requests is not None:
        parts += [inputs for inputs, _ in of_requests]
        hits += [own for _, own in of_requests]
        num_requests = len(requests.users)
        users = np.concatenate([users, requests.users])
        num_relevant = np.concatenate([num_relevant, np.diff(requests.relevant.indptr)])
    examples = Examples(CandidateInputs.joined(parts), np.concatenate(hits))
    return WindowExamples(examples, users, num_relevant, sources, signals, num_requests)


def _of(settings: RankerSettings) -> SecondStageSettings:
    assert settings.second_stage is not None
    return settings.second_stage


def _windows(data: FitData, settings: SecondStageSettings, seed: int) -> Iterator[tuple[FitData, Interactions]]:
    """The data before each window, or beside it, and the interactions in it.

    Searches that are known are those before a window in time; beside one that is drawn at random none is.
    """
    interactions, searches = data.interactions, data.searches
    times = interactions.times.data
    cuts: list[float | None] = [None] * settings.num_windows
    if settings.windows == "auto":
        raise ModelError("second stage: windows must be time or random for a fit; choose_second_stage decides on auto")
    if settings.windows == "time":
        shares = 1 - settings.window_share * np.arange(settings.num_windows + 1)
        ends = np.quantile(times, np.maximum(shares, 0)) if len(times) else np.zeros(len(shares))
        masks = [(times <= start, (times > start) & (times <= end)) for end, start in pairwise(ends)]
        cuts = [float(start) for start in ends[1:]]
    else:
        drawn = np.random.default_rng(seed).random(len(times)) / settings.window_share
        masks = [
            (drawn.astype(np.int64) != place, drawn.astype(np.int64) == place) for place in range(settings.num_windows)
        ]
    for (before, after), cut in zip(masks, cuts, strict=True):
        known = None if searches is None or cut is None else searches.until(cut)
        yield replace(data, interactions=interactions.where(before), searches=known), interactions.where(after)
