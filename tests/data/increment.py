"""What arrives later: new landing files for a store, each a case that an incremental run must get right."""

from __future__ import annotations

import io
import json
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from tests.data.catalogue import hue_shifted, jpeg_bytes
from tests.data.deliveries import Record
from tests.data.reading import current_items, images_of, time_of, usable_interactions

NUM_EVENTS = 50


def _write(store: Path, name: str, records: list[Record]) -> Path:
    """Writes JSON Lines under the first free name; {n} in the name is the number."""
    number = 1
    while (store / name.format(n=number)).exists():
        number += 1
    path = store / name.format(n=number)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), encoding="utf-8")
    return path


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _after(record: Record) -> str:
    """A version time a day after the record's own."""
    return _iso((time_of(record.get("updated_at")) or datetime(2025, 1, 1, tzinfo=UTC)) + timedelta(days=1))


def _existing(store: Path, item_id: str) -> Record:
    items = current_items(store)
    if item_id not in items:
        raise KeyError(f"the store must know the item to change it; got {item_id!r}, it knows {len(items)} others")
    return items[item_id]


def derived_image(content: bytes, degrees: int) -> bytes:
    """An image mirrored and with its hues turned: new bytes, other colours, the same kind of thing."""
    with Image.open(io.BytesIO(content)) as opened:
        return jpeg_bytes(hue_shifted(ImageOps.mirror(opened.convert("RGB")), degrees))


def write_increment(store_copy: Path) -> dict[str, Any]:
    """Adds 50 events, 3 new items with images and 1 new user, the day after the newest event.

    The new items are of the category with most events, and people who like it see, like and cart them.

    Args:
        store_copy: A landing folder that may be written to.

    Returns:
        `item_ids`, `user_id`, `event_ids`, `fans` (users who like the category), `category`, `images` and `files`
        (paths relative to the folder).
    """
    items = current_items(store_copy)
    interactions = usable_interactions(store_copy)
    category_of = {item: (record.get("categories") or ["none"])[0] for item, record in items.items()}
    category = Counter(category_of[item] for _, _, item in interactions).most_common(1)[0][0]
    liked = Counter(user for _, user, item in interactions if category_of[item] == category)
    fans = [user for user, _ in liked.most_common(12)]
    imaged = {i: p for i, record in items.items() if (p := _first_good_image(store_copy, record))}
    models = [item for item in items if category_of[item] == category and item in imaged][:3]
    number = len(list(store_copy.glob("items-increment-*.jsonl"))) + 1
    start = datetime.fromtimestamp(interactions[-1][0], UTC).replace(hour=0, minute=0, second=0) + timedelta(days=1)

    new_items: list[Record] = []
    for position, model in enumerate(models):
        item_id = f"new-{number}-{position + 1}"
        image = f"images/{item_id}.jpg"
        content = (store_copy / imaged[model]).read_bytes()
        (store_copy / image).write_bytes(derived_image(content, 100 + 40 * position + 7 * number))
        fields = {"item_id": item_id, "images": [image], "updated_at": _iso(start)}
        title = f"{items[model].get('title', 'Something')}, new edition"
        kept = {name: value for name, value in items[model].items() if name not in ("image", "markets", "available")}
        new_items.append({**kept, **fields, "title": title})
    item_ids = [record["item_id"] for record in new_items]
    user_id = f"new-user-{number}"
    known = [item for item in items if category_of[item] == category and items[item].get("available", True)]

    acts: list[tuple[str, str, str]] = []
    for position, fan in enumerate(fans):
        item = item_ids[position % len(item_ids)]
        acts += [(fan, item, "view"), (fan, item, "cart" if position % 2 else "like")]
        acts.append((fan, item_ids[(position + 1) % len(item_ids)], "view"))
    acts += [(user_id, item, "view") for item in [*known[:5], item_ids[0]]] + [(user_id, item_ids[0], "like")]
    acts += [(fans[n % len(fans)], known[n % len(known)], "view") for n in range(NUM_EVENTS)]
    events = [
        {
            "event_id": f"inc-{number}-{position:02d}",
            "user_id": user,
            "item_id": item,
            "event_type": event_type,
            **({"seconds": 20.0 + position} if event_type == "view" else {}),
            "ts": _iso(start + timedelta(minutes=9 * position)),
        }
        for position, (user, item, event_type) in enumerate(acts[:NUM_EVENTS])
    ]
    files = [
        _write(store_copy, "events/increment-{n}.jsonl", events),
        _write(store_copy, "items-increment-{n}.jsonl", new_items),
        _write(store_copy, "users-increment-{n}.jsonl", [{"user_id": user_id, "age": 31, "updated_at": _iso(start)}]),
    ]
    return {
        "item_ids": item_ids,
        "user_id": user_id,
        "event_ids": [event["event_id"] for event in events],
        "fans": fans,
        "category": category,
        "images": [record["images"][0] for record in new_items],
        "files": [str(path.relative_to(store_copy)) for path in files],
    }


