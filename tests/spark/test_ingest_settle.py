from __future__ import annotations

import random
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from mmrec_lib.contracts import CONTRACTS
from mmrec_lib.ingest.records.frames import parsed_schema
from mmrec_lib.ingest.resolve.content_hash import content_hash
from mmrec_lib.ingest.resolve.first_wins import settle_first
from mmrec_lib.ingest.resolve.latest_wins import settle_latest

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def day(number: int) -> datetime:
    return datetime(2025, 1, number, tzinfo=UTC) if number else EPOCH


def frame(spark: SparkSession, kind: str, rows: Iterable[dict[str, Any]], *, stored: bool = False) -> DataFrame:
    schema = CONTRACTS[kind].schema if stored else parsed_schema(kind)
    return spark.createDataFrame([tuple(row.get(name) for name in schema.names) for row in rows], schema)


def event(
    key: str, line: int, *, item: str | None = "i1", value: float = 1.0, path: str = "a", **more: Any
) -> dict[str, Any]:
    return {
        "event_id": key,
        "user_id": "u",
        "item_id": item,
        "event_type": "view",
        "value": float(value),
        "event_ts": day(1),
        "source_path": path,
        "source_file_id": path,
        "source_line": line,
        **more,
    }


def item(key: str, line: int, version: int = 0, title: str = "t", path: str = "a", **more: Any) -> dict[str, Any]:
    return {
        "item_id": key,
        "title": title,
        "available": True,
        "updated_at": day(version),
        "_deleted": False,
        "source_path": path,
        "source_file_id": path,
        "source_line": line,
        **more,
    }


def tomb(key: str, version: int, path: str = "z", line: int = 1) -> dict[str, Any]:
    return {
        "record_kind": "item",
        "record_id": key,
        "updated_at": day(version),
        "source_path": path,
        "source_file_id": path,
        "source_line": line,
    }


def by_place(settled: DataFrame, *columns: str) -> dict[tuple[str, int], tuple[Any, ...]]:
    return {(r["source_path"], r["source_line"]): tuple(r[c] for c in columns) for r in settled.collect()}


def first(
    spark: SparkSession,
    rows: list[dict[str, Any]],
    stored: list[dict[str, Any]] | None = None,
    retry: tuple[str, ...] = (),
) -> dict[tuple[str, int], tuple[Any, ...]]:
    records = frame(spark, "event", rows).withColumn("_retry", F.col("source_path").isin(*retry, ""))
    known = spark.createDataFrame([("i1",), ("i2",)], "item_id string")
    have = frame(spark, "event", stored, stored=True) if stored else None
    return by_place(settle_first(records, have, known, "event"), "_status", "_write", "_reason", "_waits_for")


def test_the_first_delivery_of_an_event_wins_over_equal_and_over_contradicting_ones(spark: SparkSession) -> None:
    rows = [event("e1", 2), event("e1", 1), event("e1", 1, path="b"), event("e1", 2, path="b", value=2), event("e2", 3)]
    assert first(spark, rows) == {
        ("a", 1): ("stored", True, None, None),
        ("a", 2): ("duplicate", False, None, None),
        ("b", 1): ("duplicate", False, None, None),
        ("b", 2): ("quarantined", False, "conflicting_redelivery", None),
        ("a", 3): ("stored", True, None, None),
    }


def test_what_the_store_has_wins_and_its_own_line_counts_as_stored_again(spark: SparkSession) -> None:
    stored = [event("e1", 1), event("e2", 2, item="gone")]
    rows = [event("e1", 1), event("e1", 5), event("e1", 6, value=3), event("e2", 7, item="gone")]
    assert first(spark, rows, stored) == {
        ("a", 1): ("stored", False, None, None),
        ("a", 5): ("duplicate", False, None, None),
        ("a", 6): ("quarantined", False, "conflicting_redelivery", None),
        ("a", 7): ("duplicate", False, None, None),
    }


