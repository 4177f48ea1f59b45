"""Landing files made to cost more than their bytes, or to be taken for what they are not."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmrec_lib.ingest.landing import LandingFolder, csv_rows, json_values
from mmrec_lib.ingest.landing.delta_log import DeltaLogError, commit_versions, read_state
from mmrec_lib.ingest.landing.json_values import iter_values
from mmrec_lib.ingest.landing.parquet import LostRows, batch_rows, iter_batches
from mmrec_lib.ingest.landing.raw_row import RawRow
from mmrec_lib.ingest.records.frames import RecordBatches
from mmrec_lib.ingest.records.parse import parse_record
from mmrec_lib.ingest.resolve.reread import _missing
from tests.unit.ingest.test_landing_text import MB, csv_of, deliver, rows_of
from tests.unit.ingest.test_records import RULES

# time and memory


def num_looked_at(monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> list[int]:
    """Lengths of the texts that a private step is given, collected while the test runs."""
    lengths: list[int] = []
    whole = getattr(module, name)

    def counted(self: Any, text: str) -> Any:
        lengths.append(len(text))
        return whole(self, text)

    monkeypatch.setattr(module, name, counted)
    return lengths


def test_a_csv_file_of_broken_quotes_is_not_read_again_from_each_of_its_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_rows, "_VAIN_LEAST", 10_000)
    lengths = num_looked_at(monkeypatch, csv_rows._Cutter, "feed")
    content = b"a,b\n" + b'a","\n1,2\n' * 3000
    rows = csv_of(content)
    assert [row.line for row in rows] == list(range(2, 6002)), "each line is in one row"
    assert {row.line for row in rows if row.problem is None} <= set(range(3, 6002, 2))
    assert sum(row.problem is None for row in rows) > 500
    assert sum(lengths) < 15 * len(content)


def test_broken_elements_are_not_searched_to_the_end_of_the_file_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_values, "_VAIN_LEAST", 10_000)
    looked_at = []
    whole = json_values._broken_end

    def counted(text: str, position: int, stop: int) -> tuple[int | None, int]:
        result = whole(text, position, stop)
        looked_at.append(result[1])
        return result

    monkeypatch.setattr(json_values, "_broken_end", counted)
    content = b"[" + b'{"a":[{,"b":1},' * 2000 + b'{"a":1}]'
    rows = list(iter_values(io.BytesIO(content), MB))
    assert sum(looked_at) < 10 * len(content)
    assert rows[-1].raw == b'{"a":1}' and rows[-1].problem is None


@pytest.mark.parametrize("between", [b"\n", b" ", b"\n \t", b", "])
def test_white_space_after_a_broken_element_is_read_once(between: bytes) -> None:
    content = b'[{"a":}' + between * 300_000 + b'x},{"a":1}]'
    assert list(iter_values(io.BytesIO(content), MB))[-1].raw == b'{"a":1}'  # takes hours when it is not


def parquet_rows(table: pa.Table, limit: int, **options: Any) -> tuple[list[RawRow], int]:
    """The rows of a table, and the most bytes that Arrow held while they were read."""
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    del table
    before, most, rows = pa.total_allocated_bytes(), 0, []
    for part in iter_batches(sink, "a.parquet", range(pq.ParquetFile(sink).num_row_groups), 1):
        assert not isinstance(part, LostRows), part
        for row in batch_rows(part[1], part[0], limit):
            most = max(most, pa.total_allocated_bytes() - before)
            rows.append(row)
    return rows, most


@pytest.mark.parametrize("store_schema", [True, False])
def test_a_repeated_text_in_a_list_or_struct_is_never_unpacked(store_schema: bool) -> None:
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * 9_999 + [1], pa.int32()), pa.array(["x" * 100_000, "small"]))
    lists = pa.ListArray.from_arrays(pa.array([0, 5_000, 9_999, 10_000], pa.int32()), texts)
    nested = pa.StructArray.from_arrays([lists], names=["inner"])
    for column in (lists, nested):
        rows, most = parquet_rows(pa.table({"tags": column}), MB, store_schema=store_schema)
        assert [row.reason for row in rows] == ["impossible_value", "impossible_value", None]
        assert most < 20 * MB, "a gigabyte when it is unpacked"
    assert rows[2].values == {"tags": {"inner": ["small"]}}


def test_texts_that_are_stored_as_differences_come_a_few_at_a_time() -> None:
    texts = ["x"] * 8 + [f"{'y' * 500_000}{number % 3}" for number in range(400)]
    options: dict[str, Any] = {"use_dictionary": False, "column_encoding": {"title": "DELTA_BYTE_ARRAY"}}
    rows, most = parquet_rows(pa.table({"title": texts}), MB, **options)
    assert [row.values for row in rows] == [{"title": text} for text in texts]
    assert most < 100 * MB, "200 MB when they come at once"


def test_nested_values_of_every_type_are_measured_and_read_as_they_were() -> None:
    values = [
        {"m": [("k", "v" * n)], "f": [n, 2], "n": None, "l": None if n % 3 else [{"a": "x" * n, "b": [None, "é"]}]}
        for n in range(300)
    ]
    types = {
        "m": pa.map_(pa.string(), pa.string()),
        "f": pa.list_(pa.int32(), 2),
        "n": pa.null(),
        "l": pa.list_(pa.struct([("a", pa.string()), ("b", pa.list_(pa.string()))])),
    }
    table = pa.table({name: pa.array([row[name] for row in values], kind) for name, kind in types.items()})
    rows, _ = parquet_rows(table, MB)
    assert [row.values for row in rows] == values
    short, _ = parquet_rows(table, 400)
    assert short[297].problem is not None and short[296].problem is None and short[3].problem is None


def test_batches_of_records_are_bounded_by_their_texts_whatever_their_kind() -> None:
    rows = [
        RawRow(n, None, {"item_id": f"i{n}", "title": "t" * 200_000, "note": "n" * 100_000, "categories": ["c" * 99]})
        for n in range(200)
    ]
    batches = list(RecordBatches("item", "items.parquet", "f", RULES).of(rows, given={}))
    assert sum(batch.num_rows for batch in batches) == 200
    assert max(batch.nbytes for batch in batches) < 20 * MB


# taken for what they are not


def test_objects_inside_a_broken_element_are_no_records(tmp_path: Path) -> None:
    inside = '"variants": [{"item_id": "v1"}, {"item_id": "v2"}]'
    broken = [
        f'{{"item_id": "1", "title": oops, {inside}}}',
        f'{{"item_id": "1", "title": "never closed,\n {inside}\n}}',
    ]
    for number, element in enumerate(broken):
        text = f'[{{"item_id": "0"}},\n{element},\n{{"item_id": "2"}}]'
        rows = rows_of(tmp_path, f"items-{number}.json", text.encode())
        assert [row.reason for row in rows] == [None, "not_json", None], element
        assert rows[1].raw == element.encode() and rows[2].raw == b'{"item_id": "2"}'


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("num_records", [2, 5000])
def test_an_object_that_holds_the_records_is_refused_by_name(
    tmp_path: Path, indent: int | None, num_records: int
) -> None:
    records = [{"item_id": f"i{n}", "title": "Hat"} for n in range(num_records)]
    text = json.dumps({"count": num_records, "next": None, "products": records}, indent=indent)
    _, delivery = deliver(tmp_path, "items.json", text.encode())
    assert delivery.problem is not None and delivery.problem.is_lost and not delivery.splits
    assert 'holds its records in "products"; write that array alone' in delivery.problem.detail
    assert delivery.problem.num_records == text.count("\n") + 1


@pytest.mark.parametrize(
    "record",
    [
        {"audio": "a.wav", "text": "words", "segments": [{"id": 0, "audio": "part"}]},
        {"variants": [{"item_id": "v1"}], "item_id": "i1"},
        {"history": [{"seconds": 3}], "note": 1},
    ],
)
def test_a_record_with_a_list_of_objects_is_a_record(tmp_path: Path, record: dict[str, Any]) -> None:
    assert [row.raw for row in rows_of(tmp_path, "items.jsonl", json.dumps(record).encode())] == [
        json.dumps(record).encode()
    ]


@pytest.mark.parametrize("header", ["ORCID,user_id", "BZh1,user_id", "PAR1;user_id", "ORC\tuser_id"])
def test_a_header_that_begins_like_another_format_is_a_header(tmp_path: Path, header: str) -> None:
    separator = next(s for s in ",;\t" if s in header)
    (row,) = rows_of(tmp_path, "users.csv", f"{header}\n1{separator}u1\n".encode())
    assert row.values is not None and row.values["user_id"] == "u1"


def test_a_refused_file_counts_by_all_of_its_lines(tmp_path: Path) -> None:
    text = "user_id,age\n" + "u1,3\n" * 60_000
    for content in (text.encode("utf-16"), text.replace("\n", "\r").encode()):
        _, delivery = deliver(tmp_path, "users.csv", content)
        assert delivery.problem is not None and delivery.problem.num_records == 60_001


def test_a_csv_row_is_as_long_as_it_is_without_its_header(tmp_path: Path) -> None:
    header = "event_id,user_id,item_id,event_type,ts," + ",".join(f"column_{n}" for n in range(85))
    content = f"{header}\ne1,u1,i1,view,2025-07-01,{'1,' * 84}1\n"
    (row,) = rows_of(tmp_path, "events.csv", content.encode(), limit=1024)
    assert row.problem is None and row.raw is not None and len(row.raw) > 1024
    short = replace(RULES, max_record_bytes=1024)
    assert parse_record("event", row.raw, row.values, short).reason is None


# logs of tables


def log_of(**files: Any) -> tuple[list[str], Any]:
    """A table's log in memory: file name (`_` for `.`) → lines or bytes."""
    contents = {
        f"events/_delta_log/{name}": body
        if isinstance(body, bytes)
        else b"\n".join(json.dumps(a).encode() for a in body)
        for name, body in files.items()
    }
    return list(contents), lambda path: io.BytesIO(contents[path])


