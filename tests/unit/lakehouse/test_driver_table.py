"""Commits that this process makes, for every table that there is."""

from __future__ import annotations

import errno
import importlib.metadata
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
from deltalake import DeltaTable
from deltalake.table import TableOptimizer

from mmrec_lib.contracts import CONTRACTS
from mmrec_lib.errors import ContractError
from mmrec_lib.lakehouse import session_settings
from mmrec_lib.lakehouse.commits import newest_data_commit
from mmrec_lib.lakehouse.delta_rs import has_links, listed_here
from mmrec_lib.lakehouse.driver_table import DriverTable
from mmrec_lib.lakehouse.merging import DELETE, INSERT, OPERATION, UPDATE, WriteResult, counted
from mmrec_lib.lakehouse.table_files import MOST_READ, listed_table
from tests.data.random_rows import DAY, arrow_rows, random_rows

WRITTEN = datetime(2026, 1, 1, tzinfo=UTC)


def table(folder: Path, name: str) -> DriverTable:
    made = DriverTable(CONTRACTS[name], str(folder / name), "run-1", WRITTEN)
    made.create()
    return made


@pytest.fixture(autouse=True)
def every_file_holds_plain_types(tmp_path: Path) -> Iterator[None]:
    """Whatever a commit writes, filters of pyarrow and pandas work on it: they know no `string_view`."""
    yield
    for path in tmp_path.rglob("part-*.parquet"):
        if path.stat().st_size > len(b"PAR1"):
            assert "_view" not in str(pyarrow.parquet.read_schema(path).remove_metadata()), path


def stored(made: DriverTable) -> dict[tuple[object, ...], dict[str, Any]]:
    rows = DeltaTable(made.folder).to_pyarrow_table().to_pylist()
    return {tuple(row[key] for key in made.contract.key): row for row in rows}


def as_stored(made: DriverTable, rows: list[dict[str, Any]]) -> dict[tuple[object, ...], dict[str, Any]]:
    found = arrow_rows(made.contract, [row | {"run_id": "run-1", "written_at": WRITTEN} for row in rows]).to_pylist()
    return {tuple(row[key] for key in made.contract.key): row for row in found}


def require_no_null_counts(made: DriverTable) -> None:
    """Readers pass over files, or take columns for null, by counts that delta-rs gets wrong for nested columns."""
    for told in pa.table(DeltaTable(made.folder).get_add_actions(flatten=True)).to_pylist():
        assert told["num_records"] is not None
        assert {
            name: value for name, value in told.items() if name.startswith("null_count.") and value is not None
        } == {}


def wanted(made: DriverTable, rows: list[dict[str, Any]], gone: list[dict[str, Any]] = []) -> pa.Table:  # noqa: B006
    """Rows as they are staged: those that the table should have, and keys that go."""
    deleted = [{key: row[key] for key in made.contract.key} | {OPERATION: DELETE} for row in gone]
    return arrow_rows(made.contract, [*rows, *deleted], **{OPERATION: pa.string()})


def slice_of(name: str) -> Mapping[str, str | date]:
    key = CONTRACTS[name].partition_by
    return {key[0]: DAY if key[0] == "as_of_date" else "a slice"} if key else {}


@pytest.mark.parametrize("name", CONTRACTS)
def test_rows_come_change_and_go_in_every_table(tmp_path: Path, name: str) -> None:
    made, rows = table(tmp_path, name), random_rows(CONTRACTS[name], 12)
    first = made.differing(wanted(made, rows[:8]), {}, is_empty=True)
    assert counted(first) == WriteResult(inserted=8)
    made.change(first, {})
    assert stored(made) == as_stored(made, rows[:8])

    changed = random_rows(CONTRACTS[name], 3, seed=1)
    for row, old in zip(changed, rows, strict=False):
        row.update({key: old[key] for key in made.contract.key}, row_hash=old["row_hash"] + 1)
    new = [*changed, *rows[3:6], *rows[8:]]
    # A key that is deleted and written stays; one that is not there cannot go.
    gone = [*rows[4:8], {**rows[0], **random_rows(CONTRACTS[name], 13)[12]}]
    changes = made.differing(wanted(made, new, [*gone, *gone]), slice_of(name), is_empty=False)
    assert Counter(changes[OPERATION].to_pylist()) == {INSERT: 4, UPDATE: 3, DELETE: 2}
    made.change(changes, slice_of(name))
    assert stored(made) == as_stored(made, [*changed, *rows[3:6], *rows[8:]])
    assert not counted(made.differing(wanted(made, new, gone), slice_of(name), is_empty=False)).committed
    require_no_null_counts(made)


