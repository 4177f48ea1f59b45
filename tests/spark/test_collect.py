"""Figures of the report from tables that were written straight: reconciliation, quarantine, the funnel."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest
from pyspark.sql.types import BooleanType, DateType, DoubleType, LongType, MapType, StringType, TimestampType

from mmrec_lib.contracts import CONTRACTS
from mmrec_lib.lakehouse.ledger import JobRun, Ledger
from mmrec_lib.lakehouse.tables import Lakehouse
from mmrec_lib.publishing.collect import _MAX_RAW_BYTES, _funnel, _quarantine, _reconciliation, last_ingest
from mmrec_lib.publishing.shown_lists import shown_lists
from mmrec_lib.reporting.data import FunnelStage, QuarantineReason, ReconciliationRow
from tests.published import publish

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DAY = NOW.date()
# For columns that must not be null and that no figure here depends on.
EMPTY: dict[type, Any] = {
    StringType: "",
    LongType: 0,
    DoubleType: 0.0,
    BooleanType: False,
    DateType: NOW.date(),
    TimestampType: NOW,
    MapType: {},
}


def put(lakehouse: Lakehouse, name: str, *rows: dict[str, Any]) -> None:
    contract = CONTRACTS[name]
    base = {c.name: EMPTY.get(type(c.type)) if c.required else None for c in contract.columns}
    frame = lakehouse.spark.createDataFrame([{**base, **row} for row in rows], contract.input_schema)
    lakehouse.merge(name, frame)


def landed(file_id: str, kind: str, stored: int, superseded: int, duplicates: int, quarantined: int) -> dict[str, Any]:
    parts = {
        "num_stored": stored,
        "num_superseded": superseded,
        "num_duplicates": duplicates,
        "num_quarantined": quarantined,
    }
    return {"file_id": file_id, "record_kind": kind, "num_read": sum(parts.values()), **parts}


@pytest.fixture
def filled(lakehouse: Lakehouse) -> Lakehouse:
    put(
        lakehouse,
        "landing_file",
        landed("f1", "item", 5, 2, 1, 0),
        landed("f2", "event", 10, 0, 3, 2),
        landed("f3", "event", 7, 0, 0, 1),
    )
    put(
        lakehouse,
        "quarantine",
        {"quarantine_id": "q2", "reason": "not_json", "detail": "later", "source_path": "b.jsonl", "source_line": 9},
        {
            "quarantine_id": "q1",
            "reason": "not_json",
            "detail": "no object",
            "source_path": "a.jsonl",
            "source_line": 3,
            "raw": b"{" * 1000,
        },
        {"quarantine_id": "q3", "reason": "too_large", "detail": "big", "source_path": "c.png", "raw": b"\xff\x00ok"},
        {"quarantine_id": "q4", "reason": "bad_time", "detail": "year 1", "source_path": "d.csv", "source_line": 1},
    )
    return lakehouse


def test_reconciliation_sums_files_by_kind_and_adds_the_media_of_the_last_ingest(filled: Lakehouse) -> None:
    ledger = Ledger(filled)
    tables = [ReconciliationRow("event", 23, 17, 0, 3, 3), ReconciliationRow("item", 8, 5, 2, 1, 0)]
    assert _reconciliation(filled, ledger) == tables
    assert last_ingest(ledger) == "{}"
    counts = {"media.read": 6, "media.stored": 4, "media.quarantined": 2, "events": 17}
    ledger.record(JobRun("ingest_landing", "succeeded", NOW, 1.0, "f", counts=counts))
    ledger.flush()
    again = Ledger(filled)
    assert _reconciliation(filled, again) == [*tables, ReconciliationRow("media (last ingest)", 6, 4, 0, 0, 2)]
    assert last_ingest(again) == '{"media.quarantined": 2, "media.read": 6, "media.stored": 4}'


def test_quarantine_shows_the_first_example_of_each_reason_most_frequent_first(filled: Lakehouse) -> None:
    assert _quarantine(filled) == [
        QuarantineReason("not_json", 2, "no object", "{" * _MAX_RAW_BYTES, "a.jsonl, line 3"),
        QuarantineReason("bad_time", 1, "year 1", "", "d.csv, line 1"),
        QuarantineReason("too_large", 1, "big", "\ufffd\x00ok", "c.png"),
    ]


@pytest.mark.slow
def test_the_funnel_counts_the_current_snapshot_and_the_current_slice(filled: Lakehouse) -> None:
    put(filled, "training_snapshot", {"snapshot_id": "new", "is_current": True}, {"snapshot_id": "old"})
    pairs = [("new", "u1", "a"), ("new", "u1", "b"), ("old", "u1", "a"), ("old", "u2", "c")]
    rows = [dict(zip(("snapshot_id", "user_id", "item_id"), pair, strict=True)) for pair in pairs]
    put(filled, "training_interaction", *rows)
    publish(filled, date(2026, 2, 1), {"u1": ["a"], "u2": ["b"], "u3": ["c"]})
    publish(filled, date(2026, 1, 1), {"u1": ["a", "b", "c"], "u2": ["a"]})
    assert [(stage.stage, stage.rows) for stage in _funnel(filled, {"event": 17, "review": 4})] == [
        ("records delivered", 31),
        ("events stored", 17),
        ("reviews stored", 4),
        ("user-item pairs", 2),
        ("users with a list", 2),
        ("recommendations", 4),
    ]


def test_an_empty_store_has_an_empty_funnel(lakehouse: Lakehouse) -> None:
    stages = _funnel(lakehouse, {"event": 0, "review": 0})
    assert all(isinstance(stage, FunnelStage) and stage.rows == 0 for stage in stages) and len(stages) == 6
    assert _reconciliation(lakehouse, Ledger(lakehouse)) == [] and _quarantine(lakehouse) == []


@pytest.mark.slow
def test_some_lists_of_each_type_are_shown_and_all_are_counted(filled: Lakehouse) -> None:
    """Of audiences those with most support; one slice; titles where the item is there."""
    put(filled, "item", {"item_id": "a", "title": "Red dress"})
    rows: dict[str, list[tuple[Any, ...]]] = {
        "item_topk": [
            (DAY, "continue_with", owner, rank, item, 0.5, 3, "s")
            for owner, items in {"a": "bc", "b": "a", "c": "a"}.items()
            for rank, item in enumerate(items, 1)
        ],
        "audience_topk": [
            (DAY, "trending", audience, 1, "a", 2.0, support, "s")
            for audience, support in {"all": 9, "country=de": 5, "country=fr": 7}.items()
        ],
    }
    for name, own in rows.items():
        frame = filled.spark.createDataFrame(own, CONTRACTS[name].input_schema)
        filled.replace_slice(name, frame, {"as_of_date": DAY})
        put(filled, "current_list_slice", {"table_name": name, "as_of_date": DAY, "snapshot_id": "s"})
    shown, num_lists = shown_lists(filled, 2)
    assert num_lists == {"continue_with": 3, "trending": 3}
    assert [found.audience for found in shown if found.owner is None] == ["all", "country=fr"]
    of_items = {found.owner.item_id: found for found in shown if found.owner is not None}
    assert len(of_items) == 2
    for owner, found in of_items.items():
        listed = [card.item_id for card, score, support in found.items if (score, support) == (0.5, 3)]
        assert listed == {"a": ["b", "c"], "b": ["a"], "c": ["a"]}[owner]
    assert {card.title for found in shown for card, _, _ in found.items if card.item_id == "a"} == {"Red dress"}
    assert shown_lists(filled, 0) == ([], {})