def _first_good_image(store: Path, record: Record) -> str | None:
    images = images_of(record)
    return images[0] if images and (store / images[0]).is_file() else None


def change_price(store: Path, item_id: str, price: float) -> Path:
    """Delivers a newer version of an item with another price.

    Raises:
        KeyError: When the store does not know the item.
    """
    record = _existing(store, item_id)
    return _write(
        store, f"items-price-{item_id}-{{n}}.jsonl", [{**record, "price": price, "updated_at": _after(record)}]
    )


def replace_image(store: Path, item_id: str) -> str:
    """Replaces an item's first image by another one under the same name; no record changes.

    Returns:
        Path of the image, relative to the store.

    Raises:
        KeyError: When the store does not know the item.
        ValueError: When it has no image.
    """
    image = _first_good_image(store, _existing(store, item_id))
    if image is None:
        raise ValueError(f"the item must have an image to replace; {item_id!r} has none")
    (store / image).write_bytes(derived_image((store / image).read_bytes(), 150))
    return image


def delete_item(store: Path, item_id: str) -> Path:
    """Delivers the deletion of an item.

    Raises:
        KeyError: When the store does not know the item.
    """
    deletion = {"item_id": item_id, "op": "delete", "updated_at": _after(_existing(store, item_id))}
    return _write(store, f"items-delete-{item_id}-{{n}}.jsonl", [deletion])


@dataclass(frozen=True)
class EarlyEvent:
    """An event that came before its item.

    Attributes:
        store: The landing folder.
        event_id: The event that waits.
        user_id: Who acted.
        item_id: The item that is not known yet.
    """

    store: Path
    event_id: str
    user_id: str
    item_id: str

    def deliver_item(self) -> Path:
        """Delivers the item; after the next run the event must be stored and out of quarantine."""
        record = {
            "item_id": self.item_id,
            "title": "A late arrival",
            "description": "It was sold before it was listed.",
            "price": 20.0,
            "updated_at": "2025-06-01T00:00:00Z",
        }
        return _write(self.store, "items-late-{n}.jsonl", [record])


def event_before_item(store: Path) -> EarlyEvent:
    """Delivers a view of an item that is not delivered yet, by a known user, at the time of the newest event."""
    seconds, user_id, _ = usable_interactions(store)[-1]
    number = len(list(store.glob("events/early-*.jsonl"))) + 1
    early = EarlyEvent(store, f"early-{number}", user_id, f"late-{number}")
    event = {
        "event_id": early.event_id,
        "user_id": user_id,
        "item_id": early.item_id,
        "event_type": "view",
        "seconds": 12.0,
        "ts": _iso(datetime.fromtimestamp(seconds, UTC)),
    }
    _write(store, "events/early-{n}.jsonl", [event])
    return early