@pytest.mark.parametrize("name", [name for name in CONTRACTS if CONTRACTS[name].partition_by])
def test_a_slice_is_replaced_and_the_others_stay(tmp_path: Path, name: str) -> None:
    made, rows = table(tmp_path, name), random_rows(CONTRACTS[name], 6)
    (column,) = made.contract.partition_by
    other: object = date(2026, 1, 3) if isinstance(rows[0][column], date) else "another 'slice'"
    others = [row | {column: other} for row in rows]
    made.append(arrow_rows(made.contract, [*rows[:4], *others]))
    changed = [rows[0] | {"row_hash": rows[0]["row_hash"] + 1}, *rows[1:3], rows[5]]
    assert made.compared(arrow_rows(made.contract, changed), slice_of(name)) == WriteResult(1, 1, 1)
    made.replace(arrow_rows(made.contract, changed), slice_of(name))
    assert stored(made) == as_stored(made, [*changed, *others])
    require_no_null_counts(made)
    assert not made.compared(arrow_rows(made.contract, changed), slice_of(name)).committed
    made.replace(arrow_rows(made.contract, []), {column: other})  # type: ignore[dict-item]
    assert stored(made) == as_stored(made, changed)
    listed = listed_table(made.folder)
    assert listed is not None and listed.num_rows == 4 and not listed.may_hold({column: other})  # type: ignore[dict-item]


@pytest.mark.parametrize("name", [name for name in CONTRACTS if CONTRACTS[name].checks])
def test_every_constraint_of_a_contract_holds(tmp_path: Path, name: str) -> None:
    broken: dict[str, list[dict[str, object]]] = {
        "event": [{"split": "test2"}],
        "user_control": [{"action": "no"}, {"target_kind": "no"}],
        "query": [{"text": None, "images": None, "audio": None}],
        "media_asset": [{"media_kind": "film"}, {"content": None, "uri": None}],
        "landing_file": [{"num_read": 5}],
        "media_text": [{"text": None}, {"text": None, "error": "no reason"}],
        "content_embedding": [{"codes": [1], "scale": 1.0}, {"scale": 1.0}, {"vector": None, "error": "no: reason"}],
        "item_embedding": [{"vector": [1.0]}, {"scale": None}],
        "search_vector": [{"error": None}, {"error": "no: reason"}],
        "review_opinion": [{"sentiment": None}, {"sentiment": "glad"}],
        "label": [{"owner_kind": "shop"}, {"spans": []}],
        "text_entity": [{"end": 1}],
        "recommendation_text": [{"rank": 0}, {"text": None}, {"grounding": 0.5}],
        "generated_description": [{"grounding": 0.5}],
        "item_topk": [{"rank": 0}, {"item_id": "another"}],
        "query_result": [{"num_items": 1}],
        "job_run": [{"status": "lost"}],
    }
    made = table(tmp_path, name)
    rows = random_rows(made.contract, 3)
    cases = broken.get(name, [{"rank": 0}])
    assert len(cases) >= len(made.contract.checks) or name == "content_embedding"
    for case in cases:
        bad = arrow_rows(made.contract, [rows[0], rows[1] | case])
        with pytest.raises(ContractError, match=rf"{name}: 1 rows .*{made.contract.checks[0].name}"):
            made.append(bad)
        with pytest.raises(ContractError, match=made.contract.checks[-1].name):
            made.replace(bad, slice_of(name) or {made.contract.key[0]: rows[0][made.contract.key[0]]})
    made.append(arrow_rows(made.contract, rows[:1]))
    change = [rows[0] | cases[0] | {OPERATION: UPDATE}, rows[2] | {OPERATION: INSERT}]
    if not set(cases[0]) & set(made.contract.key):
        with pytest.raises(ContractError, match="Nothing was written"):
            made.change(arrow_rows(made.contract, change, **{OPERATION: pa.string()}), {})
    assert stored(made) == as_stored(made, rows[:1])


