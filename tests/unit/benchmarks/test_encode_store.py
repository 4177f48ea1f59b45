from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks.encode_store import Cost, ScratchStore, StoreCosts, usable_items
from tests.benchmarks.processes import tree_cpu_seconds
from tests.conftest import PROJECT
from tests.data.deliveries import Record
from tests.data.reading import images_of, json_records

SAMPLE_STORE = PROJECT / "tests" / "data" / "store"


@pytest.fixture(scope="module")
def records() -> list[Record]:
    return usable_items(SAMPLE_STORE)


def cost(seconds: float, rows: int = 0) -> Cost:
    jobs = {"ingest_landing": 100.0, "extract_text": seconds / 4, "embed_content": seconds * 3 / 4}
    return Cost(1, jobs, {name: 2 * value for name, value in jobs.items()}, rows)


def test_one_per_cent_is_what_lies_between_the_two_runs_of_a_round() -> None:
    costs = StoreCosts(cost(50.0), [cost(0.0)], one=[cost(8.0), cost(6.0)], percent=[cost(9.0), cost(8.0)])
    assert costs.shares == pytest.approx([0.02, 0.04])
    assert costs.cpu_shares == pytest.approx([0.02, 0.04])


def test_the_table_has_a_line_for_each_run() -> None:
    costs = StoreCosts(cost(50.0, 700), [cost(0.0), cost(1.0)], one=[cost(8.0, 4)], percent=[cost(9.0, 16)])
    lines = costs.table().splitlines()
    assert [line.split()[-1] for line in lines] == ["rows", "700", "0", "0", "4", "16"]


def test_items_with_broken_media_are_left_out(records: list[Record]) -> None:
    lines = json_records(SAMPLE_STORE / "items.jsonl")
    named = {image for record in records for image in images_of(record)}
    left_out = {image for record in lines for image in images_of(record)} - named
    assert len(records) > 300
    assert left_out, "the sample store holds broken images"


def test_a_changed_item_comes_as_a_newer_version_with_other_words_and_another_image(
    tmp_path: Path, records: list[Record]
) -> None:
    changed, other = [record for record in records if len(images_of(record)) == 1][:2]
    store = ScratchStore(tmp_path, SAMPLE_STORE, [changed, other])
    before = {record["item_id"]: _image(tmp_path, record) for record in (changed, other)}
    store.change([changed])
    (delivered,) = json_records(tmp_path / "landing" / "items-change-001.jsonl")
    assert delivered["updated_at"] > changed["updated_at"]
    assert all(delivered[name] != changed[name] for name in ("title", "description"))
    assert _image(tmp_path, changed) != before[changed["item_id"]]
    assert _image(tmp_path, other) == before[other["item_id"]]


def _image(folder: Path, record: Record) -> bytes:
    return (folder / "landing" / images_of(record)[0]).read_bytes()


def test_processor_time_counts_processes_that_have_ended() -> None:
    before = tree_cpu_seconds(os.getpid())
    subprocess.run([sys.executable, "-c", "x = 0\nwhile __import__('time').process_time() < 0.3: x += 1"], check=True)
    assert tree_cpu_seconds(os.getpid()) - before >= 0.28
