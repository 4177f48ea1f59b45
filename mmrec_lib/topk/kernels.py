"""Compiled kernels of exact top-k: int8 products, scans of score blocks, candidate buffers and exact scores.

Everything that is compiled stands in this file: numba keys its files of machine code by the source of one file. It is
imported only by `mmrec_lib.topk.search`, when an input is large enough to pay for it.

Shape suffixes: N users of a block, C places of a candidate buffer, W columns of an item block, D padded dimensions.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from mmrec_lib.topk.compiling import compiled, compiled_fast

TILE_USERS = 6
PANEL_ITEMS = 64
LANES = 8
# Below every scaled score and above the -inf of a masked one.
NOT_MASKED = np.float32(-1e30)
_HALVINGS = 14
_PREFETCHED_ROWS = 4

_I32, _I64 = ir.IntType(32), ir.IntType(64)
_F32, _F64 = ir.FloatType(), ir.DoubleType()


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


class Filters(NamedTuple):
    """Items that users must not get.

    Attributes:
        seen: Places of seen items, ascending for each user from `start` to `end`; `next` moves along them.
        start: By user.
        next: By user.
        end: By user.
        words: [num_groups, num_words] bits of allowed places.
        groups: By user: a row of words, or -1.
    """

    seen: Any
    start: Any
    next: Any
    end: Any
    words: Any
    groups: Any


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


def _vector_at(builder: Any, address: Any, of: Any, count: int) -> Any:
    loaded = builder.load(builder.inttoptr(address, ir.VectorType(of, count).as_pointer()))
    loaded.align = 1
    return loaded


def _spread(builder: Any, value: Any, count: int) -> Any:
    """A vector of one value."""
    empty = ir.Constant(ir.VectorType(value.type, count), ir.Undefined)
    first = builder.insert_element(empty, value, ir.Constant(_I32, 0))
    return builder.shuffle_vector(first, empty, ir.Constant(ir.VectorType(_I32, count), [0] * count))


def _plus(builder: Any, address: Any, num_bytes: int) -> Any:
    return builder.add(address, ir.Constant(_I64, num_bytes))


@intrinsic  # type: ignore[untyped-decorator]
def _mask_64(_: Any, address: Any, threshold: Any) -> Any:
    """Bits of the 64 float32 at an address that are at least a threshold."""

    def generate(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        scores = _vector_at(builder, arguments[0], _F32, 64)
        passed = builder.fcmp_ordered(">=", scores, _spread(builder, arguments[1], 64))
        return builder.bitcast(passed, _I64)

    return types.uint64(types.int64, types.float32), generate


@intrinsic  # type: ignore[untyped-decorator]
def _first_bit(_: Any, mask: Any) -> Any:
    """Position of the lowest set bit of a word that is not 0."""

    def generate(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), generate


@intrinsic  # type: ignore[untyped-decorator]
def _prefetch(_: Any, address: Any) -> Any:
    """Ask for the cache line of an address that is read soon."""

    def generate(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        pointer = ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [pointer, _I32, _I32, _I32])
        fetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        read, keep, data = ir.Constant(_I32, 0), ir.Constant(_I32, 3), ir.Constant(_I32, 1)
        builder.call(fetch, [builder.inttoptr(arguments[0], pointer), read, keep, data])
        return ir.Constant(_I64, 0)

    return types.int64(types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def _dot(_: Any, left: Any, right: Any, num_steps: Any) -> Any:
    """Dot product in float64 of float32 vectors of 8 * num_steps dimensions, in the order of `exact_scores`."""

    def generate(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        left, right, num_steps = arguments
        wide = ir.VectorType(_F64, LANES)
        before = builder.block
        loop, end = builder.append_basic_block("dot"), builder.append_basic_block("dot.end")
        builder.branch(loop)
        builder.position_at_end(loop)
        step, total = builder.phi(_I64), builder.phi(wide)
        offset = builder.mul(step, ir.Constant(_I64, 4 * LANES))
        a, b = (
            builder.fpext(_vector_at(builder, builder.add(start, offset), _F32, LANES), wide) for start in (left, right)
        )
        added = builder.fadd(total, builder.fmul(a, b))
        following = builder.add(step, ir.Constant(_I64, 1))
        step.add_incoming(ir.Constant(_I64, 0), before)
        step.add_incoming(following, loop)
        total.add_incoming(ir.Constant(wide, [0.0] * LANES), before)
        total.add_incoming(added, loop)
        builder.cbranch(builder.icmp_signed("<", following, num_steps), loop, end)
        builder.position_at_end(end)
        sums = [builder.extract_element(added, ir.Constant(_I32, lane)) for lane in range(LANES)]
        while len(sums) > 1:
            sums = [builder.fadd(sums[n], sums[n + 1]) for n in range(0, len(sums), 2)]
        return sums[0]

    return types.float64(types.int64, types.int64, types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def _int8_tile(_: Any, users: Any, panel: Any, starts: Any, user_scales: Any, item_scales: Any, out: Any, sizes: Any) -> Any:
    """Scores of 6 users and a panel of 64 items: u8 times s8 summed in int32 by AVX-512 VNNI, then scaled.

    Arguments are addresses; sizes are (bytes of a user row, bytes of a row of out).
    """
    count, num_vectors = 16, PANEL_ITEMS // 16
    ints, floats = ir.VectorType(_I32, count), ir.VectorType(_F32, count)

    def generate(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        users, panel, starts, user_scales, item_scales, out, sizes = arguments
        user_bytes, out_bytes = builder.extract_value(sizes, 0), builder.extract_value(sizes, 1)
        multiply_add = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(ints, [ints, ints, ints]), "llvm.x86.avx512.vpdpbusd.512"
        )
        initial = [_vector_at(builder, _plus(builder, starts, 64 * v), _I32, count) for v in range(num_vectors)]
        rows = [builder.add(users, builder.mul(user_bytes, ir.Constant(_I64, u))) for u in range(TILE_USERS)]
        before = builder.block
        loop, end = builder.append_basic_block("tile"), builder.append_basic_block("tile.end")
        builder.branch(loop)
        builder.position_at_end(loop)
        offset = builder.phi(_I64)
        sums = [[builder.phi(ints) for _ in range(num_vectors)] for _ in range(TILE_USERS)]
        from_panel = builder.add(panel, builder.mul(offset, ir.Constant(_I64, PANEL_ITEMS)))
        items = [_vector_at(builder, _plus(builder, from_panel, 64 * v), _I32, count) for v in range(num_vectors)]
        added = []
        for row, row_sums in zip(rows, sums, strict=True):
            four = builder.load(builder.inttoptr(builder.add(row, offset), _I32.as_pointer()))
            four.align = 1
            spread = _spread(builder, four, count)
            added.append([builder.call(multiply_add, [s, spread, i]) for s, i in zip(row_sums, items, strict=True)])
        following = builder.add(offset, ir.Constant(_I64, 4))
        offset.add_incoming(ir.Constant(_I64, 0), before)
        offset.add_incoming(following, loop)
        for row_sums, row_added in zip(sums, added, strict=True):
            for phi, start, value in zip(row_sums, initial, row_added, strict=True):
                phi.add_incoming(start, before)
                phi.add_incoming(value, loop)
        builder.cbranch(builder.icmp_signed("<", following, user_bytes), loop, end)
        builder.position_at_end(end)
        scales = [_vector_at(builder, _plus(builder, item_scales, 64 * v), _F32, count) for v in range(num_vectors)]
        for u in range(TILE_USERS):
            own = builder.load(builder.inttoptr(_plus(builder, user_scales, 4 * u), _F32.as_pointer()))
            spread = _spread(builder, own, count)
            row = builder.add(out, builder.mul(out_bytes, ir.Constant(_I64, u)))
            for v in range(num_vectors):
                scaled = builder.fmul(builder.fmul(builder.sitofp(added[u][v], floats), scales[v]), spread)
                place = builder.inttoptr(_plus(builder, row, 64 * v), floats.as_pointer())
                builder.store(scaled, place).align = 4
        return ir.Constant(_I64, 0)

    arguments = (types.int64,) * 6
    return types.int64(*arguments, types.UniTuple(types.int64, 2)), generate


@compiled
def int8_product(
    users_ND: Any, user_scales_N: Any, panels: Any, starts: Any, item_scales: Any, first_panel: int, out_NW: Any
) -> None:
    """Fill a block of scores; the number of users is a multiple of TILE_USERS.

    Args:
        users_ND: uint8, quantized dimension plus 128.
        user_scales_N: float32.
        panels: [num_panels, D / 4, PANEL_ITEMS] int32, four int8 each.
        starts: [num_panels, PANEL_ITEMS] int32, what takes the 128 off again.
        item_scales: [num_panels, PANEL_ITEMS] float32.
        first_panel: Panel of the block's first column.
        out_NW: float32.
    """
    num_users, dim = users_ND.shape
    width = out_NW.shape[1]
    for p in range(width // PANEL_ITEMS):
        panel = first_panel + p
        for user in range(0, num_users, TILE_USERS):
            _int8_tile(
                users_ND.ctypes.data + user * dim,
                panels.ctypes.data + panel * dim * PANEL_ITEMS,
                starts.ctypes.data + panel * PANEL_ITEMS * 4,
                user_scales_N.ctypes.data + user * 4,
                item_scales.ctypes.data + panel * PANEL_ITEMS * 4,
                out_NW.ctypes.data + (user * width + p * PANEL_ITEMS) * 4,
                (dim, 4 * width),
            )


@compiled_fast
def int8_panels(items_ID: Any, order: Any, panels: Any, starts: Any, scales: Any, residuals: Any) -> None:
    """Quantize item vectors, each by its own scale, into panels; see `int8_product`.

    Args:
        items_ID: float32.
        order: Item at each place.
        panels: [num_panels, D / 4, PANEL_ITEMS] int32, four dimensions each.
        starts: See `int8_product`.
        scales: See `int8_product`.
        residuals: By place: length of what rounding took.
    """
    dim = items_ID.shape[1]
    levels = np.empty(dim, np.int8)
    fours = levels.view(np.int32)
    for place in range(order.size):
        vector = items_ID[order[place]]
        largest = np.float32(0.0)
        for d in range(dim):
            largest = max(largest, abs(vector[d]))
        scale = largest / np.float32(127.0)
        inverse = np.float32(1.0) / scale if scale > np.float32(1e-30) else np.float32(0.0)
        total, lost = np.int32(0), np.float32(0.0)
        for d in range(dim):
            level = np.rint(vector[d] * inverse)
            difference = vector[d] - level * scale
            lost += difference * difference
            levels[d] = np.int8(level)
            total += np.int32(level)
        panel, column = place // PANEL_ITEMS, place % PANEL_ITEMS
        for d in range(fours.size):
            panels[panel, d, column] = fours[d]
        starts[panel, column] = np.int32(-128) * total
        scales[panel, column] = scale
        residuals[place] = np.sqrt(lost)


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
    chosen[:count] = keys[:count]
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
            chosen[:front] = keys[:front]
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
        best = np.sort(keys[: min(count, k)])
        for n in range(best.size):
            word = (best[n] >> np.uint64(32)) ^ np.uint64(0xFFFFFFFF)
            bits[n] = word ^ (np.uint64(0x80000000) if word >> np.uint64(31) else np.uint64(0xFFFFFFFF))
            indices[user, n] = np.int32(best[n] & np.uint64(0xFFFFFFFF))
            scores[user, n] = listed[n]


@compiled
def list_equal_scores(users: Any, k: int, place_of_item: Any, filters: Any, indices: Any, scores: Any) -> None:
    """Lists of users whose vector is zero: every score is 0, so the first items that they may get."""
    for user in users:
        group, listed = filters.groups[user], 0
        seen = filters.seen[filters.start[user] : filters.end[user]]
        for item in range(place_of_item.size):
            place = place_of_item[item]
            if place < 0:
                continue
            if group >= 0:
                word = filters.words[group, place // PANEL_ITEMS]
                if (word >> np.uint64(place % PANEL_ITEMS)) & np.uint64(1) == 0:
                    continue
            at = np.searchsorted(seen, place)
            if at < seen.size and seen[at] == place:
                continue
            indices[user, listed], scores[user, listed] = item, 0.0
            listed += 1
            if listed == k:
                break


@compiled
def sort_rows(values: Any, starts: Any, ends: Any) -> None:
    """Sort each row of ragged rows in place."""
    for row in range(starts.size):
        if ends[row] - starts[row] > 1:
            values[starts[row] : ends[row]] = np.sort(values[starts[row] : ends[row]])