@pytest.mark.parametrize("name", CONTRACTS)
def test_a_required_column_is_never_null(tmp_path: Path, name: str) -> None:
    made = table(tmp_path, name)
    (row,) = random_rows(made.contract, 1)
    for column in made.contract.all_columns:
        if column.required and column.name not in made.contract.partition_by:
            with pytest.raises(ContractError, match=rf"not null \(.*{column.name}"):
                made.append(arrow_rows(made.contract, [row | {column.name: None}]))
    assert stored(made) == {}


def test_a_number_beside_a_map_is_read_as_it_was_written(tmp_path: Path) -> None:
    made = table(tmp_path, "event")
    rows = [
        row | {"value": 4.0 if n == 1 else None, "attributes": None}
        for n, row in enumerate(random_rows(made.contract, 3))
    ]
    made.append(arrow_rows(made.contract, rows))
    found = DeltaTable(made.folder).to_pyarrow_table(columns=["event_id", "value"])
    assert sorted(map(str, found["value"].to_pylist())) == ["4.0", "None", "None"]


def test_a_key_twice_is_refused_unless_it_is_there_as_it_is(tmp_path: Path) -> None:
    made = table(tmp_path, "item")
    one, other = random_rows(made.contract, 2)
    with pytest.raises(ValueError, match="item hold 1 keys twice"):
        made.differing(wanted(made, [one, one, other]), {}, is_empty=True)
    made.append(arrow_rows(made.contract, [one]))
    later = one | {"row_hash": one["row_hash"] + 1}
    assert counted(made.differing(wanted(made, [one, later, other]), {}, is_empty=False)) == WriteResult(1, 1, 0)
    with pytest.raises(ValueError, match="item hold 1 keys twice"):
        made.differing(wanted(made, [later, later]), {}, is_empty=False)


def test_a_table_is_made_once_and_in_one_commit(tmp_path: Path) -> None:
    made = table(tmp_path, "event")
    log = Path(made.folder) / "_delta_log"
    before = [(file.name, file.read_bytes()) for file in log.iterdir()]
    assert [name for name, _ in before] == [f"{0:020d}.json"]
    table(tmp_path, "event")
    assert [(file.name, file.read_bytes()) for file in log.iterdir()] == before
    assert newest_data_commit(str(log)) == -1
    actions = [json.loads(line) for line in before[0][1].splitlines()]
    properties = actions[1]["metaData"]["configuration"]
    assert properties["delta.enableChangeDataFeed"] == "true" and "delta.constraints.split_known" in properties
    assert DeltaTable(str(table(tmp_path, "user_edge").folder)).protocol().min_writer_version == 2


def test_what_a_killed_run_left_of_a_table_is_put_away(tmp_path: Path) -> None:
    log = tmp_path / "item" / "_delta_log"
    log.mkdir(parents=True)
    (log / ".half-a-commit.tmp").write_text("{")
    (tmp_path / "review").mkdir()
    (tmp_path / "review" / "part-0.parquet").write_bytes(b"PAR1")
    for name in ("item", "review"):
        made = table(tmp_path, name)
        made.append(arrow_rows(made.contract, random_rows(made.contract, 2)))
        assert len(stored(made)) == 2
    assert not list(log.glob(".*"))
    (kept,) = tmp_path.glob("review.without-log-*")
    assert (kept / "part-0.parquet").read_bytes() == b"PAR1"


