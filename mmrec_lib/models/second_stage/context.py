"""Signals of the context of a request: how candidates go with the hour, the market, the device and the last search.

What is not known of a request, as the hour of lists that are made in advance, is masked: all candidates get 0, and a
feature says that it is unknown.

Shape letters: n lists, C candidates, I items, V values of a part of the context, W words, P words of a search.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from scipy import sparse

from mmrec_lib.models.data import Floats, Histories, Ints
from mmrec_lib.models.request_context import RequestContext
from mmrec_lib.models.second_stage.lifts import picked_entries
from mmrec_lib.models.second_stage_settings import ContextKind
from mmrec_lib.text.tokenizer import tokenize

NUM_HOURS, NUM_WEEKDAYS = 24, 7
NUM_COLUMNS: Mapping[ContextKind, int] = {"time": 3, "market": 2, "device": 2, "search": 3}
"""Features of each part of the context, the last of which says whether it is known."""
_MAX_WORDS = 8
_UNKNOWN = -1
_SECONDS_AN_HOUR, _SECONDS_A_DAY = 3_600.0, 86_400.0
_FIRST_WEEKDAY = 3  # 1970-01-01 was a Thursday, and Monday is 0.
_TABLES = ("hours", "weekdays", "markets", "devices")
_MATRICES = ("matches", "follows")

Centre = Callable[[npt.NDArray[Any]], npt.NDArray[Any]]
"""Takes the mean over a list's candidates off."""


def num_context_columns(kinds: Sequence[ContextKind]) -> int:
    """Features of these parts of the context."""
    return sum(NUM_COLUMNS[kind] for kind in kinds)


def hour_codes(seconds: npt.NDArray[np.float64]) -> Ints:
    """Hour of the day (UTC) of epoch seconds, 0 to 23; -1 for NaN."""
    return _codes_of_times(seconds, lambda known: np.floor(known / _SECONDS_AN_HOUR) % NUM_HOURS)


def weekday_codes(seconds: npt.NDArray[np.float64]) -> Ints:
    """Day of the week (UTC) of epoch seconds, 0 for Monday to 6; -1 for NaN."""
    return _codes_of_times(seconds, lambda known: (np.floor(known / _SECONDS_A_DAY) + _FIRST_WEEKDAY) % NUM_WEEKDAYS)


def _codes_of_times(
    seconds: npt.NDArray[np.float64], code: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]
) -> Ints:
    codes = np.full(len(seconds), _UNKNOWN, dtype=np.int64)
    is_known = np.isfinite(seconds)
    codes[is_known] = code(seconds[is_known])
    return codes


def search_words(text: str | None) -> list[str]:
    """The first eight different words of a search."""
    return list(dict.fromkeys(tokenize(text or "")))[:_MAX_WORDS]


