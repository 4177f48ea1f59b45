"""Bounds for exact pruning: items transformed, ordered by length and rounded, with what the rounding can hide.

A linear map of the items and its inverse of the users leave every score as it is, but change lengths. The map here
makes the second moments of users and items equal, which minimises the mean product of their squared lengths. Then
length of user times length of item is close to the largest scores, so that blocks of short items can be skipped
(Cauchy-Schwarz), and rounding to int8, which costs in proportion to the lengths, leaves few items in doubt. A random
rotation after it spreads large dimensions over all.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from mmrec_lib.topk.int8_kernels import PANEL_ITEMS, TILE_USERS, int8_panels
from mmrec_lib.topk.items import PreparedItems, UserBatch

_SAMPLE_USERS = 2048
_SAMPLE_ITEMS = 16_384
# Fewer users say too little about directions.
_MIN_SAMPLE = 64
# Eigenvectors of longer vectors take longer than they save.
_MAX_DIM = 768
_ROWS_AT_ONCE = 16_384
_FLOOR = 1e-30
# Above all screened scores, and below -NOT_MASKED of the kernels, which stands for no score.
_UNKNOWN = 1e29
_MARGIN = 1.0 + 1e-5

Floats = NDArray[np.float32]
AnyFloat = TypeVar("AnyFloat", np.float32, np.float64)


@dataclass(frozen=True)
class Int8Items:
    """Items in panels for `kernels.int8_product`."""

    panels: NDArray[np.int32]
    starts: NDArray[np.int32]
    scales: Floats


@dataclass(frozen=True)
class Screen:
    """Items at their places, longest first.

    Attributes:
        order: [P] item at each place; items that must not be recommended have none.
        place_of_item: [I] its inverse, -1 without a place.
        width: Columns of a block, a multiple of PANEL_ITEMS.
        user_map: [D, D] float64: what a scaled user vector is multiplied by.
        exponent: Item vectors are divided by 2 to this power.
        int8: The rounded items, or None where `floats` screen.
        floats: [P, D] float32 transformed items, or None.
        lengths: [num_blocks] largest length of a transformed item of the block or a later one.
        losses: [num_blocks] largest length of what rounding took from an item of the block.
        words: [num_groups, num_words] bits of the places that a group may get.
    """

    order: NDArray[np.int32]
    place_of_item: NDArray[np.int32]
    width: int
    user_map: NDArray[np.float64]
    exponent: int
    int8: Int8Items | None
    floats: Floats | None
    lengths: NDArray[np.float64]
    losses: NDArray[np.float64]
    words: NDArray[np.uint64]

    @property
    def num_blocks(self) -> int:
        """Number of item blocks."""
        return len(self.lengths)


@dataclass(frozen=True)
class ScreenedUsers:
    """A block of users as the screen needs them.

    Attributes:
        rows: [n] float32 transformed, or uint8 rounded, padded to a multiple of TILE_USERS.
        scales: [n] float32 of the rounded ones.
        lengths: [N] of the transformed vectors.
        kept_lengths: [N] of what rounding left of them.
        losses: [N] length of what rounding took.
        slacks: [N] rounding of a float32 score, in the units of screened scores.
        factors: [N] from exact to screened scores.
    """

    rows: NDArray[np.float32] | NDArray[np.uint8]
    scales: Floats
    lengths: NDArray[np.float64]
    kept_lengths: NDArray[np.float64]
    losses: NDArray[np.float64]
    slacks: NDArray[np.float64]
    factors: NDArray[np.float64]

    def errors(self, screen: Screen, block: int) -> Floats:
        """[N] bounds of the difference between screened and exact scores in a block of items."""
        longest, lost = screen.lengths[block], screen.losses[block]
        rounding = (self.rows.shape[1] + 64) * 2.0**-23 if screen.int8 is None else 2.0**-20
        screened = self.losses * longest + self.kept_lengths * (lost + rounding * (longest + lost))
        return as_bound(screened + self.slacks)

    def may_contribute(self, screen: Screen, block: int, thresholds: Floats) -> NDArray[np.bool_]:
        """[N] False for users whose list no item of the block or a later one can enter."""
        bound = (self.lengths * screen.lengths[block] + self.slacks) * _MARGIN + _FLOOR
        return np.asarray(bound >= thresholds)


def as_bound(values: NDArray[np.float64]) -> Floats:
    """Bounds in float32, never below the given ones; larger than every score already means that nothing is known."""
    return np.minimum(values * _MARGIN + _FLOOR, _UNKNOWN).astype(np.float32)


def make_screen(items: PreparedItems, users: UserBatch, *, use_int8: bool) -> Screen:
    """Transform, order and round items; the users only choose the map, any others are served as exactly."""
    vectors = items.padded
    listed = np.flatnonzero(items.is_listed).astype(np.int32)
    exponent = _exponent(float(np.abs(vectors).max(initial=0.0)))
    item_map, user_map = _balancing_maps(vectors[listed[:: max(1, len(listed) // _SAMPLE_ITEMS)]], exponent, users)
    dim = vectors.shape[1]
    moved, lengths = np.empty((len(listed), dim), np.float32), np.empty(len(listed), np.float32)
    map_loss = dim * 2.0**-23 * float(np.linalg.norm(item_map))
    is_whole = len(listed) == items.num_items
    for start in range(0, len(listed), _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        chosen = vectors[rows] if is_whole else vectors[listed[rows]]
        scaled: Floats = np.ldexp(chosen, -exponent)
        np.matmul(scaled, item_map, out=moved[rows])
        # What float32 may have lost in the product counts into the length.
        lengths[rows] = _lengths(moved[rows]) + np.float32(map_loss) * _lengths(scaled)
    by_length = np.argsort(-lengths, kind="stable").astype(np.int32)
    order = listed[by_length]
    width = 1024 if len(order) >= 16_384 else max(128, len(order) // 16 // PANEL_ITEMS * PANEL_ITEMS)
    firsts = np.arange(0, len(order), width)
    int8, floats, losses = None, None, np.zeros(len(firsts))
    if use_int8:
        int8, lost = _round_items(moved, by_length, width)
        losses = np.maximum.reduceat(lost, firsts) if len(firsts) else losses
    else:
        floats = np.zeros((len(firsts) * width, dim), np.float32)
        floats[: len(order)] = moved[by_length]
    place_of_item = np.full(items.num_items, -1, np.int32)
    place_of_item[order] = np.arange(len(order), dtype=np.int32)
    return Screen(
        order=order,
        place_of_item=place_of_item,
        width=width,
        user_map=user_map,
        exponent=exponent,
        int8=int8,
        floats=floats,
        lengths=lengths[by_length[firsts]].astype(np.float64),
        losses=losses + map_loss * items.largest_norm * 2.0**-exponent,
        words=_words(items, order),
    )


def screen_users(screen: Screen, vectors: Floats, norms: NDArray[np.float64], largest_item: float) -> ScreenedUsers:
    """Transform and round a block of users; vectors are padded as the items are."""
    largest = np.abs(vectors).max(axis=1, initial=0.0)
    exponents = np.where(largest > 0, np.frexp(largest)[1], 0)
    scaled = np.ldexp(vectors.astype(np.float64), -exponents[:, None])
    exact = scaled @ screen.user_map
    lengths = _lengths(exact)
    factors = np.ldexp(1.0, -(exponents + screen.exponent))
    # Half a unit in the last place of float32, and as much again for scaling; the least float32 counts as one.
    slacks = 2.0**-22 * norms * factors * largest_item + 2.0**-148 * factors
    num_rows = -(-len(vectors) // TILE_USERS) * TILE_USERS
    if screen.int8 is None:
        rows = exact.astype(np.float32)
        kept: NDArray[np.float64] = rows.astype(np.float64)
        return ScreenedUsers(rows, np.ones(0, np.float32), lengths, _lengths(kept), lengths * 1e-6, slacks, factors)
    scales = (np.abs(exact).max(axis=1, initial=0.0) / 127.0).astype(np.float32)
    safe = np.where(scales > 0, scales, 1.0).astype(np.float64)[:, None]
    levels = np.clip(np.rint(exact / safe), -127, 127)
    kept = levels * scales[:, None]
    rounded = np.full((num_rows, vectors.shape[1]), 128, np.uint8)
    rounded[: len(vectors)] = levels + 128
    all_scales = np.zeros(num_rows, np.float32)
    all_scales[: len(vectors)] = scales
    losses = _lengths(exact - kept) + lengths * 1e-6
    return ScreenedUsers(rounded, all_scales, lengths, _lengths(kept), losses, slacks, factors)


def _exponent(largest: float) -> int:
    return int(np.frexp(largest)[1]) if largest > 0 else 0


def _lengths(rows: NDArray[AnyFloat]) -> NDArray[AnyFloat]:
    """Upper bounds of the lengths of rows of scaled numbers, close to them."""
    squares = np.einsum("nd,nd->n", rows, rows)
    # The first term is for rounding, the second for squares below the smallest float32.
    return np.asarray(np.sqrt(squares) * rows.dtype.type(1.0 + 1e-4) + rows.dtype.type(1e-18))


def _balancing_maps(sample: Floats, exponent: int, users: UserBatch) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """The map of the items [D, D] and that of the users, which undoes it."""
    dim = sample.shape[1]
    rotation = _rotation(dim)
    strided = users.vectors[:: max(1, len(users) // _SAMPLE_USERS)]
    norms = users.norms[:: max(1, len(users) // _SAMPLE_USERS)]
    strided, norms = strided[norms > 0], norms[norms > 0]
    balance = np.eye(dim)
    if len(strided) >= _MIN_SAMPLE and len(sample) >= _MIN_SAMPLE and dim <= _MAX_DIM:
        unit = np.pad(strided / norms[:, None], ((0, 0), (0, dim - strided.shape[1])))
        root = _root(_moments(unit))
        second = _moments(np.ldexp(sample.astype(np.float64), -exponent))
        values, axes = np.linalg.eigh(root @ second @ root)
        values = np.maximum(values, values.max() * 1e-8 + _FLOOR)
        balance = root @ (axes * values**-0.25)
        balance *= np.sqrt(dim) / np.linalg.norm(balance)
    item_map = (balance @ rotation).astype(np.float32)
    return item_map, np.linalg.inv(item_map.astype(np.float64)).T


def _moments(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Second moments, with a floor that keeps directions that the sample lacks."""
    moments = rows.T @ rows / len(rows)
    dim = len(moments)
    return np.asarray(moments + (np.trace(moments) / dim * 1e-4 + _FLOOR) * np.eye(dim))