def test_audit_columns_are_set_without_a_change_for_readers(tmp_path: Path) -> None:
    made = table(tmp_path, "landing_file")
    rows = random_rows(made.contract, 3)
    made.append(arrow_rows(made.contract, rows))
    version = newest_data_commit(f"{made.folder}/_delta_log")
    key = {key: rows[1][key] for key in made.contract.key}
    moment = datetime(2026, 5, 1, tzinfo=UTC)
    fields = [field.with_nullable(True) for field in arrow_rows(made.contract, []).schema]
    chosen = pa.schema([field for field in fields if field.name in {*key, "modified_at"}])
    made.touch(pa.Table.from_pylist([key | {"modified_at": moment}], chosen), "modified_at")
    assert newest_data_commit(f"{made.folder}/_delta_log") == version < DeltaTable(made.folder).version()
    rows[1]["modified_at"] = moment
    assert stored(made) == as_stored(made, rows)


def test_many_small_files_are_brought_together_without_a_change_for_readers(tmp_path: Path) -> None:
    made = table(tmp_path, "graph_edge")
    rows = random_rows(made.contract, MOST_READ + 2)
    for number, row in enumerate(rows):
        made.append(arrow_rows(made.contract, [row]))
        listed = listed_table(made.folder)
        assert listed is not None and listed.num_rows == number + 1 and len(listed.files) <= MOST_READ
    assert stored(made) == as_stored(made, rows)
    require_no_null_counts(made)
    assert newest_data_commit(f"{made.folder}/_delta_log") == DeltaTable(made.folder).version()


def test_a_table_whose_old_commits_are_gone_is_listed_all_the_same(tmp_path: Path) -> None:
    for name in ("user_topk", "graph_edge"):
        made = table(tmp_path, name)
        for row in random_rows(made.contract, 3):
            made.append(arrow_rows(made.contract, [row]))
        before = listed_table(made.folder)
        assert before is not None and listed_here(made.folder) is not None
        DeltaTable(made.folder).create_checkpoint()
        for version in (0, 1):
            (Path(made.folder) / "_delta_log" / f"{version:020d}.json").unlink()
        assert listed_table(made.folder) is None
        after = listed_here(made.folder)
        assert after is not None
        assert sorted(after.files) == sorted(before.files) and after.schema == before.schema
        assert sorted(map(str, after.partitions)) == sorted(map(str, before.partitions))
        assert (after.num_rows, after.num_bytes) == (before.num_rows, before.num_bytes) and after.num_rows == 3
        assert after.partition_columns == before.partition_columns
    assert listed_here(str(tmp_path / "nothing")) is None
    (Path(made.folder) / "_delta_log" / f"{4:020d}.json").write_text('{"add":')
    assert listed_here(made.folder) is None


def test_maintenance_deletes_compacts_and_removes_what_no_version_needs(tmp_path: Path) -> None:
    made = table(tmp_path, "user_topk")
    rows = random_rows(made.contract, 4)
    old = [row | {"as_of_date": date(2020, 1, 1)} for row in rows]
    for part in (old, rows[:2], rows[2:]):
        made.append(arrow_rows(made.contract, part))
    version = newest_data_commit(f"{made.folder}/_delta_log")
    orphan = Path(made.folder) / "of-a-killed-run.parquet"
    orphan.write_bytes(b"")
    os.utime(orphan, (1, 1))
    counts = made.maintain(168, "`as_of_date` < '2021-01-01' AND `as_of_date` <> '2020-01-02'")
    assert counts == {"rows_expired": 4, "files_compacted": 2}
    assert not orphan.exists() and stored(made) == as_stored(made, rows)
    assert newest_data_commit(f"{made.folder}/_delta_log") == version
    before = DeltaTable(made.folder).version()
    assert made.maintain(168, None) == {"rows_expired": 0, "files_compacted": 0}
    assert DeltaTable(made.folder).version() == before, "where there is nothing to do, nothing is committed"


