"""Exact search with compiled kernels: screened products, candidates by bounds, lists by exact scores."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cache

import llvmlite.binding as llvm
import numba
import numpy as np
from numpy.typing import NDArray

from mmrec_lib.topk.filter_kernels import Filters, list_equal_scores, sort_rows
from mmrec_lib.topk.int8_kernels import TILE_USERS, int8_product
from mmrec_lib.topk.items import PreparedItems, UserBatch
from mmrec_lib.topk.kernels import (
    NOT_MASKED,
    Candidates,
    Vectors,
    finish_lists,
    scan_block,
)
from mmrec_lib.topk.scores import pad_dimensions
from mmrec_lib.topk.screen import Screen, ScreenedUsers, as_bound, make_screen, screen_users
from mmrec_lib.topk.selection import TopItems, empty_top
from mmrec_lib.topk.threads import single_threaded_blas, usable_threads

USER_BLOCK = 1024
# Longer sums of products of 8 bits would not fit 32.
_MAX_INT8_DIM = 32_768
# Candidates are kept in three arrays of 4 bytes each.
_CANDIDATE_BYTES = 64 << 20
# A list of active users is cut when this share of them is left.
_WORTH_CUTTING = 0.8


@cache
def has_int8() -> bool:
    """True where the processor multiplies int8 by AVX-512 VNNI and numba compiles for it."""
    if numba.config.CPU_NAME or numba.config.CPU_FEATURES:
        return False
    features = llvm.get_host_cpu_features()
    return all(features.get(name, False) for name in ("avx512f", "avx512bw", "avx512vnni"))


def search_compiled(
    items: PreparedItems,
    users: UserBatch,
    *,
    use_int8: bool | None = None,
    user_block: int = USER_BLOCK,
    num_threads: int | None = None,
) -> TopItems:
    """Lists of all users; see `exact_top`.

    Args:
        items: Items; what is prepared from them stays with them for later searches.
        users: Users.
        use_int8: Screen by int8 products instead of float32; None where the processor has them.
        user_block: Users searched at once, at most.
        num_threads: Threads, each with users of its own; None for as many as BLAS would use.
    """
    int8 = (has_int8() if use_int8 is None else use_int8) and items.vectors.shape[1] <= _MAX_INT8_DIM
    name = "int8" if int8 else "float32"
    if name not in items.cache:
        items.cache[name] = make_screen(items, users, use_int8=int8)
    screen = items.cache[name]
    assert isinstance(screen, Screen)
    lists = empty_top(len(users), users.k)
    threads = usable_threads() if num_threads is None else num_threads
    capacity = 2 * users.k + 512
    size = max(1, min(user_block, -(-len(users) // threads), _CANDIDATE_BYTES // (12 * capacity)))
    blocks = [slice(start, min(start + size, len(users))) for start in range(0, len(users), size)]

    def search(rows: slice) -> None:
        _search_block(items, screen, users, rows, capacity, lists)

    with single_threaded_blas():
        if threads == 1 or len(blocks) == 1:
            for rows in blocks:
                search(rows)
        else:
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(search, blocks))
    return lists


def _search_block(
    items: PreparedItems, screen: Screen, users: UserBatch, rows: slice, capacity: int, lists: TopItems
) -> None:
    own = pad_dimensions(users.vectors[rows])
    screened = screen_users(screen, own, users.norms[rows], items.largest_norm)
    num_users = len(own)
    shape = (num_users, capacity)
    candidates = Candidates(
        lower=np.empty(shape, np.float32),
        upper=np.empty(shape, np.float32),
        places=np.empty(shape, np.int32),
        counts=np.zeros(num_users, np.int64),
        settled=np.zeros(num_users, np.int64),
        thresholds=np.full(num_users, NOT_MASKED, np.float32),
    )
    filters = _filters(screen, users, rows)
    dim = own.shape[1]
    vectors = Vectors(
        own.ctypes.data, items.padded.ctypes.data, dim, screen.order, screened.factors, as_bound(screened.slacks)
    )
    product = _Product(screen, screened, np.flatnonzero(users.norms[rows] > 0))
    for block in range(screen.num_blocks):
        product.keep(screened.may_contribute(screen, block, candidates.thresholds))
        if not len(product.active):
            break
        errors = screened.errors(screen, block)[product.active]
        first = block * screen.width
        scan_block(product.scores(block), product.active, errors, first, users.k, candidates, filters, vectors)
    indices, scores = lists.indices[rows], lists.scores[rows]
    finish_lists(users.k, candidates, vectors, indices, scores)
    zero = np.flatnonzero(users.norms[rows] == 0)
    list_equal_scores(zero, users.k, screen.place_of_item, filters, indices, scores)


class _Product:
    """Blocks of screened scores of the active users, always in the same buffer."""

    def __init__(self, screen: Screen, users: ScreenedUsers, active: NDArray[np.intp]) -> None:
        self._screen, self._users = screen, users
        num_rows = -(-max(1, len(active)) // TILE_USERS) * TILE_USERS
        self._buffer = np.empty((num_rows, screen.width), np.float32)
        self.active = active
        self._gather()

    def keep(self, wanted: NDArray[np.bool_]) -> None:
        """Leave users out, as soon as there are enough of them."""
        kept = self.active[wanted[self.active]]
        if len(kept) < _WORTH_CUTTING * len(self.active):
            self.active = kept
            self._gather()

    def scores(self, block: int) -> NDArray[np.float32]:
        """[num_active, width] scores of a block of items."""
        screen, num_rows = self._screen, len(self._rows)
        out = self._buffer[:num_rows]
        if screen.int8 is None:
            assert screen.floats is not None
            first = block * screen.width
            np.matmul(self._rows, screen.floats[first : first + screen.width].T, out=out)
        else:
            int8 = screen.int8
            first_panel = block * screen.width // int8.scales.shape[1]
            int8_product(self._rows, self._scales, int8.panels, int8.starts, int8.scales, first_panel, out)
        return out

    def _gather(self) -> None:
        num_active = len(self.active)
        if self._screen.int8 is None:
            self._rows = np.ascontiguousarray(self._users.rows[self.active])
            return
        num_rows = -(-num_active // TILE_USERS) * TILE_USERS
        self._rows = np.full((num_rows, self._users.rows.shape[1]), 128, np.uint8)
        self._rows[:num_active] = self._users.rows[self.active]
        self._scales = np.zeros(num_rows, np.float32)
        self._scales[:num_active] = self._users.scales[self.active]


def _filters(screen: Screen, users: UserBatch, rows: slice) -> Filters:
    """Filters of a block of users, by place."""
    groups = users.groups[rows]
    num_users = len(groups)
    if users.seen is None:
        ends = np.zeros(num_users, np.int64)
        return Filters(np.zeros(0, np.int32), ends, ends.copy(), ends, screen.words, groups)
    pointers = users.seen.indptr[rows.start : rows.stop + 1].astype(np.int64)
    # Items that nobody gets have place -1, which comes before every block.
    places = screen.place_of_item[users.seen.indices[pointers[0] : pointers[-1]]]
    starts, ends = pointers[:-1] - pointers[0], pointers[1:] - pointers[0]
    sort_rows(places, starts, ends)
    return Filters(places, starts, starts.copy(), ends, screen.words, groups)