def test_an_event_on_an_unknown_item_waits_and_does_not_take_the_key(spark: SparkSession) -> None:
    rows = [event("e1", 1, item="later"), event("e1", 2), event("e2", 3, item=None)]
    assert first(spark, rows) == {
        ("a", 1): ("quarantined", False, "unknown_item", "later"),
        ("a", 2): ("stored", True, None, None),
        ("a", 3): ("stored", True, None, None),
    }


def test_an_event_that_comes_back_was_there_before_those_of_this_run(spark: SparkSession) -> None:
    rows = [event("e1", 9, path="z"), event("e1", 1, value=2)]
    assert first(spark, rows, retry=("z",)) == {
        ("z", 9): ("stored", True, None, None),
        ("a", 1): ("quarantined", False, "conflicting_redelivery", None),
    }


def test_refused_records_stay_refused_and_do_not_compete(spark: SparkSession) -> None:
    rows = [event("e1", 1, _reason="wrong_type", _detail="d"), event("e1", 2)]
    assert first(spark, rows) == {
        ("a", 1): ("quarantined", False, "wrong_type", None),
        ("a", 2): ("stored", True, None, None),
    }


def latest(
    spark: SparkSession,
    rows: list[dict[str, Any]],
    stored: list[dict[str, Any]] | None = None,
    tombs: list[dict[str, Any]] | None = None,
) -> dict[tuple[str, int], tuple[Any, ...]]:
    have = frame(spark, "item", stored, stored=True) if stored else None
    gone = frame(spark, "tombstone", tombs, stored=True) if tombs else None
    return by_place(settle_latest(frame(spark, "item", rows), have, "item", gone), "_status", "_write")


def test_the_newest_version_wins_then_file_and_line(spark: SparkSession) -> None:
    rows = [
        item("i1", 1, 3, "new"),
        item("i1", 2, 2, "old"),
        item("i1", 3, 3, "new"),
        item("i1", 1, 3, "other", path="b"),
        item("i2", 4),
        item("i2", 5),
        item("i3", 6, 1, "x"),
        item("i3", 7, 1, "y"),
    ]
    assert latest(spark, rows) == {
        ("a", 1): ("superseded", False),
        ("a", 2): ("superseded", False),
        ("a", 3): ("superseded", False),
        ("b", 1): ("stored", True),
        ("a", 4): ("duplicate", False),
        ("a", 5): ("stored", True),
        ("a", 6): ("superseded", False),
        ("a", 7): ("stored", True),
    }


def test_against_the_store_older_is_superseded_equal_is_duplicate_and_a_new_word_on_a_version_counts(
    spark: SparkSession,
) -> None:
    stored = [item(key, 1, 5, path="s") for key in ("i1", "i2", "i3", "i4", "i5")]
    rows = [item("i1", 1, 4), item("i2", 2, 5), item("i3", 3, 5, "other"), item("i4", 4, 6), item("i5", 1, 5, path="s")]
    assert latest(spark, rows, stored) == {
        ("a", 1): ("superseded", False),
        ("a", 2): ("duplicate", False),
        ("a", 3): ("stored", True),
        ("a", 4): ("stored", True),
        ("s", 1): ("stored", False),
    }


def test_deletions_apply_by_version_and_without_one_to_whatever_came_before(spark: SparkSession) -> None:
    stored = [item(key, 1, 5, path="s") for key in ("i1", "i2", "i3")]
    rows = [
        item("i1", 1, 4, _deleted=True),
        item("i2", 2, 6, _deleted=True),
        item("i3", 3, 0, _deleted=True),
        item("i4", 4, 2),
        item("i4", 5, 0, _deleted=True),
        item("i5", 6, 0, _deleted=True),
        item("i5", 7, 0),
    ]
    assert latest(spark, rows, stored) == {
        ("a", 1): ("superseded", False),
        ("a", 2): ("stored", True),
        ("a", 3): ("stored", True),
        ("a", 4): ("superseded", False),
        ("a", 5): ("stored", True),
        ("a", 6): ("superseded", False),
        ("a", 7): ("stored", True),
    }


