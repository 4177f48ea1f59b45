from __future__ import annotations

import io
import json
import os
import random
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from mmrec_lib.contracts import CONTRACTS
from mmrec_lib.errors import DataQualityError, LandingError
from mmrec_lib.features.showing import load_user_controls, soft_control_targets
from mmrec_lib.ingest.config import IngestConfig, ItemsConfig, LandingConfig, MediaConfig
from mmrec_lib.ingest.media.media import plain_path
from mmrec_lib.ingest.records.parse import landing_path
from mmrec_lib.ingest.run import WRITES, IngestSummary, ingest, landing_state
from mmrec_lib.lakehouse.config import StoreConfig
from mmrec_lib.lakehouse.creation import has_commits
from mmrec_lib.lakehouse.merging import WriteResult
from mmrec_lib.lakehouse.tables import Lakehouse
from tests.compare import table_rows

TS = "2025-07-01T12:00:00Z"


def image(shade: int) -> bytes:
    sink = io.BytesIO()
    Image.fromarray(np.full((8, 6, 3), shade, dtype=np.uint8)).save(sink, "PNG")
    return sink.getvalue()


def event(number: int, item: str = "i1", **more: Any) -> dict[str, Any]:
    return {
        "event_id": f"e{number}",
        "user_id": f"u{number % 3}",
        "item_id": item,
        "event_type": "view",
        "ts": TS,
        **more,
    }


@dataclass
class Store:
    """A landing folder and the store made from it."""

    spark: SparkSession
    folder: Path
    config: LandingConfig = field(default_factory=LandingConfig)
    num_runs: int = 0

    def land(self, name: str, content: bytes | list[Any]) -> None:
        path = self.folder / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, list):
            lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in content]
            content = b"".join(line + b"\n" for line in lines)
        path.write_bytes(content)

    def lakehouse(self, kind: type[Lakehouse] = Lakehouse) -> Lakehouse:
        self.num_runs += 1
        store = StoreConfig(data=str(self.folder / "data"), out=str(self.folder / "out"))
        return kind(self.spark, store, f"run-{self.num_runs}", datetime.now(UTC))

    def ingest(self, config: LandingConfig | None = None) -> IngestSummary:
        return ingest(self.lakehouse(), config or self.config)

    def rows(self, table: str, *columns: str) -> list[tuple[Any, ...]]:
        """Rows of a table in one order, read without Spark: a plan for each look costs more than the look."""
        names = list(columns or CONTRACTS[table].content_columns)
        maps = {name for name in names if CONTRACTS[table].schema[name].dataType.typeName() == "map"}
        out = self.folder / "out"
        found = table_rows(out, table, names).to_pylist() if has_commits(str(out / "tables" / table)) else []
        return sorted((tuple(_in_order(row[n]) if n in maps else row[n] for n in names) for row in found), key=repr)

    def versions(self) -> dict[str, int | None]:
        return self.lakehouse().data_versions(WRITES)

    def check_reconciliation(self) -> None:
        for row in table_rows(self.folder / "out", "landing_file").to_pylist():
            assert row["num_read"] == (
                row["num_stored"] + row["num_superseded"] + row["num_duplicates"] + row["num_quarantined"]
            )


def _in_order(entries: list[tuple[str, str]] | None) -> str | None:
    """A map as JSON, in the order of its keys."""
    if entries is None:
        return None
    pairs = [{"key": key, "value": value} for key, value in sorted(entries)]
    return json.dumps(pairs, ensure_ascii=False, separators=(",", ":"))