FIRST = "00000000000000000000.json"
META = {"metaData": {"id": "t", "configuration": {}}}


def checkpoint(path: str, **extra: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table({"add": [{"path": path, "deletionVector": {"storageType": "u"} | extra}]}), sink)
    return sink.getvalue()


@pytest.mark.parametrize(
    "files",
    [
        {
            "00000000000000000000.checkpoint.parquet": checkpoint("file:///secret"),
            "00000000000000000009.checkpoint.parquet": checkpoint("own"),
        },
        {"00000000000000000000.checkpoint.0.json": [{"add": {"path": "/secret"}}]},
        {"00000000000000000000.checkpoint.0.json": [{"sidecar": {"path": "../../secret.parquet"}}]},
        {"_sidecars/0.parquet": checkpoint("../secret")},
        {"00000000000000000000.00000000000000000003.compacted.json": [{"add": {"path": "s3://other/secret"}}]},
        {"00000000000000000000.crc": [{"allFiles": [{"path": "/secret"}]}]},
        {"00000000000000000000.checkpoint.parquet": checkpoint("own", storageType="p")},
    ],
)
def test_no_file_of_a_log_may_name_a_file_elsewhere(files: dict[str, Any]) -> None:
    with pytest.raises(DeltaLogError, match="outside its folder"):
        read_state(*log_of(**{FIRST: [META]}, **files))


