"""The fields of one record, read strictly: every value has its type and bounds, and says what is wrong with it."""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NoReturn

from mmrec_lib.ingest.reasons import Reason, RecordError

if TYPE_CHECKING:  # workers need the rules, not the classes of the configuration
    from mmrec_lib.ingest.config import LandingConfig

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NO_TIME_US = 0
"""Time of a record without one: 1970-01-01, microseconds since the epoch."""

_MICROSECOND = timedelta(microseconds=1)
_EXACT_FLOAT = 2.0**53
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_NOT_FINITE = re.compile(r"[+-]?(nan|inf|infinity)", re.IGNORECASE)
_FLAGS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


@dataclass(frozen=True)
class EventNeeds:
    """What an event of one type must carry; the part of its configuration that ingest needs."""

    needs_item: bool
    needs_query: bool
    needs_value: bool
    value_min: float | None
    value_max: float | None


@dataclass(frozen=True)
class Rules:
    """What records are held to; small and picklable, so that workers get it with their task.

    Attributes:
        event_types: The declared event types by name.
        ts_min_us: Earliest time, microseconds since the epoch.
        ts_max_us: Latest time, microseconds since the epoch.
        max_id_chars: Longest id.
        max_record_bytes: Longest record.
    """

    event_types: Mapping[str, EventNeeds]
    ts_min_us: int
    ts_max_us: int
    max_id_chars: int
    max_record_bytes: int

    @classmethod
    def of(cls, config: LandingConfig, now: datetime | None = None) -> Rules:
        """The rules that a configuration declares.

        Args:
            config: Bounds and event types.
            now: The run's clock, which bounds times where the configuration names no latest one; default: this moment.
        """
        return cls(
            event_types={
                name: EventNeeds(e.needs_item, e.needs_query, e.needs_value, e.value_min, e.value_max)
                for name, e in config.events.items()
            },
            ts_min_us=(config.ingest.ts_min - EPOCH) // _MICROSECOND,
            ts_max_us=(config.ingest.latest_time(now or datetime.now(UTC)) - EPOCH) // _MICROSECOND,
            max_id_chars=config.ingest.max_id_chars,
            max_record_bytes=config.ingest.max_record_bytes,
        )