def land_first_day(store: Store) -> None:
    store.land(
        "items.jsonl",
        [
            {
                "item_id": "i1",
                "title": "Hat",
                "images": ["images/1.png", "./images//2.png"],
                "updated_at": "2025-06-01",
            },
            {"item_id": "i2", "title": "Coat", "image": "images/1.png", "updated_at": "2025-06-01"},
            {"item_id": 3, "title": "Shoe", "image": "images/none.png", "audio": "images/text.wav"},
            {"item_id": "i4", "images": ["../secret.png", "images/empty.png", "images/2.png"]},
            {"item_id": "i5", "price": -1},
            b"{not json",
        ],
    )
    store.land("users.csv", b"user_id,age,updated_at\nu1,30,\nu1,31,2025-01-01\n,5,\n")
    store.land(
        "events/1.jsonl",
        [
            event(1),
            event(2),
            event(2),
            event(3, value=4.0),
            event(3, value=5.0),
            event(4, "later"),
            event(5, "never"),
            {"user_id": "u9", "event_type": "search", "query": "hat", "ts": TS},
            event(7, event_type="teleport"),
        ],
    )
    store.land(
        "events/2.csv",
        b"event_id,user_id,item_id,event_type,ts\ne8,u1,i2,view,2025-07-02\ne9,u1,later,like,2025-07-02\n",
    )
    sink = io.BytesIO()
    pq.write_table(
        pa.table(
            {
                "event_id": ["e10", "e11"],
                "user_id": ["u1", "u2"],
                "item_id": ["i1", "later"],
                "event_type": ["rating", "rating"],
                "value": [9.0, 5.0],
            }
        ),
        sink,
    )
    store.land("events/3.parquet", sink.getvalue())
    store.land(
        "reviews.jsonl",
        [
            {"review_id": "r1", "user_id": "u7", "item_id": "i1", "text": "good", "rating": 5},
            {"review_id": "r2", "user_id": "u1", "item_id": "later", "text": "early"},
        ],
    )
    store.land("user_edges.jsonl", [{"user_id": "u1", "friend_id": "u8"}, {"user_id": "u1", "friend_id": "u8"}])
    store.land(
        "user_controls.jsonl",
        [
            {"user_id": "u1", "action": "less", "category": "Hats", "strength": 2},
            {"user_id": "u1", "action": "boost", "category": "Hats", "updated_at": "2025-06-02"},
            {"user_id": "u1", "action": "boost", "brand": "Acme", "strength": 0.5},
            {"user_id": "uc", "action": "block", "item_id": "i1", "updated_at": "2025-06-01"},
            {"user_id": "ud", "op": "delete", "item_id": "i1"},
            {"user_id": "uc", "action": "hide", "brand": "Acme"},
        ],
    )
    store.land("graph.tsv", b"head\trelation\ttail\ni1\tmade_by\tx\ni1\tmade_by\n")
    store.land("transcripts.jsonl", [{"audio": "./a.flac", "text": "hello"}])
    store.land("events/broken.parquet", b"PAR1")
    store.land("reviews/notes.docx", b"no")
    store.land("README.md", b"not a record")
    sink = io.BytesIO()
    pq.write_table(pa.table({"item_id": ["i1", "i2"], "vector": [[1.0, 2.0], [3.0]]}), sink)
    store.land("vectors/audio-x.parquet", sink.getvalue())
    store.land("images/1.png", image(1))
    store.land("images/2.png", image(2))
    store.land("images/text.wav", b"this is a text")
    store.land("images/empty.png", b"")
    (store.folder / "secret.png").write_bytes(image(9))


def check_first_controls(store: Store) -> None:
    """The controls of the first day, and what the showing rules read of the tables."""
    assert store.rows("user_control", "user_id", "action", "target_kind", "target", "strength") == [
        ("u1", "boost", "brand", "Acme", 0.5),
        ("u1", "boost", "category", "Hats", None),
        ("uc", "block", "item", "i1", None),
    ]
    controls = load_user_controls(store.lakehouse(), soft_control_targets(store.lakehouse(), 64))
    assert controls is not None
    assert {row["user_id"]: [tuple(one) for one in row["controls"]] for row in controls.collect()} == {
        "u1": [("boost", "brand", "Acme", 0.5), ("boost", "category", "Hats", None)],
        "uc": [("block", "item", "i1", None)],
    }
    few = load_user_controls(store.lakehouse(), soft_control_targets(store.lakehouse(), 1))
    assert few is not None
    kept = {row["user_id"]: [one["target"] for one in row["controls"]] for row in few.collect()}
    assert kept == {"u1": ["Acme"], "uc": ["i1"]}, "more than the limit does not stop a run"
    assert soft_control_targets(store.lakehouse(), 64) == {"brand": ["Acme"], "category": ["Hats"]}


def check_first_day(store: Store, summary: IngestSummary) -> None:
    """What the first day brought to quarantine, and its counts."""
    assert Counter(store.rows("quarantine", "record_kind", "reason")) == {
        ("item", "impossible_value"): 1,
        ("item", "not_json"): 1,
        ("user", "missing_key"): 1,
        ("user_control", "impossible_value"): 1,
        ("event", "conflicting_redelivery"): 1,
        ("event", "unknown_item"): 4,
        ("event", "unknown_event_type"): 1,
        ("event", "impossible_value"): 1,
        ("review", "unknown_item"): 1,
        ("graph_edge", "not_json"): 1,
        ("provided_vector", "impossible_value"): 1,
        ("file", "unreadable_file"): 1,
        ("file", "unsupported_format"): 1,
        ("media", "media_missing"): 1,
        ("media", "media_wrong_type"): 1,
        ("media", "media_outside_landing"): 1,
        ("media", "media_empty"): 1,
    }
    assert len(store.rows("media_asset")) == 2 and len(store.rows("media_link")) == 4
    store.check_reconciliation()
    counts = summary.counts
    assert (counts["event.read"], counts["event.stored"], counts["event.duplicates"], counts["event.quarantined"]) == (
        13,
        5,
        1,
        7,
    )
    assert (counts["user.stored"], counts["user.superseded"], counts["file.ignored"]) == (1, 1, 1)
    assert (counts["media.read"], counts["media.stored"], counts["media.quarantined"]) == (8, 4, 4)


