"""Merging, replacing and adding rows, by this process and by the session: the same tables by both."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from py4j.protocol import Py4JJavaError  # type: ignore[import-untyped]
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import DoubleType, MapType, StringType

from mmrec_lib.contracts import CONTRACTS
from mmrec_lib.contracts.table import Column, TableContract
from mmrec_lib.errors import ContractError
from mmrec_lib.lakehouse import merging
from mmrec_lib.lakehouse.ddl import conform
from mmrec_lib.lakehouse.driver_table import DriverTable
from mmrec_lib.lakehouse.merging import DELETE, INSERT, OPERATION, UPDATE, Staged, WriteResult
from mmrec_lib.lakehouse.session_settings import COMMITS, commits_in_driver, with_settings
from mmrec_lib.lakehouse.tables import Lakehouse
from tests.data.random_rows import arrow_rows, random_rows
from tests.spark.test_lakehouse import edges, lists, stored

# Delta's own errors reach Python by the one or the other name, after the version of Spark.
REFUSED = (PySparkException, Py4JJavaError, ContractError)


@pytest.fixture(params=["driver", "session"])
def lakehouse(lakehouse: Lakehouse, request: pytest.FixtureRequest) -> Iterator[Lakehouse]:
    """An empty store, to which this process commits, or Spark, as it does on clusters and where much changes."""
    with with_settings(lakehouse.spark, {COMMITS: str(request.param == "driver").lower()}):
        yield lakehouse


def test_merge_inserts_updates_deletes_and_skips_the_commit_when_nothing_differs(lakehouse: Lakehouse) -> None:
    assert lakehouse.merge("graph_edge", edges(lakehouse, {"a": "1", "b": "1"})) == WriteResult(inserted=2)
    version = lakehouse.data_version("graph_edge")
    assert lakehouse.merge("graph_edge", edges(lakehouse, {"a": "1", "b": "1"})) == WriteResult()
    assert lakehouse.data_version("graph_edge") == version
    gone = edges(lakehouse, {"a": "1", "c": "9"})
    result = lakehouse.merge("graph_edge", edges(lakehouse, {"b": "2", "c": "1"}), delete_keys=gone)
    assert result == WriteResult(inserted=1, updated=1, deleted=1)
    assert stored(lakehouse) == {"b": "2", "c": "1"}


def test_merge_refuses_a_key_twice(lakehouse: Lakehouse) -> None:
    twice = edges(lakehouse, {"a": "1"}).unionByName(edges(lakehouse, {"a": "2"}))
    with pytest.raises(ValueError, match="twice"):
        lakehouse.merge("graph_edge", twice)
    assert lakehouse.data_version("graph_edge") is None


small_tables = st.dictionaries(st.sampled_from("abcd"), st.sampled_from("12"), max_size=4)


@settings(max_examples=2, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=small_tables, after=small_tables, gone=st.sets(st.sampled_from("abcd")))
def test_merge_is_dictionary_update(
    lakehouse: Lakehouse, before: dict[str, str], after: dict[str, str], gone: set[str]
) -> None:
    lakehouse.merge("graph_edge", edges(lakehouse, before), delete_keys=lakehouse.read("graph_edge"))
    assert stored(lakehouse) == before
    lakehouse.merge("graph_edge", edges(lakehouse, after), delete_keys=edges(lakehouse, dict.fromkeys(gone, "0")))
    assert stored(lakehouse) == {k: v for k, v in before.items() if k not in gone} | after


def test_replacing_a_slice_leaves_other_slices_and_equal_content_alone(lakehouse: Lakehouse) -> None:
    for day in ("2026-01-01", "2026-01-02"):
        lakehouse.replace_slice("user_topk", lists(lakehouse, day, ["u", "v"]), {"as_of_date": date.fromisoformat(day)})
    version = lakehouse.data_version("user_topk")
    same = lakehouse.replace_slice(
        "user_topk", lists(lakehouse, "2026-01-02", ["v", "u"]), {"as_of_date": date(2026, 1, 2)}
    )
    assert not same.committed
    assert lakehouse.data_version("user_topk") == version
    lakehouse.replace_slice("user_topk", lists(lakehouse, "2026-01-02", ["w"]), {"as_of_date": date(2026, 1, 2)})
    found = {(str(row["as_of_date"]), row["user_id"]) for row in lakehouse.read("user_topk").collect()}
    assert found == {("2026-01-01", "u"), ("2026-01-01", "v"), ("2026-01-02", "w")}


def test_changes_are_counted_the_same_by_spark_and_in_this_process(
    lakehouse: Lakehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    for most in (100_000, 0):
        monkeypatch.setattr(merging, "_COUNTED_HERE", most)
        lakehouse.merge("graph_edge", edges(lakehouse, {"a": "1", "b": "1"}), delete_keys=lakehouse.read("graph_edge"))
        twice = edges(lakehouse, {"a": "2"}).unionByName(edges(lakehouse, {"a": "3", "c": "1"}))
        with pytest.raises(ValueError, match="hold 1 keys twice"):
            lakehouse.merge("graph_edge", twice)
        gone = edges(lakehouse, {"a": "1"})
        result = lakehouse.merge("graph_edge", edges(lakehouse, {"b": "2", "c": "1"}), delete_keys=gone)
        assert result == WriteResult(inserted=1, updated=1, deleted=1)


def test_a_check_of_the_contract_is_enforced(lakehouse: Lakehouse) -> None:
    bad = lists(lakehouse, "2026-01-01", ["u"]).selectExpr("* except (rank)", "0 AS rank")
    with pytest.raises(REFUSED, match="rank_from_1"):
        lakehouse.replace_slice("user_topk", bad, {"as_of_date": date(2026, 1, 1)})


def test_an_error_of_encoding_must_begin_with_a_listed_reason(lakehouse: Lakehouse) -> None:
    schema = CONTRACTS["content_embedding"].input_schema

    def rows(error: str) -> DataFrame:
        return lakehouse.spark.createDataFrame(
            [("c", "e", "r", "text", None, error, *[None] * (len(schema) - 6))], schema
        )

    lakehouse.merge("content_embedding", rows("text_empty: a text is needed"))
    with pytest.raises(REFUSED, match="error_reason"):
        lakehouse.merge("content_embedding", rows("the text is empty"))


def num_stagings(lakehouse: Lakehouse) -> int:
    """Frames that the run has written into its staging folder."""
    return len(list(Path(lakehouse.staging_path("")).glob("*-*")))


def keys_alone_are_staged(lakehouse: Lakehouse) -> bool:
    (written,) = (f for f in Path(lakehouse.staging_path("")).iterdir() if f.name.startswith("changes_graph_edge"))
    return set(lakehouse.spark.read.parquet(str(written)).columns) == {
        *CONTRACTS["graph_edge"].key,
        "row_hash",
        OPERATION,
    }


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
    if commits_in_driver(lakehouse.spark):
        assert num_stagings(lakehouse) == before
    else:
        assert num_stagings(lakehouse) == before + 1
        assert keys_alone_are_staged(lakehouse), "of the changed rows their keys alone are staged"

    fewer = Staged(lakehouse.stage("edges", edges(lakehouse, {"c": "z"})))
    assert lakehouse.merge("graph_edge", fewer, delete_keys=lakehouse.read("graph_edge")) == WriteResult(deleted=2)
    assert stored(lakehouse) == {"c": "z"}
    assert not lakehouse.merge("graph_edge", fewer, delete_keys=lakehouse.read("graph_edge")).committed


def test_staged_rows_that_hold_a_key_twice_are_refused(lakehouse: Lakehouse) -> None:
    lakehouse.merge("graph_edge", edges(lakehouse, {"a": "x"}))
    twice = edges(lakehouse, {"b": "x"}).unionByName(edges(lakehouse, {"b": "y"}))
    with pytest.raises(ValueError, match="keys twice"):
        lakehouse.merge("graph_edge", Staged(lakehouse.stage("edges", twice)))
    assert stored(lakehouse) == {"a": "x"}


def test_a_slice_is_replaced_by_staged_rows_as_they_are(lakehouse: Lakehouse) -> None:
    day = {"as_of_date": date(2026, 1, 2)}
    rows = Staged(lakehouse.stage("lists", lists(lakehouse, "2026-01-02", ["u1", "u2"])))
    before = num_stagings(lakehouse)
    assert lakehouse.replace_slice("user_topk", rows, day) == WriteResult(inserted=2)
    assert not lakehouse.replace_slice("user_topk", rows, day).committed
    assert num_stagings(lakehouse) == before
    assert {row["user_id"] for row in lakehouse.read("user_topk").collect()} == {"u1", "u2"}


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
    assert later.replace_keys("user_topk", staged, where, replaced) == WriteResult(inserted=1, updated=1, deleted=1)
    rows = later.read("user_topk").collect()
    found = {(str(row["as_of_date"]), row["user_id"], row["score"], row["run_id"]) for row in rows}
    assert found == {
        *((days[0], user, 1.0, "run-1") for user in ("u1", "u2", "u3")),
        (days[1], "u1", 0.5, "run-2"),
        (days[1], "u2", 1.0, "run-1"),
        (days[1], "u4", 0.5, "run-2"),
    }
    assert not later.replace_keys("user_topk", staged, where, replaced).committed


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


def test_of_a_key_that_staged_rows_hold_as_it_is_and_changed_the_change_is_written(lakehouse: Lakehouse) -> None:
    lakehouse.merge("graph_edge", edges(lakehouse, {"a": "x", "b": "x"}))
    both = edges(lakehouse, {"a": "x", "b": "x"}).unionByName(edges(lakehouse, {"a": "y"}))
    assert lakehouse.merge("graph_edge", Staged(lakehouse.stage("edges", both))) == WriteResult(updated=1)
    assert stored(lakehouse) == {"a": "y", "b": "x"}


@pytest.mark.parametrize("name", ["item", "user_profile", "review_opinion", "content_embedding", "user_topk"])
def test_spark_reads_rows_and_changes_that_this_process_committed(
    spark: SparkSession, tmp_path: Path, name: str
) -> None:
    contract = CONTRACTS[name]
    rows = random_rows(contract, 6)
    table = DriverTable(contract, str(tmp_path / name), "run-1", datetime(2026, 1, 1, tzinfo=UTC))
    table.create()
    table.append(arrow_rows(contract, rows[:4]))
    changes = [
        rows[1] | {"row_hash": 1, OPERATION: UPDATE},
        rows[2] | {OPERATION: DELETE},
        rows[4] | {OPERATION: INSERT},
    ]
    table.change(arrow_rows(contract, changes, **{OPERATION: pa.string()}), {})

    found = spark.read.format("delta").load(table.folder)
    assert found.schema.simpleString() == contract.schema.simpleString()
    expected = DeltaTable(table.folder).to_pyarrow_table()
    order = [(key, "ascending") for key in contract.key]
    assert found.toArrow().cast(expected.schema).sort_by(order) == expected.sort_by(order)
    if contract.change_feed:
        feed = spark.read.format("delta").option("readChangeFeed", "true").option("startingVersion", 0)
        counts = feed.load(table.folder).groupBy("_change_type").count().collect()
        kinds = {row["_change_type"]: row["count"] for row in counts}
        assert kinds == {"insert": 5, "update_preimage": 1, "update_postimage": 1, "delete": 1}


def test_the_hash_of_a_row_knows_a_map_by_its_entries(spark: SparkSession) -> None:
    contract = TableContract(
        name="counted",
        layer="silver",
        comment="Maps.",
        columns=(
            Column("name", StringType(), "Key.", required=True),
            Column("counts", MapType(StringType(), DoubleType()), "Numbers."),
            Column("texts", MapType(StringType(), StringType()), "Texts."),
        ),
        key=("name",),
    )
    counts = ["map('a', 1D, 'b', 2D)", "map('b', 2D, 'a', 1D)", "map('a', null, 'b', 1D)", "map('a', 1D, 'b', null)"]
    texts = ["map('a', null, 'b', 'c')", "map('a', 'b', 'c', null)", "map()", "null"]
    columns = [(text, "null") for text in counts] + [("null", text) for text in texts]
    values = ", ".join(f"('n', {of_counts}, {of_texts})" for of_counts, of_texts in columns)
    rows = spark.sql(f"SELECT * FROM VALUES {values} AS t(name, counts, texts)")
    hashes = [row["row_hash"] for row in conform(rows, contract).select("row_hash").collect()]
    assert hashes[0] == hashes[1]
    assert len(set(hashes[1:])) == len(columns) - 1
