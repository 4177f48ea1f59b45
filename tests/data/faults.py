"""Broken records: each with exactly one thing wrong, and the reason for which an ingest must refuse it."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import numpy as np

from tests.data.deliveries import Record, Row

Breaker = Callable[[Record], Record | bytes]


def _line(record: Record) -> bytes:
    return json.dumps(record, ensure_ascii=False).encode()


def _with(**fields: Any) -> Breaker:
    return lambda record: {**record, **fields}


def _without(*names: str) -> Breaker:
    return lambda record: {name: value for name, value in record.items() if name not in names}


def _raw(change: Callable[[bytes], bytes]) -> Breaker:
    return lambda record: change(_line(record))


def _token(field: str, token: str) -> Breaker:
    """A JSON number that json.dumps would not write, such as 1e999."""
    return lambda record: _line({**record, field: "@"}).replace(b'"@"', token.encode())


def _as(event_type: str, drop: tuple[str, ...] = ("seconds",), **fields: Any) -> Breaker:
    """The record turned into an event of another type."""
    return lambda record: {
        **{name: value for name, value in record.items() if name not in drop},
        "event_type": event_type,
        **fields,
    }


def _rating(value: Any) -> Breaker:
    return _as("rating", value=value)


def _instead(name: str, **fields: Any) -> Breaker:
    """The record without an optional field, and with others broken: a key that is none, where all else is good."""
    return lambda record: {**{n: value for n, value in record.items() if n != name}, **fields}


NOT_JSON: tuple[Breaker, ...] = (
    _raw(lambda line: line[: len(line) // 2]),
    _raw(lambda line: line[:-1]),
    _raw(lambda line: line.replace(b'"', b"'")),
    _raw(lambda line: line.replace(b'", "', b'" "', 1)),
    _raw(lambda line: line + b" " + line),
    _raw(lambda line: line.replace(b": ", b" = ", 1)),
    _raw(lambda line: b"upstream connect error or disconnect/reset before headers"),
    _raw(lambda line: b"<html><body>503 Service Unavailable</body></html>"),
    _raw(lambda line: line + b"]"),
    _raw(lambda line: line[1:]),
)

BAD_UTF8: tuple[Breaker, ...] = (
    _raw(lambda line: line.replace(b'"}', b' caf\xe9"}')),
    _raw(lambda line: line.replace(b'"}', b'\xff\xfe"}')),
    _raw(lambda line: line.replace(b'"}', b' \xc3("}')),
)

WRONG_ID_TYPES: tuple[Breaker, ...] = (
    _with(user_id={"id": "u0001"}),
    _with(user_id=["u0001", "u0002"]),
    _with(item_id={"sku": 17}),
    _with(item_id=["p001"]),
    _with(user_id=True),
)

MISSING_KEYS: tuple[Breaker, ...] = (
    _without("user_id"),
    _with(user_id=""),
    _with(user_id=None),
    _without("item_id"),
    _with(item_id=""),
    _with(item_id=None),
)

BAD_TIMES: tuple[Breaker, ...] = (
    _with(ts="yesterday"),
    _with(ts="2025-13-45T00:00:00Z"),
    _with(ts="31/08/2025 18:20"),
    _with(ts="2025-08-31T25:61:00Z"),
)

FAR_TIMES: tuple[Breaker, ...] = (
    _with(ts="2099-01-01T00:00:00Z"),
    _with(ts="1901-12-13T20:45:52Z"),
    _with(ts=1756684800000),
    _with(ts="2125-07-03T10:00:00+02:00"),
)

NO_SUCH_ITEMS = ("p901", "p902", "p999", "lamp-12", "p0001")

# reason → (how many, ways to break a record); a record is broken by one way, in turn.
EVENTS_JSON: dict[str, tuple[int, tuple[Breaker, ...]]] = {
    "not_json": (32, NOT_JSON),
    "invalid_utf8": (8, BAD_UTF8),
    "wrong_type": (
        14,
        (
            *WRONG_ID_TYPES,
            _rating(value="abc"),
            _rating(value=[5]),
            _instead("seconds", user_id=17.5),
            _with(event_type={"name": "view"}),
        ),
    ),
    "missing_key": (12, MISSING_KEYS),
    "missing_field": (
        10,
        (
            _without("event_type"),
            _with(event_type=None),
            _rating(value=None),
            _as("search", drop=("item_id", "seconds")),
        ),
    ),
    "unknown_event_type": (8, (_with(event_type="teleport"), _with(event_type="hover"), _with(event_type="veiw"))),
    "impossible_value": (10, (_rating(value=9), _rating(value=0), _with(seconds=-5), _rating(value=-1))),
    "not_finite": (6, (_token("seconds", "-Infinity"), _token("seconds", "Infinity"), _token("seconds", "1e999"))),
    "bad_time": (8, BAD_TIMES),
    "time_out_of_bounds": (8, FAR_TIMES),
    "unknown_item": (14, tuple(_with(item_id=item) for item in (*NO_SUCH_ITEMS, "p401", "p404"))),
}

EVENTS_CSV: dict[str, tuple[int, tuple[Breaker, ...]]] = {
    "invalid_utf8": (2, ()),
    "wrong_type": (4, (_rating(value="abc"), _rating(value="four"))),
    "missing_key": (4, (_with(user_id=""), _with(item_id=""))),
    "missing_field": (4, (_with(event_type=""), _rating(value=""))),
    "unknown_event_type": (4, (_with(event_type="teleport"), _with(event_type="like?"))),
    "impossible_value": (4, (_rating(value=9), _with(seconds=-12.5))),
    "not_finite": (2, (_with(seconds="-inf"), _rating(value="inf"))),
    "bad_time": (4, BAD_TIMES),
    "time_out_of_bounds": (3, FAR_TIMES[:2]),
    "unknown_item": (6, tuple(_with(item_id=item) for item in (*NO_SUCH_ITEMS[:3], "p402"))),
}

EVENTS_PARQUET: dict[str, tuple[int, tuple[Breaker, ...]]] = {
    "missing_key": (4, (_with(user_id=None), _with(item_id=None), _with(user_id=""))),
    "missing_field": (3, (_with(event_type=None), _rating(value=None))),
    "unknown_event_type": (3, (_with(event_type="teleport"),)),
    "impossible_value": (3, (_rating(value=9.0), _with(seconds=-1.0))),
    "not_finite": (2, (_with(seconds=float("-inf")), _rating(value=float("inf")))),
    "time_out_of_bounds": (
        2,
        (_with(ts=datetime(2099, 1, 1, tzinfo=UTC)), _with(ts=datetime(1901, 12, 13, tzinfo=UTC))),
    ),
    "unknown_item": (2, (_with(item_id="p903"), _with(item_id="p403"))),
}

REVIEWS_JSON: dict[str, tuple[int, tuple[Breaker, ...]]] = {
    "not_json": (6, NOT_JSON),
    "invalid_utf8": (2, BAD_UTF8),
    "wrong_type": (
        6,
        (*WRONG_ID_TYPES[:3], _with(text={"de": "Gut"}), _instead("rating", item_id=["p001"]), _with(text=["a", "b"])),
    ),
    "missing_key": (5, MISSING_KEYS),
    "missing_field": (5, (_without("text"), _with(text=None), _with(text=""))),
    "impossible_value": (5, (_with(rating=9), _with(rating=0), _with(rating=-3))),
    "bad_time": (2, BAD_TIMES),
    "time_out_of_bounds": (3, FAR_TIMES),
    "unknown_item": (5, tuple(_with(item_id=item) for item in (*NO_SUCH_ITEMS, "p405"))),
}

REVIEWS_CSV: dict[str, tuple[int, tuple[Breaker, ...]]] = {
    "invalid_utf8": (1, ()),
    "missing_key": (1, (_with(user_id=""),)),
    "missing_field": (1, (_with(text=""),)),
    "impossible_value": (1, (_with(rating=11),)),
    "bad_time": (1, (_with(ts="last week"),)),
    "unknown_item": (1, (_with(item_id="p904"),)),
}

ITEMS_JSON: dict[str, tuple[int, tuple[Breaker, ...]]] = {
    "not_json": (3, NOT_JSON),
    "wrong_type": (
        3,
        (
            _instead("title", item_id={"sku": 17}),
            _instead("price", item_id=["p001"]),
            _instead("description", item_id=True),
        ),
    ),
    "missing_key": (3, (_without("item_id"), _with(item_id=""), _with(item_id=None))),
    "impossible_value": (2, (_with(price=-3.5), _with(price=-20))),
    "not_finite": (1, (_token("price", "1e999"),)),
    "bad_time": (1, (_with(updated_at="soon"),)),
    "time_out_of_bounds": (1, (_with(updated_at="2099-06-01T00:00:00Z"),)),
}

USERS_CSV: dict[str, tuple[int, tuple[Breaker, ...]]] = {
    "missing_key": (2, (_with(user_id=""),)),
    "bad_time": (1, (_with(updated_at="spring"),)),
    "time_out_of_bounds": (1, (_with(updated_at="1901-01-01T00:00:00Z"),)),
}

EDGES_JSON: dict[str, tuple[int, tuple[Breaker, ...]]] = {
    "not_json": (2, NOT_JSON),
    "missing_key": (2, (_without("friend_id"), _with(user_id=""))),
    "wrong_type": (2, (_with(friend_id=["u0001", "u0002"]), _with(friend_id={"id": "u0003"}))),
}


def csv_bad_utf8(record: Record, columns: list[str], field: str) -> bytes:
    """A CSV line whose field holds Latin-1 bytes."""
    values = {**{name: "" for name in columns}, **record, field: "@"}
    line = ",".join("" if values[name] is None else str(values[name]).replace(",", ";") for name in columns)
    return line.encode().replace(b"@", b"\xe9t\xe9")


def break_records(
    rng: np.random.Generator,
    plan: dict[str, tuple[int, tuple[Breaker, ...]]],
    good: list[Record],
    *,
    key: str = "",
    prefix: str = "",
    limit: int | None = None,
) -> list[Row]:
    """Broken copies of good records, as the plan says.

    Args:
        rng: Source of randomness, for which records are copied.
        plan: Reason → how many, and ways to break.
        good: Records to copy.
        key: Key column that gets a new value, so that a copy clashes with nothing; "" leaves the keys as they are.
        prefix: Start of those new keys.
        limit: At most so many of each reason.
    """
    rows = []
    for reason, (count, ways) in plan.items():
        for number in range(min(count, limit or count) if ways else 0):
            record = dict(good[int(rng.integers(len(good)))])
            if key:
                record[key] = f"{prefix}{reason}-{number}"
            rows.append(Row(ways[number % len(ways)](record), reason))
    return rows
