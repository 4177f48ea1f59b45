"""Requests of a window: the second stage learns what their hour and device say, and evaluation measures their lists.

Shape letters: U users, I items, R requests.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import sparse

from mmrec_lib.models.data import Histories, Interactions, Ints
from mmrec_lib.models.request_context import RequestContext, Searches
from mmrec_lib.models.second_stage_settings import ContextKind, SecondStageSettings

PER_REQUEST = frozenset[ContextKind]({"time", "device"})
"""Parts of the context that are not known before the request."""
# Requests of a user in a window that are looked at, at most.
_MAX_REQUESTS = 2
# Share of the lists and requests of which a part of the context is hidden in training, though it is known.
_HIDDEN_SHARE = 0.1
_SECONDS_AN_HOUR = 3_600.0


@dataclass(frozen=True)
class Requests:
    """Items that users turned to within an hour, on one device.

    Attributes:
        users: [R] who, ascending.
        times: [R] epoch seconds of the first interaction; NaN where unknown.
        devices: [R] device; None where unknown.
        relevant: [R, I] ones for what they turned to.
    """

    users: Ints
    times: npt.NDArray[np.float64]
    devices: npt.NDArray[np.object_]
    relevant: sparse.csr_matrix

    def of_users(self, users: Ints) -> Requests:
        """Those of some users."""
        at = np.flatnonzero(np.isin(self.users, users))
        return Requests(self.users[at], self.times[at], self.devices[at], self.relevant[at])

    def context(self, before: RequestContext | None, rows: Ints, searches: Searches | None = None) -> RequestContext:
        """Context of the requests.

        Args:
            before: Context of lists that are made before the window; None where nothing is known.
            rows: [R] list there of each request.
            searches: Searches of the users at any time, of which the last one before each request is known; None where
                that before the window is, as it is where the time of a request is not known.
        """
        known = RequestContext.unknown(len(rows)) if before is None else before.rows(rows)
        known = replace(known, times=self.times, devices=self.devices)
        if searches is None:
            return known
        last = searches.last_before(self.users, self.times)
        return replace(known, searches=np.where(np.isfinite(self.times), last, known.searches))


def draw_requests(
    later: Interactions, relevant: sparse.csr_matrix, device_names: tuple[str, ...], max_requests: int, seed: int
) -> Requests:
    """Draw up to two requests of each user in a window.

    Args:
        later: [U, I] interactions of the window.
        relevant: [U, I] those that count, without what was seen before; no others.
        device_names: Names of the devices.
        max_requests: R at most.
        seed: Seed of the draw.
    """
    rng, num_items = np.random.default_rng(seed), later.shape[1]
    keys, wanted = (
        np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr)) * num_items + matrix.indices
        for matrix in (later.weights, relevant)
    )
    at = np.searchsorted(keys, wanted)
    users, items, times = wanted // num_items, wanted % num_items, later.times.data[at]
    devices = np.full(len(at), -1, dtype=np.int64) if later.devices is None else later.devices[at]
    hours = np.where(times > 0, np.floor(times / _SECONDS_AN_HOUR), -1.0).astype(np.int64)
    told = (hours >= 0) | (devices >= 0)
    users, items, times, devices, hours = (values[told] for values in (users, items, times, devices, hours))
    groups, request = np.unique(np.stack([users, hours, devices], axis=1), axis=0, return_inverse=True)
    request = request.ravel()
    place = _places(groups[:, 0], rng.random(len(groups)))
    chosen = np.flatnonzero(place < _MAX_REQUESTS)
    if len(chosen) > max_requests:
        chosen = np.sort(rng.choice(chosen, max_requests, replace=False))
    row_of = np.full(len(groups), -1, dtype=np.int64)
    row_of[chosen] = np.arange(len(chosen))
    first = np.full(len(groups), np.inf)
    np.minimum.at(first, request, np.where(times > 0, times, np.inf))
    rows = row_of[request]
    is_drawn = rows >= 0
    found = (np.ones(int(is_drawn.sum()), np.float32), (rows[is_drawn], items[is_drawn]))
    names = np.array([*device_names, None], dtype=np.object_)
    return Requests(
        users=groups[chosen, 0],
        times=np.where(np.isfinite(first[chosen]), first[chosen], np.nan),
        devices=names[groups[chosen, 2]],
        relevant=sparse.csr_matrix(found, shape=(len(chosen), num_items)),
    )


def _places(users: Ints, keys: npt.NDArray[np.float64]) -> Ints:
    """Place of each row among those of its user by ascending keys; users ascend."""
    order = np.lexsort((keys, users))
    starts = np.searchsorted(users, users)
    places = np.empty(len(users), dtype=np.int64)
    places[order] = np.arange(len(users)) - starts[order]
    return places


def with_parts_hidden(histories: Histories, settings: SecondStageSettings, rng: np.random.Generator) -> Histories:
    """Histories of whose context some parts are hidden at random, so that the network learns to do without them."""
    context = RequestContext.unknown(len(histories)) if histories.context is None else histories.context
    hidden = {kind: rng.random(len(histories)) < _HIDDEN_SHARE for kind in settings.context}
    if "time" in hidden:
        context = replace(context, times=np.where(hidden["time"], np.nan, context.times))
    if "device" in hidden:
        context = replace(context, devices=_without(context.devices, hidden["device"]))
    if "search" in hidden:
        context = replace(context, searches=_without(context.searches, hidden["search"]))
    attributes = dict(histories.attributes)
    if "market" in hidden and settings.market_attribute in attributes:
        attributes[settings.market_attribute] = _without(attributes[settings.market_attribute], hidden["market"])
    return replace(histories, attributes=attributes, context=context)


def _without(values: npt.NDArray[np.object_], hidden: npt.NDArray[np.bool_]) -> npt.NDArray[np.object_]:
    """The values with None where they are hidden."""
    left = values.copy()
    left[hidden] = None
    return left
