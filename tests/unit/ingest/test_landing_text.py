from __future__ import annotations

import gzip
import io
import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmrec_lib.ingest.landing import Delivery, LandingFolder
from mmrec_lib.ingest.landing.csv_rows import iter_csv
from mmrec_lib.ingest.landing.json_values import iter_values
from mmrec_lib.ingest.landing.raw_row import HEADER_BYTES, RawRow
from mmrec_lib.ingest.landing.rows import iter_rows
from mmrec_lib.ingest.landing.streams import iter_lines

MB = 1 << 20


def deliver(folder: Path, name: str, content: bytes) -> tuple[LandingFolder, Delivery]:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)
    landing = LandingFolder(str(folder))
    (delivery,) = [d for d in landing.deliveries(landing.files(), [], MB) if d.file.path == name]
    return landing, delivery


def rows_of(folder: Path, name: str, content: bytes, limit: int = MB) -> list[RawRow]:
    landing, delivery = deliver(folder, name, content)
    assert delivery.problem is None, delivery.problem
    return [row for split in delivery.splits for row in iter_rows(landing, split, limit)]


def csv_of(content: bytes, limit: int = MB) -> list[RawRow]:
    return list(iter_csv(iter_lines(io.BytesIO(content), 1, limit), limit))


def fates(rows: list[RawRow]) -> list[tuple[int, str]]:
    return [(row.line, row.reason or "good") for row in rows]


def reviews(num: int) -> list[bytes]:
    return [b"review_id,user_id,text", *(b'r%d,u%d,"fine, %d"' % (n, n, n) for n in range(num))]


# CSV: broken quotes


def test_one_unclosed_quote_costs_its_own_line_and_no_other() -> None:
    lines = reviews(300)
    lines[10] = b'r9,u9,"never closed'
    rows = csv_of(b"\n".join(lines) + b"\n")
    assert [row.line for row in rows if row.problem] == [11]
    assert sum(row.problem is None for row in rows) == 299
    assert rows[-1].values == {"review_id": "r299", "user_id": "u299", "text": "fine, 299"}


def test_an_unclosed_quote_before_lines_without_quotes_costs_its_own_line() -> None:
    rows = csv_of(b'user_id,note\nu1,"a\nu2,b\nu3,c\nu4,d\n')
    assert fates(rows) == [(2, "not_json"), (3, "good"), (4, "good"), (5, "good")]


def test_every_line_with_an_unclosed_quote_is_refused_alone() -> None:
    rows = csv_of(b"a,b\n" + b'1,"x\n' * 500)
    assert Counter(row.reason for row in rows) == {"not_json": 500}
    assert [row.line for row in rows] == list(range(2, 502))


def test_a_quoted_cell_over_several_lines_stays_whole() -> None:
    rows = csv_of(b'a,b,c\n1,"one\ntwo, with a comma\n""three""",x\n2,y,z\n')
    assert [row.values for row in rows] == [
        {"a": "1", "b": 'one\ntwo, with a comma\n"three"', "c": "x"},
        {"a": "2", "b": "y", "c": "z"},
    ]


def test_a_record_of_several_lines_with_too_many_fields_counts_by_its_lines() -> None:
    rows = csv_of(b'a,b\n1,"one\ntwo\nthree",x\n2,y\n')
    assert fates(rows) == [(2, "not_json"), (3, "not_json"), (4, "not_json"), (5, "good")]
    assert "line 2" in (rows[1].problem or "")


def test_words_of_a_user_that_look_like_records_are_never_taken_for_records() -> None:
    rows = csv_of(b'a,b,c\n1,u1,"text\nx,victim,forged\ny,victim,forged\nbye, so, long"\n2,u2,ok\n')
    assert not any(row.values and row.values["b"] == "victim" for row in rows)
    assert fates(rows)[-1] == (6, "good")
    assert len(rows) == 5, "and they do not vanish in one cell without a word"


def test_a_cr_in_a_quoted_cell_is_kept_and_makes_no_extra_row() -> None:
    rows = csv_of(b'user_id,note\r\nu1,"a\rb\r\nc"\r\nu2,x\r\n')
    assert [row.values for row in rows] == [{"user_id": "u1", "note": "a\rb\r\nc"}, {"user_id": "u2", "note": "x"}]


