"""Arrivals of records: files in every format and order, redelivered, late, and with broken records in between."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tests.data.behaviour import NUM_DAYS, Event, iso
from tests.data.catalogue import Product
from tests.data.deliveries import DUPLICATE, SUPERSEDED, Delivery, Record, Row
from tests.data.faults import (
    EDGES_JSON,
    EVENTS_CSV,
    EVENTS_JSON,
    EVENTS_PARQUET,
    ITEMS_JSON,
    REVIEWS_CSV,
    REVIEWS_JSON,
    USERS_CSV,
    break_records,
    csv_bad_utf8,
)
from tests.data.people import Person

TEXT = pa.string()
EVENT_COLUMNS: dict[str, pa.DataType] = {
    "event_id": TEXT,
    "user_id": TEXT,
    "item_id": TEXT,
    "event_type": TEXT,
    "value": pa.float64(),
    "seconds": pa.float64(),
    "query": TEXT,
    "ts": TEXT,
    "device": TEXT,
}
REVIEW_COLUMNS = dict.fromkeys(("review_id", "user_id", "item_id", "text", "rating", "language", "ts", "audio"), TEXT)
USER_COLUMNS = dict.fromkeys(("user_id", "age", "gender", "country", "newsletter", "signed_up", "updated_at"), TEXT)
CONFLICT = "conflicting_redelivery"


def month_of(day: float) -> int:
    """0 for July, 1 for August, 2 for September."""
    return min(2, int(day // 31))


def _as_arrow_times(rows: list[Row]) -> list[Row]:
    return [
        Row({**row.payload, "ts": datetime.fromisoformat(row.payload["ts"])}, row.fate)
        if isinstance(row.payload, dict) and isinstance(row.payload.get("ts"), str)
        else row
        for row in rows
    ]


def event_records(rng: np.random.Generator, events: list[Event]) -> list[tuple[Event, Record]]:
    """Events with their landing records; half of them go through the app (JSON Lines), exactly."""
    app = [event for event in events if event["channel"] == "app"]
    web = [event for event in events if event["channel"] == "web"]
    surplus, other = (app, "web") if len(app) > len(web) else (web, "app")
    for position in rng.choice(len(surplus), abs(len(app) - len(web)) // 2, replace=False):
        surplus[int(position)]["channel"] = other
    records = []
    phones = {user: "ios" if rng.random() < 0.45 else "android" for user in sorted({e["user_id"] for e in events})}
    for number, event in enumerate(events, start=1):
        record: Record = {"event_id": f"e{number:06d}", "user_id": event["user_id"]}
        if "item_id" in event:
            record["item_id"] = event["item_id"]
        record["event_type"] = event["event_type"]
        record.update({name: event[name] for name in ("value", "seconds", "query") if name in event})
        record["ts"] = iso(event["day"])
        device = phones[event["user_id"]] if event["channel"] == "app" else "web"
        records.append((event, {**record, "device": device}))
    return records


def event_files(rng: np.random.Generator, events: list[Event]) -> list[Delivery]:
    """Two channels, a file or two a month each, out of order and some a month late; broken ones and repeats inside."""
    files = {
        ("app", 0): Delivery("events/2025-07-app.jsonl", "event"),
        ("app", 1): Delivery("events/2025-08-app.jsonl", "event", line_end=b"\r\n"),
        ("app", 2): Delivery("events/2025-09-app-1.jsonl", "event"),
        ("app", 3): Delivery("events/2025-09-app-2.jsonl", "event"),
        ("web", 0): Delivery("events/2025-07-web.csv", "event", EVENT_COLUMNS),
        ("web", 1): Delivery("events/2025-08-web.parquet", "event", {**EVENT_COLUMNS, "ts": pa.timestamp("us", "UTC")}),
        ("web", 2): Delivery("events/2025-09-web-1.csv", "event", EVENT_COLUMNS),
        ("web", 3): Delivery("events/2025-09-web-2.parquet", "event", EVENT_COLUMNS),
    }
    records = event_records(rng, events)
    places: dict[tuple[str, int], list[tuple[float, Record]]] = {place: [] for place in files}
    for event, record in records:
        arrival = event["day"] + (float(rng.uniform(0, 3)) if rng.random() < 0.06 else 0.0)
        part = month_of(event["day"])
        if part == 2 and event["day"] > 77:
            part = 3
        elif part < 2 and rng.random() < 0.015:
            part, arrival = part + 1, float(rng.uniform(31 * (part + 1), 31 * (part + 1) + 10))
        places[event["channel"], part].append((arrival, record))
    for place, arrived in places.items():
        files[place].rows = [Row(record) for _, record in sorted(arrived, key=lambda pair: pair[0])]

    app_july = files["app", 0].records
    web_july = files["web", 0].records
    originals = [app_july[int(i)] for i in rng.choice(len(app_july), 400, replace=False)]
    anonymous, repeated, contested = originals[:300], originals[300:370], originals[370:376]
    for record in anonymous:
        # The source gave no id: the key is a hash of the record, so a repeat is still a duplicate.
        del record["event_id"]
    files["app", 0].insert(rng, (Row(dict(record), DUPLICATE) for record in repeated[:20]))
    files["app", 1].insert(rng, (Row(dict(record), DUPLICATE) for record in [*repeated[20:40], *anonymous[:5]]))
    files["app", 3].insert(rng, (Row(dict(record), DUPLICATE) for record in repeated[40:60]))
    files["web", 2].insert(rng, (Row(dict(record), DUPLICATE) for record in repeated[60:65]))
    # What is broken below is a copy of a view with an id.
    views = [record for _, record in records if record["event_type"] == "view" and "event_id" in record]
    july_views = [record for record in web_july if record["event_type"] == "view"]
    files["app", 3].insert(rng, (Row({**record, "device": "kiosk"}, CONFLICT) for record in contested))
    files["web", 2].insert(rng, (Row({**record, "seconds": 999.5}, CONFLICT) for record in july_views[10:13]))

    app_files = [files["app", part] for part in range(4)]
    for position, row in enumerate(break_records(rng, EVENTS_JSON, views, key="event_id", prefix="xa-")):
        app_files[position % 4].insert(rng, [row])
    csv_rows = break_records(rng, EVENTS_CSV, views, key="event_id", prefix="xw-")
    searches = [record for _, record in records if record["event_type"] == "search"]
    for number in range(EVENTS_CSV["invalid_utf8"][0]):
        search = {**searches[number * 7], "event_id": f"xw-invalid_utf8-{number}"}
        csv_rows.append(Row(csv_bad_utf8(search, list(EVENT_COLUMNS), "query"), "invalid_utf8"))
    for position, row in enumerate(csv_rows):
        files["web", 2 * (position % 2)].insert(rng, [row])
    for position, row in enumerate(break_records(rng, EVENTS_PARQUET, views, key="event_id", prefix="xp-")):
        # The September file keeps times as text, so it takes only what has a text time.
        text_time = isinstance(row.payload, dict) and isinstance(row.payload["ts"], str)
        files["web", 3 if text_time and position % 2 else 1].insert(rng, [row])
    files["web", 1].rows = _as_arrow_times(files["web", 1].rows)
    return list(files.values())


def review_files(rng: np.random.Generator, reviews: list[Record], spoken: list[Record]) -> list[Delivery]:
    """Two JSON Lines files of written reviews, a CSV, and the spoken ones."""
    first = Delivery("reviews/2025-07.jsonl", "review", rows=[Row(review) for review in reviews[:500]])
    second = Delivery("reviews/2025-08.jsonl", "review", rows=[Row(review) for review in reviews[500:1050]])
    third = Delivery("reviews/2025-09.csv", "review", REVIEW_COLUMNS, [Row(review) for review in reviews[1050:]])
    voices = Delivery("reviews/spoken.jsonl", "review", rows=[Row(record) for record in spoken])
    english = [review for review in reviews if review["language"] == "en" and "audio" not in review]
    second.insert(rng, (Row(dict(review), DUPLICATE) for review in reviews[20:28]))
    voices.insert(rng, (Row(dict(review), DUPLICATE) for review in reviews[40:42]))
    changed = [{**review, "text": "Changed my mind about this one."} for review in reviews[60:65]]
    second.insert(rng, (Row(review, CONFLICT) for review in changed[:4]))
    third.insert(rng, (Row(review, CONFLICT) for review in changed[4:]))
    for position, row in enumerate(break_records(rng, REVIEWS_JSON, english, key="review_id", prefix="xr-")):
        (first, second)[position % 2].insert(rng, [row])
    bad = csv_bad_utf8({**english[0], "review_id": "xc-invalid_utf8"}, list(REVIEW_COLUMNS), "text")
    third.insert(rng, break_records(rng, REVIEWS_CSV, english, key="review_id", prefix="xc-"))
    third.insert(rng, [Row(bad, "invalid_utf8")])
    return [first, second, third, voices]


def item_files(
    rng: np.random.Generator,
    products: list[Product],
    deleted: list[Record],
    *,
    num_repriced: int,
    num_late_versions: int,
) -> list[Delivery]:
    """The catalogue, the new products, and updates: sold out, new prices, deletions, old versions that come late."""
    base = Delivery("items.jsonl", "item")
    newest = Delivery("items-2025-09.jsonl", "item")
    updates = Delivery("items-updates.jsonl", "item")
    for product in products:
        if product.sold_from > 0:
            newest.rows.append(Row(product.record))
        elif np.isfinite(product.sold_until):
            base.rows.append(Row(product.record, SUPERSEDED))
            updates.rows.append(Row({**product.record, "available": False, "updated_at": iso(product.sold_until)}))
        else:
            base.rows.append(Row(product.record))
    base.insert(rng, (Row(record, SUPERSEDED) for record in deleted))
    for record in deleted:
        gone = iso(float(rng.uniform(45, 60)))
        updates.rows.append(Row({"item_id": record["item_id"], "op": "delete", "updated_at": gone}))
    plain = [position for position, row in enumerate(base.rows) if row.fate != SUPERSEDED]
    records = base.records
    chosen = [plain[int(i)] for i in rng.choice(len(plain), num_repriced + num_late_versions + 5, replace=False)]
    for number, position in enumerate(chosen):
        record = records[position]
        if number < num_repriced:
            base.rows[position] = Row(record, SUPERSEDED)
            price = round(record["price"] * float(rng.uniform(0.6, 0.85)), 2)
            updates.rows.append(Row({**record, "price": price, "updated_at": iso(float(rng.uniform(50, 88)))}))
        elif number < num_repriced + num_late_versions:
            old = {**record, "price": round(record["price"] + 10, 2), "updated_at": "2025-04-02T08:00:00Z"}
            updates.rows.append(Row(old, SUPERSEDED))
        else:
            updates.rows.append(Row(dict(record), DUPLICATE))
    updates.rows = [updates.rows[i] for i in rng.permutation(len(updates.rows))]
    originals = [product.record for product in products]
    base.insert(rng, break_records(rng, ITEMS_JSON, originals, key="item_id", prefix="x-"))
    return [base, newest, updates]


def user_record(rng: np.random.Generator, person: Person) -> dict[str, Any]:
    """The landing record of a user."""
    signed_up = f"{int(rng.integers(2019, 2025))}-{int(rng.integers(1, 13)):02d}-{int(rng.integers(1, 28)):02d}"
    return {
        "user_id": person.user_id,
        "age": person.age,
        "gender": person.gender,
        "country": person.country,
        "newsletter": "yes" if rng.random() < 0.4 else "no",
        "signed_up": signed_up if person.joined < 0 else iso(person.joined)[:10],
        "updated_at": "2025-06-01T00:00:00Z" if person.joined < 0 else iso(person.joined),
    }


def user_files(rng: np.random.Generator, people: list[Person], newcomers_from: float) -> list[Delivery]:
    """The users file of June, and that of September with newcomers, changes and repeats."""
    base = Delivery("users.csv", "user", USER_COLUMNS)
    later = Delivery("users-2025-09.csv", "user", USER_COLUMNS)
    for person in people:
        if person.declared:
            (later if person.joined >= newcomers_from else base).rows.append(Row(user_record(rng, person)))
    good = base.records
    chosen = [int(i) for i in rng.choice(len(base.rows), 15, replace=False)]
    for number, position in enumerate(chosen):
        record = good[position]
        if number < 12:
            base.rows[position] = Row(record, SUPERSEDED)
            moved = {**record, "newsletter": "yes", "age": record["age"] + 1}
            later.rows.append(Row({**moved, "updated_at": iso(float(rng.uniform(60, NUM_DAYS - 1)))}))
        else:
            later.rows.append(Row(dict(record), DUPLICATE))
    base.insert(rng, break_records(rng, USERS_CSV, good))
    return [base, later]


def edge_file(rng: np.random.Generator, friends: list[tuple[str, str]]) -> Delivery:
    """Friendships, some delivered twice, some broken."""
    records = [{"user_id": one, "friend_id": other, "since": int(rng.integers(2016, 2026))} for one, other in friends]
    delivery = Delivery("user_edges.jsonl", "user_edge", rows=[Row(record) for record in records])
    delivery.insert(rng, (Row(dict(record), DUPLICATE) for record in records[10:16]))
    delivery.insert(rng, break_records(rng, EDGES_JSON, records))
    return delivery


def graph_file(products: list[Product]) -> Delivery:
    """Class, style and colour of each product as triples, and one without a tail."""
    columns = dict.fromkeys(("head", "relation", "tail"), TEXT)
    delivery = Delivery("graph.tsv", "graph_edge", columns)
    for product in products:
        for relation, tail in (
            ("has_class", product.kind),
            ("has_style", product.style),
            ("has_colour", product.colour),
        ):
            delivery.rows.append(Row({"head": product.item_id, "relation": relation, "tail": tail}))
    delivery.rows.insert(700, Row({"head": "p003", "relation": "has_style", "tail": ""}, "missing_key"))
    return delivery


def transcript_file(spoken: list[tuple[Record, str]]) -> Delivery:
    """Precomputed transcripts of four spoken reviews, by sound or by review, and one without words."""
    delivery = Delivery("transcripts/provided.jsonl", "provided_text")
    for number in (2, 16):
        record, words = spoken[number]
        delivery.rows.append(Row({"audio": record["audio"], "text": words, "language": "en"}))
    for number in (25, 39):
        record, words = spoken[number]
        delivery.rows.append(Row({"review_id": record["review_id"], "text": words, "language": "en"}))
    delivery.rows.insert(1, Row({"audio": spoken[30][0]["audio"], "language": "en"}, "missing_field"))
    return delivery


def write_broken_files(folder: Path) -> dict[str, int]:
    """Writes a file that is no Parquet and one in an unsupported format; says how many of which reason."""
    (folder / "events/2025-08-backfill.parquet").write_bytes(b"PAR1" + bytes(range(200)))
    (folder / "events/2025-07-legacy.xml").write_text("<events><event user='u0001' item='p001'/></events>\n")
    (folder / "README.txt").write_text("A landing folder: simulated events around real CC0 photos.\n")
    return {"unreadable_file": 1, "unsupported_format": 1}