def shown(value: object) -> str:
    """A value as it is shown in a detail: short, and printable whatever it holds."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


class Fields:
    """The fields of one record, taken one by one; what nobody takes is the rest.

    Args:
        values: Fields by name.
        rules: What the values are held to.
        plain: True when every value is text (CSV, TSV): numbers and lists are then read from text, empty is null.
    """

    __slots__ = ("_plain", "_rest", "_rules")

    def __init__(self, values: Mapping[str, Any], rules: Rules, *, plain: bool = False) -> None:
        self._rest = dict(values)
        self._rules = rules
        self._plain = plain

    def _take(self, name: str) -> Any:
        value = self._rest.pop(name, None)
        return None if self._plain and value == "" else value

    def key(self, name: str) -> str:
        """A required id: a string, or a whole number that is cast; missing or blank is `missing_key`."""
        value = self.optional_key(name)
        if value is None:
            raise RecordError(Reason.MISSING_KEY, f"field `{name}`: an id is needed, got none")
        return value

    def optional_key(self, name: str) -> str | None:
        """An id, or None when it is absent, null or blank."""
        value = self._take(name)
        if value is None:
            return None
        text = id_text(value)
        if text is None:
            _wrong_type(name, "a string or a whole number", value)
        if not text.strip():
            return None
        if len(text) > self._rules.max_id_chars:
            raise RecordError(
                Reason.IMPOSSIBLE_VALUE,
                f"field `{name}`: an id of at most {self._rules.max_id_chars} characters is needed, got {len(text)}",
            )
        return _clean(name, text)

    def text(self, name: str) -> str | None:
        """A string, or None."""
        value = self._take(name)
        if value is None:
            return None
        if not isinstance(value, str):
            _wrong_type(name, "a string", value)
        return _clean(name, value)

    def number(self, name: str, low: float | None = None, high: float | None = None) -> float | None:
        """A finite number within bounds (both inclusive), or None."""
        value = self._take(name)
        if value is None:
            return None
        number = self._float(name, value)
        if not math.isfinite(number):
            raise RecordError(Reason.NOT_FINITE, f"field `{name}`: a finite number is needed, got {shown(value)}")
        if (low is not None and number < low) or (high is not None and number > high):
            raise RecordError(Reason.IMPOSSIBLE_VALUE, f"field `{name}`: {_range(low, high)} is needed, got {number:g}")
        return number

    def _float(self, name: str, value: Any) -> float:
        if self._plain and isinstance(value, str):
            text = value.strip()
            if _NUMBER.fullmatch(text) or _NOT_FINITE.fullmatch(text):
                return float(text)
        elif isinstance(value, int | float | Decimal) and not isinstance(value, bool):
            try:
                return float(value)
            except OverflowError:
                return math.inf
        _wrong_type(name, "a number", value)

    def flag(self, name: str, default: bool) -> bool:
        """True or false (in text also 1, 0, yes, no); the default when absent."""
        value = self._take(name)
        if value is None:
            return default
        if isinstance(value, bool):
            return value
        if self._plain and isinstance(value, str) and value.strip().lower() in _FLAGS:
            return _FLAGS[value.strip().lower()]
        _wrong_type(name, "true or false", value)

    def strings(self, name: str) -> list[str] | None:
        """A list of strings; one string alone is a list of one; in text a JSON list or parts separated by `;`."""
        value = self._take(name)
        if value is None:
            return None
        if self._plain and isinstance(value, str):
            value = _list_from_text(name, value)
        if isinstance(value, str):
            value = [value]
        if not isinstance(value, list | tuple):
            _wrong_type(name, "a list of strings", value)
        result = []
        for position, element in enumerate(value):
            text = id_text(element)
            if text is None:
                _wrong_type(f"{name}[{position}]", "a string", element)
            result.append(_clean(name, text))
        return result

    def paths(self, *names: str) -> list[str] | None:
        """Media paths from one or more fields, each one path or a list, without repetition; None when there is none."""
        found = [path for name in names for path in self.strings(name) or () if path]
        return list(dict.fromkeys(found)) or None

    def time_us(self, name: str) -> int:
        """A time in microseconds since the epoch (UTC); `NO_TIME_US` when absent or null.

        ISO 8601 (naive means UTC, a date alone its midnight) or seconds since the epoch.
        """
        value = self._take(name)
        if value is None:
            return NO_TIME_US
        micros = _micros(name, value)
        rules = self._rules
        if micros is None or not rules.ts_min_us <= micros <= rules.ts_max_us:
            hint = ""
            if micros is not None and rules.ts_min_us <= micros // 1000 <= rules.ts_max_us:
                hint = "; this looks like milliseconds, but seconds since the epoch are needed"
            raise RecordError(
                Reason.TIME_OUT_OF_BOUNDS,
                f"field `{name}`: a time from {_iso(rules.ts_min_us)} to {_iso(rules.ts_max_us)} is needed, "
                f"got {shown(value)}{hint}",
            )
        return micros

    def rest(self) -> dict[str, str] | None:
        """The fields that nobody took, as text and sorted by name: scalars plain, lists and objects as JSON."""
        result: dict[str, str] = {}
        for name in sorted(self._rest):
            value = self._rest[name]
            if value is None or (self._plain and value == ""):
                continue
            result[_clean(name, name)] = _clean(name, _attribute(name, value))
        return result or None


def id_text(value: object) -> str | None:
    """An id as text: strings as they are, whole numbers cast; None when the value is no id."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return str(value)
    # Exports with a gap turn whole numbers into floats; beyond 2**53 the digits would be invented.
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT_FLOAT:
        return str(int(value))
    return None