def test_a_cell_longer_than_a_record_may_be_costs_its_lines_and_the_rest_is_read() -> None:
    rows = csv_of(b"a,b\n1," + b"x" * 5000 + b"\n2,y\n", limit=1000)
    assert fates(rows) == [(2, "impossible_value"), (3, "good")]
    spread = csv_of(b'a,b\n1,"' + b"word\n" * 500 + b'"\n2,y\n', limit=1000)
    assert fates(spread)[-1] == (503, "good")
    assert sum(row.problem is not None for row in spread) >= 500


@given(
    st.lists(
        st.tuples(st.text(alphabet='ab,"\n\r;é', max_size=8), st.text(alphabet='ab,"\n', max_size=8)),
        min_size=1,
        max_size=8,
    )
)
def test_what_a_proper_writer_wrote_is_read_as_it_was(cells: list[tuple[str, str]]) -> None:
    def quoted(text: str) -> str:
        return '"' + text.replace('"', '""') + '"'

    text = "id,x,y\n" + "".join(f"{n},{quoted(a)},{quoted(b)}\n" for n, (a, b) in enumerate(cells))
    rows = csv_of(text.encode())
    good = [row.values for row in rows if row.values is not None]
    expected = [{"id": str(n), "x": a, "y": b} for n, (a, b) in enumerate(cells)]
    # A cell that looks like several records is refused, never read as something else.
    assert all(values in expected for values in good)
    assert len(good) == len(expected) or any(row.problem for row in rows)


@given(st.binary(max_size=200))
def test_each_line_of_noise_is_in_exactly_one_row(noise: bytes) -> None:
    rows = csv_of(b"a,b\n" + noise)
    lines = [line for line in rows if line.problem is not None]
    assert len({row.line for row in rows}) == len(rows)
    num_filled = sum(bool(line.strip()) for line in noise.split(b"\n"))
    assert len(lines) <= num_filled and (not num_filled or rows)


# CSV: headers, separators, columns


def test_columns_without_name_and_content_are_dropped() -> None:
    rows = csv_of(b"user_id,age,\nu1,30,\nu2,31\nu3,32,,\nu4,33,x\nu5\n")
    assert [row.values for row in rows] == [
        {"user_id": "u1", "age": "30"},
        {"user_id": "u2", "age": "31"},
        {"user_id": "u3", "age": "32"},
        {"user_id": "u4", "age": "33", "column_3": "x"},
        None,
    ]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_the_separator_is_that_of_the_header(separator: str) -> None:
    rows = csv_of(separator.join(["user_id", "note"]).encode() + b"\n" + f'u1{separator}"a{separator}b"\n'.encode())
    assert [row.values for row in rows] == [{"user_id": "u1", "note": f"a{separator}b"}]


def test_the_line_that_excel_writes_names_the_separator() -> None:
    assert [row.values for row in csv_of(b"sep=;\r\na;b\r\n1;2\r\n")] == [{"a": "1", "b": "2"}]


def test_a_header_that_cannot_be_read_loses_every_line() -> None:
    rows = csv_of(b"a,a\n" + b"1,2\n" * 50)
    assert Counter(row.reason for row in rows) == {"unreadable_file": 1, "not_json": 50}


def test_a_long_header_is_kept_once_a_file(tmp_path: Path) -> None:
    header = b"user_id," + b"x" * (2 * MB)
    landing, delivery = deliver(tmp_path, "users.csv", header + b"\n" + b"u1,a\n" * 400)
    rows = [row for split in delivery.splits for row in iter_rows(landing, split, 4 * MB)]
    assert len(rows) == 400 and sum(len(row.raw or b"") for row in rows) < HEADER_BYTES
    assert delivery.header == header


# JSON arrays


def test_a_json_array_is_read_element_by_element(tmp_path: Path) -> None:
    records = [{"item_id": f"i{n}", "text": "a]}, {b é"} for n in range(1000)]
    for indent in (None, 1):
        rows = rows_of(tmp_path, "items.json", json.dumps(records, indent=indent, ensure_ascii=False).encode())
        assert [json.loads(row.raw or b"") for row in rows] == records
        assert [row.line for row in rows] == list(range(1, 1001))


