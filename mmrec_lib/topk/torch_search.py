"""Exact search on a device of torch: blocks of users times blocks of items, with the lists of every other path.

The product only screens, so it may round as the device does (TF32 on a GPU): a list is complete once no item outside
its candidates can reach its last exact score, and the few users of whom that is not sure are searched with more.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from mmrec_lib.topk.items import NO_GROUP, PreparedItems, UserBatch
from mmrec_lib.topk.numpy_search import search_with_numpy
from mmrec_lib.topk.scores import LANES, pad_dimensions
from mmrec_lib.topk.selection import NO_ITEM, TopItems, empty_top

_GROUP = 32
_PAIRS_AT_ONCE = 1 << 20
# Users are searched again with this many times the candidates.
_MORE = 4
# Largest relative error of a number in a product: float32, TF32 (or bfloat16 in three parts), bfloat16.
_UNITS = {"highest": 2.0**-24, "high": 2.0**-10, "medium": 2.0**-7}


@dataclass(frozen=True)
class _DeviceItems:
    """Items that may be listed, on a device.

    Attributes:
        vectors: [P, D] float32.
        order: [P] item at each place, ascending.
        place_of_item: [I] on the host, -1 without a place.
        allowed: [groups, P] or None.
        device: Where they are.
    """

    vectors: torch.Tensor
    order: torch.Tensor
    place_of_item: NDArray[np.int64]
    allowed: torch.Tensor | None
    device: torch.device

    @classmethod
    def of(cls, items: PreparedItems, device: torch.device) -> _DeviceItems:
        """Copy items to a device, once."""
        name = f"torch:{device}"
        if name not in items.cache:
            order = np.flatnonzero(items.is_listed)
            place = np.full(items.num_items, -1, np.int64)
            place[order] = np.arange(len(order))
            allowed = None if items.allowed is None else torch.from_numpy(items.allowed[:, order]).to(device)
            vectors = torch.from_numpy(items.padded[order]).to(device)
            items.cache[name] = cls(vectors, torch.from_numpy(order).to(device), place, allowed, device)
        found = items.cache[name]
        assert isinstance(found, cls)
        return found


def search_on_device(
    items: PreparedItems, users: UserBatch, device: str, *, user_block: int = 4096, item_block: int = 32_768
) -> TopItems:
    """Lists of all users; see `exact_top`.

    Args:
        items: Items; their copy on the device stays there for later searches.
        users: Users.
        device: A device of torch, such as cuda or cpu.
        user_block: Users multiplied at once.
        item_block: Items multiplied at once; a block of scores takes 4 * user_block * item_block bytes there.
    """
    there = _DeviceItems.of(items, torch.device(device))
    num_places = len(there.order)
    lists = empty_top(len(users), users.k)
    if not num_places:
        return lists
    errors = _screening_errors(items, users, there.device)
    # Equal scores leave all items in doubt here.
    zero = np.flatnonzero(users.norms == 0)
    equal = search_with_numpy(items, users.of(zero))
    lists.indices[zero], lists.scores[zero] = equal.indices, equal.scores
    waiting, num_candidates = np.flatnonzero(users.norms > 0), users.k + max(64, users.k // 2)
    while len(waiting):
        width = min(num_candidates, num_places)
        # Fewer users where there are many candidates, so that memory stays what it was.
        size = max(1, min(user_block, (user_block * item_block) // (2 * width)))
        unsure = []
        for start in range(0, len(waiting), size):
            rows = waiting[start : start + size]
            is_sure = _search_block(there, users, rows, width, item_block, errors[rows], lists)
            unsure.append(rows[~is_sure])
        waiting, num_candidates = np.concatenate(unsure), num_candidates * _MORE
    return lists


def _screening_errors(items: PreparedItems, users: UserBatch, device: torch.device) -> NDArray[np.float64]:
    """Bounds [num_users] of the difference between a product on the device and the exact score."""
    unit = _UNITS[torch.get_float32_matmul_precision()]
    if device.type != "cpu":
        # However the process has set TF32.
        unit = max(unit, _UNITS["high"])
    dim = items.padded.shape[1]
    bounds: NDArray[np.float64] = users.norms * items.largest_norm * (2 * unit + unit * unit + (dim + 8) * 2.0**-23)
    # Numbers below the smallest normal float32 may count as 0.
    bounds += dim * 2.0**-125 * (1.0 + users.norms + items.largest_norm)
    return bounds


def _search_block(
    items: _DeviceItems,
    users: UserBatch,
    rows: NDArray[np.intp],
    width: int,
    item_block: int,
    errors: NDArray[np.float64],
    lists: TopItems,
) -> NDArray[np.bool_]:
    """Write lists of some users; [n] True where they are complete."""
    device, num_places = items.device, len(items.order)
    own = torch.from_numpy(pad_dimensions(users.vectors[rows])).to(device)
    groups = torch.from_numpy(users.groups[rows].astype(np.int64)).to(device)
    seen_rows, seen_places = _seen(items, users, rows)
    buffer = torch.empty(len(rows), min(-(-num_places // _GROUP) * _GROUP, item_block), device=device)
    best = torch.full((len(rows), 0), -torch.inf, device=device)
    places = torch.zeros((len(rows), 0), dtype=torch.int64, device=device)
    for first in range(0, num_places, item_block):
        last = min(first + item_block, num_places)
        scores = buffer[:, : last - first]
        torch.matmul(own, items.vectors[first:last].T, out=scores)
        if items.allowed is not None:
            forbidden = ~items.allowed[groups.clamp(min=0), first:last] & (groups != NO_GROUP)[:, None]
            scores.masked_fill_(forbidden, -torch.inf)
        low, high = np.searchsorted(seen_places, (first, last))
        at = (
            torch.from_numpy(seen_rows[low:high]).to(device),
            torch.from_numpy(seen_places[low:high] - first).to(device),
        )
        scores[at] = -torch.inf
        found, columns = _largest(scores, min(width, last - first))
        best, places = torch.cat([best, found], dim=1), torch.cat([places, columns + first], dim=1)
        best, kept = torch.topk(best, min(width, best.shape[1]), dim=1)
        places = places.gather(1, kept)
    return _write(items, own, best, places, errors, users.k, rows, lists)


def _largest(scores: torch.Tensor, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Values and columns of each row's largest scores: only groups with the largest maxima are looked into."""
    num_groups = scores.shape[1] // _GROUP
    if num_groups <= 2 * width:
        found = torch.topk(scores, width, dim=1)
        return found.values, found.indices
    whole = num_groups * _GROUP
    # Columns of a group lie num_groups apart, so that the maximum runs along contiguous memory.
    maxima = scores[:, :whole].reshape(-1, _GROUP, num_groups).amax(dim=1)
    chosen = torch.topk(maxima, width, dim=1, sorted=False).indices
    columns = (chosen[:, :, None] + num_groups * torch.arange(_GROUP, device=scores.device)).flatten(1)
    rest = torch.arange(whole, scores.shape[1], device=scores.device).expand(len(scores), -1)
    columns = torch.cat([columns, rest], dim=1)
    found = torch.topk(scores.gather(1, columns), width, dim=1)
    return found.values, columns.gather(1, found.indices)


