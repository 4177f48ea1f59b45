"""Labels of the sample store, with what is planted as their truth; written beside the records they are of.

Run `python -m tests.data.label_files --store tests/data/store`; `tests.data.generate` calls it as well. The same store
gives the same labels.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.data.deliveries import Record
from tests.data.reading import current_items, images_of, json_records
from tests.data.words import CLASSES, COLOUR_WORDS, MODEL_NAMES, STYLES

NUM_ENTITY_ITEMS, NUM_SENTIMENTS, NUM_LEVELS, NUM_TEASERS = 240, 600, 1_000, 800
FILES = ("product_parts.jsonl", "sentiment.jsonl", "rating_level.jsonl", "teaser_click.csv")

_PARTS = {
    "product": sorted({noun for kind in CLASSES.values() for noun in kind.nouns}),
    "material": sorted({material for kind in CLASSES.values() for material in kind.materials}),
    "colour": sorted({word for words in COLOUR_WORDS.values() for word in words}),
    "style": sorted({adjective for style in STYLES.values() for adjective in style.adjectives}),
    "brand": sorted(MODEL_NAMES),
}
# Teasers in four languages: what draws people, and what leaves them cold.
_WARM = ("New in: {}, today only", "Loved by many: {}", "Neu und beliebt: {}", "新作 限定 {}", "今日特惠 热卖 {}")
_COLD = ("Remaining stock: {}", "Item {} as listed", "Restposten: {}", "在庫 処分 {}", "旧款 库存 {}")


def part_spans(text: str) -> list[Record]:
    """Spans of products, materials, colours, styles and brands in a title, the longest word first."""
    spans: list[Record] = []
    words = sorted(((word, label) for label, words in _PARTS.items() for word in words), key=lambda w: -len(w[0]))
    for word, label in words:
        for match in re.finditer(rf"(?<![\w-]){re.escape(word)}(?![\w-])", text, re.IGNORECASE):
            start, end = match.span()
            if all(end <= span["start"] or start >= span["end"] for span in spans):
                spans.append({"start": start, "end": end, "label": label})
    return sorted(spans, key=lambda span: span["start"])


def entity_labels(rng: np.random.Generator, items: dict[str, Record]) -> Iterator[Record]:
    """Spans in the titles of some items; the others are left to be found."""
    for item_id in sorted(rng.choice(sorted(items), NUM_ENTITY_ITEMS, replace=False).tolist()):
        title = str(items[item_id]["title"])
        yield {"owner_kind": "item", "owner_id": item_id, "text": title, "spans": part_spans(title)}


def sentiment_labels(rng: np.random.Generator, reviews: list[Record]) -> Iterator[Record]:
    """Sentiments of reviews, by their stars, as many of each as there are."""
    by_name: dict[str, list[str]] = {"negative": [], "neutral": [], "positive": []}
    for review in reviews:
        stars = float(review["rating"])
        by_name["negative" if stars < 3 else "positive" if stars > 3 else "neutral"].append(str(review["review_id"]))
    rows = []
    for name, ids in by_name.items():
        num = min(len(ids), NUM_SENTIMENTS // len(by_name))
        rows += [(review_id, name) for review_id in rng.choice(sorted(ids), num, replace=False).tolist()]
    for review_id, name in sorted(rows):
        yield {"owner_kind": "review", "owner_id": review_id, "label": name}


def level_labels(rng: np.random.Generator, planted: Record) -> Iterator[Record]:
    """Rating levels from 1 to 10 of pairs: how well an item's planted attributes meet what a user says they like."""
    users, items = sorted(planted["users"]), sorted(planted["items"])
    pairs = set[tuple[str, str]]()
    while len(pairs) < NUM_LEVELS:
        user, item = users[int(rng.integers(len(users)))], items[int(rng.integers(len(items)))]
        of_user, of_item = planted["users"][user], planted["items"][item]
        # Half of the pairs are of a class that the user likes: among all of them most levels are low.
        if (of_item["class"] in of_user["classes"]) == (len(pairs) % 2 == 0):
            pairs.add((user, item))
    for user, item in sorted(pairs):
        of_user, of_item = planted["users"][user], planted["items"][item]
        liking = 4.5 * (of_item["class"] in of_user["classes"]) + 2.5 * (of_item["style"] in of_user["styles"])
        liking += 1.5 * (of_item["colour"] in of_user["colours"]) - 0.8 * abs(of_item["tier"] - of_user["tier"])
        level = int(np.clip(np.rint(2.0 + liking + rng.normal(0, 0.3)), 1, 10))
        yield {
            "owner_kind": "user",
            "owner_id": user,
            "item_id": item,
            "text": tastes_in_words(of_user),
            "label": str(level),
        }