def test_objects_over_several_lines_are_records(tmp_path: Path) -> None:
    content = b'{\n "item_id": "a"\n}\n{\n "item_id": "b"\n}\n'
    assert [json.loads(row.raw or b"") for row in rows_of(tmp_path, "items.jsonl", content)] == [
        {"item_id": "a"},
        {"item_id": "b"},
    ]


def test_a_broken_element_costs_itself(tmp_path: Path) -> None:
    parts = [f'{{"item_id": "i{n}"}}' for n in range(100)]
    parts[40] = "{'item_id': oops}"
    rows = rows_of(tmp_path, "items.json", ("[" + ", ".join(parts) + "]").encode())
    assert Counter(row.reason for row in rows) == {None: 99, "not_json": 1}


def test_an_array_that_is_cut_off_loses_its_end_only(tmp_path: Path) -> None:
    text = json.dumps([{"item_id": f"i{n}"} for n in range(50)])
    rows = rows_of(tmp_path, "items.json", text[:-8].encode())
    assert Counter(row.reason for row in rows) == {None: 49, "not_json": 1}


@given(st.binary(max_size=120))
def test_noise_in_an_array_never_crashes(noise: bytes) -> None:
    rows = list(iter_values(io.BytesIO(b'[{"a": 1}, ' + noise), 1000))
    assert rows and rows[0].raw == b'{"a": 1}'


# compression and shapes


@pytest.mark.parametrize("name", ["users.csv.gz", "users.csv"])
def test_gzip_is_read_by_what_is_inside(tmp_path: Path, name: str) -> None:
    content = gzip.compress(b"user_id,age\nu1,3\n") + gzip.compress(b"u2,4\n")
    assert [row.values for row in rows_of(tmp_path, name, content)] == [
        {"user_id": "u1", "age": "3"},
        {"user_id": "u2", "age": "4"},
    ]


def test_gzipped_json_lines_and_arrays_are_read(tmp_path: Path) -> None:
    for name, content in (("items.jsonl.gz", b'{"a":1}\n{"a":2}\n'), ("items.json.gz", b'[{"a":1},{"a":2}]')):
        assert [row.raw for row in rows_of(tmp_path, name, gzip.compress(content))] == [b'{"a":1}', b'{"a":2}']


def test_a_bomb_is_refused_without_being_unpacked_into_memory(tmp_path: Path) -> None:
    bomb = gzip.compress(bytes(200 * MB))
    assert len(bomb) < MB
    _, delivery = deliver(tmp_path, "events.jsonl.gz", bomb)
    assert delivery.problem is not None and "bomb" in delivery.problem.detail and not delivery.splits


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("users.csv", "user_id,age\nu1,3\n".encode("utf-16"), "UTF-16; save it as UTF-8"),
        ("users.csv", "user_id,age\nu1,3\nu2,4\n".encode("utf-16-le"), "UTF-16; save it as UTF-8"),
        ("users.csv", b"PK\x03\x04 sheet", "Excel workbook; unpack it, or save the sheet as CSV"),
        ("items.jsonl", b"PAR1....", "Parquet; give it a name that ends in .parquet"),
        ("items.jsonl", b"\x28\xb5\x2f\xfd....", "zstd"),
        ("items.jsonl.gz", gzip.compress(b'{"a":1}\n' * 99, mtime=0)[:-9], "cut off"),
        ("users.csv", b"user_id,age\ru1,3\ru2,4\r", "CR alone"),
        ("items.parquet", gzip.compress(b"PAR1", mtime=0), "compressed with gzip; unpack it"),
    ],
)
def test_a_file_of_another_shape_gets_one_sentence(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    _, delivery = deliver(tmp_path, name, content)
    assert delivery.problem is not None and said in delivery.problem.detail
    assert delivery.problem.detail.startswith(name) and delivery.problem.is_lost


def test_byte_order_marks_are_no_content(tmp_path: Path) -> None:
    bom = b"\xef\xbb\xbf"
    assert rows_of(tmp_path, "users.csv", bom + b"user_id\nu1\n")[0].values == {"user_id": "u1"}
    assert rows_of(tmp_path, "items.json", bom + b'[{"a":1}]')[0].raw == b'{"a":1}'
