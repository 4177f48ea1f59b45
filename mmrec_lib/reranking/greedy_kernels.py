"""Compiled greedy selection: the place after place best candidate by relevance, diversity and calibration, in quotas.

Shape suffixes: N users, C candidates, K places, I items, L labels of quotas, F floors.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from mmrec_lib.reranking.taste_kernels import UserTaste, add_taste, end_taste, start_taste, taste_gains
from mmrec_lib.topk.compiling import compiled

NO_DIVERSITY, MMR, DPP = 0, 1, 2
# A squared distance from the span of the list below it counts as none: sums of float32 vectors know no less.
MIN_VOLUME = 1e-9
_FREE, _GONE = 0, 1
_NOT_FORCED, _ANY, _MOST = 0, 1, 2


class Objective(NamedTuple):
    """Weights of what a candidate adds.

    Attributes:
        relevance: Weight of relevance.
        diversity: Weight of diversity.
        calibration: Weight of calibration.
        kind: NO_DIVERSITY, MMR or DPP.
    """

    relevance: float
    diversity: float
    calibration: float
    kind: int


class Quotas(NamedTuple):
    """Labels of items and how many of each may or must be in the first places.

    Attributes:
        starts: [I + 1] int64 where the labels of an item start.
        labels: int32 labels of items.
        caps: [L] int32 items of a label at most.
        floors: [L] int32 items of a label at least; 0 for none.
        windows: [L] int32 places that a label's quota is about.
        floor_labels: [F] int32 labels with a floor.
        fill: True where a place gets a candidate although each breaks a cap.
    """

    starts: Any
    labels: Any
    caps: Any
    floors: Any
    windows: Any
    floor_labels: Any
    fill: bool


@compiled
def _similarities(columns: Any, chosen: int, count: int, out: Any) -> None:
    """Dot products of a candidate's vector with those of all, from vectors as columns [d, C]."""
    out[:count] = 0.0
    dim = columns.shape[0]
    at = 0
    # Four dimensions a pass over the sums; they are added in order.
    while at + 4 <= dim:
        a, b, c, d = columns[at], columns[at + 1], columns[at + 2], columns[at + 3]
        w, x, y, z = a[chosen], b[chosen], c[chosen], d[chosen]
        for n in range(count):
            out[n] = out[n] + w * a[n] + x * b[n] + y * c[n] + z * d[n]
        at += 4
    while at < dim:
        a = columns[at]
        w = a[chosen]
        for n in range(count):
            out[n] += w * a[n]
        at += 1


@compiled
def _add_to_basis(basis: Any, size: int, chosen: int, count: int, volumes: Any, row: Any) -> None:
    """Turn similarities to the chosen candidate into a row of the Cholesky factor, and take it off the volumes."""
    at = 0
    while at + 4 <= size:
        a, b, c, d = basis[at], basis[at + 1], basis[at + 2], basis[at + 3]
        w, x, y, z = a[chosen], b[chosen], c[chosen], d[chosen]
        for n in range(count):
            row[n] = row[n] - w * a[n] - x * b[n] - y * c[n] - z * d[n]
        at += 4
    while at < size:
        a = basis[at]
        w = a[chosen]
        for n in range(count):
            row[n] -= w * a[n]
        at += 1
    length = math.sqrt(volumes[chosen])
    new = basis[size]
    for n in range(count):
        new[n] = row[n] / length
        volumes[n] -= new[n] * new[n]


@compiled
def _outstanding(quotas: Any, label: int, place: int, counts: Any, supply: Any) -> int:
    """Items of a label that its floor still needs and the candidates still hold."""
    if place >= quotas.windows[label]:
        return 0
    lacking: int = max(0, min(quotas.floors[label] - counts[label], supply[label]))
    return lacking


@compiled
def _force(quotas: Any, place: int, end: int, counts: Any, supply: Any) -> int:
    """Tell how far floors decide a place: as many places are left as they need (_ANY), or fewer (_MOST)."""
    forced = _NOT_FORCED
    for at in range(quotas.floor_labels.size):
        window = quotas.windows[quotas.floor_labels[at]]
        if place >= window:
            continue
        needed = 0
        for other in range(quotas.floor_labels.size):
            label = quotas.floor_labels[other]
            if quotas.windows[label] <= window:
                needed += _outstanding(quotas, label, place, counts, supply)
        left = min(window, end) - place
        if needed > 0 and needed == left:
            forced = max(forced, _ANY)
        elif needed > left:
            forced = _MOST
    return forced