def first_readable_id(values: Mapping[str, Any], names: Iterable[str]) -> str | None:
    """The record's key as far as it can be read, parts joined by a space; for a quarantine row."""
    parts = [id_text(values.get(name)) for name in names]
    text = " ".join(part for part in parts if part)
    return text.encode("utf-8", "replace").decode("utf-8")[:256] or None


def _wrong_type(name: str, needed: str, value: object) -> NoReturn:
    raise RecordError(
        Reason.WRONG_TYPE, f"field `{name}`: {needed} is needed, got {type(value).__name__} {shown(value)}"
    )


def _range(low: float | None, high: float | None) -> str:
    if high is None:
        return f"a number of at least {low:g}"
    return f"a number of at most {high:g}" if low is None else f"a number from {low:g} to {high:g}"


def _clean(name: str, text: str) -> str:
    # Neither can be stored everywhere: NUL ends strings in some readers, a lone surrogate is no UTF-8.
    if "\x00" in text:
        raise RecordError(Reason.WRONG_TYPE, f"field {shown(name)}: text without NUL is needed, got {shown(text)}")
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            raise RecordError(
                Reason.WRONG_TYPE, f"field {shown(name)}: valid Unicode text is needed, got {shown(text)}"
            ) from None
    return text


def _list_from_text(name: str, text: str) -> Any:
    if not text.lstrip().startswith("["):
        return [part.strip() for part in text.split(";") if part.strip()]
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise RecordError(
            Reason.WRONG_TYPE, f"field `{name}`: a JSON list or parts separated by `;` is needed, got {shown(text)}"
        ) from None


def _micros(name: str, value: Any) -> int | None:
    """Microseconds since the epoch; None when the time is far outside what can be represented."""
    if isinstance(value, bool):
        _wrong_type(name, "a time", value)
    if isinstance(value, str):
        value = _time_from_text(name, value.strip())
    if isinstance(value, datetime):
        try:
            aware = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
            return (aware - EPOCH) // _MICROSECOND
        except OverflowError:
            return None
    if isinstance(value, date):
        return (datetime(value.year, value.month, value.day, tzinfo=UTC) - EPOCH) // _MICROSECOND
    if isinstance(value, Decimal):
        value = float(value)
    if isinstance(value, int):
        return value * 1_000_000 if abs(value) < 10**15 else None
    if isinstance(value, float):
        if not math.isfinite(value):
            raise RecordError(Reason.NOT_FINITE, f"field `{name}`: a finite time is needed, got {value}")
        return round(value * 1e6) if abs(value) < 1e15 else None
    _wrong_type(name, "a time", value)


def _time_from_text(name: str, text: str) -> datetime | float:
    is_basic_date = len(text) == 8 and text.isdigit()
    if _NUMBER.fullmatch(text) and not is_basic_date:
        return float(text)
    if _NOT_FINITE.fullmatch(text):
        return math.nan
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise RecordError(
            Reason.BAD_TIME,
            f"field `{name}`: ISO 8601 such as 2025-01-31T12:00:00Z or seconds since the epoch is needed, "
            f"got {shown(text)}",
        ) from None


def _iso(micros: int) -> str:
    return (EPOCH + timedelta(microseconds=micros)).isoformat().replace("+00:00", "Z")


def _attribute(name: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise RecordError(Reason.NOT_FINITE, f"field {shown(name)}: a finite number is needed, got {value}")
        return repr(value)
    if isinstance(value, list | tuple | dict):
        try:
            return json_text(value)
        except ValueError:
            raise RecordError(Reason.NOT_FINITE, f"field {shown(name)}: finite numbers are needed") from None
    return _json_scalar(value)


def json_text(value: Any, *, allow_nan: bool = False) -> str:
    """Compact JSON with sorted names; values that JSON does not know (times, decimals, bytes) as text.

    Raises:
        ValueError: When a number is not finite and `allow_nan` is False.
    """
    return json.dumps(
        value, ensure_ascii=False, allow_nan=allow_nan, sort_keys=True, separators=(",", ":"), default=_json_scalar
    )


def _json_scalar(value: Any) -> str:
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            return base64.b64encode(value).decode("ascii")
    return str(value)
