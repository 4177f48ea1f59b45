"""The benchmark protocols divide events as their text says and write landing folders whole or not at all."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from tests.benchmarks.protocols import ProtocolError, main, split_p1, split_p2, split_p3, write_protocol

ITEMS = np.repeat(np.array([f"m{n:02d}" for n in range(30)]), 8)
CATALOGUE = [f"m{n:02d}" for n in range(30)]


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A landing folder of 30 items with 8 ratings each and one image."""
    data = tmp_path / "shop"
    (data / "events").mkdir(parents=True)
    (data / "images").mkdir()
    (data / "images" / "m00.jpg").write_bytes(b"image")
    (data / "graph.tsv").write_text("head\trelation\ttail\n")
    (data / "items.jsonl").write_text("".join(json.dumps({"item_id": item}) + "\n" for item in CATALOGUE))
    events = [
        {"event_id": f"e{n:03d}", "user_id": f"u{n % 7}", "item_id": str(item), "ts": f"2024-01-{n % 28 + 1:02d}"}
        for n, item in enumerate(ITEMS)
    ]
    for name, part in (("a", events[:100]), ("b", events[100:])):
        (data / "events" / f"{name}.jsonl").write_text("".join(json.dumps(event) + "\n" for event in part))
    return data


def read_events(folder: Path) -> list[dict[str, str]]:
    files = sorted(folder.glob("events/*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def test_p1_gives_each_item_the_same_shares() -> None:
    split = split_p1(ITEMS, seed=0)
    for item in CATALOGUE:
        parts = split[item == ITEMS]
        # Of 8, 6 are training; of these 6, 4.5 rounded to even are train.
        assert [(parts == name).sum() for name in ("train", "valid", "test")] == [4, 2, 2]


def test_p1_differs_by_seed_and_repeats_with_it() -> None:
    assert (split_p1(ITEMS, 0) == split_p1(ITEMS, 0)).all()
    assert (split_p1(ITEMS, 0) != split_p1(ITEMS, 1)).any()


def test_p2_cuts_by_time_and_then_by_event_id() -> None:
    times = [datetime(2024, 1, day, tzinfo=UTC) for day in (2, 1, 2, 3, 1, 1, 1, 1, 1, 1)]
    ids = ["b", "z", "a", "c", *"defghi"]
    split = split_p2(times, ids)
    assert split[3] == "test"
    assert split[0] == "valid"
    assert (np.delete(split, [0, 3]) == "train").all()


def test_p3_hides_whole_items_from_training_and_others_from_train() -> None:
    split = split_p3(ITEMS, CATALOGUE, draw=1)
    hidden = {item for item in CATALOGUE if (split[item == ITEMS] == "test").all()}
    hidden_in_valid = {item for item in CATALOGUE if item not in hidden and "train" not in split[item == ITEMS]}
    assert len(hidden) == round(0.17 * 30)
    assert len(hidden_in_valid) == round(0.17 * 25)
    for item in hidden_in_valid:
        assert (split[item == ITEMS] == "valid").sum() == 6


def test_p3_does_not_hang_on_the_order_of_the_catalogue() -> None:
    assert (split_p3(ITEMS, CATALOGUE, 0) == split_p3(ITEMS, CATALOGUE[::-1], 0)).all()


@pytest.mark.parametrize("media", ["link", "copy"])
def test_a_written_folder_holds_every_event_with_its_split_and_everything_else(
    shop: Path, tmp_path: Path, media: str
) -> None:
    out = tmp_path / "out" / "P1"
    counts = write_protocol(shop, out, "P1", seed=3, media=media)
    before, after = read_events(shop), read_events(out)
    assert [{k: v for k, v in event.items() if k != "split"} for event in after] == before
    assert sum(counts.values()) == len(before)
    assert (out / "images" / "m00.jpg").read_bytes() == b"image"
    assert not (out / "images" / "m00.jpg").is_symlink()
    assert (out / "items.jsonl").read_bytes() == (shop / "items.jsonl").read_bytes()


def test_media_can_be_left_out(shop: Path, tmp_path: Path) -> None:
    write_protocol(shop, tmp_path / "out", "P2", media="none")
    assert not (tmp_path / "out" / "images").exists()
    assert (tmp_path / "out" / "graph.tsv").exists()


def test_all_protocols_are_written_in_folders_of_their_own(shop: Path, tmp_path: Path) -> None:
    assert main(["--data", str(shop), "--out", str(tmp_path / "out")]) == 0
    names = {folder.name for folder in (tmp_path / "out").iterdir()}
    assert names == {*(f"P1-seed{n}" for n in range(5)), "P2", *(f"P3-draw{n}" for n in range(3))}


def test_a_missing_data_folder_is_told_with_its_option(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--data", str(tmp_path / "nowhere"), "--out", str(tmp_path / "out")]) == 1
    assert "--data" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_folder_that_exists_is_not_overwritten(shop: Path, tmp_path: Path) -> None:
    write_protocol(shop, tmp_path / "out", "P2")
    with pytest.raises(ProtocolError, match="exists already"):
        write_protocol(shop, tmp_path / "out", "P2")


def test_a_failure_leaves_nothing_behind(shop: Path, tmp_path: Path) -> None:
    (shop / "events" / "c.jsonl").write_text('{"event_id": "x", "item_id": "m00"}\n')
    with pytest.raises(ProtocolError, match="lacks ts"):
        write_protocol(shop, tmp_path / "out", "P1")
    assert not (tmp_path / "out").exists()