@pytest.mark.slow
def test_a_store_through_its_days(spark: SparkSession, tmp_path: Path) -> None:
    # Small files of which one line is broken lose more than their share.
    store = Store(spark, tmp_path, LandingConfig(ingest=IngestConfig(max_quarantine_share=1.0)))
    land_first_day(store)

    summary = store.ingest()
    assert "events/broken.parquet" in summary.message and "reviews/notes.docx" in summary.message
    assert "graph.tsv (1 of 2 lost; first in line 3: " in summary.message
    assert store.rows("item", "item_id", "title") == [("3", "Shoe"), ("i1", "Hat"), ("i2", "Coat"), ("i4", None)]
    assert store.rows("user", "user_id", "is_declared") == [
        ("u0", False),
        ("u1", True),
        ("u2", False),
        ("u7", False),
        ("u8", False),
        ("u9", False),
        ("uc", False),
    ], "a control that is taken back makes no user"
    assert store.rows("user", "user_id", "attributes")[1] == ("u1", '[{"key":"age","value":"31"}]')
    assert {row[0] for row in store.rows("event", "event_id")} >= {"e1", "e2", "e3", "e8"}
    assert len(store.rows("event")) == 5 and ("e3", 4.0) in store.rows("event", "event_id", "value")
    assert store.rows("review", "review_id") == [("r1",)]
    assert len(store.rows("user_edge")) == len(store.rows("graph_edge")) == 1
    check_first_controls(store)
    assert store.rows("provided_text", "owner_kind", "owner_id") == [("media", "a.flac")]
    assert store.rows("provided_vector", "item_id", "modality", "encoder_id", "vector") == [
        ("i1", "audio", "x", [1.0, 2.0])
    ]
    check_first_day(store, summary)

    state, versions = landing_state(store.lakehouse()), store.versions()
    again = store.ingest()
    assert not again.is_changed and store.versions() == versions and landing_state(store.lakehouse()) == state

    os.utime(store.folder / "data" / "users.csv", (1, 1))
    store.land(
        "items-2.jsonl",
        [
            {"item_id": "later", "title": "Late"},
            {"item_id": "i1", "title": "Hat", "images": ["images/1.png"], "price": 5, "updated_at": "2025-06-02"},
            {"item_id": "i2", "op": "delete", "updated_at": "2025-06-02"},
            {"item_id": "i4", "images": ["images/2.png"]},
        ],
    )
    store.land("items-3.jsonl", [{"item_id": "i2", "title": "old Coat", "updated_at": "2025-05-01"}])
    store.land("events/4.jsonl", [event(1), event(1, value=3.0), event(12, "i2"), event(13, "later", user_id="u99")])
    store.land(
        "user_controls-2.jsonl",
        [
            {"user_id": "uc", "op": "delete", "item_id": "i1", "updated_at": "2025-06-02"},
            {"user_id": "u1", "action": "mute", "category": "Hats", "updated_at": "2025-06-01"},
            {"user_id": "u1", "action": "mute", "brand": "Acme"},
        ],
    )
    store.land("images/1.png", image(7))
    third = store.ingest()
    assert landing_state(store.lakehouse()) != state
    assert store.rows("item", "item_id", "price") == [("3", None), ("i1", 5.0), ("i4", None), ("later", None)]
    assert store.rows("user_control", "user_id", "action", "target") == [
        ("u1", "boost", "Hats"),
        ("u1", "mute", "Acme"),
    ]
    assert ("item", "i2") in store.rows("tombstone", "record_kind", "record_id")
    assert Counter(store.rows("tombstone", "record_kind")) == {("item",): 1, ("user_control",): 2}
    assert third.counts["event.returned"] == 3 and third.counts["review.returned"] == 1
    assert {row[0] for row in store.rows("event", "event_id")} >= {"e4", "e8", "e9", "e11", "e13"}
    waiting = [row for row in store.rows("quarantine", "record_id", "waits_for_item_id") if row[1]]
    assert waiting == [("e12", "i2"), ("e5", "never")]
    assert ("e1",) in store.rows("quarantine", "record_id")
    assert (third.counts["item.stored"], third.counts["item.superseded"]) == (4, 1)
    assert ("u99",) in store.rows("user", "user_id")
    assert store.rows("media_link", "owner_id", "position", "media_path") == [
        ("i1", 0, "images/1.png"),
        ("i4", 0, "images/2.png"),
    ]
    assert len(store.rows("media_asset")) == 2 and third.counts["media.dropped"] == 1
    media_left = [row[1] for row in store.rows("quarantine", "record_kind", "reason") if row[0] == "media"]
    assert media_left == ["media_missing", "media_wrong_type"]
    store.check_reconciliation()

    store.land("user_controls-3.jsonl", [{"user_id": "uc", "action": "mute", "item_id": "i1", "updated_at": TS}])
    snapshot = LandingConfig(items=ItemsConfig(full_snapshot=True))
    store.land(
        "items-4.jsonl",
        [{"item_id": "i1", "title": "Hat 2", "updated_at": "2025-06-03"}, {"item_id": "i4", "price": "?"}],
    )
    store.ingest(snapshot)
    assert store.rows("item", "item_id", "title") == [("i1", "Hat 2"), ("i4", None)]
    assert ("e4",) in store.rows("event", "event_id"), "what people did stays"
    assert ("uc", "mute") in store.rows("user_control", "user_id", "action"), "a later control holds again"