def test_checksums_of_the_file_system_are_no_part_of_a_log() -> None:
    names, opener = log_of(**{FIRST: [META], f".{FIRST}.crc": b"crc\x00\xea", ".0.checkpoint.parquet.crc": b"\xea"})
    assert read_state(names, opener).version == 0


def test_a_table_is_still_there_as_long_as_its_newest_commit_is(tmp_path: Path) -> None:
    log = tmp_path / "events" / "_delta_log"
    log.mkdir(parents=True)
    (log / FIRST).write_text(json.dumps(META))
    landing = LandingFolder(str(tmp_path))
    (delivery,) = landing.deliveries(landing.files(), [], MB)
    delivered = [("events", delivery.sha256)]
    assert _missing(landing, delivered) == []
    assert _missing(landing, [*delivered, ("events", "of-a-version-before")]) == ["events"]
    (log / FIRST.replace("0.json", "1.json")).write_text("{}")
    assert _missing(landing, delivered) == ["events"]


@pytest.mark.parametrize("has_feed", [True, False])
def test_a_change_feed_reads_no_removed_file_elsewhere(has_feed: bool) -> None:
    configuration = {"delta.enableChangeDataFeed": str(has_feed).lower()}
    names, opener = log_of(
        **{FIRST: [{"metaData": {"id": "t", "configuration": configuration}}, {"remove": {"path": "/secret"}}]}
    )
    if not has_feed:
        assert read_state(names, opener).table_id == "t"
        return
    with pytest.raises(DeltaLogError, match="outside its folder"):
        read_state(names, opener)


@pytest.mark.parametrize(
    "line",
    [b"5", b"[]", b'{"add": {"path": 7}}', b'{"add": [1]}', b'{"commitInfo": 1}', b"\xff", b"{"],
)
def test_a_damaged_log_is_one_sentence(line: bytes) -> None:
    with pytest.raises(DeltaLogError, match="damaged"):
        read_state(*log_of(**{FIRST: json.dumps(META).encode() + b"\n" + line}))


def test_only_files_named_as_commits_are_commits() -> None:
    names = [
        f"a/_delta_log/{name}" for name in (FIRST, "7.json", "²²²²²²²²²²²²²²²²²²²².json", "٠.json", "_last_checkpoint")
    ]
    assert commit_versions(names) == {0: names[0]}


@pytest.mark.parametrize("value", ["1234567890123456.0", 1234567890123456.0, 1234567890123456, "1234567890123456"])
def test_ids_of_16_digits_are_the_same_however_they_are_spelled(value: Any) -> None:
    record = {"user_id": value, "item_id": "-0.0", "event_type": "view", "ts": "2025-07-01"}
    columns = parse_record("event", None, record, RULES).columns
    assert columns is not None and (columns["user_id"], columns["item_id"]) == ("1234567890123456", "0")
