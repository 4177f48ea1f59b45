"""Delta tables in a landing folder: which rows an ingest gets of them, by version and by change feed."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from mmrec_lib.ingest.landing.delivery import KnownFile, TableRead
from mmrec_lib.ingest.landing.folder import LandingFolder
from mmrec_lib.lakehouse.delta_source import IS_DELETE, ROW_NUMBER, DeltaReadError, read_delta
from mmrec_lib.lakehouse.tables import Lakehouse

Row = dict[str, Any]
FEED = {"delta.enableChangeDataFeed": "true"}


class Table:
    """The Delta table `items` of a landing folder, and what an ingest makes of it."""

    def __init__(self, lakehouse: Lakehouse, folder: Path) -> None:
        self.lakehouse, self.spark = lakehouse, lakehouse.spark
        folder.mkdir()
        self.landing = LandingFolder(str(folder))
        self.path = folder / "items"
        self.name = f"delta.`{self.path}`"

    def create(self, columns: str, properties: dict[str, str]) -> None:
        given = "".join(f", '{name}' = '{value}'" for name, value in properties.items())
        self.spark.sql(f"CREATE TABLE {self.name} ({columns}) USING delta TBLPROPERTIES ('by' = 'test'{given})")

    def do(self, statement: str) -> None:
        self.spark.sql(statement.format(t=self.name))

    def read_next(self, last: TableRead | None) -> TableRead | None:
        """What the next ingest would read after one that read `last`."""
        known = []
        (file,) = self.landing.files()
        if last is not None:
            known = [KnownFile("items", 0, 0, "earlier", "0", 0, 1, last.version, last.table_id)]
        deliveries = self.landing.deliveries([file], known, 2**20)
        assert all(delivery.problem is None for delivery in deliveries), deliveries
        return deliveries[0].table if deliveries else None

    def rows(self, read: TableRead | None) -> list[Row]:
        assert read is not None
        found = [
            row.asDict(recursive=True)
            for row in read_delta(self.lakehouse, str(self.path), ["id"], read.version, read.changes_from).collect()
        ]
        assert sorted(row.pop(ROW_NUMBER) for row in found) == list(range(1, len(found) + 1))
        return sorted(found, key=lambda row: str(row["id"]))


def row(key: str | None, title: str, **more: Any) -> Row:
    return {"id": key, "title": title, **more, IS_DELETE: False}


def gone(key: str, title: str, **more: Any) -> Row:
    return {**row(key, title, **more), IS_DELETE: True}


@pytest.fixture
def table(lakehouse: Lakehouse, tmp_path: Path) -> Table:
    return Table(lakehouse, tmp_path / "landing")


@pytest.mark.slow
def test_a_feed_gives_what_is_left_of_each_keys_changes(table: Table) -> None:
    table.create("id string, title string", FEED)
    table.do("INSERT INTO {t} VALUES ('a', 'A'), ('b', 'B'), ('c', 'C')")
    first = table.read_next(None)
    assert table.rows(first) == [row("a", "A"), row("b", "B"), row("c", "C")]
    assert table.read_next(first) is None
    table.do("UPDATE {t} SET title = 'A1' WHERE id = 'a'")
    table.do("UPDATE {t} SET title = 'A2' WHERE id = 'a'")
    table.do("DELETE FROM {t} WHERE id = 'b'")
    table.do("INSERT INTO {t} VALUES ('d', 'D'), ('e', 'E')")
    table.do("DELETE FROM {t} WHERE id = 'd'")
    table.do("OPTIMIZE {t}")
    second = table.read_next(first)
    assert second is not None and first is not None and second.changes_from == first.version + 1
    # d came and went between two ingests: to the store it is a deletion of what it never had.
    assert table.rows(second) == [row("a", "A2"), gone("b", "B"), gone("d", "D"), row("e", "E")]
    assert table.read_next(second) is None


@pytest.mark.slow
def test_rows_without_a_key_are_nobodys_version(table: Table) -> None:
    table.create("id string, title string", FEED)
    table.do("INSERT INTO {t} VALUES (NULL, 'X')")
    first = table.read_next(None)
    table.do("INSERT INTO {t} VALUES (NULL, 'Y'), (NULL, 'Z')")
    second = table.read_next(first)
    assert sorted(one["title"] for one in table.rows(second)) == ["Y", "Z"]


@pytest.mark.slow
def test_a_feed_whose_files_are_gone_gives_way_to_the_whole_version(
    table: Table, caplog: pytest.LogCaptureFixture
) -> None:
    table.create("id string, title string", FEED)
    table.do("INSERT INTO {t} VALUES ('a', 'A'), ('b', 'B')")
    first = table.read_next(None)
    table.do("UPDATE {t} SET title = 'A1' WHERE id = 'a'")
    table.do("INSERT INTO {t} VALUES ('c', 'C')")
    second = table.read_next(first)
    assert second is not None and second.changes_from is not None
    shutil.rmtree(table.path / "_change_data")
    with caplog.at_level(logging.WARNING, logger="mmrec_lib"):
        assert table.rows(second) == [row("a", "A1"), row("b", "B"), row("c", "C")]
    assert "change feed" in caplog.text and "version" in caplog.text


@pytest.mark.slow
def test_a_feed_that_was_switched_on_later_gives_way_to_the_whole_version(table: Table) -> None:
    table.create("id string, title string", {})
    table.do("INSERT INTO {t} VALUES ('a', 'A'), ('b', 'B')")
    first = table.read_next(None)
    table.do("UPDATE {t} SET title = 'A1' WHERE id = 'a'")
    table.do("ALTER TABLE {t} SET TBLPROPERTIES ('delta.enableChangeDataFeed' = 'true')")
    table.do("INSERT INTO {t} VALUES ('c', 'C')")
    second = table.read_next(first)
    assert table.rows(second) == [row("a", "A1"), row("b", "B"), row("c", "C")]


@pytest.mark.slow
@pytest.mark.parametrize("properties", [{}, FEED], ids=["without a feed", "with a feed"])
def test_rows_under_a_deletion_vector_are_not_read(table: Table, properties: dict[str, str]) -> None:
    table.create("id string, title string", {"delta.enableDeletionVectors": "true", **properties})
    table.do("INSERT INTO {t} SELECT /*+ COALESCE(1) */ id, upper(id) FROM VALUES ('a'), ('b'), ('c'), ('d') AS v(id)")
    first = table.read_next(None)
    table.do("DELETE FROM {t} WHERE id = 'b'")
    assert list(table.path.glob("deletion_vector*")), "this test needs a deletion vector"
    assert [one["id"] for one in table.rows(table.read_next(None))] == ["a", "c", "d"]
    second = table.read_next(first)
    expected = [gone("b", "B")] if properties else [row("a", "A"), row("c", "C"), row("d", "D")]
    assert table.rows(second) == expected


@pytest.mark.slow
@pytest.mark.parametrize("properties", [{}, FEED], ids=["without a feed", "with a feed"])
@pytest.mark.parametrize("how", ["overwrite", "replace"])
def test_of_an_overwritten_table_the_new_rows_count(table: Table, how: str, properties: dict[str, str]) -> None:
    table.create("id string, title string", properties)
    table.do("INSERT INTO {t} VALUES ('a', 'A'), ('b', 'B')")
    first = table.read_next(None)
    values = "SELECT id, title FROM VALUES ('a', 'A'), ('b', 'B1'), ('c', 'C') AS v(id, title)"
    if how == "overwrite":
        table.do("INSERT OVERWRITE {t} " + values)
    else:
        table.do("CREATE OR REPLACE TABLE {t} USING delta AS " + values)
    second = table.read_next(first)
    assert table.rows(second) == [row("a", "A"), row("b", "B1"), row("c", "C")]
    assert table.read_next(second) is None


@pytest.mark.slow
def test_what_an_overwrite_leaves_out_is_deleted_by_the_feed(table: Table) -> None:
    table.create("id string, title string", FEED)
    table.do("INSERT INTO {t} VALUES ('a', 'A'), ('b', 'B')")
    first = table.read_next(None)
    table.do("INSERT OVERWRITE {t} VALUES ('b', 'B')")
    assert table.rows(table.read_next(first)) == [gone("a", "A"), row("b", "B")]


@pytest.mark.slow
def test_a_new_column_is_read_and_earlier_rows_lack_it(table: Table) -> None:
    table.create("id string, title string", FEED)
    table.do("INSERT INTO {t} VALUES ('a', 'A')")
    first = table.read_next(None)
    table.do("INSERT INTO {t} VALUES ('b', 'B')")
    table.do("ALTER TABLE {t} ADD COLUMNS (price double)")
    table.do("INSERT INTO {t} VALUES ('c', 'C', 2.5)")
    assert table.rows(table.read_next(first)) == [row("b", "B", price=None), row("c", "C", price=2.5)]
    whole = [row("a", "A", price=None), row("b", "B", price=None), row("c", "C", price=2.5)]
    assert table.rows(table.read_next(None)) == whole


@pytest.mark.slow
def test_a_column_of_another_type_is_read_from_the_whole_version(table: Table) -> None:
    table.create("id string, title string, size int", FEED)
    table.do("INSERT INTO {t} VALUES ('a', 'A', 1)")
    first = table.read_next(None)
    rows = table.spark.createDataFrame([("a", "A", "one"), ("b", "B", "two")], "id string, title string, size string")
    rows.write.format("delta").mode("overwrite").option("overwriteSchema", "true").save(str(table.path))
    assert table.rows(table.read_next(first)) == [row("a", "A", size="one"), row("b", "B", size="two")]


def test_a_table_whose_files_are_gone_is_an_error_with_one_sentence(table: Table) -> None:
    table.create("id string, title string", {})
    table.do("INSERT INTO {t} VALUES ('a', 'A')")
    for file in table.path.glob("*.parquet"):
        file.unlink()
    with pytest.raises(DeltaReadError) as raised:
        table.rows(table.read_next(None))
    assert "\n" not in str(raised.value) and len(str(raised.value)) <= 300


@pytest.mark.slow
def test_the_same_rows_get_the_same_numbers(table: Table, spark: SparkSession) -> None:
    table.create("id string, title string", {})
    spark.range(400).selectExpr("cast(id as string) id", "'t' title").write.format("delta").mode("append").save(
        str(table.path)
    )
    read = table.read_next(None)
    assert read is not None
    numbers = [
        {
            one["id"]: one[ROW_NUMBER]
            for one in read_delta(table.lakehouse, str(table.path), ["id"], read.version, read.changes_from).collect()
        }
        for _ in range(2)
    ]
    assert numbers[0] == numbers[1] and sorted(numbers[0].values()) == list(range(1, 401))
