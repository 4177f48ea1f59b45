"""One row of a landing file as its format gives it, before it is parsed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

HEADER_BYTES = 4096
"""A CSV header of up to so many bytes is kept with each row's raw bytes, a longer one once a file."""


@dataclass(frozen=True, slots=True)
class RawRow:
    """One row of a landing file, not judged yet.

    Attributes:
        line: Line or row in the file, from 1; of a JSON array the number of the element.
        raw: Its bytes; None for a Parquet row. A CSV or TSV row comes with its header line before it, unless that is
            longer than `HEADER_BYTES`.
        values: Its fields, where the format cuts them; None for a JSON line.
        problem: What is wrong with the row as a row; None when nothing is.
        reason: Reason for the quarantine that goes with the problem.
    """

    line: int
    raw: bytes | None
    values: dict[str, Any] | None = None
    problem: str | None = None
    reason: str | None = None