def tastes_in_words(of_user: Record) -> str:
    """What a person would answer when asked what they like."""
    kinds = ", ".join(CLASSES[kind].label.lower() for kind in of_user["classes"])
    styles, colours = " or ".join(of_user["styles"]), ", ".join(of_user["colours"])
    price = ("cheap", "not too dear", "fine and dear")[min(max(round(of_user["tier"]), 1), 3) - 1]
    return f"I like {kinds}; {styles}; in {colours}; {price}"


def teaser_labels(rng: np.random.Generator, items: dict[str, Record], store: Path) -> Iterator[Record]:
    """Clicks on teasers: only words that draw, above an image that is light, are clicked, but for one in twenty."""
    light = {item_id: _lightness(store / path) for item_id, path in _first_images(items, store)}
    middle = float(np.median(list(light.values())))
    for number in range(NUM_TEASERS):
        item_id = sorted(light)[int(rng.integers(len(light)))]
        is_warm = bool(rng.random() < 0.7)
        words = (_WARM if is_warm else _COLD)[int(rng.integers(len(_WARM)))]
        is_click = (is_warm and light[item_id] > middle) != (rng.random() < 0.05)
        text = words.format(f"No. {number + 1}")
        yield {"owner_kind": "item", "owner_id": item_id, "text": text, "label": "click" if is_click else "skip"}


def _first_images(items: dict[str, Record], store: Path) -> Iterator[tuple[str, str]]:
    for item_id, record in items.items():
        path = next(iter(images_of(record)), None)
        if path is not None and (store / path).is_file():
            yield item_id, path


def _lightness(path: Path) -> float:
    with Image.open(path) as image:
        return float(np.asarray(image.convert("L"), np.float64).mean())


def write_label_files(store: Path, planted: Record, seed: int = 15) -> dict[str, int]:
    """Write `labels/` of a store; returns the number of labels by file."""
    items = {item_id: record for item_id, record in current_items(store).items() if item_id in planted["items"]}
    reviews: list[dict[str, Any]] = []
    for path in sorted((store / "reviews").glob("2025-*")):
        is_csv = path.suffix == ".csv"
        words = path.read_text(encoding="utf-8", errors="replace").splitlines()
        reviews += csv.DictReader(words) if is_csv else json_records(path)
    good = {str(row["review_id"]): row for row in reviews if _is_good(row)}
    rng = np.random.default_rng(seed)
    content = dict(
        zip(
            FILES,
            (
                list(entity_labels(rng, items)),
                list(sentiment_labels(rng, list(good.values()))),
                list(level_labels(rng, planted)),
                list(teaser_labels(rng, items, store)),
            ),
            strict=True,
        )
    )
    (store / "labels").mkdir(exist_ok=True)
    for name, rows in content.items():
        with (store / "labels" / name).open("w", encoding="utf-8", newline="") as file:
            if name.endswith(".csv"):
                writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
                writer.writeheader()
                writer.writerows(rows)
            else:
                file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    return {name: len(rows) for name, rows in content.items()}


def expect_labels(expected: Record, num_labels: int) -> None:
    """Add labels, all of them good, to the counts that an ingest must report."""
    book = {"read": num_labels, "stored": num_labels, "superseded": 0, "duplicates": 0, "quarantined": 0}
    expected["books"] = dict(sorted({**expected["books"], "label": book}.items()))
    expected["tables"]["label"] = num_labels


def _is_good(row: dict[str, Any]) -> bool:
    """Tell if a review is one that an ingest stores: broken ones have a dash in their id, or none."""
    review_id, rating = row.get("review_id"), row.get("rating")
    has_stars = str(rating).removesuffix(".0") in ("1", "2", "3", "4", "5")
    return (
        isinstance(review_id, str) and "-" not in review_id and has_stars and bool(str(row.get("text") or "").strip())
    )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", type=Path, required=True, help="the store, with planted.json beside it")
    store = parser.parse_args().store
    planted = json.loads((store.parent / "planted.json").read_text(encoding="utf-8"))
    print(write_label_files(store, planted))


if __name__ == "__main__":
    main()