@compiled
def _level(quotas: Any, item: int, place: int, counts: Any, supply: Any, forced: int) -> int:
    """Order of candidates before their gain: -1 not allowed, 0 breaks a cap, 1 keeps caps, above 1 serves floors."""
    served = 0
    for at in range(quotas.starts[item], quotas.starts[item + 1]):
        label = quotas.labels[at]
        if place < quotas.windows[label] and counts[label] >= quotas.caps[label]:
            return 0 if quotas.fill else -1
        if forced != _NOT_FORCED and quotas.floors[label] > 0:
            served += _outstanding(quotas, label, place, counts, supply) > 0
    level: int = 1 + (served if forced == _MOST else min(served, 1))
    return level


class _Scratch(NamedTuple):
    """Arrays of one user after the other, by candidate unless said otherwise.

    Attributes:
        columns: [d, C] vectors of length 1.
        similar: Similarity to the last chosen one.
        basis: [K, C] rows of the Cholesky factor of the similarities.
        volumes: Squared distance from the span of the list.
        diversity: What a candidate adds; of DPP an upper bound of it.
        state: _FREE or _GONE.
        counts: [L] items of the list by label.
        supply: [L] candidates that are free, by label.
    """

    columns: Any
    similar: Any
    basis: Any
    volumes: Any
    diversity: Any
    state: Any
    counts: Any
    supply: Any


@compiled
def _start(scratch: Any, items: Any, vectors: Any, quotas: Any) -> int:
    """Gather the vectors and count the labels of the candidates; returns how many there are."""
    count, dim = 0, scratch.columns.shape[0]
    while count < items.size and items[count] >= 0:
        item = items[count]
        scratch.state[count], scratch.diversity[count] = _FREE, 0.0
        square = 0.0
        for at in range(dim):
            value = np.float64(vectors[item, at])
            scratch.columns[at, count] = value
            square += value * value
        # A vector that is not known stays zero: it is like no other.
        scratch.volumes[count], factor = 1.0, 1.0 / math.sqrt(square) if square > 0 else 0.0
        for at in range(dim):
            scratch.columns[at, count] *= factor
        if quotas.caps.size:
            for at in range(quotas.starts[item], quotas.starts[item + 1]):
                scratch.supply[quotas.labels[at]] += 1
                scratch.counts[quotas.labels[at]] = 0
        count += 1
    return count


@compiled
def _choose(
    scratch: Any,
    items: Any,
    relevance: Any,
    count: int,
    place: int,
    objective: Any,
    quotas: Any,
    forced: int,
    patterns: Any,
    taste: Any,
) -> int:
    """The free candidate of the best level, then the largest gain, then the first; -1 where none is allowed."""
    has_taste, has_quotas, is_dpp = objective.calibration > 0, quotas.caps.size > 0, objective.kind == DPP
    only_relevance = objective.kind == NO_DIVERSITY and not has_taste
    # Nothing is above this level; most floors at once may be.
    top_level = 2 if forced == _ANY else 1
    best, best_level, best_gain = -1, -1, -np.inf
    for n in range(count):
        if scratch.state[n] == _GONE:
            continue
        level = 1
        if has_quotas:
            level = _level(quotas, items[n], place, scratch.counts, scratch.supply, forced)
        if level < 0 or level < best_level:
            continue
        known = objective.relevance * relevance[n]
        if has_taste:
            known += taste.gains[taste.local[patterns[items[n]]]]
        gain = known + objective.diversity * scratch.diversity[n]
        if level == best_level and gain <= best_gain:
            continue
        if is_dpp:
            # Volumes only shrink, so the gain above was a bound that most candidates fail.
            scratch.diversity[n] = math.log(max(scratch.volumes[n], MIN_VOLUME))
            gain = known + objective.diversity * scratch.diversity[n]
        if level > best_level or gain > best_gain:
            best, best_level, best_gain = n, level, gain
            if only_relevance and forced != _MOST and level == top_level:
                # Those after it are not more relevant.
                break
    return best