def test_what_was_deleted_comes_back_with_a_newer_version_or_where_there_are_no_versions(spark: SparkSession) -> None:
    tombs = [tomb("i1", 5), tomb("i2", 5), tomb("i3", 5), tomb("i4", 0), tomb("i5", 5), tomb("i6", 5, "a", 9)]
    rows = [
        item("i1", 1, 4),
        item("i2", 2, 5),
        item("i3", 3, 6),
        item("i4", 4, 0),
        item("i5", 5, 5, _deleted=True),
        item("i6", 9, 5, _deleted=True),
    ]
    assert latest(spark, rows, None, tombs) == {
        ("a", 1): ("superseded", False),
        ("a", 2): ("superseded", False),
        ("a", 3): ("stored", True),
        ("a", 4): ("stored", True),
        ("a", 5): ("duplicate", False),
        ("a", 9): ("stored", True),
    }


def test_judging_again_what_was_just_stored_gives_the_same_books(spark: SparkSession) -> None:
    """A run that was killed after its writes reads its files again: random histories, each settled twice."""
    rng = random.Random(5)
    rows = [
        item(
            f"i{rng.randrange(60)}",
            line,
            rng.choice((0, 0, 1, 2)),
            rng.choice("xy"),
            rng.choice("ab"),
            _deleted=rng.random() < 0.2,
        )
        for line in range(300)
    ]
    once = settle_latest(frame(spark, "item", rows), None, "item")
    settled = [row.asDict() for row in once.collect()]
    winners = [row for row in settled if row["_write"]]
    stored = [row for row in winners if not row["_deleted"]]
    tombs = [{**row, "record_kind": "item", "record_id": row["item_id"]} for row in winners if row["_deleted"]]
    assert len({row["item_id"] for row in winners}) == len(winners) and stored and tombs
    again = latest(spark, rows, stored, tombs)
    assert {place: status for place, (status, _) in again.items()} == {
        (row["source_path"], row["source_line"]): row["_status"] for row in settled
    }


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ({"title": "x", "description": None}, {"title": None, "description": "x"}),
        ({"categories": ["a"], "markets": []}, {"categories": [], "markets": ["a"]}),
        ({"categories": None}, {"categories": []}),
        ({"attributes": {"a": "b"}}, {"attributes": {"b": "a"}}),
        ({"price": 1.0}, {"price": 2.0}),
    ],
)
def test_different_contents_have_different_hashes(
    spark: SparkSession, left: dict[str, Any], right: dict[str, Any]
) -> None:
    rows = frame(spark, "item", [item("i", 1, **left), item("i", 2, **right), item("i", 3, path="b", **left)])
    hashes = [row[0] for row in rows.select(content_hash("item")).collect()]
    assert hashes[0] != hashes[1] and hashes[0] == hashes[2]


def test_labels_that_contradict_each_other_are_told_and_a_later_version_corrects(spark: SparkSession) -> None:
    def label(line: int, name: str, version: int = 0, key: str = "l1") -> dict[str, Any]:
        place = {"source_path": "a", "source_file_id": "a", "source_line": line}
        known = {"task": "t", "owner_kind": "item", "owner_id": "i1", "_deleted": False, "updated_at": day(version)}
        return {"label_id": key, "label": name, **known, **place}

    rows = [label(1, "a"), label(2, "b"), label(3, "b"), label(4, "a", key="l2"), label(5, "b", 2, key="l2")]
    rows += [label(6, "a", key="l3"), {**label(7, "a", key="l3"), "label": None, "_deleted": True}]
    settled = settle_latest(frame(spark, "label", rows), None, "label")
    assert by_place(settled, "_status", "_write", "_reason", "_record_id") == {
        ("a", 1): ("quarantined", False, "conflicting_redelivery", "l1"),
        ("a", 2): ("duplicate", False, None, None),
        ("a", 3): ("stored", True, None, None),
        ("a", 4): ("superseded", False, None, None),
        ("a", 5): ("stored", True, None, None),
        ("a", 6): ("superseded", False, None, None),
        ("a", 7): ("stored", True, None, None),
    }