def _write(
    items: _DeviceItems,
    own: torch.Tensor,
    best: torch.Tensor,
    places: torch.Tensor,
    errors: NDArray[np.float64],
    k: int,
    rows: NDArray[np.intp],
    lists: TopItems,
) -> NDArray[np.bool_]:
    exact = torch.where(best > -torch.inf, _exact_scores(own, items.vectors, places), -torch.inf)
    # By item first, then stably by score.
    places, by_item = places.sort(dim=1)
    exact, by_score = exact.gather(1, by_item).sort(dim=1, descending=True, stable=True)
    length = min(k, exact.shape[1])
    exact, places = exact[:, :length], places.gather(1, by_score)[:, :length]
    indices = torch.where(exact > -torch.inf, items.order[places], NO_ITEM)
    lists.indices[rows, :length] = indices.cpu().numpy()
    lists.scores[rows, :length] = exact.cpu().numpy()
    # The last candidate bounds every item that is none.
    limit = best[:, -1].cpu().numpy().astype(np.float64)
    is_all = np.isneginf(limit) | (best.shape[1] == len(items.order))
    return np.asarray(is_all | (limit + errors < lists.scores[rows, -1]))


def _exact_scores(users: torch.Tensor, items: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Scores [n, width] as `scores.exact_scores` defines them."""
    result = torch.empty(places.shape, dtype=torch.float32, device=users.device)
    step = max(1, _PAIRS_AT_ONCE // places.shape[1])
    for start in range(0, len(users), step):
        left = users[start : start + step, None, :].double()
        right = items[places[start : start + step]]
        sums = torch.zeros((*right.shape[:2], LANES), dtype=torch.float64, device=users.device)
        for first in range(0, users.shape[1], LANES):
            sums += left[..., first : first + LANES] * right[..., first : first + LANES].double()
        while sums.shape[-1] > 1:
            sums = sums[..., 0::2] + sums[..., 1::2]
        result[start : start + step] = sums[..., 0].float()
    return result + 0.0


def _seen(items: _DeviceItems, users: UserBatch, rows: NDArray[np.intp]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Row and place of seen items, by place."""
    if users.seen is None:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    seen = users.seen[rows]
    owners = np.repeat(np.arange(len(rows)), np.diff(seen.indptr))
    places = items.place_of_item[seen.indices]
    order = np.argsort(places, kind="stable")
    return owners[order], places[order]
