"""Reads landing folders the simple way, for the generators and checks: what is broken is left out."""

from __future__ import annotations

import csv
import json
import math
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq

from tests.data.deliveries import Record


def json_records(path: Path) -> list[Record]:
    """The JSON objects of a JSON Lines file."""
    records = []
    for line in path.read_bytes().splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            records.append(record)
    return records


def time_of(value: object) -> datetime | None:
    """A time from ISO 8601 or a datetime (naive means UTC), where it is one and in this decade."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if not isinstance(value, datetime):
        return None
    value = value if value.tzinfo else value.replace(tzinfo=UTC)
    return value if 2020 <= value.year < 2030 else None


def current_items(store: Path) -> dict[str, Record]:
    """The newest good version of each item by id, deleted ones left out."""
    newest: dict[str, tuple[datetime, Record]] = {}
    for path in sorted(store.glob("items*.jsonl")):
        for record in json_records(path):
            item, updated_at = record.get("item_id"), time_of(record.get("updated_at"))
            if not isinstance(item, str) or not item or updated_at is None:
                continue
            price = record.get("price", 1.0)
            worded = all(isinstance(record.get(name), str) for name in ("title", "description"))
            sound = worded and isinstance(price, float | int) and 0 <= price < math.inf
            if (sound or record.get("op") == "delete") and (item not in newest or newest[item][0] <= updated_at):
                newest[item] = (updated_at, record)
    return {item: record for item, (_, record) in sorted(newest.items()) if record.get("op") != "delete"}


def images_of(record: Record) -> list[str]:
    """Paths of an item's images."""
    named = record.get("images") or record.get("image") or []
    return [named] if isinstance(named, str) else list(named)


def usable_interactions(store: Path) -> list[tuple[float, str, str]]:
    """(epoch seconds, user, item) of good events on known items in any format, each event_id once, sorted by time."""
    items = current_items(store)
    rows: list[Record] = []
    for path in sorted(store.rglob("events*/*")):
        if path.suffix == ".jsonl":
            rows += json_records(path)
        elif path.suffix == ".csv":
            rows += csv.DictReader(path.read_text(encoding="utf-8", errors="replace").splitlines())
        elif path.suffix == ".parquet":
            try:
                rows += pq.read_table(path).to_pylist()
            except (OSError, ValueError):
                continue
    seen: dict[str, tuple[float, str, str]] = {}
    for number, row in enumerate(rows):
        ts, user, item = time_of(row.get("ts")), row.get("user_id"), row.get("item_id")
        if ts is not None and isinstance(user, str) and user and isinstance(item, str) and item in items:
            seen.setdefault(str(row.get("event_id") or f"line{number}"), (ts.timestamp(), user, item))
    return sorted(seen.values())
