"""A tiny store for fast tests: every record kind, drawn images, three planted classes, written in a moment."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile
from PIL import Image, ImageDraw

from tests.data.arrivals import EVENT_COLUMNS
from tests.data.catalogue import jpeg_bytes
from tests.data.deliveries import (
    DUPLICATE,
    STORED,
    SUPERSEDED,
    Delivery,
    MediaReference,
    Record,
    Row,
    expected_counts,
)
from tests.data.faults import EDGES_JSON, EVENTS_CSV, EVENTS_JSON, ITEMS_JSON, REVIEWS_JSON, break_records

START = datetime(2025, 3, 1, tzinfo=UTC)
NUM_DAYS = 60.0
NUM_ITEMS, NUM_USERS, NUM_REVIEWS = 30, 40, 20
NUM_COLD_ITEMS, NUM_COLD_USERS = 2, 3
CLASSES = {"ball": (210, 60, 50), "box": (60, 150, 70), "tent": (60, 80, 190)}
SAYINGS = {
    "ball": ("A round {colour} ball that bounces high.", "Rolls and bounces, great fun to throw."),
    "box": ("A square {colour} box with a lid.", "Keeps toys in order, easy to stack."),
    "tent": ("A pointed {colour} tent for the garden.", "Sleeps two and stands in a minute."),
}
COLOURS = ("bright", "pale", "dark", "soft", "deep")


def drawing(rng: np.random.Generator, kind: str, number: int) -> bytes:
    """A drawn image of 40 to 64 pixels: the class decides shape and colour, the number the details."""
    width, height = int(rng.integers(40, 65)), int(rng.integers(40, 65))
    shade = [int(np.clip(level + rng.integers(-40, 41), 0, 255)) for level in CLASSES[kind]]
    image = Image.new("RGB", (width, height), (230 - number, 230, 200 + number))
    draw, fill = ImageDraw.Draw(image), (shade[0], shade[1], shade[2])
    box = (8, 8, width - 8, height - 8)
    if kind == "ball":
        draw.ellipse(box, fill=fill)
    elif kind == "box":
        draw.rectangle(box, fill=fill)
    else:
        draw.polygon([(width // 2, 6), (6, height - 8), (width - 6, height - 8)], fill=fill)
    return jpeg_bytes(image, quality=85)


def tone(seconds: float) -> bytes:
    """A sine tone as WAV, mono, 16 kHz."""
    times = np.arange(int(16_000 * seconds)) / 16_000
    buffer = io.BytesIO()
    soundfile.write(buffer, 0.3 * np.sin(2 * np.pi * 440 * times), 16_000, format="WAV", subtype="PCM_16")
    return buffer.getvalue()


def _iso(day: float) -> str:
    return (START + timedelta(seconds=int(day * 86400))).strftime("%Y-%m-%dT%H:%M:%SZ")


def _kind_of(number: int) -> str:
    return list(CLASSES)[number % len(CLASSES)]


def make_items(rng: np.random.Generator, folder: Path) -> tuple[list[Record], list[MediaReference]]:
    """Items t01, t02 and so on, with their images; three have a broken second one."""
    records, media = [], []
    for number in range(1, NUM_ITEMS + 1):
        item, kind = f"t{number:02d}", _kind_of(number)
        image = f"images/{item}.jpg"
        (folder / image).write_bytes(drawing(rng, kind, number))
        colour = COLOURS[number % len(COLOURS)]
        record: Record = {
            "item_id": item,
            "title": f"{colour.title()} {kind} number {number}",
            "description": " ".join(SAYINGS[kind]).format(colour=colour),
            "categories": [kind],
            "price": round(5.0 + 1.5 * number, 2),
            "images": [image],
            "maker": f"maker-{number % 4}",
            "updated_at": "2025-02-01T00:00:00Z",
        }
        records.append(record)
        media.append(MediaReference(image, STORED, image))
    (folder / "images/t04-2.jpg").write_bytes(drawing(rng, _kind_of(4), 40))
    (folder / "images/t06-2.jpg").write_bytes(b"not a picture at all, only text\n")
    (folder / "images/t07-2.jpg").write_bytes((folder / "images/t07.jpg").read_bytes()[:400])
    for item, path, fate in (
        ("t04", "images/t04-2.jpg", STORED),
        ("t05", "images/t05-2.jpg", "media_missing"),
        ("t06", "images/t06-2.jpg", "media_wrong_type"),
        ("t07", "images/t07-2.jpg", "media_truncated"),
        ("t08", "../outside.jpg", "media_outside_landing"),
    ):
        records[int(item[1:]) - 1]["images"].append(path)
        media.append(MediaReference(path, fate, path))
    return records, media


def make_events(rng: np.random.Generator) -> list[Record]:
    """About 600 events in the order of time: each user likes one class; a few items and users start at the end."""
    timed: list[tuple[float, Record]] = []
    for user in range(1, NUM_USERS + 1):
        cold = user > NUM_USERS - NUM_COLD_USERS
        # Each item once or nearly so: what is left of the class is what should be recommended.
        for _ in range(4 if cold else 7):
            day = float(rng.uniform(NUM_DAYS - 5, NUM_DAYS) if cold else rng.uniform(0, NUM_DAYS))
            known = NUM_ITEMS if day > NUM_DAYS - 5 else NUM_ITEMS - NUM_COLD_ITEMS
            weights = np.array([20.0 if n % 3 == user % 3 else 0.3 for n in range(1, known + 1)])
            weights *= 1 / (8 + (np.arange(known) * 7) % 11)
            item = f"t{int(rng.choice(known, p=weights / weights.sum())) + 1:02d}"
            base: Record = {"user_id": f"v{user:02d}", "item_id": item}
            timed.append((day, {**base, "event_type": "view", "seconds": round(float(rng.uniform(2, 60)), 1)}))
            if rng.random() < 0.5:
                timed.append((day + 0.002, {**base, "event_type": str(rng.choice(["like", "cart", "share"]))}))
            if rng.random() < 0.3:
                timed.append((day + 0.004, {**base, "event_type": "purchase"}))
            if rng.random() < 0.3:
                stars = int(rng.integers(3, 6))
                timed.append((day + 0.006, {**base, "event_type": "rating", "value": stars}))
            if rng.random() < 0.15:
                search = {"user_id": base["user_id"], "event_type": "search", "query": _kind_of(int(item[1:]))}
                timed.append((day - 0.001, search))
    timed.sort(key=lambda pair: pair[0])
    return [
        {"event_id": f"e{number:04d}", **record, "ts": _iso(max(day, 0.0)), "device": "app" if number % 2 else "web"}
        for number, (day, record) in enumerate(timed, start=1)
    ]


def event_deliveries(rng: np.random.Generator, events: list[Record]) -> list[Delivery]:
    """A third each as JSON Lines, CSV and Parquet, with repeats, a conflict and broken records."""
    third = len(events) // 3
    first = Delivery("events/2025-03.jsonl", "event", rows=[Row(event) for event in events[:third]])
    second = Delivery("events/2025-04-a.csv", "event", EVENT_COLUMNS, [Row(e) for e in events[third : 2 * third]])
    last = Delivery("events/2025-04-b.parquet", "event", EVENT_COLUMNS, [Row(event) for event in events[2 * third :]])
    views = [event for event in events if event["event_type"] == "view"]
    first.insert(rng, break_records(rng, EVENTS_JSON, views, key="event_id", prefix="x-", limit=1))
    second.insert(rng, break_records(rng, EVENTS_CSV, views, key="event_id", prefix="y-", limit=1))
    second.insert(rng, [Row(dict(event), DUPLICATE) for event in events[:4]])
    last.insert(rng, [Row({**events[5], "device": "kiosk"}, "conflicting_redelivery")])
    return [first, second, last]


def write_tiny_store(folder: Path, seed: int = 0, *, with_vectors: bool = False) -> dict[str, Any]:
    """Writes a landing folder of 30 items in 3 classes, 40 users, about 600 events and a little of everything else.

    Args:
        folder: Where to write; made when absent.
        seed: Seed of all randomness.
        with_vectors: Also write `vectors/audio-toy.parquet`, 8 numbers an item.

    Returns:
        What an ingest must report, in the shape of `expected.json`.
    """
    rng = np.random.default_rng(seed)
    for name in ("images", "audio"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    items, media = make_items(rng, folder)
    events = make_events(rng)
    deliveries = event_deliveries(rng, events)

    base = Delivery("items.jsonl", "item", rows=[Row(record) for record in items])
    gone = {**items[0], "item_id": "t99", "images": [], "updated_at": "2025-01-01T00:00:00Z"}
    base.rows[1] = Row(items[1], SUPERSEDED)
    base.rows += [Row(gone, SUPERSEDED), *break_records(rng, ITEMS_JSON, items[8:], key="item_id", prefix="z", limit=1)]
    late = {**items[2], "price": 99.0, "updated_at": "2025-01-05T00:00:00Z"}
    newer = {**items[1], "price": 4.5, "available": False, "updated_at": "2025-04-01T00:00:00Z"}
    deletion = {"item_id": "t99", "op": "delete", "updated_at": "2025-04-02T00:00:00Z"}
    changes = [Row(late, SUPERSEDED), Row(newer), Row(deletion), Row(dict(items[9]), DUPLICATE)]
    deliveries += [base, Delivery("items-updates.jsonl", "item", rows=changes)]

    columns = dict.fromkeys(("user_id", "age", "gender", "updated_at"), pa.string())
    users = [
        {"user_id": f"v{n:02d}", "age": 18 + n, "gender": "fmx"[n % 3], "updated_at": "2025-02-01T00:00:00Z"}
        for n in range(1, NUM_USERS)
    ]
    silent = {"user_id": "v98", "age": 50, "gender": "f", "updated_at": "2025-02-01T00:00:00Z"}
    broken = Row({"user_id": "", "age": 5, "gender": "x", "updated_at": "2025-02-01T00:00:00Z"}, "missing_key")
    user_rows = [*(Row(user) for user in users), Row(silent), broken]
    deliveries.append(Delivery("users.csv", "user", columns, user_rows))

    edges = [{"user_id": f"v{n:02d}", "friend_id": f"v{n + 3:02d}"} for n in range(1, NUM_USERS - 6, 3)]
    edge_rows = [*(Row(edge) for edge in edges), Row(dict(edges[0]), DUPLICATE)]
    edge_rows += break_records(rng, {"not_json": EDGES_JSON["not_json"]}, edges, limit=1)
    deliveries.append(Delivery("user_edges.jsonl", "user_edge", rows=edge_rows))

    reviews: list[Record] = [
        {
            "review_id": f"w{n:02d}",
            "user_id": f"v{n:02d}",
            "item_id": f"t{n + 1:02d}",
            "text": f"I {'love' if n % 4 else 'do not like'} this {_kind_of(n + 1)}, number {n}.",
            "rating": 5 if n % 4 else 1,
            "language": "en",
            "ts": _iso(2.5 * n),
        }
        for n in range(1, NUM_REVIEWS)
    ]
    spoken = {name: reviews[0][name] for name in ("user_id", "rating", "language", "ts")}
    spoken = {"review_id": "w99", "item_id": "t03", **spoken, "audio": "audio/w99.wav"}
    (folder / "audio/w99.wav").write_bytes(tone(0.5))
    media.append(MediaReference("audio/w99.wav", STORED, "audio/w99.wav"))
    review_rows = [*(Row(review) for review in reviews), Row(spoken), Row(dict(reviews[3]), DUPLICATE)]
    review_rows.append(Row({**reviews[4], "text": "On second thought."}, "conflicting_redelivery"))
    faults = {reason: REVIEWS_JSON[reason] for reason in ("invalid_utf8", "missing_field", "unknown_item")}
    review_rows += break_records(rng, faults, reviews, key="review_id", prefix="q-", limit=1)
    deliveries.append(Delivery("reviews.jsonl", "review", rows=review_rows))

    words = Row({"audio": "audio/w99.wav", "text": "A steady tone, nothing else.", "language": "en"})
    deliveries.append(Delivery("transcripts/provided.jsonl", "provided_text", rows=[words]))
    triples = [Row({"head": r["item_id"], "relation": "has_class", "tail": r["categories"][0]}) for r in items]
    head_tail = dict.fromkeys(("head", "relation", "tail"), pa.string())
    deliveries.append(Delivery("graph.tsv", "graph_edge", head_tail, triples))

    for delivery in deliveries:
        delivery.write(folder)
    tables = {"item": NUM_ITEMS, "user": NUM_USERS + 1, "provided_vector": 0, "tombstone": 1}
    expected = expected_counts(deliveries, media, num_broken_files={}, tables=tables)
    if with_vectors:
        write_vectors(rng, folder, [record["item_id"] for record in items])
        expected["tables"]["provided_vector"] = NUM_ITEMS
        book = {"read": NUM_ITEMS, "stored": NUM_ITEMS, "superseded": 0, "duplicates": 0, "quarantined": 0}
        expected["books"]["provided_vector"] = book
    return expected


def write_vectors(rng: np.random.Generator, folder: Path, item_ids: list[str]) -> None:
    """Ready-made vectors of 8 numbers an item, close together within a class."""
    centres = rng.normal(size=(len(CLASSES), 8))
    vectors = [(centres[int(item[1:]) % 3] + 0.2 * rng.normal(size=8)).astype(np.float32) for item in item_ids]
    (folder / "vectors").mkdir(exist_ok=True)
    table = pa.table({"item_id": item_ids, "vector": pa.array([v.tolist() for v in vectors], pa.list_(pa.float32()))})
    pq.write_table(table, folder / "vectors/audio-toy.parquet")
