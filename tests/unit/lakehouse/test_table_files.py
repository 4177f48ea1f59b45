"""Files of a table as its newest checksum and the commits after it tell them; all else is left to Delta's reader."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql.types import LongType, StringType, StructField, StructType

from mmrec_lib.lakehouse.table_files import MOST_COMMITS, MOST_FILES, listed_table

SCHEMA = StructType([StructField("day", StringType()), StructField("count", LongType())])


def write(table: Path, version: int = 3, **changes: Any) -> Path:
    """A log of commits, and a checksum of the newest one with some parts changed; returns the checksum."""
    log = table / "_delta_log"
    log.mkdir(parents=True, exist_ok=True)
    for number in range(version + 1):
        commit = {"commitInfo": {"operation": "WRITE", "txnId": f"txn-{number}"}}
        (log / f"{number:020d}.json").write_text(json.dumps(commit, separators=(",", ":")) + '\n{"add":{}}\n')
    files = changes.pop("allFiles", [{"path": "day=a%20b/part-0.parquet"}, {"path": "day=c/part-1.parquet"}])
    metadata = {
        "format": {"provider": "parquet", "options": {}},
        "schemaString": SCHEMA.json(),
        "partitionColumns": ["day"],
        "configuration": changes.pop("configuration", {}),
    }
    content = {
        "txnId": f"txn-{version}",
        "numFiles": None if files is None else len(files),
        "allFiles": files,
        "metadata": metadata,
    } | changes
    checksum = log / f"{version:020d}.crc"
    checksum.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))
    return checksum


def test_files_schema_and_partitions_of_the_newest_commit(tmp_path: Path) -> None:
    write(tmp_path)
    found = listed_table(str(tmp_path))
    assert found is not None
    assert found.files == ("day=a b/part-0.parquet", "day=c/part-1.parquet")
    assert (found.partition_columns, found.schema) == (("day",), SCHEMA)
    write(tmp_path, 4, allFiles=[])
    empty = listed_table(str(tmp_path))
    assert empty is not None and (empty.files, empty.num_rows) == ((), 0)


def test_partitions_tell_the_slices_that_no_row_is_in(tmp_path: Path) -> None:
    days = [{"path": f"day={day}/a.parquet", "partitionValues": {"day": day}} for day in ("2026-01-01", "2026-01-03")]
    write(tmp_path, allFiles=days)
    found = listed_table(str(tmp_path))
    assert found is not None
    assert found.may_hold({"day": date(2026, 1, 3)}) and not found.may_hold({"day": date(2026, 1, 2)})
    assert found.may_hold({"day": "2026-01-03", "count": "7"}), "of what is no partition nothing is known"
    write(tmp_path, 4, allFiles=[{"path": "b.parquet"}])
    untold = listed_table(str(tmp_path))
    assert untold is not None and untold.may_hold({"day": date(2026, 1, 2)})
    write(tmp_path, 5, allFiles=[])
    empty = listed_table(str(tmp_path))
    assert empty is not None and not empty.may_hold({"day": date(2026, 1, 3)})


def test_rows_are_counted_where_every_file_tells(tmp_path: Path) -> None:
    told = [{"path": "a.parquet", "stats": '{"numRecords":2}'}, {"path": "b.parquet", "stats": '{"numRecords":5}'}]
    write(tmp_path, allFiles=told)
    found = listed_table(str(tmp_path))
    assert found is not None and found.num_rows == 7
    write(tmp_path, 4, allFiles=[told[0], {"path": "b.parquet", "stats": "{}"}])
    partly = listed_table(str(tmp_path))
    assert partly is not None and partly.num_rows is None


@pytest.mark.parametrize(
    "changes",
    [
        {"allFiles": None},
        {"numFiles": 3},
        {"allFiles": [{"path": f"part-{n}.parquet"} for n in range(MOST_FILES + 1)]},
        {"allFiles": [{"path": "part-0.parquet", "deletionVector": {"storageType": "u"}}]},
        {"allFiles": [{"path": "/elsewhere/part-0.parquet"}]},
        {"allFiles": [{"path": "file:/elsewhere/part-0.parquet"}]},
        {"allFiles": [{"path": "s3://elsewhere/part-0.parquet"}]},
        {"allFiles": [{"path": "day=c/%2e%2e/%2E%2E/other/part-0.parquet"}]},
        {"configuration": {"delta.columnMapping.mode": "name"}},
        {"protocol": {"minReaderVersion": 3, "readerFeatures": ["deletionVectors"]}},
        {"metadata": None},
        {"txnId": "txn-of-a-commit-that-was-removed-by-hand"},
        {"txnId": None},
    ],
)
def test_a_table_that_parquet_files_alone_do_not_tell_is_left_to_delta(tmp_path: Path, changes: dict[str, Any]) -> None:
    write(tmp_path, **changes)
    assert listed_table(str(tmp_path)) is None


def test_a_checksum_that_is_missing_old_or_cut_short_is_not_taken(tmp_path: Path) -> None:
    checksum = write(tmp_path)
    whole = checksum.read_text()
    checksum.write_text(whole[: len(whole) // 2])
    assert listed_table(str(tmp_path)) is None
    checksum.write_text("")
    assert listed_table(str(tmp_path)) is None
    checksum.write_text(whole)
    assert listed_table(str(tmp_path)) is not None
    assert listed_table(str(tmp_path / "no-table")) is None


def commit(table: Path, version: int, *actions: dict[str, Any]) -> None:
    lines = [{"commitInfo": {"operation": "WRITE"}}, *actions]
    text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
    (table / "_delta_log").mkdir(parents=True, exist_ok=True)
    (table / "_delta_log" / f"{version:020d}.json").write_text(text)


def test_commits_after_a_checksum_add_and_remove_files(tmp_path: Path) -> None:
    write(tmp_path)
    added = {"path": "day=c/part-2.parquet", "size": 7, "partitionValues": {"day": "c"}, "stats": '{"numRecords":1}'}
    commit(tmp_path, 4, {"add": added}, {"remove": {"path": "day=c/part-1.parquet"}})
    commit(tmp_path, 5, {"add": {**added, "path": "day=c/part-3.parquet"}}, {"cdc": {"path": "_change_data/x.parquet"}})
    found = listed_table(str(tmp_path))
    assert found is not None
    assert found.files == ("day=a b/part-0.parquet", "day=c/part-2.parquet", "day=c/part-3.parquet")
    assert (found.num_bytes, found.num_rows) == (14, None)


def test_a_table_without_a_checksum_is_read_from_its_first_commit(tmp_path: Path) -> None:
    format_ = {"provider": "parquet", "options": {}}
    metadata = {"format": format_, "schemaString": SCHEMA.json(), "partitionColumns": [], "configuration": {}}
    commit(tmp_path, 0, {"metaData": metadata}, {"protocol": {}})
    empty = listed_table(str(tmp_path))
    assert empty is not None and (empty.files, empty.num_rows, empty.schema) == ((), 0, SCHEMA)
    for number in range(1, MOST_COMMITS):
        commit(tmp_path, number, {"add": {"path": f"{number}.parquet", "stats": '{"numRecords":2}'}})
    many = listed_table(str(tmp_path))
    assert many is not None and (len(many.files), many.num_rows) == (MOST_COMMITS - 1, 2 * MOST_COMMITS - 2)
    commit(tmp_path, 2, {"protocol": {"minReaderVersion": 3}})
    assert listed_table(str(tmp_path)) is None
    commit(tmp_path, 2)
    mapped = {**metadata, "configuration": {"delta.columnMapping.mode": "name"}}
    commit(tmp_path, 1, {"metaData": mapped})
    assert listed_table(str(tmp_path)) is None


@pytest.mark.parametrize("lost", ["missing", "empty", "cut short", "too many", "no metadata"])
def test_commits_that_do_not_tell_all_are_left_to_delta(tmp_path: Path, lost: str) -> None:
    write(tmp_path)
    for number in (4, 5, 6):
        commit(tmp_path, number, {"add": {"path": f"{number}.parquet"}})
    path = tmp_path / "_delta_log" / f"{5:020d}.json"
    if lost == "missing":
        path.unlink()
    elif lost == "too many":
        for number in range(7, 5 + MOST_COMMITS):
            commit(tmp_path, number)
    elif lost == "no metadata":
        (tmp_path / "_delta_log" / f"{3:020d}.crc").unlink()
    else:
        path.write_text(path.read_text()[: 0 if lost == "empty" else -9])
    assert listed_table(str(tmp_path)) is None
