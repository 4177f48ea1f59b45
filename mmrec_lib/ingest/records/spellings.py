"""The meaning of one delivered value, whatever format wrote it: one rule each for null, ids, texts, numbers and lists.

JSON, CSV and Parquet spell the same value differently (34, "34.0", Decimal("34"), b"34"). Each function takes any of
these spellings and gives the one value that they mean, or raises `RecordError`.
"""

from __future__ import annotations

import ast
import base64
import json
import math
import re
import uuid
from collections.abc import Collection
from datetime import date
from decimal import Decimal
from typing import Any, NoReturn

from mmrec_lib.ingest.records.reasons import Reason, RecordError

NULL_SPELLINGS = ("NULL", "Null", "null", "\\N", "nan", "NaN", "NAN", "None", "<NA>", "NaT", "#N/A", "(null)")
"""Texts that exporters write for a missing value; `NA` (Namibia) and `none` (a word) are not among them."""

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
NOT_FINITE = re.compile(r"[+-]?(nan|inf|infinity)", re.IGNORECASE)
_WHOLE = re.compile(r"(-?(?:0|[1-9][0-9]{0,15}))\.0")
_QUOTED = r"""(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")"""
_QUOTED_LIST = re.compile(rf"\[\s*{_QUOTED}(?:\s*,\s*{_QUOTED})*\s*,?\s*\]", re.DOTALL)
_EXACT_FLOAT = 2.0**53
_FLAGS = dict.fromkeys(("true", "t", "1", "1.0", "yes", "y"), True) | dict.fromkeys(
    ("false", "f", "0", "0.0", "no", "n"), False
)


def shown(value: object) -> str:
    """A value as it is shown in a detail: short, and printable whatever it holds."""
    try:
        text = repr(value)
    except (RecursionError, ValueError):  # nested too deeply, or a number of too many digits
        text = f"<{type(value).__name__}>"
    return text if len(text) <= 80 else f"{text[:77]}..."


def wrong_type(name: str, needed: str, value: object) -> NoReturn:
    """Refuse a value of another type.

    Raises:
        RecordError: Always: `invalid_utf8` for bytes (those that are text were decoded before), else `wrong_type`.
    """
    if isinstance(value, bytes):
        raise RecordError(Reason.INVALID_UTF8, f"field {_name(name)}: {needed} is needed, got bytes that are no UTF-8")
    raise RecordError(
        Reason.WRONG_TYPE, f"field {_name(name)}: {needed} is needed, got {type(value).__name__} {shown(value)}"
    )


def _name(name: str) -> str:
    return f"`{name}`" if name.isprintable() and len(name) <= 80 else shown(name)


def plain_value(value: Any, null_spellings: Collection[str] = ()) -> Any:
    """A delivered value as one of None, bool, int, float, str, date, list, dict or (undecodable) bytes.

    Blank text, the spellings of null and NaN are None; bytes are decoded as UTF-8, UUIDs are text, decimals numbers.
    """
    if not isinstance(value, str):
        value = _decoded(value)
    if isinstance(value, str):
        stripped = value.strip()
        return None if not stripped or stripped in null_spellings else value
    return value


def _decoded(value: Any) -> Any:
    """Bytes and UUIDs as text, decimals as numbers, NaN and NaT as None; anything else as it is."""
    if value is None or isinstance(value, int):
        return value
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            return value
    if isinstance(value, Decimal):
        return _plain_decimal(value)
    if isinstance(value, uuid.UUID):
        return str(value)
    is_nan = isinstance(value, float | date) and value != value  # noqa: PLR0124 - NaN and NaT differ from themselves
    return None if is_nan else value


def _plain_decimal(value: Decimal) -> int | float | None:
    if value.is_nan():
        return None
    if value.is_finite() and value.adjusted() < 80 and value == value.to_integral_value():
        return int(value)
    return float(value)


def is_spelled_null(value: Any, null_spellings: Collection[str]) -> bool:
    """Tell whether a value is there, but says that there is none: `nan`, `NULL`, NaN."""
    if isinstance(value, str | bytes) and not value.strip():
        return False
    return value is not None and plain_value(value, null_spellings) is None


def id_text(value: object) -> str | None:
    """An id as text: strings as they are, whole numbers (7, 7.0, "7.0", decimals) cast; None when it is no id."""
    if not isinstance(value, str):
        value = plain_value(value)
    if isinstance(value, str):
        # A table with a gap turns whole numbers into floats, and its CSV holds 7.0.
        return _without_point(value)
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return str(value)
    # Beyond 2**53 the digits would be invented.
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT_FLOAT:
        return str(int(value))
    return None


def _without_point(text: str) -> str:
    """7 for 7.0, as a float becomes an id; any other text as it is."""
    if not text.endswith(".0") or (match := _WHOLE.fullmatch(text)) is None:
        return text
    whole = int(match[1])
    return str(whole) if abs(whole) < _EXACT_FLOAT else text


