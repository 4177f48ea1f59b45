"""Files of a table as its newest checksum lists them; whatever else the log says is left to Delta's reader."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql.types import LongType, StringType, StructField, StructType

from mmrec_lib.lakehouse.checksum import MOST_FILES, listed_table

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
    (tmp_path / "_delta_log" / f"{4:020d}.json").write_text("{}")
    assert listed_table(str(tmp_path)) is None
    assert listed_table(str(tmp_path / "no-table")) is None
