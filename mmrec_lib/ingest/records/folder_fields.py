"""Fields that `name=value` folders give to the records of their files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmrec_lib.ingest.records.parse import parse_json
from mmrec_lib.ingest.records.reasons import RecordError
from mmrec_lib.ingest.records.spellings import plain_value
from mmrec_lib.ingest.records.values import Rules


def with_folder_fields(
    raw: bytes | None, values: Mapping[str, Any] | None, given: Mapping[str, str | None], rules: Rules
) -> Mapping[str, Any] | None:
    """The fields of a record with those that its folders give, where the record lacks them or has null.

    What the record says itself counts.

    Args:
        raw: Bytes of a JSON record.
        values: Its fields, where the format cuts them; None for JSON.
        given: Fields of the folders.
        rules: Say which values are null.

    Returns:
        None for a JSON record that cannot be parsed, which the caller will find out.
    """
    if values is None:
        try:
            values = parse_json(raw or b"")
        except RecordError:
            return None
    added = {
        name: text
        for name, text in given.items()
        if text is not None and plain_value(values.get(name), rules.null_spellings) is None
    }
    return {**values, **added}