def scalar_text(name: str, value: Any) -> str:
    """Text, or a number, flag or time as text; 34.0 is 34.

    Raises:
        RecordError: When the value is a list, an object or bytes that are no UTF-8, or not finite.
    """
    if isinstance(value, str):
        return clean(name, value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise RecordError(Reason.NOT_FINITE, f"field {_name(name)}: a finite number is needed, got {value}")
        return str(int(value)) if value.is_integer() and abs(value) < _EXACT_FLOAT else repr(value)
    if value is None or isinstance(value, list | tuple | dict | bytes):
        wrong_type(name, "text", value)
    return json_scalar(value)


def number(name: str, value: Any) -> float:
    """A number, in any format also from text; it may be infinite.

    Raises:
        RecordError: When the value is no number.
    """
    if isinstance(value, str):
        text = value.strip()
        if NUMBER.fullmatch(text) or NOT_FINITE.fullmatch(text):
            return float(text)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            return math.inf if value > 0 else -math.inf
    wrong_type(name, "a number", value)


def flag(name: str, value: Any) -> bool:
    """True or false, as a flag, a number (1, 0) or text (true, t, 1, yes, y; false, f, 0, no, n in any case).

    Raises:
        RecordError: When the value is none of them.
    """
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float) and value in (0, 1):
        return bool(value)
    if isinstance(value, str) and value.strip().lower() in _FLAGS:
        return _FLAGS[value.strip().lower()]
    wrong_type(name, "true or false", value)


def strings(name: str, value: Any, null_spellings: Collection[str] = ()) -> list[str] | None:
    """A list of strings without its nulls; None when it holds nothing but nulls.

    Text is a list in JSON's or Python's spelling, or parts separated by `;`; one scalar is a list of one.

    Raises:
        RecordError: When the value or one of its elements is something else.
    """
    if isinstance(value, str):
        value = _list_from_text(name, value)
    elif not isinstance(value, list | tuple):
        value = [value]
    present = [plain for element in value if (plain := plain_value(element, null_spellings)) is not None]
    if value and not present:
        return None
    result = []
    for position, element in enumerate(present):
        if isinstance(element, list | tuple | dict | bool | bytes):
            wrong_type(f"{name}[{position}]", "a string", element)
        result.append(scalar_text(f"{name}[{position}]", element))
    return result


def _list_from_text(name: str, text: str) -> list[Any]:
    stripped = text.strip()
    if not stripped.startswith("["):
        return [part.strip() for part in stripped.split(";")]
    try:
        value = json.loads(stripped)
    except (ValueError, RecursionError):
        # pandas writes lists as Python does; without the pattern 'a' 'b' would become one string.
        if not _QUOTED_LIST.fullmatch(stripped):
            raise RecordError(
                Reason.WRONG_TYPE, f"field `{name}`: a JSON list or parts separated by `;` is needed, got {shown(text)}"
            ) from None
        try:
            value = ast.literal_eval(stripped)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            wrong_type(name, "a JSON list or parts separated by `;`", text)
    return list(value)


def attribute_text(name: str, value: Any) -> str:
    """A field beyond the contract as text: scalars plain (34.0 and "34.0" are 34), lists and objects as JSON.

    Raises:
        RecordError: When the value holds text that cannot be stored, or an infinite number.
    """
    if isinstance(value, str):
        return clean(name, _without_point(value))
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if not isinstance(value, list | tuple | dict):
        return scalar_text(name, value)
    try:
        return clean(name, json_text(_nested(value)))
    except RecursionError:
        raise RecordError(
            Reason.WRONG_TYPE, f"field {_name(name)}: a value is needed that is nested less deeply"
        ) from None
    except ValueError:
        raise RecordError(Reason.NOT_FINITE, f"field {_name(name)}: finite numbers are needed") from None


def _nested(value: Any) -> Any:
    """A list or object with plain values inside; Arrow's maps, lists of pairs, are objects."""
    if isinstance(value, list) and value and all(isinstance(pair, tuple) and len(pair) == 2 for pair in value):
        return {scalar_key(key): _nested(inner) for key, inner in value}
    if isinstance(value, dict):
        return {str(key): _nested(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_nested(inner) for inner in value]
    if isinstance(value, str):
        return value
    plain = plain_value(value)
    if isinstance(plain, float) and plain.is_integer() and abs(plain) < _EXACT_FLOAT:
        return int(plain)
    return plain


def scalar_key(key: Any) -> str:
    """Key of a map as text."""
    plain = plain_value(key)
    return plain if isinstance(plain, str) else json_scalar(plain)


def clean(name: str, text: str) -> str:
    """The text itself, when it can be stored everywhere.

    Raises:
        RecordError: When it holds NUL, which ends strings in some readers, or a lone surrogate, which is no UTF-8.
    """
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


def json_text(value: Any, *, allow_nan: bool = False) -> str:
    """Compact JSON with sorted names; values that JSON does not know (times, decimals, bytes) as text.

    Raises:
        ValueError: When a number is not finite and `allow_nan` is False.
    """
    return json.dumps(
        value, ensure_ascii=False, allow_nan=allow_nan, sort_keys=True, separators=(",", ":"), default=json_scalar
    )


def json_scalar(value: Any) -> str:
    """A value that JSON does not know, as text."""
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            return base64.b64encode(value).decode("ascii")
    return str(value)