class KilledError(Exception):
    """Stands for a process that is gone."""


class DyingLakehouse(Lakehouse):
    """Dies at a commit: a killed run wrote some tables and not the others."""

    survives = 0

    def merge(self, name: str, rows: DataFrame, *, delete_keys: DataFrame | None = None) -> WriteResult:
        """As that of a lakehouse, until it dies."""
        DyingLakehouse.survives -= 1
        if DyingLakehouse.survives < 0:
            raise KilledError(name)
        return super().merge(name, rows, delete_keys=delete_keys)


@pytest.mark.slow
def test_runs_that_are_killed_between_commits_end_as_one_that_was_not(spark: SparkSession, tmp_path: Path) -> None:
    stores = [Store(spark, tmp_path / name) for name in ("calm", "killed")]
    for store in stores:
        store.land("items.jsonl", [{"item_id": "i1", "images": ["images/1.png"]}, {"item_id": "i2"}, {"item_id": "i2"}])
        store.land("events.jsonl", [event(1), event(2), event(2), event(3, "later"), event(1, value=9.0), b"{"])
        store.land("images/1.png", image(1))
    calm, killed = stores
    calm.ingest()
    _kill(killed, survives=2)
    killed.ingest()
    for store in stores:
        store.land("items-2.jsonl", [{"item_id": "later"}, {"item_id": "i2", "op": "delete"}])
        store.land("events-2.jsonl", [event(20, "later"), event(1, value=3.0)])
        store.land("images/1.png", image(7))
        os.utime(store.folder / "data" / "images" / "1.png", (9, 9))
    calm.ingest()
    _kill(killed, survives=5)
    killed.ingest()
    for table in WRITES:
        assert killed.rows(table) == calm.rows(table), table


def _kill(store: Store, survives: int) -> None:
    DyingLakehouse.survives = survives
    with pytest.raises(KilledError):
        ingest(store.lakehouse(DyingLakehouse), store.config)


@pytest.mark.slow
def test_a_folder_of_mutated_lines_never_crashes_and_its_books_balance(spark: SparkSession, tmp_path: Path) -> None:
    rng = random.Random(11)
    store = Store(spark, tmp_path, LandingConfig(ingest=IngestConfig(max_quarantine_share=1.0, split_bytes=8_000)))
    seeds = {
        "items.jsonl": json.dumps(
            {"item_id": "i1", "title": "é", "images": ["a.png"], "price": 1.5, "updated_at": TS}
        ).encode(),
        "events.jsonl": json.dumps(event(1, value=2.5, seconds=3, split="train", extra={"a": [1]})).encode(),
        "events-2.csv": b'e1,u1,i1,view,3.5,"a ""b""",2025-07-01',
        "reviews.jsonl": json.dumps(
            {"review_id": "r", "user_id": "u", "item_id": "i1", "text": "t", "rating": 4}
        ).encode(),
        "users.csv": b"u1,2025-01-01,delete",
        "user_edges.jsonl": b'{"user_id": "a", "friend_id": "b"}',
        "graph.tsv": b"i1\tis\tx",
        "transcripts.jsonl": b'{"item_id": "i1", "text": "t"}',
    }
    headers = {
        "events-2.csv": b"event_id,user_id,item_id,event_type,value,note,ts\n",
        "users.csv": b"user_id,updated_at,op\n",
        "graph.tsv": b"head\trelation\ttail\n",
    }
    for name, seed in seeds.items():
        store.land(name, headers.get(name, b"") + b"".join(_mutated(rng, seed) + b"\n" for _ in range(300)))
    for number, extension in enumerate(("jsonl", "csv", "parquet")):
        store.land(f"events/{number}.{extension}", rng.randbytes(3000))
    store.land("vectors/text.parquet", rng.randbytes(3000))
    store.land("a.png", rng.randbytes(300))
    summary = store.ingest()
    store.check_reconciliation()
    counts = summary.counts
    kinds = [name.removesuffix(".read") for name in counts if name.endswith(".read")]
    for kind in (kind for kind in kinds if kind != "media"):
        parts = ("stored", "superseded", "duplicates", "quarantined")
        assert counts[f"{kind}.read"] == sum(counts[f"{kind}.{part}"] for part in parts) > 0
    assert counts["file.read"] == 2  # both Parquet files; a CSV whose header is noise loses each of its lines
    assert len(store.rows("quarantine")) == sum(counts[f"{kind}.quarantined"] for kind in kinds)
    lines = sum(1 for line in (store.folder / "data" / "user_edges.jsonl").read_bytes().split(b"\n") if line.strip())
    assert counts["user_edge.read"] == lines
    assert not store.ingest().is_changed


