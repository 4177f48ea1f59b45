"""Stores are small or not by what was delivered to them, media aside."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmrec_lib.lakehouse.config import StoreConfig
from mmrec_lib.runtime import size
from mmrec_lib.runtime.size import is_small_store


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StoreConfig:
    monkeypatch.setattr(size, "SMALL_BYTES", 1000)
    (tmp_path / "data" / "events").mkdir(parents=True)
    (tmp_path / "data" / "images").mkdir()
    return StoreConfig(data=str(tmp_path / "data"), out=str(tmp_path / "out"))


def test_records_count_and_media_do_not(store: StoreConfig, tmp_path: Path) -> None:
    assert is_small_store(store)
    (tmp_path / "data" / "images" / "large.jpg").write_bytes(b"0" * 5000)
    (tmp_path / "data" / "events" / "a.csv").write_bytes(b"0" * 999)
    assert is_small_store(store)
    (tmp_path / "data" / "b.csv").write_bytes(b"0")
    assert not is_small_store(store)


def test_packed_files_count_as_what_they_hold(store: StoreConfig, tmp_path: Path) -> None:
    (tmp_path / "data" / "events" / "a.parquet").write_bytes(b"0" * 100)
    assert is_small_store(store)
    (tmp_path / "data" / "events" / "b.csv.gz").write_bytes(b"0" * 100)
    assert not is_small_store(store)


def test_tables_count_where_the_landing_folder_was_cleaned(store: StoreConfig, tmp_path: Path) -> None:
    for name, rows in (("event", 100), ("item_embedding", 5000), ("review", 100)):
        assert is_small_store(store)
        table = tmp_path / "out" / "tables" / name
        table.mkdir(parents=True)
        (table / "part-0.parquet").write_bytes(b"0" * rows)
    assert not is_small_store(store)


def test_what_is_not_on_this_machine_is_not_small() -> None:
    assert not is_small_store(StoreConfig(data="s3://bucket/data", out="s3://bucket/out"))
    assert not is_small_store(
        StoreConfig(catalog="c", schema_name="s", staging="/tmp/staging", report_folder="/tmp/report")
    )
