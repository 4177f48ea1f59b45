"""Landing folders of public data as arrays, without Spark: what the quality harness fits rankers on."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from mmrec_lib.models.data import Content, FitData, Interactions

ATTRIBUTE_LISTS = ("categories", "directors", "cast")


@dataclass(frozen=True)
class StoreArrays:
    """One landing folder, ids replaced by positions.

    Attributes:
        users: [events] user positions.
        items: [events] item positions.
        times: [events] epoch seconds, 0 where unknown.
        order: [events] event ids, which order equal times.
        split: [events] train, valid, test, or empty.
    """

    item_ids: np.ndarray
    num_users: int
    users: np.ndarray
    items: np.ndarray
    times: np.ndarray
    order: np.ndarray
    split: np.ndarray
    contents: Mapping[str, Content]
    user_attributes: Mapping[str, np.ndarray]

    def fit_data(self, chosen: np.ndarray, cut_ts: float = float("inf")) -> FitData:
        """The fit data of the events under a mask."""
        return FitData(self.item_ids, self.interactions(chosen), self.contents, self.user_attributes, cut_ts)

    def interactions(self, chosen: np.ndarray) -> Interactions:
        """Interactions of the events under a mask, every event a positive of weight 1."""
        return Interactions.from_rows(
            self.users[chosen], self.items[chosen], (self.num_users, len(self.item_ids)), times=self.times[chosen]
        )


def read_store(folder: Path, vectors: Path | None = None) -> StoreArrays:
    """Read a landing folder (JSON Lines and vectors only).

    Args:
        folder: Landing folder.
        vectors: Folder with more vectors, `<modality>-<field>.parquet` with item_id and vector.
    """
    if not (folder / "items.jsonl").exists():
        raise SystemExit(f"{folder} holds no items.jsonl; name the folder of the data with --data")
    items = list(_records([folder / "items.jsonl"]))
    events = list(_records(sorted((folder / "events").glob("*.jsonl"))))
    item_ids = np.array([item["item_id"] for item in items])
    user_ids = sorted({event["user_id"] for event in events})
    item_at = {item_id: position for position, item_id in enumerate(item_ids)}
    user_at = {user_id: position for position, user_id in enumerate(user_ids)}
    return StoreArrays(
        item_ids=item_ids,
        num_users=len(user_ids),
        users=np.array([user_at[event["user_id"]] for event in events]),
        items=np.array([item_at[event["item_id"]] for event in events]),
        times=np.array([_seconds(event["ts"]) for event in events]),
        order=np.array([event["event_id"] for event in events]),
        split=np.array([event.get("split") or "" for event in events]),
        contents={content.name: content for content in _contents(folder, items, item_at, vectors)},
        user_attributes=_attributes(folder, user_ids),
    )


def _records(paths: Iterable[Path]) -> Iterable[dict[str, Any]]:
    for path in paths:
        with path.open(encoding="utf-8") as lines:
            yield from (json.loads(line) for line in lines)


def _seconds(value: str | None) -> float:
    return 0.0 if value is None else datetime.fromisoformat(value).timestamp()


def _contents(
    folder: Path, items: list[dict[str, Any]], item_at: Mapping[str, int], vectors: Path | None
) -> Iterable[Content]:
    for root in [folder / "vectors", *([vectors] if vectors else [])]:
        for path in sorted(root.glob("*.parquet")):
            table = pq.read_table(path)
            rows = [item_at[item_id] for item_id in table["item_id"].to_pylist()]
            found = np.array(table["vector"].to_pylist(), dtype=np.float32)
            matrix = np.zeros((len(item_at), found.shape[1]), dtype=np.float32)
            matrix[rows] = found
            yield Content.from_vectors(path.stem.replace("-", ":", 1), matrix)
    for name in ATTRIBUTE_LISTS:
        tokens = [list(dict.fromkeys(item.get(name) or [])) for item in items]
        if any(tokens):
            yield Content.from_tokens(f"attribute:{name}", tokens)
    if any(item.get("year") for item in items):
        yield Content.from_tokens("attribute:year", [_year_tokens(item.get("year")) for item in items])


def _year_tokens(year: int | None) -> list[str]:
    return [] if year is None else [f"y{year}", f"d{year // 10}"]


def _attributes(folder: Path, user_ids: list[str]) -> dict[str, np.ndarray]:
    path = folder / "users.jsonl"
    if not path.exists():
        return {}
    records = {record["user_id"]: record for record in _records([path])}
    names = sorted({name for record in records.values() for name in record} - {"user_id", "updated_at", "op"})
    return {
        name: np.array([records.get(user_id, {}).get(name) for user_id in user_ids], dtype=object) for name in names
    }