def _mutated(rng: random.Random, seed: bytes) -> bytes:
    line = bytearray(seed.replace(b"1", str(rng.randrange(40)).encode()))
    for _ in range(rng.choice((0, 0, 1, 2, 5))):
        place = rng.randrange(len(line) + 1)
        line[place : place + rng.randrange(3)] = rng.choice(
            (rng.randbytes(rng.randrange(4)), b"\\u0000", b"1e999", b"NaN", b'"')
        )
    return bytes(line)


@pytest.mark.slow
def test_too_many_bad_records_fail_the_run_before_anything_is_written(spark: SparkSession, tmp_path: Path) -> None:
    store = Store(spark, tmp_path)
    store.land("items.jsonl", [{"item_id": "i1"}])
    store.land(
        "events.jsonl",
        [
            *[event(n) for n in range(80)],
            *[event(n, event_type="rating", value="x") for n in range(80, 100)],
            b"{",
            b"{",
        ],
    )
    with pytest.raises(
        DataQualityError,
        match=r"event: 22 of 102 records .* wrong_type 20, not_json 2; for example "
        r"events.jsonl line 81: field `value`: a number is needed",
    ):
        store.ingest()
    assert not any(store.lakehouse().exists(table) for table in WRITES)


def test_a_store_without_its_landing_folder_says_so(spark: SparkSession, tmp_path: Path) -> None:
    with pytest.raises(LandingError, match="there is nothing"):
        Store(spark, tmp_path).ingest()


@pytest.mark.slow
def test_large_media_are_kept_by_uri_and_too_large_ones_refused(spark: SparkSession, tmp_path: Path) -> None:
    store = Store(spark, tmp_path, LandingConfig(media=MediaConfig(inline_bytes=80, max_bytes=5000, max_pixels=10_000)))
    noise = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (20, 20, 3), dtype=np.uint8)).save(noise, "PNG")
    store.land("items.jsonl", [{"item_id": "i1", "images": ["s.png", "l.png", "xl.png"]}])
    store.land("s.png", image(1))
    store.land("l.png", noise.getvalue())
    store.land("xl.png", noise.getvalue() + bytes(5000))
    store.ingest()
    assert len(image(1)) <= 80 < len(noise.getvalue()) <= 5000
    kept = {uri: content is not None for content, uri in store.rows("media_asset", "content", "uri")}
    assert kept == {None: True, f"{store.folder}/data/l.png": False}
    assert store.rows("quarantine", "reason") == [("media_oversized",)]
    for name in ("s.png", "l.png"):
        (store.folder / "data" / name).unlink()
    store.ingest()
    assert store.rows("media_link", "media_path") == [("s.png",)], (
        "bytes that the store holds outlive the landing folder"
    )


@pytest.mark.parametrize(
    "path", ["a.png", "./a.png", "a//b.png", "././a/./b.png", "a/", "a/.", "../a", "/a", "a/../b", ""]
)
def test_paths_are_made_plain_in_frames_as_in_records(spark: SparkSession, path: str) -> None:
    frame = spark.createDataFrame([(path,)], "path string").select(plain_path(F.col("path")))
    if ".." not in path and not path.startswith("/"):
        assert frame.collect()[0][0] == landing_path(path)
    else:
        assert frame.collect()[0][0] == path
