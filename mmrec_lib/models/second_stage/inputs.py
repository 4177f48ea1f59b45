"""Inputs of the second stage: what is known of each candidate of a user, and the user's latest items.

Shape letters: n users, C candidates, F features, L latest items, I items.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from mmrec_lib.models.data import Bools, Floats, Histories, Ints
from mmrec_lib.models.second_stage.lifts import picked_entries
from mmrec_lib.models.second_stage.signals import ItemSignals
from mmrec_lib.topk.selection import NO_ITEM

NUM_GAPS = 24
"""Buckets of the time between an item of the history and the latest one; each is twice as long as the one before."""
_FIRST_GAP_SECONDS = 60.0
_LEAST_DEVIATION = 1e-6
# What a successor of an earlier item of the history counts, from one item to the one before it.
_FADING = 0.7
_NUM_PREDECESSORS = 5


@dataclass(frozen=True)
class CandidateInputs:
    """Inputs of the network.

    Attributes:
        items: [n, C] int64 positions of the candidates; 0 where there is none.
        is_item: [n, C] where there is one.
        scores: [n, C] float32 first stage's scores in deviations of the user's candidates, mean 0.
        unit: [n] float32 that deviation; 0 where all candidates have one score.
        features: [n, C, F] float32; zeros where there is no candidate. Those of the context are the last ones.
        history: [n, L] int64 positions of the latest items, latest first; NO_ITEM where there are fewer.
        gaps: [n, L] int64 bucket of the time to the latest item.
        strengths: [n, L] float32 log of an item's weight over the mean weight of the history.
    """

    items: Ints
    is_item: Bools
    scores: Floats
    unit: Floats
    features: Floats
    history: Ints
    gaps: Ints
    strengths: Floats

    def __len__(self) -> int:
        return len(self.items)

    def rows(self, index: Ints) -> CandidateInputs:
        """Those of some of the users."""
        return CandidateInputs(*(getattr(self, field.name)[index] for field in fields(self)))

    @classmethod
    def joined(cls, parts: Sequence[CandidateInputs]) -> CandidateInputs:
        """The users of several blocks, one after the other."""
        return cls(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(cls)))


def movable_items(signals: ItemSignals, items: npt.NDArray[np.integer]) -> Ints:
    """[n, C] the candidates that had interactions before, which the network may order; NO_ITEM elsewhere."""
    is_known = (items != NO_ITEM) & ~signals.is_new[np.maximum(items, 0)]
    return np.where(is_known, items, NO_ITEM).astype(np.int64)


def candidate_inputs(
    signals: ItemSignals,
    histories: Histories,
    items: npt.NDArray[np.integer],
    shares: Mapping[str, Floats],
    length: int,
) -> CandidateInputs:
    """Inputs of users' candidates; each row depends on its user alone, to the last bit.

    Args:
        signals: Signals of the items.
        histories: n users, with times and the context of their lists where they are known.
        items: [n, C] positions of the candidates, best first; NO_ITEM where there is none.
        shares: [n, C] shares of the first stage's score; they add up to it.
        length: L.
    """
    is_item = np.asarray(items) != NO_ITEM
    picked = np.where(is_item, items, 0).astype(np.int64)
    centre = _Centre(is_item)
    score: Floats = np.sum(list(shares.values()), axis=0, dtype=np.float32)
    centred = centre(score)
    unit = np.sqrt((centred * centred).sum(axis=1) / centre.counts)
    unit = np.where(unit > _LEAST_DEVIATION * np.maximum(1.0, np.abs(score).max(axis=1, initial=0.0)), unit, 0.0)
    divisor = np.where(unit > 0, unit, 1.0)[:, None]
    history, gaps, strengths = latest_items(histories, length)
    columns: list[npt.NDArray[Any]] = [centre(share) / divisor for share in shares.values()]
    columns += [centre(signals.trends[:, place][picked]) for place in range(signals.trends.shape[1])]
    columns += _successors(signals, picked, history, centre)
    columns += _likeness(signals, picked, history, centre)
    ranks = np.log1p(np.arange(picked.shape[1], dtype=np.float32)) / 5
    known = np.log1p(np.diff(histories.weights.indptr).astype(np.float32)) / 4
    columns += [np.broadcast_to(ranks, picked.shape), np.repeat(known[:, None], len(ranks), 1)]
    if signals.context is not None:
        columns += signals.context.columns(histories, picked, centre)
    features = np.stack(columns, axis=2).astype(np.float32)
    features[~is_item] = 0.0
    scores = (centred / divisor).astype(np.float32)
    return CandidateInputs(picked, is_item, scores, unit.astype(np.float32), features, history, gaps, strengths)


class _Centre:
    """Takes the mean over a user's candidates off."""

    def __init__(self, is_item_NC: Bools) -> None:
        self._is_item = is_item_NC
        self.counts = np.maximum(is_item_NC.sum(axis=1), 1)

    def __call__(self, values_NC: npt.NDArray[Any]) -> npt.NDArray[Any]:
        kept = np.where(self._is_item, values_NC, 0.0)
        mean = kept.sum(axis=1) / self.counts
        return np.where(self._is_item, kept - mean[:, None], 0.0)


