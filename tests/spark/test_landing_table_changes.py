"""What a change feed of a landing table leaves: rows that are there, keys that are gone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from mmrec_lib.ingest.records.parse import ID_FIELDS
from mmrec_lib.lakehouse.delta_source import IS_DELETE, net_changes
from tests.spark.test_ingest import TS, Store

INSERT, DELETE, BEFORE, AFTER = "insert", "delete", "update_preimage", "update_postimage"
Change = tuple[int, str, str | None, str]

CASES: dict[str, tuple[list[Change], list[tuple[str | None, str, bool]]]] = {
    "inserted": ([(1, INSERT, "a", "x")], [("a", "x", False)]),
    "inserted and deleted": ([(1, INSERT, "a", "x"), (2, DELETE, "a", "x")], [("a", "x", True)]),
    "deleted and inserted": ([(1, DELETE, "a", "x"), (2, INSERT, "a", "y")], [("a", "y", False)]),
    "overwritten": ([(1, DELETE, "a", "x"), (1, INSERT, "a", "y")], [("a", "y", False)]),
    "overwritten by itself": ([(1, DELETE, "a", "x"), (1, INSERT, "a", "x")], [("a", "x", False)]),
    "updated twice": (
        [(1, BEFORE, "a", "x"), (1, AFTER, "a", "y"), (2, BEFORE, "a", "y"), (2, AFTER, "a", "z")],
        [("a", "z", False)],
    ),
    "got another key": ([(1, BEFORE, "a", "x"), (1, AFTER, "b", "x")], [("a", "x", True), ("b", "x", False)]),
    "two versions, one deleted later": (
        [(1, INSERT, "a", "x"), (1, INSERT, "a", "y"), (2, DELETE, "a", "y")],
        [("a", "x", False)],
    ),
    "two versions, both there": (
        [(1, INSERT, "a", "x"), (2, INSERT, "a", "y")],
        [("a", "x", False), ("a", "y", False)],
    ),
    "without a key": (
        [(1, INSERT, None, "x"), (1, INSERT, None, "y"), (2, DELETE, None, "y")],
        [(None, "x", False), (None, "y", True)],
    ),
}


@pytest.mark.parametrize("key", [("item_id",), ("item_id", "absent"), ("absent",)])
def test_what_is_left_of_a_feed(spark: SparkSession, key: Sequence[str]) -> None:
    changes = [
        (f"{case}-{item}" if item is not None else None, f"{case}-{title}", kind, version)
        for case, (rows, _) in CASES.items()
        for version, kind, item, title in rows
    ]
    feed = spark.createDataFrame(changes, "item_id string, title string, _change_type string, _commit_version long")
    left = sorted(map(tuple, net_changes(feed, key).select("item_id", "title", IS_DELETE).collect()), key=repr)
    expected = [
        (f"{case}-{item}" if item is not None else None, f"{case}-{title}", is_delete)
        for case, (_, rows) in CASES.items()
        for item, title, is_delete in rows
    ]
    if key == ("absent",):  # each row is a record of its own
        expected.append(("two versions, one deleted later-a", "two versions, one deleted later-y", True))
        expected += [("deleted and inserted-a", "deleted and inserted-x", True)]
        expected += [("overwritten-a", "overwritten-x", True)]
        expected += [("updated twice-a", f"updated twice-{title}", True) for title in "xy"]
    assert left == sorted(expected, key=repr)


@pytest.mark.slow
def test_every_edge_of_a_user_that_a_feed_brings_is_stored(spark: SparkSession, tmp_path: Path) -> None:
    assert ID_FIELDS["user_edge"] == ("user_id", "friend_id")
    store = Store(spark, tmp_path)
    path = store.folder / "data" / "user_edges"
    store.land("items.jsonl", [{"item_id": "i1", "updated_at": TS}])

    def append(friends: str) -> None:
        rows = spark.createDataFrame([("u1", friend) for friend in friends], "user_id string, friend_id string")
        writer = rows.write.format("delta").mode("append").option("delta.enableChangeDataFeed", "true")
        writer.save(str(path))

    append("ab")
    store.ingest()
    append("cde")
    counts = store.ingest().counts
    assert (counts["user_edge.read"], counts["user_edge.stored"]) == (3, 3)
    assert store.rows("user_edge", "user_id", "friend_id") == [("u1", friend) for friend in "abcde"]
