"""Rows that are staged: merged and replaced without being written again."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from pyspark.sql import functions as F
from pyspark.sql.types import DoubleType, MapType, StringType

from mmrec_lib.contracts import CONTRACTS
from mmrec_lib.contracts.table import Column, TableContract
from mmrec_lib.lakehouse.ddl import conform
from mmrec_lib.lakehouse.merging import OPERATION, Staged, WriteResult
from mmrec_lib.lakehouse.tables import Lakehouse
from tests.spark.test_lakehouse import edges, lists, stored


def num_stagings(lakehouse: Lakehouse) -> int:
    """Frames that the run has written into its staging folder."""
    return len(list(Path(lakehouse.staging_path("")).glob("*-*")))


@pytest.mark.slow
def test_staged_rows_are_merged_as_they_are_and_written_nowhere_else(lakehouse: Lakehouse) -> None:
    staged = Staged(lakehouse.stage("edges", edges(lakehouse, {"a": "x", "b": "x"})))
    before = num_stagings(lakehouse)
    assert lakehouse.merge("graph_edge", staged) == WriteResult(inserted=2)
    assert num_stagings(lakehouse) == before

    changed = Staged(lakehouse.stage("edges", edges(lakehouse, {"a": "x", "b": "y", "c": "z"})))
    gone = edges(lakehouse, {"a": "", "b": ""})
    before = num_stagings(lakehouse)
    assert lakehouse.merge("graph_edge", changed, delete_keys=gone) == WriteResult(inserted=1, updated=1)
    assert stored(lakehouse) == {"a": "x", "b": "y", "c": "z"}
    assert num_stagings(lakehouse) == before + 1
    (written,) = (f for f in Path(lakehouse.staging_path("")).iterdir() if f.name.startswith("changes_graph_edge"))
    names = set(lakehouse.spark.read.parquet(str(written)).columns)
    assert names == {*CONTRACTS["graph_edge"].key, "row_hash", OPERATION}, (
        "of the changed rows their keys alone are staged"
    )

    fewer = Staged(lakehouse.stage("edges", edges(lakehouse, {"c": "z"})))
    assert lakehouse.merge("graph_edge", fewer, delete_keys=lakehouse.read("graph_edge")) == WriteResult(deleted=2)
    assert stored(lakehouse) == {"c": "z"}
    assert not lakehouse.merge("graph_edge", fewer, delete_keys=lakehouse.read("graph_edge")).committed


@pytest.mark.slow
def test_staged_rows_that_hold_a_key_twice_are_refused(lakehouse: Lakehouse) -> None:
    lakehouse.merge("graph_edge", edges(lakehouse, {"a": "x"}))
    twice = edges(lakehouse, {"b": "x"}).unionByName(edges(lakehouse, {"b": "y"}))
    with pytest.raises(ValueError, match="keys twice"):
        lakehouse.merge("graph_edge", Staged(lakehouse.stage("edges", twice)))
    assert stored(lakehouse) == {"a": "x"}


@pytest.mark.slow
def test_a_slice_is_replaced_by_staged_rows_as_they_are(lakehouse: Lakehouse) -> None:
    day = {"as_of_date": date(2026, 1, 2)}
    rows = Staged(lakehouse.stage("lists", lists(lakehouse, "2026-01-02", ["u1", "u2"])))
    before = num_stagings(lakehouse)
    assert lakehouse.replace_slice("user_topk", rows, day) == WriteResult(inserted=2)
    assert not lakehouse.replace_slice("user_topk", rows, day).committed
    assert num_stagings(lakehouse) == before
    assert {row["user_id"] for row in lakehouse.read("user_topk").collect()} == {"u1", "u2"}


@pytest.mark.slow
def test_rows_of_some_users_are_replaced_in_a_slice_and_all_others_stay(lakehouse: Lakehouse) -> None:
    days = ("2026-01-01", "2026-01-02")
    for day in days:
        before = lists(lakehouse, day, ["u1", "u2", "u3"])
        lakehouse.replace_slice("user_topk", before, {"as_of_date": date.fromisoformat(day)})
    later = Lakehouse(lakehouse.spark, lakehouse.store, "run-2", datetime(2026, 1, 3, tzinfo=UTC))
    new = lists(later, days[1], ["u1", "u4"]).withColumn("score", F.lit(0.5))
    staged = Staged(later.stage("lists", new))
    replaced = later.spark.createDataFrame([("u1",), ("u3",), ("u4",)], "user_id string")
    where = {"as_of_date": date.fromisoformat(days[1])}
    stored_keys = later.stored_keys("user_topk", where, replaced)
    assert later.replace_keys("user_topk", staged, stored_keys) == WriteResult(inserted=1, updated=1, deleted=1)
    rows = later.read("user_topk").collect()
    found = {(str(row["as_of_date"]), row["user_id"], row["score"], row["run_id"]) for row in rows}
    assert found == {
        *((days[0], user, 1.0, "run-1") for user in ("u1", "u2", "u3")),
        (days[1], "u1", 0.5, "run-2"),
        (days[1], "u2", 1.0, "run-1"),
        (days[1], "u4", 0.5, "run-2"),
    }
    with pytest.raises(ValueError, match="rows for item_topk cannot take the place of rows of user_topk"):
        later.replace_keys("item_topk", staged, stored_keys)
    again = later.stored_keys("user_topk", where, replaced)
    assert not later.replace_keys("user_topk", staged, again).committed


@pytest.mark.slow
def test_a_new_slice_is_added_and_only_one_that_was_there_is_replaced(lakehouse: Lakehouse) -> None:
    def write(day: date, users: list[str]) -> tuple[WriteResult, str]:
        result = lakehouse.replace_slice("user_topk", lists(lakehouse, str(day), users), {"as_of_date": day})
        newest = DeltaTable(lakehouse.location("user_topk")).history(1)[0]
        return result, newest["operationParameters"]["mode"]

    first, second = date(2026, 1, 1), date(2026, 1, 2)
    assert write(first, ["u", "v"]) == (WriteResult(inserted=2), "Append")
    assert write(second, ["u"]) == (WriteResult(inserted=1), "Append")
    assert write(first, ["u"]) == (WriteResult(deleted=1), "Overwrite")
    assert write(second, ["u", "w"]) == (WriteResult(inserted=1), "Overwrite"), "rows that stay must not come twice"
    found = [(str(row["as_of_date"]), row["user_id"]) for row in lakehouse.read("user_topk").collect()]
    assert sorted(found) == [("2026-01-01", "u"), ("2026-01-02", "u"), ("2026-01-02", "w")]


@pytest.mark.slow
def test_of_a_key_that_staged_rows_hold_as_it_is_and_changed_the_change_is_written(lakehouse: Lakehouse) -> None:
    lakehouse.merge("graph_edge", edges(lakehouse, {"a": "x", "b": "x"}))
    both = edges(lakehouse, {"a": "x", "b": "x"}).unionByName(edges(lakehouse, {"a": "y"}))
    assert lakehouse.merge("graph_edge", Staged(lakehouse.stage("edges", both))) == WriteResult(updated=1)
    assert stored(lakehouse) == {"a": "y", "b": "x"}


def test_the_hash_of_a_row_knows_a_map_by_its_entries(lakehouse: Lakehouse) -> None:
    contract = TableContract(
        name="counted",
        layer="silver",
        comment="Maps.",
        columns=(
            Column("name", StringType(), "Key.", required=True),
            Column("counts", MapType(StringType(), DoubleType()), "Numbers."),
            Column("texts", MapType(StringType(), StringType()), "Texts."),
            Column("ordered", MapType(StringType(), DoubleType()), "Numbers by names in one order.", in_order=True),
        ),
        key=("name",),
    )
    counts = ["map('a', 1D, 'b', 2D)", "map('b', 2D, 'a', 1D)", "map('a', null, 'b', 1D)", "map('a', 1D, 'b', null)"]
    texts = ["map('a', null, 'b', 'c')", "map('a', 'b', 'c', null)", "map()", "null"]
    columns = [(text, "null", "null") for text in counts] + [("null", text, "null") for text in texts]
    columns += [("null", "null", text) for text in (counts[0], *counts[2:], "map()", "map('b', 1D)")]
    values = ", ".join(f"('n', {', '.join(maps)})" for maps in columns)
    rows = lakehouse.spark.sql(f"SELECT * FROM VALUES {values} AS t(name, counts, texts, ordered)")
    hashes = [row["row_hash"] for row in conform(rows, contract).select("row_hash").collect()]
    assert hashes[0] == hashes[1]
    assert len(set(hashes[1:])) == len(columns) - 1


def test_files_of_lists_tell_their_users_ranks_and_items_alone(lakehouse: Lakehouse) -> None:
    lakehouse.replace_slice("user_topk", lists(lakehouse, "2026-01-01", ["u1", "u2"]), {"as_of_date": date(2026, 1, 1)})
    (file,) = pa.table(DeltaTable(lakehouse.location("user_topk")).get_add_actions(flatten=True)).to_pylist()
    assert (file["num_records"], file["min.user_id"], file["max.user_id"]) == (2, "u1", "u2")
    assert {name.removeprefix("max.") for name in file if name.startswith("max.")} == {"user_id", "rank", "item_id"}