def latest_items(histories: Histories, length: int) -> tuple[Ints, Ints, Floats]:
    """The latest items of each user, latest first, with buckets of their ages and their strengths, each [n, L].

    Without times the order is that of positions, and all ages are one.
    """
    weights, num_users = histories.weights, len(histories)
    lengths = np.diff(weights.indptr)
    rows = np.repeat(np.arange(num_users), lengths)
    times = np.zeros(weights.nnz) if histories.times is None else histories.times.data
    order = np.lexsort((weights.indices, -times, rows))
    place = np.arange(weights.nnz) - np.repeat(weights.indptr[:-1], lengths)
    kept = place < length
    row, place, entry = rows[kept], place[kept], order[kept]
    history = np.full((num_users, length), NO_ITEM, dtype=np.int64)
    gaps, strengths = np.zeros(history.shape, np.int64), np.zeros(history.shape, np.float32)
    history[row, place] = weights.indices[entry]
    moments = np.zeros(history.shape)
    moments[row, place] = times[entry]
    elapsed = np.maximum(moments[:, :1] - moments, 0.0)
    # An unknown time is as long ago as can be told.
    doublings = np.where(moments > 0, np.log2(1 + elapsed / _FIRST_GAP_SECONDS), NUM_GAPS)
    gaps[:] = np.clip(doublings, 0, NUM_GAPS - 1)
    means = np.bincount(rows, weights.data, num_users) / np.maximum(lengths, 1)
    strengths[row, place] = np.log(weights.data[entry] / means[row])
    return history, gaps, strengths


def _successors(signals: ItemSignals, picked_NC: Ints, history_NL: Ints, centre: _Centre) -> list[npt.NDArray[Any]]:
    """Log lift of candidates after the latest item, and after the last few together."""
    by_place = []
    for place in range(min(_NUM_PREDECESSORS, history_NL.shape[1])):
        before = history_NL[:, place]
        by_place.append(
            picked_entries(signals.successors, np.maximum(before, 0), picked_NC) * (before != NO_ITEM)[:, None]
        )
    faded = np.sum([values * _FADING**place for place, values in enumerate(by_place)], axis=0)
    return [centre(by_place[0]), centre(faded)]


def _likeness(signals: ItemSignals, picked_NC: Ints, history_NL: Ints, centre: _Centre) -> list[npt.NDArray[Any]]:
    """Cosine of each block with the mean of the latest items and with the latest one."""
    is_there = (history_NL != NO_ITEM)[:, :, None]
    counts = np.maximum(is_there.sum(axis=1), 1)
    columns = []
    for place in range(len(signals.block_names)):
        block = signals.blocks[:, place]
        own = np.where(is_there, block[np.maximum(history_NL, 0)], np.float32(0))
        candidates = block[picked_NC]
        for vectors in (own.sum(axis=1) / counts, own[:, 0]):
            columns.append(centre((candidates @ vectors.astype(np.float32)[:, :, None])[:, :, 0]))
    return columns


@dataclass(frozen=True)
class Examples:
    """Candidates of the users of a window, and which of them the users turned to.

    Attributes:
        inputs: n users; candidates that the network does not order are none.
        relevant: [n, C] also among those.
    """

    inputs: CandidateInputs
    relevant: Bools

    def rows(self, index: Ints) -> Examples:
        """Those of some of the users."""
        return Examples(self.inputs.rows(index), self.relevant[index])

    def without_last_features(self, number: int) -> Examples:
        """The same less some features at the end."""
        features = self.inputs.features[:, :, : self.inputs.features.shape[2] - number]
        return replace(self, inputs=replace(self.inputs, features=features))