@dataclass(frozen=True)
class ContextSignals:
    """Signals of the items of a fit by parts of the context; what the fit could not learn has no rows.

    Attributes:
        kinds: Parts of the context that are looked at, in the order of their features.
        market_attribute: Attribute of users that names their market.
        names: Values of `markets` and `devices`, and the words of `matches` and `follows`, in the order of their rows.
        hours: [24 or 0, I] float32 log of how much likelier an item is at an hour of the day than at large.
        weekdays: [7 or 0, I] the same of days of the week.
        markets: [V, I] the same of markets.
        devices: [V, I] the same of devices.
        matches: [W, I] float32 BM25 of an item's texts and attributes for a word.
        follows: [W, I] float32 log(1 + lift) of an item soon after a search for a word.
    """

    kinds: tuple[ContextKind, ...]
    market_attribute: str
    names: Mapping[str, tuple[str, ...]]
    hours: Floats
    weekdays: Floats
    markets: Floats
    devices: Floats
    matches: sparse.csr_matrix
    follows: sparse.csr_matrix

    def columns(self, histories: Histories, picked_NC: Ints, centre: Centre) -> list[npt.NDArray[Any]]:
        """Features of candidates, [n, C] each; see `NUM_COLUMNS`. Each row depends on its list alone.

        Args:
            histories: n users with the context of their lists; without one it is unknown.
            picked_NC: Positions of the candidates.
            centre: Takes the mean over a list's candidates off.
        """
        context = RequestContext.unknown(len(histories)) if histories.context is None else histories.context
        found: list[npt.NDArray[Any]] = []
        for kind in self.kinds:
            if kind == "search":
                signals, is_known = self._of_searches(context.searches, picked_NC)
            else:
                tables = self._tables(kind, histories, context)
                signals = [_of_values(table, codes, picked_NC) for table, codes in tables]
                is_known = tables[0][1] >= 0
            told = np.broadcast_to(is_known[:, None], picked_NC.shape)
            found += [*(centre(signal) for signal in signals), told.astype(np.float32)]
        return found

    def _tables(self, kind: ContextKind, histories: Histories, context: RequestContext) -> list[tuple[Floats, Ints]]:
        """Log-ratios by value, and the value of each list, -1 where it is unknown."""
        if kind == "time":
            times = context.times if len(self.hours) else np.full(len(context), np.nan)
            return [(self.hours, hour_codes(times)), (self.weekdays, weekday_codes(times))]
        if kind == "device":
            return [(self.devices, self._codes_of("devices", context.devices))]
        own = histories.attributes.get(self.market_attribute, np.full(len(histories), None, dtype=np.object_))
        is_told = np.array([market is not None for market in context.markets], dtype=np.bool_)
        return [(self.markets, self._codes_of("markets", np.where(is_told, context.markets, own)))]

    def _codes_of(self, name: str, values: npt.NDArray[np.object_]) -> Ints:
        known = self._index[name]
        return np.array([known.get(value, _UNKNOWN) for value in values], dtype=np.int64)

    def _of_searches(
        self, texts: npt.NDArray[np.object_], picked_NC: Ints
    ) -> tuple[list[Floats], npt.NDArray[np.bool_]]:
        """Means over the words of each search of matches and follows, and whether any word is known."""
        codes = np.full((len(texts), _MAX_WORDS), _UNKNOWN, dtype=np.int64)
        rows_of = self._index["words"]
        for row, text in enumerate(texts):
            known = [rows_of[word] for word in search_words(text) if word in rows_of]
            codes[row, : len(known)] = known
        counts = (codes >= 0).sum(axis=1)
        found: list[Floats] = []
        for matrix in (self.matches, self.follows):
            total = np.zeros(picked_NC.shape, dtype=np.float32)
            for place in range(int(counts.max(initial=0))):
                own = codes[:, place]
                total += picked_entries(matrix, np.maximum(own, 0), picked_NC) * (own >= 0)[:, None]
            found.append(total / np.maximum(counts, 1).astype(np.float32)[:, None])
        return found, counts > 0

    @cached_property
    def _index(self) -> dict[str, dict[str, int]]:
        return {name: {value: row for row, value in enumerate(values)} for name, values in self.names.items()}

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """All arrays, for saving."""
        found: dict[str, npt.NDArray[Any]] = {f"context/{name}": getattr(self, name) for name in _TABLES}
        for name in _MATRICES:
            matrix = getattr(self, name)
            found |= {f"context/{name}/{part}": getattr(matrix, part) for part in ("data", "indices", "indptr")}
        return found

    def meta(self) -> dict[str, Any]:
        """The rest of its state, as JSON takes it."""
        names = {name: list(values) for name, values in self.names.items()}
        return {"kinds": list(self.kinds), "market_attribute": self.market_attribute, "names": names}

    @classmethod
    def load(cls, arrays: Mapping[str, npt.NDArray[Any]], meta: Mapping[str, Any], num_items: int) -> Self:
        """Rebuild from what `arrays` and `meta` gave."""
        tables: dict[str, Any] = {name: arrays[f"context/{name}"] for name in _TABLES}
        for name in _MATRICES:
            data, indices, indptr = (arrays[f"context/{name}/{part}"] for part in ("data", "indices", "indptr"))
            tables[name] = sparse.csr_matrix((data, indices, indptr), shape=(len(indptr) - 1, num_items))
        names = {name: tuple(values) for name, values in meta["names"].items()}
        return cls(tuple(meta["kinds"]), meta["market_attribute"], names, **tables)


def _of_values(table_VI: Floats, codes_N: Ints, picked_NC: Ints) -> Floats:
    """[n, C] entry of each candidate for the value of its list; 0 where that is unknown."""
    if not len(table_VI):
        return np.zeros(picked_NC.shape, dtype=np.float32)
    found: Floats = table_VI[np.maximum(codes_N, 0)[:, None], picked_NC] * (codes_N >= 0)[:, None]
    return found
