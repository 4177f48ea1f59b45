"""The fields of one record: every value has its type and bounds, and says what is wrong with it.

A field that decides (a key, a required field, a time, a split, an operation) refuses its record when it cannot be read.
Any other field that cannot be read is null, with a note. A number that was read and is impossible refuses its record.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from mmrec_lib.ingest.records.reasons import Reason, RecordError
from mmrec_lib.ingest.records.spellings import (
    NULL_SPELLINGS,
    attribute_text,
    clean,
    flag,
    id_text,
    is_spelled_null,
    json_text,
    number,
    plain_value,
    scalar_text,
    shown,
    strings,
    wrong_type,
)
from mmrec_lib.ingest.records.times import EPOCH, MICROSECOND, time_micros

if TYPE_CHECKING:  # workers need the rules, not the classes of the configuration
    from mmrec_lib.ingest.config import LandingConfig

NO_TIME_US = 0
"""Time of a record without one: 1970-01-01, microseconds since the epoch."""

SPLITS = ("train", "valid", "test")
MAX_NOTE_BYTES = 64 * 1024
MAX_NOTES = 20
"""Notes of one record before what is left of its attributes shares one."""

_T = TypeVar("_T")


@dataclass(frozen=True)
class EventNeeds:
    """Fields that an event of one type must carry; the part of its configuration that ingest needs."""

    needs_item: bool
    needs_query: bool
    needs_value: bool
    value_min: float | None
    value_max: float | None


@dataclass(frozen=True)
class Rules:
    """Rules that records are held to; small and picklable, so that workers get them with their task.

    Attributes:
        event_types: The declared event types by name.
        ts_min_us: Earliest time, microseconds since the epoch.
        ts_max_us: Latest time, microseconds since the epoch.
        max_id_chars: Longest id.
        max_record_bytes: Longest record.
        null_spellings: Texts that mean null; blank text always does.
        max_attributes: Most fields beyond the contract that a record may keep.
        max_attribute_name_chars: Longest name of such a field.
        max_text_chars: Longest text; longer ones are cut.
        latest: How details name the latest time where it follows from the run's clock: the same in every run.
    """

    event_types: Mapping[str, EventNeeds]
    ts_min_us: int
    ts_max_us: int
    max_id_chars: int
    max_record_bytes: int
    null_spellings: frozenset[str] = frozenset(NULL_SPELLINGS)
    max_attributes: int = 200
    max_attribute_name_chars: int = 200
    max_text_chars: int = 1_000_000
    latest: str | None = None

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
            ts_min_us=(config.ingest.ts_min - EPOCH) // MICROSECOND,
            ts_max_us=(config.ingest.latest_time(now or datetime.now(UTC)) - EPOCH) // MICROSECOND,
            max_id_chars=config.ingest.max_id_chars,
            max_record_bytes=config.ingest.max_record_bytes,
            null_spellings=frozenset(text.strip() for text in config.ingest.null_spellings),
            max_attributes=config.ingest.max_attributes,
            max_attribute_name_chars=config.ingest.max_attribute_name_chars,
            max_text_chars=config.ingest.max_text_chars,
            latest=None
            if config.ingest.ts_max is not None
            else f"{config.ingest.max_ahead_hours:g} hours after the start of the run",
        )


@dataclass(frozen=True, slots=True)
class Note:
    """A field that could not be kept as it was delivered, although its record was.

    Attributes:
        field: Name of the field.
        reason: One of the closed list.
        detail: What was wrong and what became of the field.
        raw: The field as JSON, at most `MAX_NOTE_BYTES`.
    """

    field: str
    reason: str
    detail: str
    raw: bytes


class Fields:
    """The fields of one record, taken one by one; what nobody takes is the rest.

    Args:
        values: Fields by name, in any format's spelling.
        rules: What the values are held to.
    """

    __slots__ = ("_notes", "_rest", "_rules", "_unreadable")

    def __init__(self, values: Mapping[str, Any], rules: Rules) -> None:
        self._rest = dict(values)
        self._rules = rules
        self._notes: dict[str, Note] = {}
        self._unreadable: dict[str, RecordError] = {}

    @property
    def notes(self) -> tuple[Note, ...]:
        """Notes on the fields taken so far that could not be kept, one a field."""
        return tuple(self._notes.values())

    def _take(self, name: str) -> Any:
        value = self._rest.pop(name, None)
        return None if value is None else plain_value(value, self._rules.null_spellings)

    def _null_hint(self, value: Any) -> str:
        """Say why a required field counts as missing although there is something in it."""
        if not is_spelled_null(value, self._rules.null_spellings):
            return ""
        return f" ({shown(value)} is an exporter's spelling of null, see ingest.null_spellings)"

    def _note(self, name: str, error: RecordError, outcome: str, value: Any) -> None:
        try:
            raw = json_text({name: value}, allow_nan=True).encode("utf-8", "replace")[:MAX_NOTE_BYTES]
        except (ValueError, TypeError, RecursionError):
            raw = shown(value).encode("utf-8", "replace")
        detail = f"{error.detail}; {outcome}"
        # By the name as it is stored: two names that are no text may look the same there, and each row needs its key.
        field = _storable(name)
        self._notes.setdefault(field, Note(field, str(error.reason), detail, raw))

    def _optional(
        self, name: str, value: Any, read: Callable[[str, Any], _T], outcome: str = "the field is null"
    ) -> _T | None:
        """The value of an optional field; None with a note when it cannot be read."""
        if value is None:
            return None
        try:
            return read(name, value)
        except RecordError as error:
            self._unreadable[name] = error
            self._note(name, error, outcome, value)
            return None

    def key(self, name: str) -> str:
        """A required id: a string, or a whole number that is cast; missing or blank is `missing_key`."""
        delivered = self._rest.get(name)
        value = self.optional_key(name)
        if value is None:
            hint = self._null_hint(delivered)
            raise RecordError(Reason.MISSING_KEY, f"field `{name}`: an id is needed, got none{hint}")
        return value

    def optional_key(self, name: str) -> str | None:
        """An id, or None when it is absent, null or blank."""
        value = self._take(name)
        if value is None:
            return None
        text = id_text(value)
        if text is None:
            wrong_type(name, "a string or a whole number", value)
        if len(text) > self._rules.max_id_chars:
            raise RecordError(
                Reason.IMPOSSIBLE_VALUE,
                f"field `{name}`: an id of at most {self._rules.max_id_chars} characters is needed, got {len(text)}",
            )
        return clean(name, text)

    def text(self, name: str) -> str | None:
        """Text, or None; null with a note when it cannot be read."""
        return self._cut(name, self._optional(name, self._take(name), scalar_text))

    def needed_text(self, name: str) -> str:
        """Required text: missing or blank is `missing_field`, what is no text refuses the record."""
        delivered = self._rest.get(name)
        value = self._take(name)
        if value is None:
            hint = self._null_hint(delivered)
            raise RecordError(Reason.MISSING_FIELD, f"field `{name}`: text is needed, got none{hint}")
        return self._cut(name, scalar_text(name, value)) or ""

    def require_readable(self, *names: str) -> None:
        """Refuse the record for an optional field that could not be read, where nothing else carries what is needed.

        Raises:
            RecordError: The error of the first such field, if there is one.
        """
        for name in names:
            if name in self._unreadable:
                raise self._unreadable[name]

    def _cut(self, name: str, text: str | None) -> str | None:
        limit = self._rules.max_text_chars
        if text is None or len(text) <= limit:
            return text
        error = RecordError(
            Reason.IMPOSSIBLE_VALUE,
            f"field {shown(name)}: at most {limit} characters (ingest.max_text_chars) may be in it, got {len(text)}",
        )
        self._note(name, error, "the rest was cut off", text[:MAX_NOTE_BYTES])
        return text[:limit]

    def choice(self, name: str, allowed: tuple[str, ...]) -> str | None:
        """One of a few words, or None; anything else refuses the record."""
        value = self._take(name)
        if value is None:
            return None
        text = scalar_text(name, value)
        if text not in allowed:
            raise RecordError(
                Reason.IMPOSSIBLE_VALUE, f"field `{name}`: {' or '.join(allowed)} is needed, got {shown(text)}"
            )
        return text

    def number(
        self, name: str, low: float | None = None, high: float | None = None, *, needed_for: str | None = None
    ) -> float | None:
        """A finite number within bounds (both inclusive), or None; null with a note when it cannot be read.

        Args:
            name: Field.
            low: Least value; any when None.
            high: Greatest value; any when None.
            needed_for: What needs the number, as it is shown; then it must be there and readable.
        """
        delivered = self._rest.get(name)
        value = self._take(name)
        if needed_for is None:
            read = self._optional(name, value, number)
        elif value is None:
            hint = self._null_hint(delivered)
            raise RecordError(
                Reason.MISSING_FIELD, f"field `{name}`: a number is needed for a {needed_for}, got none{hint}"
            )
        else:
            read = number(name, value)
        if read is None:
            return None
        if not math.isfinite(read):
            raise RecordError(Reason.NOT_FINITE, f"field `{name}`: a finite number is needed, got {shown(value)}")
        if (low is not None and read < low) or (high is not None and read > high):
            raise RecordError(Reason.IMPOSSIBLE_VALUE, f"field `{name}`: {_range(low, high)} is needed, got {read:g}")
        return read

    def whole_number(self, name: str, low: int, high: int) -> int | None:
        """A whole number within bounds (both inclusive), or None; null with a note when it cannot be read."""
        value = self.number(name, low, high)
        if value is None or value.is_integer():
            return None if value is None else int(value)
        raise RecordError(Reason.IMPOSSIBLE_VALUE, f"field `{name}`: a whole number is needed, got {value:g}")

    def flag(self, name: str, default: bool) -> bool:
        """True or false; the default when absent, and with a note when it cannot be read."""
        outcome = f"{'true' if default else 'false'} counts, as where there is none"
        value = self._optional(name, self._take(name), flag, outcome)
        return default if value is None else value

    def strings(self, name: str) -> list[str] | None:
        """A list of strings; one alone is a list of one; in text a list or parts separated by `;`."""
        return self._optional(
            name, self._take(name), lambda field, value: strings(field, value, self._rules.null_spellings)
        )

    def paths(self, *names: str) -> list[str] | None:
        """Media paths from one or more fields, each one path or a list, without repetition; None when there is none."""
        found = [path for name in names for path in self.strings(name) or ()]
        return list(dict.fromkeys(found)) or None

    def objects(self, name: str) -> list[Mapping[str, Any]] | None:
        """A list of objects, in text as JSON, or None; anything else refuses the record."""
        value = self._take(name)
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except (ValueError, RecursionError):
                wrong_type(name, "a JSON list of objects", value)
        if value is None:
            return None
        if not isinstance(value, list) or not all(isinstance(one, Mapping) for one in value):
            wrong_type(name, "a list of objects", value)
        return value

    def time_us(self, name: str) -> int:
        """A time in microseconds since the epoch (UTC), see `time_micros`; `NO_TIME_US` when absent or null."""
        value = self._take(name)
        if value is None:
            return NO_TIME_US
        rules = self._rules
        return time_micros(name, value, rules.ts_min_us, rules.ts_max_us, rules.latest)

    def rest(self) -> dict[str, str] | None:
        """The fields that nobody took, as text and sorted by name: scalars plain, lists and objects as JSON.

        Of more than `max_attributes` fields the first by name are kept. One note tells of all the others, as it does of
        what cannot be read once there are `MAX_NOTES` notes.
        """
        rules = self._rules
        kept: dict[str, str] = {}
        dropped: dict[str, Any] = {}
        for name in sorted(self._rest):
            value = self._take(name)
            if value is None:
                continue
            if len(kept) >= rules.max_attributes:
                dropped[name] = value
                continue
            try:
                kept[name] = self._cut(name, self._attribute(name, value)) or ""
            except RecordError as error:
                if len(self._notes) < MAX_NOTES:
                    self._note(name, error, "it was dropped", value)
                else:
                    dropped[name] = value
        if dropped:
            excess = RecordError(
                Reason.IMPOSSIBLE_VALUE,
                f"fields beyond the contract: at most {rules.max_attributes} a record (ingest.max_attributes) that can "
                "be read are needed",
            )
            names = ", ".join(shown(name) for name in list(dropped)[:3])
            self._note("attributes", excess, f"{len(dropped)} were dropped, among them {names}", dropped)
        return kept or None

    def _attribute(self, name: str, value: Any) -> str:
        limit = self._rules.max_attribute_name_chars
        if len(name) > limit:
            raise RecordError(
                Reason.IMPOSSIBLE_VALUE,
                f"field {shown(name)}: a name of at most {limit} characters (ingest.max_attribute_name_chars) is "
                f"needed, got {len(name)}",
            )
        clean(name, name)
        return attribute_text(name, value)


def user_key(user_id: str) -> str:
    """The user's id as the store keeps it: the one place where a pseudonym would be made."""
    return user_id


def first_readable_id(values: Mapping[str, Any], names: Iterable[str]) -> str | None:
    """The record's key as far as it can be read, parts joined by a space; for a quarantine row."""
    parts = [id_text(values.get(name)) for name in names]
    return _storable(" ".join(part for part in parts if part))[:256] or None


def _storable(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")


def _range(low: float | None, high: float | None) -> str:
    if high is None:
        return f"a number of at least {low:g}"
    return f"a number of at most {high:g}" if low is None else f"a number from {low:g} to {high:g}"
