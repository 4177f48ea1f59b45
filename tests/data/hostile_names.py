"""Records whose ids, names and words try to break out of every system that they pass through."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

RIGHT_TO_LEFT = "\u05e9\u05dc\u05d5\u05dd \u202egpj.exe"
# Ids and names of one line.
NAMES = (
    "it's",
    'say "hi"',
    "back`tick`",
    "back\\slash",
    "../../etc/passwd",
    "<script>alert(1)</script><b>",
    "\N{HEADPHONE}\N{EMOJI MODIFIER FITZPATRICK TYPE-4}",
    RIGHT_TO_LEFT,
    "100% (of) %s %(x)s %2e%2e",
    "a@b:c/d//e/.",
    "'; DROP TABLE item; --",
    "{{7*7}} ${jndi:x} {0}",
    "=cmd|' /C calc'!A0",
    "_at_ _x41_",
    "#?&=+;,|*",
)
# What no id may be, but a text may.
LINES = "first\nsecond\r\n\ttabbed"
LONG = "long name " * 1_000
VECTOR_FILE = "vectors/audio-my@model (50%) it's.parquet"
# A relation is an id: at most 256 characters.
RELATIONS = ("made of (%)", "../up", RIGHT_TO_LEFT, "<i>is</i>", "r" * 250, "quote'\"`")


def write_hostile_names(folder: Path, known_items: Iterable[str]) -> dict[str, Any]:
    """Add hostile records to a landing folder.

    Args:
        folder: A landing folder.
        known_items: Items that are there already.

    Returns:
        Ids and texts that must come out as they went in.
    """
    known = sorted(known_items)
    items = [
        {
            "item_id": name,
            "title": text,
            "description": name,
            "categories": [name],
            name: name,  # an attribute of that name
            "updated_at": "2025-02-01T00:00:00Z",
        }
        for name, text in zip(NAMES, (LINES, LONG, *NAMES[2:]), strict=True)
    ]
    users = [
        {"user_id": name, "favourite (of %)": NAMES[n % 3], "updated_at": "2025-02-01T00:00:00Z"}
        for n, name in enumerate(NAMES)
    ]
    events = [
        {
            "event_id": f"{user}|{item}",
            "user_id": user,
            "item_id": item,
            "event_type": "purchase",
            "ts": f"2025-03-{1 + (7 * row + column) % 28:02d}T10:00:00Z",
            "source <b>": name,
        }
        for row, user in enumerate(NAMES)
        for column, (item, name) in enumerate(zip((*NAMES[row:], *known), NAMES, strict=False))
        if column < 8
    ]
    reviews = [
        {
            "review_id": f"r {user}",
            "user_id": user,
            "item_id": user,
            "text": f"{text} is good",
            "rating": 5,
            "ts": "2025-03-20T00:00:00Z",
        }
        for user, text in zip(NAMES, (LINES, LONG, *NAMES[2:]), strict=True)
    ]
    edges = [{"user_id": one, "friend_id": other} for one, other in itertools.pairwise(NAMES)]
    for path, records in {
        "items-hostile.jsonl": items,
        "users-hostile.jsonl": users,
        "events/hostile.jsonl": events,
        "reviews-hostile.jsonl": reviews,
        "user_edges-hostile.jsonl": edges,
    }.items():
        lines = "".join(json.dumps(record) + "\n" for record in records)
        (folder / path).write_text(lines, encoding="utf-8")
    triples = [(head, relation, NAMES[n % 4]) for n, head in enumerate((*known, *NAMES)) for relation in RELATIONS]
    rows = "".join("\t".join(row) + "\n" for row in [("head", "relation", "tail"), *triples])
    (folder / "graph-hostile.tsv").write_text(rows, encoding="utf-8")
    ids = [*known, *NAMES]
    vectors = np.random.default_rng(0).normal(size=(len(ids), 8)).astype(np.float32)
    (folder / "vectors").mkdir(exist_ok=True)
    table = pa.table({"item_id": ids, "vector": pa.array(vectors.tolist(), pa.list_(pa.float32()))})
    pq.write_table(table, folder / VECTOR_FILE)
    return {
        "items": {item["item_id"]: item["title"] for item in items},
        "users": set(NAMES),
        "events": {event["event_id"] for event in events},
        "reviews": {review["review_id"]: review["text"] for review in reviews},
        "triples": set(triples),
    }
