"""Landing files in the making: rows with their expected fate, written as JSON Lines, CSV or Parquet, and the books."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

Record = dict[str, Any]
STORED, DUPLICATE, SUPERSEDED = "stored", "duplicate", "superseded"


@dataclass(frozen=True)
class Row:
    """One delivered row.

    Attributes:
        payload: A record, or the raw bytes of a line.
        fate: `STORED`, `DUPLICATE`, `SUPERSEDED`, or the reason for which it must be quarantined.
    """

    payload: Record | bytes
    fate: str = STORED


@dataclass
class Delivery:
    """One landing file in the making.

    Attributes:
        path: Path in the landing folder; its ending decides the format.
        kind: Record kind: event, review, item, user, user_edge, graph_edge or provided_text.
        columns: Columns of a CSV, TSV or Parquet file (with Arrow types where it is Parquet).
        rows: The rows, in order.
        line_end: What ends a line of JSON Lines or CSV.
    """

    path: str
    kind: str
    columns: dict[str, pa.DataType] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    line_end: bytes = b"\n"

    @property
    def records(self) -> list[Record]:
        """The rows that are records, not raw lines, in order."""
        return [row.payload for row in self.rows if isinstance(row.payload, dict)]

    def insert(self, rng: np.random.Generator, rows: Iterable[Row]) -> None:
        """Puts rows at random places."""
        for row in rows:
            self.rows.insert(int(rng.integers(len(self.rows) + 1)), row)

    def write(self, folder: Path) -> None:
        """Writes the file under the folder."""
        target = folder / self.path
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.suffix == ".parquet":
            table = pa.Table.from_pylist(self.records, schema=pa.schema(list(self.columns.items())))
            pq.write_table(table, target, compression="zstd", row_group_size=4000)
            return
        lines = [self._line(row.payload, target.suffix) for row in self.rows]
        if target.suffix != ".jsonl":
            lines.insert(0, ("\t" if target.suffix == ".tsv" else ",").join(self.columns).encode())
        target.write_bytes(self.line_end.join([*lines, b""]))

    def _line(self, payload: Record | bytes, suffix: str) -> bytes:
        if isinstance(payload, bytes):
            return payload
        if suffix == ".jsonl":
            return json.dumps(payload, ensure_ascii=False).encode()
        if suffix == ".tsv":
            return "\t".join(str(payload[name]) for name in self.columns).encode()
        buffer = io.StringIO()
        values = ("" if payload.get(name) is None else payload[name] for name in self.columns)
        csv.writer(buffer, lineterminator="").writerow(values)
        return buffer.getvalue().encode()


@dataclass
class MediaReference:
    """An image or sound that a stored record names.

    Attributes:
        path: As the record names it.
        fate: `STORED`, or the reason for which the reference must be quarantined.
        asset: Any name of the content, equal for equal bytes; only of good ones.
    """

    path: str
    fate: str = STORED
    asset: str = ""


def expected_counts(
    deliveries: Iterable[Delivery],
    media: Iterable[MediaReference],
    *,
    num_broken_files: dict[str, int],
    tables: dict[str, int],
) -> Record:
    """Report that an ingest of the deliveries must give.

    Args:
        deliveries: All files with records.
        media: References of the records that stay.
        num_broken_files: Files that are not readable at all, by reason.
        tables: Row counts of the tables that do not follow from the fates (item, user).

    Returns:
        `quarantine` rows by reason, `quarantine_by_kind`, `tables` row counts, `duplicates` and `superseded` by
        record kind, and the `books` of each kind: read, stored, superseded, duplicates, quarantined.
    """
    fates: dict[str, Counter[str]] = {}
    for delivery in deliveries:
        fates.setdefault(delivery.kind, Counter()).update(row.fate for row in delivery.rows)
    references = list(media)
    fates["media"] = Counter(reference.fate for reference in references)
    fates["file"] = Counter(num_broken_files)
    reasons: dict[str, dict[str, int]] = {}
    reconciliation: dict[str, dict[str, int]] = {}
    for kind, counts in fates.items():
        if not counts:
            continue
        bad = {fate: n for fate, n in sorted(counts.items()) if fate not in (STORED, DUPLICATE, SUPERSEDED)}
        if bad:
            reasons[kind] = bad
        reconciliation[kind] = {
            "read": counts.total(),
            "stored": counts[STORED],
            "superseded": counts[SUPERSEDED],
            "duplicates": counts[DUPLICATE],
            "quarantined": sum(bad.values()),
        }
    by_reason: Counter[str] = Counter()
    for counted in reasons.values():
        by_reason.update(counted)
    stored = {
        kind: reconciliation[kind]["stored"] for kind in reconciliation if kind not in ("media", "file", "item", "user")
    }
    good = [reference for reference in references if reference.fate == STORED]
    return {
        "quarantine": dict(sorted(by_reason.items())),
        "quarantine_by_kind": dict(sorted(reasons.items())),
        "tables": {
            **stored,
            **tables,
            "media_link": len(good),
            "media_asset": len({reference.asset for reference in good}),
            "quarantine": by_reason.total(),
        },
        "duplicates": {kind: book["duplicates"] for kind, book in reconciliation.items() if book["duplicates"]},
        "superseded": {kind: book["superseded"] for kind, book in reconciliation.items() if book["superseded"]},
        "books": dict(sorted(reconciliation.items())),
    }


def write_json(path: Path, content: Any) -> None:
    """Writes JSON that reads well in a diff: two levels of lines."""
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
