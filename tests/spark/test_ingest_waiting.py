"""Records that wait, come back, are delivered again, or lose a field: the same record before and after."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from mmrec_lib.contracts import CONTRACTS
from mmrec_lib.contracts.bronze import QUARANTINE
from mmrec_lib.ingest.config import LandingConfig
from mmrec_lib.ingest.records.values import Rules
from mmrec_lib.ingest.resolve.first_wins import settle_first
from mmrec_lib.ingest.resolve.quarantine import quarantine_rows
from mmrec_lib.ingest.resolve.waiting import waiting_records
from tests.spark.test_ingest import Store, event
from tests.spark.test_ingest_settle import event as parsed_event
from tests.spark.test_ingest_settle import frame

RULES = Rules.of(LandingConfig())
WHEN = datetime(2025, 7, 1, 12, 0, 0, 123457, tzinfo=UTC)


@pytest.mark.slow
def test_what_waits_comes_back_as_it_was_read_and_notes_are_rows_of_their_own(spark: SparkSession) -> None:
    note = ("query", "wrong_type", "no text; the field is null", b"{}")
    attributes = {"a": '{"b":[1,"ü"]}', "": "x", 'q"\\': "line\nbreak \u2028", "n": "34"}
    waiting = parsed_event("e1", 1, item="later", value=0.1 + 0.2, attributes=attributes, _notes=[note], _raw=b"raw")
    rows = [
        {**waiting, "event_ts": WHEN, "query": "", "_derived_id": True},
        parsed_event("e2", 2, _notes=[note], _raw=b"x"),
        parsed_event("e3", 3, _reason="bad_time", _detail="d", _record_id="e3", _raw=b"y"),
        parsed_event("e2", 4, _notes=[note], value=5.0),
        parsed_event("e4", 5, item="later", path="old", _raw=json.dumps(event(4, "later", value="1.5")).encode()),
    ]
    records = frame(spark, "event", rows).withColumn("_retry", F.lit(False))
    known = spark.createDataFrame([("i1",)], "item_id string")
    settled = settle_first(records, None, known, "event")
    aside = quarantine_rows(settled, "event")
    assert aside.columns == QUARANTINE.input_schema.names
    found = {(r["record_kind"], r["source_path"], r["source_line"]): r.asDict() for r in aside.collect()}
    assert {place: row["reason"] for place, row in found.items()} == {
        ("event", "a", 1): "unknown_item",
        ("field", "a", 1): "wrong_type",
        ("field", "a", 2): "wrong_type",
        ("event", "a", 3): "bad_time",
        ("event", "a", 4): "conflicting_redelivery",
        ("event", "old", 5): "unknown_item",
    }
    assert len({row["quarantine_id"] for row in found.values()}) == len(found)
    assert [row["parsed"] is not None for row in found.values()].count(True) == 2
    assert found["field", "a", 2]["raw"] == b"{}" and found["event", "a", 3]["raw"] == b"y"

    # A store made before kept no parsed columns: such a row is read again from its raw bytes.
    is_old = F.col("source_path") == "old"
    stored = aside.where("waits_for_item_id IS NOT NULL").withColumn("parsed", F.when(~is_old, F.col("parsed")))
    returned = waiting_records(stored, "event", RULES, num_raw_only=1)
    assert returned.schema.names == records.drop("_retry").schema.names
    names = [*CONTRACTS["event"].input_schema.names, "_derived_id", "_raw", "_reason"]
    back = {row["source_path"]: row.asDict() for row in returned.select(*names).collect()}
    (kept,) = records.where("source_line = 1").select(*names).collect()
    assert back["a"] == kept.asDict() and back["a"]["event_ts"] == WHEN.replace(tzinfo=None)
    assert (back["old"]["event_id"], back["old"]["value"], back["old"]["item_id"]) == ("e4", 1.5, "later")


@pytest.mark.parametrize("device", ["ios", None])
def test_a_record_without_id_is_a_duplicate_whatever_else_it_holds(spark: SparkSession, device: str | None) -> None:
    rows = [
        parsed_event("h", 1, _derived_id=True, attributes={"device": device} if device else None),
        parsed_event("h", 2, _derived_id=True, attributes={"x": "1"}),
        parsed_event("g", 3, attributes={"x": "1"}),
    ]
    stored = frame(spark, "event", [parsed_event("g", 1, path="s", attributes={})], stored=True)
    known = spark.createDataFrame([("i1",)], "item_id string")
    records = frame(spark, "event", rows).withColumn("_retry", F.lit(False))
    settled = settle_first(records, stored, known, "event").orderBy("source_line").collect()
    assert [(r["_status"], r["_reason"], r["_is_known"]) for r in settled] == [
        ("stored", None, False),
        ("duplicate", None, False),
        ("quarantined", "conflicting_redelivery", True),
    ]


def _parquet(columns: dict[str, Any]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


def _export(days: int = 0, **extra: Any) -> bytes:
    """The same three events of a typed source, with more columns or moved in time."""
    micros = 1_751_371_200_123_457 + days * 86_400_000_000
    columns = {
        "user_id": pa.array([Decimal(1), Decimal(2), Decimal(3)], pa.decimal128(20, 0)),
        "item_id": pa.array([b"i1", b"later", b"later"]),
        "event_type": pa.array([b"rating"] * 3),
        "value": pa.array([Decimal("4.5"), Decimal("3.0"), Decimal("2.5")], pa.decimal128(5, 1)),
        "ts": pa.array([1000 * micros + n for n in range(3)], pa.timestamp("ns", tz="UTC")),
        "place": pa.array([{"lat": 1.0}, {"lat": 2.5}, None]),
    }
    return _parquet({**extra, **dict(reversed(columns.items()))} if extra else columns)


@pytest.mark.slow
def test_an_export_that_waits_and_is_delivered_again_with_more_columns_is_stored_once(
    spark: SparkSession, tmp_path: Path
) -> None:
    store = Store(spark, tmp_path)
    store.land("items.jsonl", [{"item_id": "i1", "title": 1984.0, "price": "on request"}])
    store.land("events/export.parquet", _export())
    first = store.ingest()
    assert (first.counts["event.stored"], first.counts["event.quarantined"], first.counts["event.waiting"]) == (1, 2, 2)
    assert (first.counts["item.stored"], first.counts["field.quarantined"]) == (1, 1)
    assert store.rows("item", "item_id", "title", "price") == [("i1", "1984", None)]
    assert store.rows("quarantine", "record_kind", "reason") == [
        ("event", "unknown_item"),
        ("event", "unknown_item"),
        ("field", "wrong_type"),
    ]
    assert "0 came back from it, 2 still wait for their item" in first.message
    assert "field `price`: a number is needed, got str 'on request'" in first.message

    out = tmp_path / "out" / "tables" / "quarantine"
    spark.sql(f"UPDATE delta.`{out}` SET parsed = NULL WHERE source_line = 3")
    store.land("items-2.jsonl", [{"item_id": "later"}])
    store.land("events/export.parquet", _export(device=pa.array(["ios", "web", "tv"]), index=pa.array([0, 1, 2])))
    second = store.ingest()
    assert (second.counts["event.returned"], second.counts.get("event.waiting", 0)) == (2, 0)
    assert second.counts["event.duplicates"] == 3 and "delivered before" not in second.message
    assert "2 came back from it, 0 still wait for their item" in second.message
    assert store.rows("event", "user_id", "item_id", "value", "attributes") == [
        ("1", "i1", 4.5, '[{"key":"place","value":"{\\"lat\\":1}"}]'),
        ("2", "later", 3.0, '[{"key":"place","value":"{\\"lat\\":2.5}"}]'),
        ("3", "later", 2.5, None),
    ]
    times = {row[0] for row in store.rows("event", "event_ts")}
    assert times == {WHEN}
    assert store.rows("quarantine", "record_kind") == [("field",)]

    store.land("events/export.parquet", _export(days=1))
    third = store.ingest()
    assert third.counts["event.stored"] == 3 and "events/export.parquet: delivered before" in third.message
    store.check_reconciliation()