def test_rows_that_expired_in_a_file_with_others_go_and_the_others_stay(tmp_path: Path) -> None:
    made = table(tmp_path, "job_run")
    rows = random_rows(made.contract, 5)
    for number, row in enumerate(rows):
        row["started_at"] = datetime(2020 + number, 1, 1, tzinfo=UTC)
    made.append(arrow_rows(made.contract, rows))
    version = newest_data_commit(f"{made.folder}/_delta_log")
    assert made.maintain(168, "`started_at` < '2022-06-01'")["rows_expired"] == 3
    assert stored(made) == as_stored(made, rows[3:])
    stands = DeltaTable(made.folder).version()
    assert made.maintain(168, "`started_at` < '2022-06-01'")["rows_expired"] == 0
    assert DeltaTable(made.folder).version() == stands > newest_data_commit(f"{made.folder}/_delta_log") == version


def test_a_table_with_a_feature_that_delta_rs_does_not_write_is_left_to_the_session(tmp_path: Path) -> None:
    made = table(tmp_path, "event")
    made.append(arrow_rows(made.contract, random_rows(made.contract, 2)))
    listed = listed_table(made.folder)
    assert made.can_add(listed) and made.can_change(listed) and not made.can_add(None)
    here = listed_here(made.folder)
    assert here is not None and listed is not None and here.writer_features == listed.writer_features
    protocol = {"minReaderVersion": 1, "minWriterVersion": 7, "writerFeatures": ["rowTracking", "domainMetadata"]}
    path = Path(made.folder) / "_delta_log" / f"{2:020d}.json"
    path.write_text(json.dumps({"protocol": protocol}) + "\n", encoding="utf-8")
    listed = listed_table(made.folder)
    assert listed is not None and not made.can_add(listed) and not made.can_change(listed)


def test_a_commit_stands_where_its_files_cannot_be_compacted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*args: object, **kwargs: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("mmrec_lib.lakehouse.driver_table.MOST_READ", 1)
    made, rows = table(tmp_path, "job_run"), random_rows(CONTRACTS["job_run"], 3)
    made.append(arrow_rows(made.contract, rows[:1]))
    monkeypatch.setattr(TableOptimizer, "compact", fails)
    made.append(arrow_rows(made.contract, rows[1:]))
    assert stored(made) == as_stored(made, rows)
    assert "job_run: its small files could not be brought together" in caplog.text


def test_file_systems_without_hard_links_are_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert has_links(str(tmp_path)) and not list(tmp_path.iterdir())

    def refuse(*args: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    (tmp_path / "other").mkdir()
    assert not has_links(str(tmp_path / "other")) and not list((tmp_path / "other").iterdir())


@pytest.mark.parametrize(("version", "is_taken"), [("1.4.2", True), ("1.5.1", True), ("1.6.6", False), (None, False)])
def test_only_versions_that_write_plain_types_commit(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, version: str | None, is_taken: bool
) -> None:
    def found(name: str) -> str:
        if version is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return version

    monkeypatch.setattr(importlib.metadata, "version", found)
    assert session_settings._has_delta_rs.__wrapped__() is is_taken
    assert ("deltalake 1.4 or 1.5, got" in caplog.text) is not is_taken


def test_large_rows_and_large_tables_are_left_to_the_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = table(tmp_path, "item")
    made.append(arrow_rows(made.contract, random_rows(made.contract, 5)))
    listed = listed_table(made.folder)
    assert made.can_change(listed) and not made.can_change(None)
    assert made.staged(made.folder) is not None
    monkeypatch.setattr("mmrec_lib.lakehouse.driver_table.MOST_STAGED_BYTES", 100)
    monkeypatch.setattr("mmrec_lib.lakehouse.driver_table.MOST_TABLE_BYTES", 100)
    assert not made.can_change(listed)
    assert made.staged(made.folder) is None