def _root(moments: NDArray[np.float64]) -> NDArray[np.float64]:
    values, axes = np.linalg.eigh(moments)
    return np.asarray((axes * np.sqrt(np.maximum(values, 0))) @ axes.T)


@lru_cache(maxsize=4)
def _rotation(dim: int) -> NDArray[np.float64]:
    return np.asarray(np.linalg.qr(np.random.default_rng(0).standard_normal((dim, dim)))[0])


def _round_items(moved: Floats, order: NDArray[np.int32], width: int) -> tuple[Int8Items, NDArray[np.float64]]:
    num_items, dim = moved.shape
    num_panels = -(-num_items // width) * width // PANEL_ITEMS
    panels = np.zeros((num_panels, dim // 4, PANEL_ITEMS), np.int32)
    starts = np.zeros((num_panels, PANEL_ITEMS), np.int32)
    scales = np.zeros((num_panels, PANEL_ITEMS), np.float32)
    lost = np.empty(num_items, np.float32)
    int8_panels(moved, order, panels, starts, scales, lost)
    return Int8Items(panels, starts, scales), lost.astype(np.float64) * (1.0 + 1e-4) + 1e-18


def _words(items: PreparedItems, order: NDArray[np.int32]) -> NDArray[np.uint64]:
    """Bits of allowed places, 64 a word, the first place in the lowest bit."""
    if items.allowed is None:
        return np.zeros((0, 1), np.uint64)
    num_words = -(-len(order) // PANEL_ITEMS) + 16
    words = np.zeros((len(items.allowed), num_words), "<u8")
    for group, allowed in enumerate(items.allowed):
        bits = np.packbits(allowed[order], bitorder="little")
        words[group].view(np.uint8)[: len(bits)] = bits
    return words.astype(np.uint64)
