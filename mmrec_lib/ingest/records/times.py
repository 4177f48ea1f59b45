"""Times of records: ISO 8601 or seconds since 1970, by one rule for text, numbers and typed columns."""

from __future__ import annotations

import math
import re
from datetime import UTC, date, datetime, timedelta
from typing import Any

from mmrec_lib.ingest.records.reasons import Reason, RecordError
from mmrec_lib.ingest.records.spellings import NOT_FINITE, NUMBER, shown, wrong_type

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
_UNITS = (("milliseconds", 1e3), ("microseconds", 1e6), ("nanoseconds", 1e9))
_MAX_SECONDS = 1e15
_ZONE_NAME = re.compile(r"\s*(?:UTC|GMT|Z)$", re.IGNORECASE)
_OFFSET = re.compile(r"\s*([+-]\d{2}:?\d{2})$")


def iso_time(micros: int) -> str:
    """A time as ISO 8601 in UTC."""
    return (EPOCH + timedelta(microseconds=micros)).isoformat().replace("+00:00", "Z")


def time_micros(name: str, value: Any, min_us: int, max_us: int, latest: str | None = None) -> int:
    """A time in microseconds since 1970 (UTC), between `min_us` and `max_us`, both inclusive.

    ISO 8601 (naive means UTC, a date alone its midnight; ` UTC` and `z` are read too) or seconds since 1970. Eight
    digits are a calendar date, never seconds, whether they come as text or as a number.

    Args:
        name: Field, for messages.
        value: As delivered.
        min_us: Earliest time.
        max_us: Latest time.
        latest: How messages name the latest time; default: as a time.

    Raises:
        RecordError: `bad_time`, `time_out_of_bounds` (with a hint where the number fits in another unit), `not_finite`
            or `wrong_type`.
    """
    seconds: float | None = None
    if isinstance(value, str):
        seconds, when = _from_text(name, value.strip())
    elif isinstance(value, bool) or not isinstance(value, int | float | date):
        wrong_type(name, "a time", value)
    elif isinstance(value, date):
        seconds, when = None, value
    else:
        seconds, when = _from_number(name, value)
    micros = _date_micros(when) if when is not None else _second_micros(seconds)
    if micros is None or not min_us <= micros <= max_us:
        raise RecordError(
            Reason.TIME_OUT_OF_BOUNDS,
            f"field `{name}`: a time from {iso_time(min_us)} to {latest or iso_time(max_us)} is needed, "
            f"got {shown(value)}{_unit_hint(seconds, min_us, max_us)}",
        )
    return micros


def _from_number(name: str, value: float) -> tuple[float | None, date | None]:
    """Seconds since 1970, or a date where the number has eight digits."""
    if isinstance(value, float) and not math.isfinite(value):
        raise RecordError(Reason.NOT_FINITE, f"field `{name}`: a finite time is needed, got {value}")
    if 10_000_000 <= value < 100_000_000 and value == int(value):
        return None, _calendar_date(name, str(int(value)))
    try:
        return float(value), None
    except OverflowError:
        return math.inf, None


def _calendar_date(name: str, digits: str) -> date:
    try:
        return date(int(digits[:4]), int(digits[4:6]), int(digits[6:]))
    except ValueError:
        raise RecordError(
            Reason.BAD_TIME, f"field `{name}`: of eight digits a date such as 20250131 is needed, got {digits}"
        ) from None


def _from_text(name: str, text: str) -> tuple[float | None, date | None]:
    if NUMBER.fullmatch(text) or NOT_FINITE.fullmatch(text):
        return _from_number(name, float(text))
    named = _ZONE_NAME.search(text)
    iso = text[: named.start()] if named else text
    if offset := _OFFSET.search(iso):
        iso = iso[: offset.start()] + offset[1]
    elif named:
        iso += "+00:00"
    try:
        return None, datetime.fromisoformat(iso)
    except ValueError:
        # A date alone takes no offset, but may be followed by the name of the zone.
        if named and (day := _plain_date(text[: named.start()])):
            return None, day
        raise RecordError(
            Reason.BAD_TIME,
            f"field `{name}`: ISO 8601 such as 2025-01-31T12:00:00Z or seconds since the epoch is needed, "
            f"got {shown(text)}",
        ) from None


def _plain_date(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def _date_micros(when: date) -> int | None:
    """None when the time is before or after all times that can be represented."""
    if not isinstance(when, datetime):
        when = datetime(when.year, when.month, when.day, tzinfo=UTC)
    try:
        aware = when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)
        return int((aware - EPOCH) // MICROSECOND)
    except OverflowError:
        return None


def _second_micros(seconds: float | None) -> int | None:
    if seconds is None or abs(seconds) >= _MAX_SECONDS:
        return None
    return round(seconds * 1e6)


def _unit_hint(seconds: float | None, min_us: int, max_us: int) -> str:
    """Name the unit in which a number would be within bounds."""
    for unit, per_second in _UNITS:
        if seconds is not None and min_us <= seconds / per_second * 1e6 <= max_us:
            return f"; this looks like {unit} since 1970, but seconds are needed: divide by {per_second:,.0f}"
    return ""
