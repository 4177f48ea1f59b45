"""The committed sample store holds what its description promises, and the small generators beside it do, too."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
import subprocess
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
from PIL import Image

from tests.data import increment
from tests.data.label_files import write_label_files
from tests.data.reading import current_items, images_of, json_records, usable_interactions
from tests.data.recall_check import measure
from tests.data.tiny import write_tiny_store

DATA = Path(__file__).resolve().parents[1] / "data"
STORE = DATA / "store"
EXPECTED = json.loads((DATA / "expected.json").read_text(encoding="utf-8"))
PLANTED = json.loads((DATA / "planted.json").read_text(encoding="utf-8"))
REASONS = {
    "not_json", "invalid_utf8", "wrong_type", "missing_key", "missing_field", "unknown_event_type", "impossible_value",
    "not_finite", "bad_time", "time_out_of_bounds", "unknown_item", "conflicting_redelivery", "media_missing",
    "media_empty", "media_oversized", "media_truncated", "media_wrong_type", "media_outside_landing",
    "unreadable_file", "unsupported_format",
}  # fmt: skip


@pytest.fixture(scope="module")
def items() -> dict[str, dict[str, object]]:
    return current_items(STORE)


@pytest.fixture(scope="module")
def interactions() -> list[tuple[float, str, str]]:
    return usable_interactions(STORE)


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    write_tiny_store(tmp_path / "tiny")
    return tmp_path / "tiny"


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def reviews() -> list[dict[str, object]]:
    """Reviews of the JSON Lines and CSV files that are whole; broken ones have a dash in their id."""
    rows = [row for path in sorted((STORE / "reviews").glob("*.jsonl")) for row in json_records(path)]
    for path in (STORE / "reviews").glob("*.csv"):
        rows += csv.DictReader(path.read_text(encoding="utf-8", errors="replace").splitlines())
    return [row for row in rows if "-" not in str(row.get("review_id"))]


def test_store_takes_at_most_12_megabytes() -> None:
    assert sum(path.stat().st_size for path in STORE.rglob("*") if path.is_file()) <= 12 * 2**20


def test_300_broken_records_of_every_reason_are_expected() -> None:
    assert sum(EXPECTED["quarantine"].values()) == EXPECTED["tables"]["quarantine"] == 300
    assert set(EXPECTED["quarantine"]) == REASONS


def test_the_expected_books_balance() -> None:
    for kind, book in EXPECTED["books"].items():
        outcome = book["stored"] + book["superseded"] + book["duplicates"] + book["quarantined"]
        assert book["read"] == outcome, kind


def test_400_products_remain_40_of_each_class_each_with_a_readable_image(items: dict[str, dict[str, object]]) -> None:
    assert set(items) == set(PLANTED["items"])
    assert set(Counter(planted["class"] for planted in PLANTED["items"].values()).values()) == {40}
    for record in items.values():
        with Image.open(STORE / images_of(record)[0]) as image:
            image.load()
            assert min(image.size) == 224


def test_planted_style_shows_in_the_words(items: dict[str, dict[str, object]]) -> None:
    texts_of: dict[str, Counter[str]] = {}
    for item, record in items.items():
        words = f"{record['title']} {record['description']}".lower().replace(",", " ").replace(".", " ").split()
        texts_of.setdefault(PLANTED["items"][item]["style"], Counter()).update(set(words))
    for style, adjective in (("elegant", "refined"), ("vintage", "retro"), ("sporty", "athletic")):
        others = max(counts[adjective] for name, counts in texts_of.items() if name != style)
        assert texts_of[style][adjective] > 5 * others


def test_half_of_the_events_come_as_json_lines() -> None:
    lines = sum(len(json_records(path)) for path in (STORE / "events").glob("*.jsonl"))
    rows = 0
    for path in (STORE / "events").glob("*-web*"):
        rows += pq.ParquetFile(path).metadata.num_rows if path.suffix == ".parquet" else path.read_bytes().count(b"\n")
    assert lines == pytest.approx(rows, rel=0.02)


def test_popularity_is_skewed_and_newcomers_start_at_the_end(interactions: list[tuple[float, str, str]]) -> None:
    counts = np.sort(np.array(list(Counter(item for _, _, item in interactions).values())))[::-1]
    assert counts[:40].sum() > 2.0 * 0.1 * counts.sum()
    cut = interactions[-1][0] - 14.5 * 86400
    before = {name for ts, *names in interactions if ts < cut for name in names}
    late = {name for _, *names in interactions for name in names} - before
    assert 15 <= len({name for name in late if name.startswith("p")}) <= 25
    assert 40 <= len({name for name in late if name.startswith("u")}) <= 110


def test_a_personal_recommender_finds_at_least_three_times_what_popularity_finds() -> None:
    found = measure(STORE)
    assert found["ease@20"] >= 3 * found["popularity@20"]


def test_users_of_the_files_and_of_the_events_are_1000(interactions: list[tuple[float, str, str]]) -> None:
    declared = set()
    for path in STORE.glob("users*.csv"):
        declared |= {row["user_id"] for row in csv.DictReader(path.read_text(encoding="utf-8").splitlines())} - {""}
    active = {user for _, user, _ in interactions}
    assert len(declared) == 990
    assert len(declared | active) == EXPECTED["tables"]["user"] == 1000


def test_words_of_reviews_fit_their_stars_and_are_mostly_english() -> None:
    written = {row["review_id"]: row for row in reviews() if row.get("text")}
    assert len(written) == 1500
    languages = Counter(row["language"] for row in written.values())
    assert 0.6 < languages["en"] / len(written) < 0.8
    assert set(languages) == {"en", "de", "fr", "es", "it"}
    assert len({row["text"] for row in written.values()}) > 1350
    angry = [row for row in written.values() if "waste of money" in str(row["text"])]
    glad = [row for row in written.values() if "Highly recommended" in str(row["text"])]
    assert max(int(str(row["rating"])) for row in angry) <= 2
    assert min(int(str(row["rating"])) for row in glad) >= 4


def test_spoken_reviews_are_short_16_khz_sounds_with_known_words() -> None:
    words = json.loads((DATA / "spoken_reviews.json").read_text(encoding="utf-8"))
    assert len(words) == 40
    for review_id in words:
        info = soundfile.info(str(STORE / f"audio/{review_id}.flac"))
        assert (info.samplerate, info.channels, info.format) == (16_000, 1, "FLAC")
        assert 2.5 < info.duration < 6.5


def test_an_increment_is_50_events_3_items_with_new_images_and_a_user(tmp_path: Path) -> None:
    store = tmp_path / "store"
    shutil.copytree(STORE, store)
    before = digests(store)
    known_users = {user for _, user, _ in usable_interactions(store)}
    added = increment.write_increment(store)
    new = {path: digest for path, digest in digests(store).items() if before.get(path) != digest}
    assert set(new) == {*added["files"], *added["images"]}
    assert not set(new.values()) & set(before.values())
    events = json_records(store / added["files"][0])
    assert len({event["event_id"] for event in events}) == 50
    assert len(added["item_ids"]) == 3
    assert min(Counter(event["item_id"] for event in events)[item] for item in added["item_ids"]) >= 5
    assert {event["user_id"] for event in events} - known_users == {added["user_id"]}
    assert set(added["item_ids"]) <= set(current_items(store))


def test_later_deliveries_change_what_they_say(tiny: Path) -> None:
    increment.change_price(tiny, "t03", 1.25)
    assert current_items(tiny)["t03"]["price"] == 1.25
    increment.change_price(tiny, "t03", 2.5)
    assert current_items(tiny)["t03"]["price"] == 2.5
    old = (tiny / "images/t03.jpg").read_bytes()
    assert increment.replace_image(tiny, "t03") == "images/t03.jpg"
    assert (tiny / "images/t03.jpg").read_bytes() != old
    increment.delete_item(tiny, "t03")
    assert "t03" not in current_items(tiny)
    early = increment.event_before_item(tiny)
    assert early.item_id not in current_items(tiny)
    early.deliver_item()
    assert early.item_id in current_items(tiny)
    with pytest.raises(KeyError, match="t03"):
        increment.change_price(tiny, "t03", 3.0)


def test_the_tiny_store_is_the_same_for_the_same_seed_and_written_quickly(tmp_path: Path) -> None:
    first = write_tiny_store(tmp_path / "one", seed=5, with_vectors=True)
    start = time.perf_counter()
    again = write_tiny_store(tmp_path / "two", seed=5, with_vectors=True)
    assert time.perf_counter() - start < 2
    assert again == first
    assert digests(tmp_path / "one") == digests(tmp_path / "two")
    other = write_tiny_store(tmp_path / "three", seed=6)
    assert digests(tmp_path / "three") != digests(tmp_path / "one")
    for book in [*first["books"].values(), *other["books"].values()]:
        assert book["read"] == book["stored"] + book["superseded"] + book["duplicates"] + book["quarantined"]


def test_labels_are_those_that_the_planted_truth_gives(tmp_path: Path) -> None:
    for name in ("reviews", "images"):
        (tmp_path / name).symlink_to(STORE / name)
    for path in STORE.glob("items*.jsonl"):
        (tmp_path / path.name).symlink_to(path)
    numbers = write_label_files(tmp_path, PLANTED)
    assert digests(tmp_path / "labels") == digests(STORE / "labels")
    assert EXPECTED["tables"]["label"] == sum(numbers.values())
    spans = json_records(STORE / "labels" / "product_parts.jsonl")
    parts = {(s["label"], row["text"][s["start"] : s["end"]].lower()) for row in spans for s in row["spans"]}
    assert {("brand", "alma"), ("colour", "jet-black"), ("product", "midi dress")} <= parts


def test_store_bytes_are_kept_as_they_are_by_git() -> None:
    attributes = subprocess.run(
        ["git", "check-attr", "text", "tests/data/store/events/2025-08-app.jsonl"],
        cwd=DATA.parents[1], capture_output=True, text=True, check=False,
    )  # fmt: skip
    if attributes.returncode:
        pytest.skip("not a git checkout")
    assert attributes.stdout.strip().endswith("unset")
