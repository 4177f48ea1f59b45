"""Landing folders as the world makes them: odd files, tables, places that cannot be read, files that change."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import unicodedata
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from mmrec_lib.errors import DataQualityError
from mmrec_lib.ingest import run as run_module
from mmrec_lib.ingest.config import ItemsConfig, LandingConfig, MediaConfig
from mmrec_lib.ingest.landing.arrivals import Arrivals, find_arrivals
from mmrec_lib.ingest.run import landing_state
from mmrec_lib.lakehouse.tables import Lakehouse
from tests.spark.test_ingest import TS, Store, event, image


def parquet(table: pa.Table, **options: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    return sink.getvalue()


def damaged_vectors() -> bytes:
    """Three row groups of 20 vectors each, a page of the second one damaged."""
    vectors = pa.array([[float(n), 0.5] for n in range(60)], pa.list_(pa.float32()))
    options: dict[str, Any] = {"row_group_size": 20, "use_dictionary": False, "compression": "zstd"}
    content = parquet(pa.table({"item_id": [f"v{n}" for n in range(60)], "vector": vectors}), **options)
    column = pq.ParquetFile(io.BytesIO(content)).metadata.row_group(1).column(1)
    damaged = bytearray(content)
    start = column.data_page_offset
    damaged[start + 30 : start + column.total_compressed_size] = bytes(column.total_compressed_size - 30)
    return bytes(damaged)


@pytest.mark.slow
def test_a_folder_of_odd_files_is_read_as_far_as_it_can_be_and_the_rest_is_named(
    spark: SparkSession, tmp_path: Path
) -> None:
    store = Store(spark, tmp_path)
    name = unicodedata.normalize("NFD", "images/hüte.png")
    store.land("items.csv", f"item_id;title;images;\ni1;Hat;{unicodedata.normalize('NFC', name)};\n".encode())
    store.land(name, image(1))
    store.land("events/split=train/country=D%C3%A9/a.jsonl", [event(1), event(2, split="test")])
    store.land(
        "events/split=train/country=__HIVE_DEFAULT_PARTITION__/a.csv.gz",
        gzip.compress(b"event_id,user_id,item_id,event_type,ts\ne3,u1,i1,view,2025-07-01\n"),
    )
    rows = {"event_id": ["e4"], "user_id": ["u1"], "item_id": ["i1"], "event_type": ["rating"]}
    store.land("events/value=4.5/a.parquet", parquet(pa.table(rows)))
    store.land("graph/relation=made%20by/graph.tsv", b"head\ttail\ni1\tx\n")
    reviews = [{"review_id": f"r{n}", "user_id": "u1", "item_id": "i1", "text": "good"} for n in range(3)]
    store.land("reviews.json", json.dumps(reviews, indent=2).encode())
    store.land("vectors/text.parquet", damaged_vectors())
    bad_ids = pa.array([b"i1", b"\xff"]).view(pa.string())
    store.land("vectors/audio.parquet", parquet(pa.table({"item_id": bad_ids, "vector": [[1.0], [2.0]]})))
    times = pa.array([0, 1], pa.timestamp("ns"))
    store.land("vectors/image.parquet", parquet(pa.table({"item_id": times, "vector": [[1.0], [2.0]]})))
    store.land("items/ice/metadata/v1.metadata.json", b"{}")
    (tmp_path / "secret").write_bytes(b"password: 1234\n")
    (store.folder / "data" / "items-link.jsonl").symlink_to(tmp_path / "secret")
    os.mkfifo(store.folder / "data" / "events" / "pipe.jsonl")

    summary = store.ingest()
    assert store.rows("item", "item_id", "title") == [("i1", "Hat")]
    assert store.rows("media_link", "owner_id", "field") == [("i1", "images")]
    assert store.rows("event", "event_id", "split", "value", "attributes") == [
        ("e1", "train", None, '[{"key":"country","value":"Dé"}]'),
        ("e2", "test", None, '[{"key":"country","value":"Dé"}]'),
        ("e3", "train", None, None),
        ("e4", None, 4.5, None),
    ]
    assert store.rows("graph_edge", "head", "relation", "tail") == [("i1", "made by", "x")]
    assert len(store.rows("review")) == 3
    assert Counter(row[0] for row in store.rows("provided_vector", "modality")) == {"text": 40, "audio": 1}
    refused = Counter(store.rows("quarantine", "record_kind", "reason", "source_path"))
    assert refused == {
        ("provided_vector", "unreadable_record", "vectors/text.parquet"): 20,
        ("provided_vector", "invalid_utf8", "vectors/audio.parquet"): 1,
        ("provided_vector", "wrong_type", "vectors/image.parquet"): 2,
        ("file", "unsupported_format", "items/ice"): 1,
        ("file", "unreadable_file", "items-link.jsonl"): 1,
        ("file", "unreadable_file", "events/pipe.jsonl"): 1,
    }
    assert "password" not in repr(store.rows("quarantine", "raw", "record_id", "detail"))
    for part in ("vectors/text.parquet (20 of 60 lost", "Iceberg", "items-link.jsonl", "events/pipe.jsonl"):
        assert part in summary.message
    assert summary.counts["file.unread"] == 3
    store.check_reconciliation()

    again = store.ingest()
    assert not again.is_changed and again.counts["file.new"] == 0
    state = landing_state(store.lakehouse())
    (store.folder / "data" / "events" / "pipe.jsonl").unlink()
    (store.folder / "data" / "items-link.jsonl").unlink()
    store.land("items-link.jsonl", [{"item_id": "i2"}])
    assert landing_state(store.lakehouse()) != state
    store.ingest()
    left = [row for row in store.rows("quarantine", "record_kind", "source_path") if row[0] == "file"]
    assert left == [("file", "items/ice")] and len(store.rows("item")) == 2
    shutil.rmtree(store.folder / "data" / "items")
    assert store.ingest().is_changed
    assert [row for row in store.rows("quarantine", "record_kind") if row[0] == "file"] == []


@pytest.mark.slow
def test_a_small_file_that_loses_more_than_its_share_fails_the_run(spark: SparkSession, tmp_path: Path) -> None:
    store = Store(spark, tmp_path)
    store.land("items.jsonl", [{"item_id": "i1"}])
    store.land("users.csv", b"user_id,user_id\nu1,x\nu2,x\n")
    with pytest.raises(DataQualityError, match=r"users.csv: 3 of 3 records \(100.0%\) cannot be understood"):
        store.ingest()
    assert not store.lakehouse().exists("item")


@pytest.mark.slow
def test_touched_media_are_neither_decoded_nor_read_again_for_ever(spark: SparkSession, tmp_path: Path) -> None:
    store = Store(spark, tmp_path)
    store.land("items.jsonl", [{"item_id": "i1", "images": ["1.png"]}])
    store.land("1.png", image(1))
    store.ingest()
    versions = store.versions()
    for name in ("1.png", "items.jsonl"):
        os.utime(store.folder / "data" / name, (7, 7))
    # A decoder would refuse the image now.
    touched = store.ingest(LandingConfig(media=MediaConfig(max_pixels=1)))
    assert not touched.is_changed and store.versions() == versions
    assert len(store.rows("media_link")) == 1 and store.rows("quarantine") == []
    for table, column in (("media_link", "file_modified_at"), ("landing_file", "modified_at")):
        assert [row[0].timestamp() for row in store.rows(table, column)] == [7.0]
    assert "media.read" not in store.ingest().counts, "the new time is remembered"


@pytest.mark.slow
def test_a_file_that_changes_while_it_is_read_leaves_nothing_half_read(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(spark, tmp_path)
    store.land("items.jsonl", [{"item_id": "i1"}])
    store.land("events/a.jsonl", [event(1)])
    store.land("events/b.jsonl", [event(2)])

    def find_and_change(lakehouse: Lakehouse, split_bytes: int) -> Arrivals:
        arrivals = find_arrivals(lakehouse, split_bytes)
        store.land("events/b.jsonl", [event(3), event(4)])
        return arrivals

    with monkeypatch.context() as patch:
        patch.setattr(run_module, "find_arrivals", find_and_change)
        summary = store.ingest()
    assert store.rows("event", "event_id") == [("e1",)]
    assert store.rows("quarantine", "reason", "source_path") == [("file_changed", "events/b.jsonl")]
    assert "events/b.jsonl" in summary.message
    store.ingest()
    assert store.rows("event", "event_id") == [("e1",), ("e3",), ("e4",)]
    assert store.rows("quarantine") == []


def delta(spark: SparkSession, path: Path, rows: list[tuple[Any, ...]], schema: str, **options: str) -> None:
    writer = spark.createDataFrame(rows, schema).write.format("delta").mode("append")
    writer.options(**options).save(str(path))


@pytest.mark.slow
def test_delta_tables_are_read_in_their_current_version_and_then_by_their_changes(
    spark: SparkSession, tmp_path: Path
) -> None:
    store = Store(spark, tmp_path)
    items, events = store.folder / "data" / "items", store.folder / "data" / "events" / "x"
    feed = {"delta.enableChangeDataFeed": "true", "delta.enableDeletionVectors": "true"}
    delta(spark, items, [("i1", "Hat"), ("i2", "Coat"), ("i3", "Gone")], "item_id string, title string", **feed)
    spark.sql(f"DELETE FROM delta.`{items}` WHERE item_id = 'i3'")
    schema = "event_id string, user_id string, item_id string, event_type string, ts timestamp"
    at = datetime.fromisoformat(TS)
    delta(spark, events, [(f"e{n}", "u1", "i1", "view", at) for n in range(3)], schema)
    spark.sql(f"DELETE FROM delta.`{events}` WHERE event_id = 'e0'")

    first = store.ingest()
    assert store.rows("item", "item_id", "title") == [("i1", "Hat"), ("i2", "Coat")], "deleted rows stay away"
    assert store.rows("event", "event_id") == [("e1",), ("e2",)]
    assert (first.counts["item.read"], first.counts["event.read"]) == (2, 2)
    assert {row[:2] for row in store.rows("landing_file", "path", "table_version")} == {("items", 1), ("events/x", 1)}
    assert not store.ingest().is_changed

    spark.sql(f"UPDATE delta.`{items}` SET title = 'Cap' WHERE item_id = 'i1'")
    spark.sql(f"DELETE FROM delta.`{items}` WHERE item_id = 'i2'")
    spark.sql(f"INSERT INTO delta.`{items}` VALUES ('i4', 'Shoe'), ('i5', 'Brief')")
    spark.sql(f"DELETE FROM delta.`{items}` WHERE item_id = 'i5'")
    spark.sql(f"OPTIMIZE delta.`{events}`")
    second = store.ingest()
    assert store.rows("item", "item_id", "title") == [("i1", "Cap"), ("i4", "Shoe")]
    assert store.rows("tombstone", "record_id") == [("i2",), ("i5",)]
    assert second.counts["item.read"] == 4 and "event.read" not in second.counts
    delta(spark, events, [("e9", "u1", "i4", "view", at)], schema)
    third = store.ingest()
    assert (third.counts["event.read"], third.counts["event.stored"], third.counts["event.duplicates"]) == (3, 1, 2)
    store.check_reconciliation()

    spark.sql(f"DELETE FROM delta.`{items}` WHERE item_id = 'i1'")
    snapshot = store.ingest(LandingConfig(items=ItemsConfig(full_snapshot=True)))
    assert snapshot.counts["item.read"] == 1, "where absence removes, the whole version is read"
    assert store.rows("item", "item_id") == [("i4",)]
