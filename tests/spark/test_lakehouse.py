"""Writing tables: one commit or none, and versions that only changes of rows move."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from deltalake import DeltaTable
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StringType

from mmrec_lib.contracts import CONTRACTS
from mmrec_lib.contracts.table import Check, Column
from mmrec_lib.errors import NoDataError, StoreError
from mmrec_lib.features.load import current_snapshot, load_items
from mmrec_lib.lakehouse import merging, session
from mmrec_lib.lakehouse.checksum import listed_table
from mmrec_lib.lakehouse.config import MaintenanceConfig, StoreConfig
from mmrec_lib.lakehouse.counts import count_rows
from mmrec_lib.lakehouse.ddl import conform, create_statement
from mmrec_lib.lakehouse.evolution import evolve
from mmrec_lib.lakehouse.ledger import JobRun, Ledger
from mmrec_lib.lakehouse.maintain import maintain_all
from mmrec_lib.lakehouse.merging import WriteResult
from mmrec_lib.lakehouse.staging import nullable
from mmrec_lib.lakehouse.store import create_card, note_tables
from mmrec_lib.lakehouse.tables import Lakehouse
from mmrec_lib.publishing.slices import current_rows

# Delta's own errors reach Python by the one or the other name, after the version of Spark.
REFUSED = (PySparkException, Py4JJavaError)
EDGES = "head string, relation string, tail string, source_path string, source_file_id string, source_line bigint"


def edges(lakehouse: Lakehouse, rows: dict[str, str]) -> DataFrame:
    return lakehouse.spark.createDataFrame([(head, "r", "t", path, "f", 1) for head, path in rows.items()], EDGES)


def stored(lakehouse: Lakehouse) -> dict[str, str]:
    return {row["head"]: row["source_path"] for row in lakehouse.read("graph_edge").collect()}


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


@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=small_tables, after=small_tables, gone=st.sets(st.sampled_from("abcd")))
def test_merge_is_dictionary_update(
    lakehouse: Lakehouse, before: dict[str, str], after: dict[str, str], gone: set[str]
) -> None:
    lakehouse.merge("graph_edge", edges(lakehouse, before), delete_keys=lakehouse.read("graph_edge"))
    assert stored(lakehouse) == before
    lakehouse.merge("graph_edge", edges(lakehouse, after), delete_keys=edges(lakehouse, dict.fromkeys(gone, "0")))
    assert stored(lakehouse) == {k: v for k, v in before.items() if k not in gone} | after


def lists(lakehouse: Lakehouse, day: str, users: list[str]) -> DataFrame:
    rows = [
        (date.fromisoformat(day), user, 1, "i", 1.0, {"ease": 1.0}, None, None, "1", None, None, None, None)
        for user in users
    ]
    return lakehouse.spark.createDataFrame(rows, CONTRACTS["user_topk"].input_schema)


@pytest.mark.slow
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


@pytest.mark.slow
def test_maintenance_expires_rows_and_is_no_change_for_readers(lakehouse: Lakehouse) -> None:
    lakehouse.replace_slice("user_topk", lists(lakehouse, "2020-01-01", ["u"]), {"as_of_date": date(2020, 1, 1)})
    lakehouse.replace_slice("user_topk", lists(lakehouse, "2026-01-01", ["u"]), {"as_of_date": date(2026, 1, 1)})
    version = lakehouse.data_version("user_topk")
    # Both are too old, and the newest is what readers of a store without `current_slice` take.
    counts = lakehouse.maintain("user_topk", 168, datetime(2027, 1, 1, tzinfo=UTC))
    assert counts["rows_expired"] == 1
    assert [str(row["as_of_date"]) for row in lakehouse.read("user_topk").collect()] == ["2026-01-01"]
    fresh = Lakehouse(lakehouse.spark, lakehouse.store, "run-2", datetime.now(UTC))
    assert fresh.data_version("user_topk") == version
    assert DeltaTable(lakehouse.location("user_topk")).version() > (version or 0)


@pytest.mark.slow
def test_maintenance_never_removes_the_slice_that_readers_are_led_to(lakehouse: Lakehouse) -> None:
    for day in ("2020-01-01", "2020-01-02", "2020-01-03"):
        lakehouse.replace_slice("user_topk", lists(lakehouse, day, ["u"]), {"as_of_date": date.fromisoformat(day)})
    # A repair run published an earlier date than the newest.
    current = [("user_topk", date(2020, 1, 2), "1", None), ("item_neighbor", date(2020, 1, 3), "1", None)]
    named = lakehouse.spark.createDataFrame(current, CONTRACTS["current_slice"].input_schema)
    lakehouse.merge("current_slice", named)
    assert lakehouse.maintain("user_topk", 168, datetime(2025, 1, 1, tzinfo=UTC))["rows_expired"] == 2
    assert [str(row["as_of_date"]) for row in lakehouse.read("user_topk").collect()] == ["2020-01-02"]
    assert current_rows(lakehouse, "user_topk").count() == 1


@pytest.mark.slow
def test_the_log_and_describe_history_tell_the_same_version(lakehouse: Lakehouse) -> None:
    lakehouse.merge("graph_edge", edges(lakehouse, {"a": "1"}))
    lakehouse.merge("graph_edge", edges(lakehouse, {"a": "2"}))
    history = lakehouse.spark.sql(f"DESCRIBE HISTORY {lakehouse.table('graph_edge')}").collect()
    newest = max(row["version"] for row in history if row["operation"] in ("WRITE", "MERGE"))
    assert lakehouse.data_version("graph_edge") == newest


@pytest.mark.slow
def test_rows_of_a_table_are_those_that_deltas_own_reader_gives(spark: SparkSession, tmp_path: Path) -> None:
    store = StoreConfig(out=str(tmp_path / "out [a] {b,c} *? 100%20 é"))
    lakehouse = Lakehouse(spark, store, "run", datetime(2026, 1, 1, tzinfo=UTC))

    def lists(day: date, users: str) -> DataFrame:
        shares = {"ease": 0.25, "residual": 0.25}
        rows = [(day, user, 1, "i", 0.5, shares, ["j"], None, "1", None, None, None, None) for user in users]
        return spark.createDataFrame(rows, CONTRACTS["user_topk"].input_schema)

    def both() -> tuple[list[object], list[object]]:
        place = lakehouse.location("user_topk")
        read, by_delta = lakehouse.read("user_topk"), spark.read.format("delta").load(place)
        assert read.columns == by_delta.columns
        assert [field.dataType for field in read.schema] == [field.dataType for field in by_delta.schema]
        found = [sorted(map(str, frame.collect())) for frame in (read, by_delta)]
        return found[0], found[1]

    states = []
    for day, users in (
        (date(2026, 1, 1), "ab"),
        (date(2026, 1, 2), "c"),
        (date(2026, 1, 1), "a"),
        (date(2026, 1, 2), ""),
    ):
        lakehouse.replace_slice("user_topk", lists(day, users), {"as_of_date": day})
        assert listed_table(lakehouse.location("user_topk")) is not None
        read, by_delta = both()
        assert read == by_delta
        states.append(len(read))
        assert count_rows(lakehouse, ["user_topk", "item"]) == {"user_topk": len(read), "item": 0}
    assert states == [2, 3, 2, 1]
    log = Path(lakehouse.location("user_topk")) / "_delta_log"
    for checksum in log.glob("*.crc"):
        checksum.unlink()
    read, by_delta = both()
    assert listed_table(lakehouse.location("user_topk")) is None
    assert len(read) == 1 and read == by_delta
    assert count_rows(lakehouse, ["user_topk"]) == {"user_topk": 1}


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_checksum_of_another_commit_is_not_believed(lakehouse: Lakehouse) -> None:
    # A commit that was removed by hand leaves its checksum, and Delta does not write the next one's over it.
    lakehouse.merge("graph_edge", edges(lakehouse, {"a": "1"}))
    lakehouse.merge("graph_edge", edges(lakehouse, {"b": "2"}))
    before, newest = sorted((Path(lakehouse.location("graph_edge")) / "_delta_log").glob("0*.crc"))[-2:]
    newest.write_bytes(before.read_bytes())
    assert stored(lakehouse) == {"a": "1", "b": "2"}


def test_a_table_without_rows_gets_the_columns_that_its_contract_gains(
    lakehouse: Lakehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    lakehouse.ensure("graph_edge")
    contract = CONTRACTS["graph_edge"]
    more = replace(contract, columns=(*contract.columns, Column("note", StringType(), "A note.")))
    monkeypatch.setitem(CONTRACTS, "graph_edge", more)
    later = Lakehouse(lakehouse.spark, lakehouse.store, "run-2", lakehouse.written_at)
    later.merge("graph_edge", edges(later, {"a": "1"}).withColumn("note", F.lit("new")))
    assert [row["note"] for row in later.read("graph_edge").collect()] == ["new"]


def test_a_check_of_the_contract_is_enforced(lakehouse: Lakehouse) -> None:
    bad = lists(lakehouse, "2026-01-01", ["u"]).selectExpr("* except (rank)", "0 AS rank")
    with pytest.raises(REFUSED, match="rank_from_1"):
        lakehouse.replace_slice("user_topk", bad, {"as_of_date": date(2026, 1, 1)})


@pytest.mark.slow
def test_an_error_of_encoding_must_begin_with_a_listed_reason(lakehouse: Lakehouse) -> None:
    schema = CONTRACTS["content_embedding"].input_schema

    def rows(error: str) -> DataFrame:
        return lakehouse.spark.createDataFrame(
            [("c", "e", "r", "text", None, error, *[None] * (len(schema) - 6))], schema
        )

    lakehouse.merge("content_embedding", rows("text_empty: a text is needed"))
    with pytest.raises(REFUSED, match="error_reason"):
        lakehouse.merge("content_embedding", rows("the text is empty"))


def test_tables_are_plain_enough_for_other_readers(lakehouse: Lakehouse) -> None:
    lakehouse.merge("graph_edge", edges(lakehouse, {"a": "1"}))
    table = DeltaTable(lakehouse.location("graph_edge"))
    assert table.to_pyarrow_table().num_rows == 1
    assert "deletionVectors" not in str(table.protocol())


def test_the_ledger_keeps_the_last_good_run_and_writes_skips_late(lakehouse: Lakehouse) -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    ledger = Ledger(lakehouse)
    ledger.record(JobRun("one", "skipped", at, 0.0))
    assert lakehouse.data_version("job_run") is None
    ledger.record(JobRun("two", "succeeded", at, 2.5, "print", {"event": 3}, {"item": 4}, {"rows": 5}, "fine"))
    again = Ledger(Lakehouse(lakehouse.spark, lakehouse.store, "run-2", at)).last_good("two")
    assert again is not None
    assert (again.fingerprint, again.output_versions, again.counts) == ("print", {"item": 4}, {"rows": 5})
    assert lakehouse.read("job_run").count() == 2


def test_a_table_has_its_constraints_from_its_first_commit(lakehouse: Lakehouse) -> None:
    checks = CONTRACTS["media_asset"].checks
    lakehouse.ensure("media_asset")
    made = DeltaTable(lakehouse.location("media_asset"))
    assert made.version() == 0 and checks
    for check in checks:
        assert made.metadata().configuration[f"delta.constraints.{check.name}"] == check.condition


def make_older_table(lakehouse: Lakehouse) -> None:
    """The table item_embedding as it was when vectors had one form only, with a row."""
    contract = CONTRACTS["item_embedding"]
    older = replace(
        contract,
        columns=tuple(
            replace(column, required=column.required or column.name == "vector")
            for column in contract.columns
            if column.name not in ("codes", "scale", "storage")
        ),
        checks=(Check("vector_is_long", "size(vector) > 0"),),
    )
    lakehouse.spark.sql(create_statement(older, lakehouse.table("item_embedding"), with_checks=True))
    old_row = ("i", "text", "title", "e", "r", 1, 2, [1.0, 2.0])
    old = conform(lakehouse.spark.createDataFrame([old_row], older.input_schema), older)
    stamped = old.selectExpr("*", "'run-0' AS run_id", "timestamp'2025-01-01' AS written_at")
    stamped.writeTo(lakehouse.table("item_embedding")).append()


@pytest.mark.slow
def test_a_table_of_an_older_contract_is_read_as_of_now_and_brought_there_by_the_first_write(
    lakehouse: Lakehouse,
) -> None:
    make_older_table(lakehouse)
    contract = CONTRACTS["item_embedding"]
    assert lakehouse.read("item_embedding").select("vector", "codes", "storage").collect() == [([1.0, 2.0], None, None)]

    packed = ("j", "text", "title", "e", "r", 1, 2, "int8", 0.5, None, [1, 127])
    lakehouse.merge("item_embedding", lakehouse.spark.createDataFrame([packed], contract.input_schema))
    made = DeltaTable(lakehouse.location("item_embedding"))
    kept = {key for key in made.metadata().configuration if key.startswith("delta.constraints.")}
    assert kept == {f"delta.constraints.{check.name}" for check in contract.checks}
    assert {row["item_id"]: row["codes"] for row in made.to_pyarrow_table().to_pylist()} == {"i": None, "j": [1, 127]}


@pytest.mark.slow
def test_a_run_killed_as_soon_as_a_table_has_its_new_columns_leaves_one_that_takes_the_rows_of_now(
    lakehouse: Lakehouse,
) -> None:
    make_older_table(lakehouse)
    contract = CONTRACTS["item_embedding"]

    class Dying:
        def sql(self, statement: str) -> DataFrame:
            result = lakehouse.spark.sql(statement)
            if "ADD COLUMNS" in statement:
                raise SystemExit
            return result

    name = lakehouse.table("item_embedding")
    with pytest.raises(SystemExit):
        evolve(Dying(), contract, name, lakehouse.spark.table(name))  # type: ignore[arg-type]
    packed = ("j", "text", "title", "e", "r", 1, 2, "int8", 0.5, None, [1, 127])
    rows = lakehouse.spark.createDataFrame([packed], contract.input_schema)
    assert lakehouse.merge("item_embedding", rows) == WriteResult(inserted=1)


def make_older_snapshots(lakehouse: Lakehouse, *days: str) -> None:
    """The table training_snapshot as it was when its dates were strings, a row a date; the last one is current."""
    contract = CONTRACTS["training_snapshot"]
    older = replace(
        contract,
        columns=tuple(replace(c, type=StringType()) if c.name == "as_of_date" else c for c in contract.columns),
        checks=(Check("users_are_counted", "num_users >= 0"),),
    )
    lakehouse.spark.sql(create_statement(older, lakehouse.table("training_snapshot"), with_checks=True))
    rows = [(f"s{n}", day, "given", None, None, {"event": n}, day == days[-1], 1, 1, 1) for n, day in enumerate(days)]
    old = conform(lakehouse.spark.createDataFrame(rows, older.input_schema), older)
    stamped = old.selectExpr("*", "'run-0' AS run_id", "timestamp'2025-01-01' AS written_at")
    stamped.writeTo(lakehouse.table("training_snapshot")).append()


def snapshot_row(lakehouse: Lakehouse, name: str, day: date | None, current: bool) -> DataFrame:
    row = (name, day, "given", None, None, {"event": 9}, current, 1, 1, 1)
    schema = CONTRACTS["training_snapshot"].input_schema
    return lakehouse.spark.createDataFrame([row], nullable(schema))


@pytest.mark.slow
def test_a_column_of_another_type_is_read_as_of_now_and_converted_by_the_first_write(lakehouse: Lakehouse) -> None:
    make_older_snapshots(lakehouse, "2025-10-01", "2025-10-02")
    _, cuts = current_snapshot(lakehouse)
    assert cuts.as_of == date(2025, 10, 2)
    before = lakehouse.data_version("training_snapshot")

    lakehouse.ensure("training_snapshot")
    made = DeltaTable(lakehouse.location("training_snapshot"))
    rows = {row["snapshot_id"]: row for row in made.to_pyarrow_table().to_pylist()}
    assert {name: row["as_of_date"] for name, row in rows.items()} == {"s0": date(2025, 10, 1), "s1": date(2025, 10, 2)}
    assert {row["run_id"] for row in rows.values()} == {"run-0"} and dict(rows["s1"]["table_versions"]) == {"event": 1}
    field = made.schema().to_json()
    assert "Events before this UTC date count." in field and '"date"' in field
    again = Lakehouse(lakehouse.spark, lakehouse.store, "run-2", lakehouse.written_at)
    assert again.data_version("training_snapshot") == before, "a conversion is no change of rows"
    # The hash of a converted row is that of a row which is written now.
    stored = again.read("training_snapshot").drop("row_hash", "run_id", "written_at")
    assert not again.merge("training_snapshot", stored).committed
    assert DeltaTable(lakehouse.location("training_snapshot")).version() == made.version(), "it is converted once"
    kept = {key for key in made.metadata().configuration if key.startswith("delta.constraints.")}
    assert kept == {"delta.constraints.required_columns"}
    with pytest.raises(REFUSED, match="required_columns"):
        again.merge("training_snapshot", snapshot_row(again, "s2", None, current=True))
    assert again.merge("training_snapshot", snapshot_row(again, "s2", date(2025, 10, 3), current=True)).inserted == 1


@pytest.mark.slow
def test_rows_of_another_type_are_updated_in_the_write_that_converts_them(lakehouse: Lakehouse) -> None:
    make_older_snapshots(lakehouse, "2025-10-01")
    earlier = lakehouse.read("training_snapshot").withColumn("is_current", F.lit(False))
    rows = snapshot_row(lakehouse, "s1", date(2025, 10, 2), current=True)
    result = lakehouse.merge("training_snapshot", rows.unionByName(earlier.select(*rows.columns)))
    assert result == WriteResult(inserted=1, updated=1)
    found = lakehouse.read("training_snapshot").orderBy("snapshot_id").collect()
    assert [(row["as_of_date"], row["is_current"]) for row in found] == [
        (date(2025, 10, 1), False),
        (date(2025, 10, 2), True),
    ]
    assert current_snapshot(lakehouse)[0] == "s1"
    # What an earlier version assembled has no items and users of its own.
    with pytest.raises(NoDataError, match=r"Snapshot s1 has no items.*Run assemble_snapshot"):
        load_items(lakehouse)


@pytest.mark.slow
def test_a_table_of_an_earlier_version_that_no_contract_knows_is_left_alone(lakehouse: Lakehouse) -> None:
    Path(str(lakehouse.store.out)).mkdir()
    create_card(lakehouse.store)
    lakehouse.merge("graph_edge", edges(lakehouse, {"a": "1"}))
    note_tables(lakehouse.store, ["graph_edge", "item_document"])
    unknown = f"{lakehouse.store.out}/tables/item_document"
    lakehouse.spark.range(3).write.format("delta").save(unknown)
    assert Ledger(lakehouse).lost(CONTRACTS) == []
    assert {name: rows for name, rows in count_rows(lakehouse, CONTRACTS).items() if rows} == {"graph_edge": 1}
    maintain_all(lakehouse, MaintenanceConfig(), lakehouse.written_at)
    assert DeltaTable(unknown).to_pyarrow_table().num_rows == 3 and DeltaTable(unknown).version() == 0


@pytest.mark.slow
def test_a_column_of_another_type_whose_values_do_not_fit_is_refused_and_left_as_it_is(lakehouse: Lakehouse) -> None:
    make_older_snapshots(lakehouse, "2025-10-01", "2025-10-2")
    with pytest.raises(StoreError, match=r"training_snapshot.*as_of_date is string .* date now.*'2025-10-2'.*new OUT"):
        lakehouse.merge("training_snapshot", snapshot_row(lakehouse, "s2", date(2025, 10, 3), current=True))
    made = DeltaTable(lakehouse.location("training_snapshot"))
    assert made.version() == 1 and made.metadata().configuration["delta.constraints.users_are_counted"]


@pytest.mark.slow
def test_catalogue_mode_reads_and_writes_the_same_way(lakehouse: Lakehouse, tmp_path: Path) -> None:
    spark = lakehouse.spark
    spark.sql(f"CREATE SCHEMA mmrec_test LOCATION '{tmp_path / 'schema'}'")
    store = StoreConfig(
        catalog="spark_catalog",
        schema_name="mmrec_test",
        staging=str(tmp_path / "s"),
        report_folder=str(tmp_path / "r"),
    )
    try:
        house = Lakehouse(spark, store, "run-1", lakehouse.written_at)
        assert house.data_version("graph_edge") is None
        assert house.merge("graph_edge", edges(house, {"a": "1", "b": "1"})) == WriteResult(inserted=2)
        assert house.merge("graph_edge", edges(house, {"a": "2", "b": "1"})) == WriteResult(updated=1)
        again = Lakehouse(spark, store, "run-2", lakehouse.written_at)
        assert again.data_version("graph_edge") == house.data_version("graph_edge")
        assert stored(again) == {"a": "2", "b": "1"}
        house.replace_slice("user_topk", lists(house, "2026-01-01", ["u"]), {"as_of_date": date(2026, 1, 1)})
        assert house.read("user_topk").count() == 1
    finally:
        spark.sql("DROP SCHEMA mmrec_test CASCADE")


@pytest.mark.slow
def test_work_is_cut_by_the_cores_unless_it_is_configured(spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = spark.range(1)
    assert session.cluster_cores(spark) == 2
    assert (session.num_tasks(rows, None), session.num_tasks(rows, 7)) == (4, 7)
    # An engine whose plan tells no parts is asked by a job, and says the same.
    monkeypatch.setattr(session, "range_parts", lambda plan: None)
    assert session.cluster_cores(spark) == 2


@pytest.mark.parametrize(
    ("plan", "parts"), [("*(1) Range (0, 1, step=1, splits=64)", 64), ("PhotonRange (0, 1)", None)]
)
def test_the_plan_of_a_range_tells_its_parts(plan: str, parts: int | None) -> None:
    assert session.range_parts(plan) == parts
