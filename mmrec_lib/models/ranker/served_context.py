"""The context of requests as a served model takes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mmrec_lib.errors import ModelError
from mmrec_lib.models.attributes import group_value
from mmrec_lib.models.ranker.shown import epoch_seconds, is_missing, parsed_mapping
from mmrec_lib.models.request_context import RequestContext

KEYS = ("time", "market", "device", "search")


def read_context(values: Sequence[Any]) -> RequestContext | None:
    """Context of requests from mappings or JSON; None where no row has one.

    Args:
        values: One a row, None for an unknown context. A key that is missing or null is unknown.

    Raises:
        ModelError: When one cannot be read; the message names the row.
    """
    rows = [_of_row(row, value) for row, value in enumerate(values)]
    if not any(rows):
        return None
    columns = {name: np.full(len(rows), None, dtype=np.object_) for name in KEYS}
    times = np.full(len(rows), np.nan)
    for row, own in enumerate(rows):
        for name, value in own.items():
            if name == "time":
                times[row] = epoch_seconds(row, "context.time", value)
            else:
                columns[name][row] = value if name == "search" else group_value(value)
    return RequestContext(times, columns["market"], columns["device"], columns["search"])


def _of_row(row: int, value: Any) -> dict[str, Any]:
    told = parsed_mapping(row, "context", value)
    if not isinstance(told, Mapping) or not set(told) <= set(KEYS):
        raise ModelError(
            f"ranker input, row {row}: context must be a mapping or a JSON object with some of {', '.join(KEYS)}, got "
            f"{str(value)[:80]!r}"
        )
    known = {str(name): own for name, own in told.items() if not is_missing(own)}
    for name, own in known.items():
        if name != "time" and not isinstance(own, str):
            raise ModelError(f"ranker input, row {row}: context.{name} must be a text or None, got {own!r:.80}")
    return known