@compiled
def _take(scratch: Any, items: Any, best: int, count: int, duplicate_group: Any, quotas: Any) -> int:
    """Take a candidate and its near-duplicates off the free ones; returns how many."""
    group, taken = -1, 0
    if duplicate_group.size:
        group = duplicate_group[items[best]]
    first, end = (best, best + 1) if group < 0 else (0, count)
    for n in range(first, end):
        if scratch.state[n] == _FREE and (n == best or duplicate_group[items[n]] == group):
            scratch.state[n] = _GONE
            taken += 1
            if quotas.caps.size:
                for at in range(quotas.starts[items[n]], quotas.starts[items[n] + 1]):
                    scratch.supply[quotas.labels[at]] -= 1
    if quotas.caps.size:
        for at in range(quotas.starts[items[best]], quotas.starts[items[best] + 1]):
            scratch.counts[quotas.labels[at]] += 1
    return taken


@compiled
def _update_diversity(scratch: Any, kind: int, best: int, count: int, place: int, size: int) -> int:
    """Update the diversity of candidates after one more was chosen; returns the rows of the basis."""
    if kind == MMR:
        _similarities(scratch.columns, best, count, scratch.similar)
        for n in range(count):
            loss = -scratch.similar[n]
            scratch.diversity[n] = loss if place == 0 else min(scratch.diversity[n], loss)
    elif kind == DPP and scratch.volumes[best] > MIN_VOLUME:
        _similarities(scratch.columns, best, count, scratch.similar)
        _add_to_basis(scratch.basis, size, best, count, scratch.volumes, scratch.similar)
        size += 1
    return size


@compiled
def select_greedily(
    items_NC: Any,
    relevance_NC: Any,
    objective: Any,
    vectors: Any,
    duplicate_group: Any,
    quotas: Any,
    tastes: Any,
    first_user: int,
    places_NK: Any,
) -> None:
    """Choose the candidates of each place in turn: the best level of the quotas, then the largest gain, then the first.

    Args:
        items_NC: int32 candidates, best first, -1 after the last.
        relevance_NC: float64, not ascending.
        objective: Weights.
        vectors: [I, d] float32; used with diversity only.
        duplicate_group: [I] int32, -1 for none; empty where duplicates may be shown.
        quotas: Limits; none where it has no labels.
        tastes: Shares of categories; used with calibration only.
        first_user: User of the first row, as `tastes` counts.
        places_NK: int32 positions among the candidates; written, -1 after the last.
    """
    width, k = items_NC.shape[1], places_NK.shape[1]
    num_labels, num_categories = quotas.caps.size, tastes.num_categories
    scratch = _Scratch(
        np.empty((vectors.shape[1] if objective.kind != NO_DIVERSITY else 0, width)),
        np.empty(width),
        np.empty((min(k, width) if objective.kind == DPP else 0, width)),
        np.empty(width),
        np.empty(width),
        np.empty(width, np.int8),
        np.zeros(num_labels, np.int32),
        np.zeros(num_labels, np.int32),
    )
    taste = UserTaste(
        np.full(num_categories, -1, np.int32),
        np.empty(num_categories),
        np.empty(num_categories),
        np.empty(num_categories),
        np.empty(width, np.int32),
        np.full(tastes.pattern_starts.size - 1, -1, np.int32),
        np.empty(width),
    )
    has_taste = objective.calibration > 0
    for row in range(items_NC.shape[0]):
        items, places, user = items_NC[row], places_NK[row], first_user + row
        places[:] = -1
        count = _start(scratch, items, vectors, quotas)
        num_wanted, num_kept, information, total = 0, 0, 0.0, 0.0
        if has_taste:
            num_wanted, num_kept, information = start_taste(taste, tastes, user, items, count)
        size, left, place = 0, count, 0
        while place < k and left > 0:
            if has_taste:
                taste_gains(taste, tastes, num_wanted, num_kept, information, total, objective.calibration)
            forced = _force(quotas, place, min(k, place + left), scratch.counts, scratch.supply)
            best = _choose(
                scratch, items, relevance_NC[row], count, place, objective, quotas, forced, tastes.patterns, taste
            )
            if best < 0:
                break
            places[place] = best
            left -= _take(scratch, items, best, count, duplicate_group, quotas)
            size = _update_diversity(scratch, objective.kind, best, count, place, size)
            if has_taste:
                total += add_taste(taste, tastes, items[best])
            place += 1
        if has_taste:
            end_taste(taste, tastes, user, num_kept)
        if num_labels:
            for n in range(count):
                for at in range(quotas.starts[items[n]], quotas.starts[items[n] + 1]):
                    scratch.supply[quotas.labels[at]] = 0
