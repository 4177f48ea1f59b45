"""Compiled kernels of exact top-k: scans of score blocks, candidate buffers and exact scores.

They are imported only where an input is large enough to pay for it; see `exact`.

Shape suffixes: N users of a block, C places of a candidate buffer, W columns of an item block, D padded dimensions.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils

from mmrec_lib.topk.compiling import compiled
from mmrec_lib.topk.filter_kernels import sort_values
from mmrec_lib.topk.int8_kernels import PANEL_ITEMS
from mmrec_lib.topk.vector_code import F32, F64, I32, I64, emitted, spread_over, vector_at

LANES = 8
# Below every scaled score and above the -inf of a masked one.
NOT_MASKED = np.float32(-1e30)
_HALVINGS = 14
_PREFETCHED_ROWS = 4


class Vectors(NamedTuple):
    """The given vectors, for exact scores.

    Attributes:
        users: Address of [N, D] float32.
        items: Address of [num_items, D] float32.
        dim: D, a multiple of LANES.
        order: Item at each place.
        factors: By user: from exact to screened scores.
        slacks: By user: bound of the rounding of scaled exact scores.
    """

    users: int
    items: int
    dim: int
    order: Any
    factors: Any
    slacks: Any


class Candidates(NamedTuple):
    """Items that may belong to a user's list.

    Attributes:
        lower: [N, C] float32 lower bounds of their scores.
        upper: [N, C] upper bounds.
        places: [N, C] int32.
        counts: By user: how many there are.
        settled: By user: how many there were after the last selection.
        thresholds: By user: a lower bound of the k-th best score.
    """

    lower: Any
    upper: Any
    places: Any
    counts: Any
    settled: Any
    thresholds: Any


@emitted
def _mask_64(_: Any, address: Any, threshold: Any) -> Any:
    """Bits of the 64 float32 at an address that are at least a threshold."""

    def generate(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        scores = vector_at(builder, arguments[0], F32, 64)
        passed = builder.fcmp_ordered(">=", scores, spread_over(builder, arguments[1], 64))
        return builder.bitcast(passed, I64)

    return types.uint64(types.int64, types.float32), generate


@emitted
def _first_bit(_: Any, mask: Any) -> Any:
    """Position of the lowest set bit of a word that is not 0."""

    def generate(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), generate


@emitted
def _prefetch(_: Any, address: Any) -> Any:
    """Ask for the cache line of an address that is read soon."""

    def generate(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        pointer = ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [pointer, I32, I32, I32])
        fetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        read, keep, data = ir.Constant(I32, 0), ir.Constant(I32, 3), ir.Constant(I32, 1)
        builder.call(fetch, [builder.inttoptr(arguments[0], pointer), read, keep, data])
        return ir.Constant(I64, 0)

    return types.int64(types.int64), generate


@emitted
def _dot(_: Any, left: Any, right: Any, num_steps: Any) -> Any:
    """Dot product in float64 of float32 vectors of 8 * num_steps dimensions, in the order of `exact_scores`."""

    def generate(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        left, right, num_steps = arguments
        wide = ir.VectorType(F64, LANES)
        before = builder.block
        loop, end = builder.append_basic_block("dot"), builder.append_basic_block("dot.end")
        builder.branch(loop)
        builder.position_at_end(loop)
        step, total = builder.phi(I64), builder.phi(wide)
        offset = builder.mul(step, ir.Constant(I64, 4 * LANES))
        a, b = (
            builder.fpext(vector_at(builder, builder.add(start, offset), F32, LANES), wide) for start in (left, right)
        )
        added = builder.fadd(total, builder.fmul(a, b))
        following = builder.add(step, ir.Constant(I64, 1))
        step.add_incoming(ir.Constant(I64, 0), before)
        step.add_incoming(following, loop)
        total.add_incoming(ir.Constant(wide, [0.0] * LANES), before)
        total.add_incoming(added, loop)
        builder.cbranch(builder.icmp_signed("<", following, num_steps), loop, end)
        builder.position_at_end(end)
        sums = [builder.extract_element(added, ir.Constant(I32, lane)) for lane in range(LANES)]
        while len(sums) > 1:
            sums = [builder.fadd(sums[n], sums[n + 1]) for n in range(0, len(sums), 2)]
        return sums[0]

    return types.float64(types.int64, types.int64, types.int64), generate


@compiled
def _kth_smallest(values: Any, count: int, k: int) -> Any:
    """The k-th smallest (from 0) of the first values, which change their order (Hoare's quickselect)."""
    low, high = 0, count - 1
    while low < high:
        pivot = values[(low + high) // 2]
        i, j = low, high
        while i <= j:
            while values[i] < pivot:
                i += 1
            while pivot < values[j]:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if k <= j:
            high = j
        elif k >= i:
            low = i
        else:
            break
    return values[k]


@compiled
def _exact_keys(vectors: Any, user: int, places: Any, first: int, count: int, exact: Any, keys: Any) -> None:
    """Keys of candidates first to count that ascend from the best: score descending, then item."""
    bits = exact.view(np.uint32)
    row_bytes = vectors.dim * 4
    for n in range(first, count):
        if n + _PREFETCHED_ROWS < count:
            soon = vectors.items + vectors.order[places[n + _PREFETCHED_ROWS]] * row_bytes
            for offset in range(0, row_bytes, 64):
                _prefetch(soon + offset)
        item = vectors.order[places[n]]
        score = _dot(vectors.users + user * row_bytes, vectors.items + item * row_bytes, vectors.dim // LANES)
        # Adding 0 makes one zero of two.
        exact[n] = np.float32(score) + np.float32(0.0)
        word = np.uint64(bits[n])
        ascending = word ^ (np.uint64(0xFFFFFFFF) if word >> np.uint64(31) else np.uint64(0x80000000))
        keys[n] = ((ascending ^ np.uint64(0xFFFFFFFF)) << np.uint64(32)) | np.uint64(item)


@compiled
def _raise_threshold(lower: Any, count: int, k: int, threshold: Any) -> Any:
    """A number that at least k of the lower bounds reach, close to the largest such number."""
    high = lower[0]
    for n in range(count):
        high = max(high, lower[n])
    low = threshold
    if low <= NOT_MASKED:
        low = high
        for n in range(count):
            low = min(low, lower[n])
    # Counting is a few vector instructions; the exact k-th largest would cost more than it saves.
    for _ in range(_HALVINGS):
        middle = np.float32(0.5) * (low + high)
        num_above = np.int32(0)
        for n in range(count):
            num_above += np.int32(lower[n] >= middle)
        if num_above >= k:
            low = middle
        else:
            high = middle
        if num_above == k:
            break
    return max(low, threshold)


@compiled
def _drop_by_bound(candidates: Any, user: int, k: int) -> None:
    """Raise the threshold to about the k-th lower bound and keep the candidates that may reach it."""
    lower, upper, places = candidates.lower[user], candidates.upper[user], candidates.places[user]
    count, threshold = candidates.counts[user], candidates.thresholds[user]
    if count >= k:
        threshold = _raise_threshold(lower, count, k, threshold)
    kept = 0
    for n in range(count):
        bound = upper[n]
        lower[kept], upper[kept], places[kept] = lower[n], bound, places[n]
        kept += bound >= threshold
    candidates.counts[user] = candidates.settled[user] = kept
    candidates.thresholds[user] = threshold


@compiled
def _drop_by_score(candidates: Any, vectors: Any, user: int, k: int, exact: Any, keys: Any, chosen: Any) -> None:
    """Keep the best k candidates by their exact scores, where bounds cannot tell them apart."""
    lower, upper, places = candidates.lower[user], candidates.upper[user], candidates.places[user]
    count, slack = candidates.counts[user], vectors.slacks[user]
    _exact_keys(vectors, user, places, 0, count, exact, keys)
    for n in range(count):
        chosen[n] = keys[n]
    last = _kth_smallest(chosen, count, k - 1)
    kept = 0
    for n in range(count):
        if keys[n] <= last:
            scaled = np.float32(np.float64(exact[n]) * vectors.factors[user])
            lower[kept], upper[kept], places[kept] = scaled - slack, scaled + slack, places[n]
            kept += 1
    candidates.counts[user] = kept


@compiled
def scan_block(
    scores_NW: Any, rows_N: Any, errors_N: Any, first: int, k: int, candidates: Any, filters: Any, vectors: Any
) -> None:
    """Take those columns of a block of screened scores as candidates that may belong to a user's list.

    Args:
        scores_NW: Screened scores; those of seen items are overwritten.
        rows_N: User of each row of scores.
        errors_N: Bound of the difference between screened and exact scores.
        first: Place of the block's first column, a multiple of PANEL_ITEMS.
        k: Length of the lists.
        candidates: Added to.
        filters: Applied before the selection.
        vectors: For exact scores where bounds do not decide.
    """
    width, capacity, num_places = scores_NW.shape[1], candidates.lower.shape[1], vectors.order.size
    exact = np.empty(capacity, np.float32)
    keys, chosen = np.empty(capacity, np.uint64), np.empty(capacity, np.uint64)
    worth_selecting = max(k // 2, 32)
    for row in range(rows_N.size):
        user = rows_N[row]
        at = filters.next[user]
        while at < filters.end[user] and filters.seen[at] < first + width:
            if filters.seen[at] >= first:
                scores_NW[row, filters.seen[at] - first] = -np.inf
            at += 1
        filters.next[user] = at
        error, group, count = errors_N[row], filters.groups[user], candidates.counts[user]
        test = candidates.thresholds[user] - error
        address = scores_NW.ctypes.data + row * width * 4
        for column in range(0, width, PANEL_ITEMS):
            mask = _mask_64(address + column * 4, test)
            if mask == 0:
                continue
            if group >= 0:
                mask &= filters.words[group, (first + column) // PANEL_ITEMS]
            left = num_places - first - column
            if left < PANEL_ITEMS:
                mask &= (np.uint64(1) << np.uint64(max(left, 0))) - np.uint64(1)
            while mask != 0:
                place = column + _first_bit(mask)
                mask &= mask - np.uint64(1)
                score = scores_NW[row, place]
                if score < test:
                    continue
                candidates.lower[user, count], candidates.upper[user, count] = score - error, score + error
                candidates.places[user, count] = first + place
                count += 1
                if count == capacity:
                    candidates.counts[user] = count
                    _drop_by_bound(candidates, user, k)
                    if candidates.counts[user] > capacity - (capacity - k) // 4:
                        _drop_by_score(candidates, vectors, user, k, exact, keys, chosen)
                        _drop_by_bound(candidates, user, k)
                    count, test = candidates.counts[user], candidates.thresholds[user] - error
        candidates.counts[user] = count
        if count >= k and count - candidates.settled[user] >= worth_selecting:
            # The next block is scanned against what this one has taught.
            _drop_by_bound(candidates, user, k)


@compiled
def _best_first(candidates: Any, user: int, k: int) -> int:
    """Move the candidates of the best lower bounds, at least k of them, to the front; returns their number."""
    lower, upper, places = candidates.lower[user], candidates.upper[user], candidates.places[user]
    count, threshold = candidates.counts[user], candidates.thresholds[user]
    front = 0
    for n in range(count):
        if lower[n] >= threshold:
            lower[n], lower[front] = lower[front], lower[n]
            upper[n], upper[front] = upper[front], upper[n]
            places[n], places[front] = places[front], places[n]
            front += 1
    return front


@compiled
def finish_lists(k: int, candidates: Any, vectors: Any, indices: Any, scores: Any) -> None:
    """Write the lists: candidates by exact score, the best k of them in order."""
    capacity = candidates.lower.shape[1]
    exact, listed = np.empty(capacity, np.float32), np.empty(capacity, np.float32)
    keys, chosen = np.empty(capacity, np.uint64), np.empty(capacity, np.uint64)
    bits = listed.view(np.uint32)
    for user in range(candidates.counts.size):
        _drop_by_bound(candidates, user, k)
        places, count = candidates.places[user], candidates.counts[user]
        front = _best_first(candidates, user, k) if count > k else count
        _exact_keys(vectors, user, places, 0, front, exact, keys)
        if front >= k and count > front:
            # The k-th best exact score of these spares most of the others.
            for n in range(front):
                chosen[n] = keys[n]
            worst = _kth_smallest(chosen, front, k - 1)
            least = np.float32(np.inf)
            for n in range(front):
                if keys[n] == worst:
                    least = exact[n]
            threshold = np.float32(np.float64(least) * vectors.factors[user]) - vectors.slacks[user]
            kept = front
            for n in range(front, count):
                if candidates.upper[user, n] >= threshold:
                    places[kept] = places[n]
                    kept += 1
            count = kept
        _exact_keys(vectors, user, places, front, count, exact, keys)
        if count > k:
            _kth_smallest(keys, count, k - 1)
        num_listed = min(count, k)
        sort_values(keys, 0, num_listed)
        for n in range(num_listed):
            word = (keys[n] >> np.uint64(32)) ^ np.uint64(0xFFFFFFFF)
            bits[n] = word ^ (np.uint64(0x80000000) if word >> np.uint64(31) else np.uint64(0xFFFFFFFF))
            indices[user, n] = np.int32(keys[n] & np.uint64(0xFFFFFFFF))
            scores[user, n] = listed[n]
