"""Compiled int8 products by AVX-512 VNNI: four multiplications where float32 has one.

Shape suffixes: N users of a block, W columns of an item block, I items, D padded dimensions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils

from mmrec_lib.topk.compiling import compiled, compiled_fast
from mmrec_lib.topk.vector_code import F32, I32, I64, emitted, plus, spread_over, vector_at

TILE_USERS = 6
PANEL_ITEMS = 64


@emitted
def _int8_tile(
    _: Any, users: Any, panel: Any, starts: Any, user_scales: Any, item_scales: Any, out: Any, sizes: Any
) -> Any:
    """Scores of 6 users and a panel of 64 items: u8 times s8 summed in int32 by AVX-512 VNNI, then scaled.

    Arguments are addresses; sizes are (bytes of a user row, bytes of a row of out).
    """
    count, num_vectors = 16, PANEL_ITEMS // 16
    ints, floats = ir.VectorType(I32, count), ir.VectorType(F32, count)

    def generate(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        users, panel, starts, user_scales, item_scales, out, sizes = arguments
        user_bytes, out_bytes = builder.extract_value(sizes, 0), builder.extract_value(sizes, 1)
        multiply_add = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(ints, [ints, ints, ints]), "llvm.x86.avx512.vpdpbusd.512"
        )
        initial = [vector_at(builder, plus(builder, starts, 64 * v), I32, count) for v in range(num_vectors)]
        rows = [builder.add(users, builder.mul(user_bytes, ir.Constant(I64, u))) for u in range(TILE_USERS)]
        before = builder.block
        loop, end = builder.append_basic_block("tile"), builder.append_basic_block("tile.end")
        builder.branch(loop)
        builder.position_at_end(loop)
        offset = builder.phi(I64)
        sums = [[builder.phi(ints) for _ in range(num_vectors)] for _ in range(TILE_USERS)]
        from_panel = builder.add(panel, builder.mul(offset, ir.Constant(I64, PANEL_ITEMS)))
        items = [vector_at(builder, plus(builder, from_panel, 64 * v), I32, count) for v in range(num_vectors)]
        added = []
        for row, row_sums in zip(rows, sums, strict=True):
            four = builder.load(builder.inttoptr(builder.add(row, offset), I32.as_pointer()))
            four.align = 1
            spread = spread_over(builder, four, count)
            added.append([builder.call(multiply_add, [s, spread, i]) for s, i in zip(row_sums, items, strict=True)])
        following = builder.add(offset, ir.Constant(I64, 4))
        offset.add_incoming(ir.Constant(I64, 0), before)
        offset.add_incoming(following, loop)
        for row_sums, row_added in zip(sums, added, strict=True):
            for phi, start, value in zip(row_sums, initial, row_added, strict=True):
                phi.add_incoming(start, before)
                phi.add_incoming(value, loop)
        builder.cbranch(builder.icmp_signed("<", following, user_bytes), loop, end)
        builder.position_at_end(end)
        scales = [vector_at(builder, plus(builder, item_scales, 64 * v), F32, count) for v in range(num_vectors)]
        for u in range(TILE_USERS):
            own = builder.load(builder.inttoptr(plus(builder, user_scales, 4 * u), F32.as_pointer()))
            spread = spread_over(builder, own, count)
            row = builder.add(out, builder.mul(out_bytes, ir.Constant(I64, u)))
            for v in range(num_vectors):
                scaled = builder.fmul(builder.fmul(builder.sitofp(added[u][v], floats), scales[v]), spread)
                place = builder.inttoptr(plus(builder, row, 64 * v), floats.as_pointer())
                builder.store(scaled, place).align = 4
        return ir.Constant(I64, 0)

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
