"""Fields that `name=value` folders give to the records of their files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmrec_lib.ingest.reasons import RecordError
from mmrec_lib.ingest.records import parse_json

_NUMBERS = frozenset({"value", "seconds", "rating", "price"})
_FLAGS = {"available": {"true": True, "false": False}}


def with_folder_fields(
    raw: bytes | None, values: Mapping[str, Any] | None, given: Mapping[str, str | None], *, plain: bool
) -> Mapping[str, Any] | None:
    """The fields of a record with those that its folders give, where the record lacks them or has null.

    What the record says itself counts. Words of folders are text: where a number or a flag belongs, they become one in
    formats that have types, as Spark would do when it reads such folders.

    Args:
        raw: Bytes of a JSON record.
        values: Its fields, where the format cuts them; None for JSON.
        given: Fields of the folders.
        plain: True when all values of the record are text.

    Returns:
        None for a JSON record that cannot be parsed, which the caller will find out.
    """
    if values is None:
        try:
            values = parse_json(raw or b"")
        except RecordError:
            return None
    lacking = {name for name in given if values.get(name) is None or (plain and values[name] == "")}
    added = {name: given[name] if plain else _typed(name, given[name]) for name in given if name in lacking}
    return {**values, **{name: value for name, value in added.items() if value is not None}}


def _typed(name: str, text: str | None) -> Any:
    if text is None:
        return None
    if name in _NUMBERS:
        try:
            return float(text)
        except ValueError:
            return text
    return _FLAGS.get(name, {}).get(text.lower(), text)
