from __future__ import annotations

import io
import os
import pickle
import zlib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmrec_lib.errors import LandingError
from mmrec_lib.ingest.landing import KnownFile, LandingFolder, format_of, kind_of, vector_name
from mmrec_lib.ingest.landing.plan import hash_and_split
from mmrec_lib.ingest.landing.rows import RawRow, csv_row, iter_rows

MB = 1 << 20


def known_of(landing: LandingFolder, written_us: int = 0, split_bytes: int = MB) -> list[KnownFile]:
    return [
        KnownFile(d.file.path, d.file.bytes_len, d.file.modified_us, d.file_id, d.sha256, written_us)
        for d in landing.deliveries(landing.files(), [], split_bytes)
    ]


def rows_of(folder: Path, name: str, content: bytes, limit: int = MB, split_bytes: int = MB) -> list[RawRow]:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)
    landing = LandingFolder(str(folder))
    delivery = next(d for d in landing.deliveries(landing.files(), [], split_bytes) if d.file.path == name)
    return [row for split in delivery.splits for row in iter_rows(landing, split, limit)]


@pytest.mark.parametrize(
    ("path", "kind", "file_format"),
    [
        ("events/2025-01.jsonl", "event", "json"),
        ("events.csv", "event", "csv"),
        ("items/part-0.parquet", "item", "parquet"),
        ("items-2.ndjson", "item", "json"),
        ("user_edges.jsonl", "user_edge", "json"),
        ("user_controls/app.csv", "user_control", "csv"),
        ("users.csv", "user", "csv"),
        ("reviews.json", "review", "json"),
        ("transcripts/a.jsonl", "provided_text", "json"),
        ("vectors/audio-vggish.parquet", "provided_vector", "parquet"),
        ("graph.tsv", "graph_edge", "tsv"),
        ("vectors/smell.parquet", "provided_vector", None),
        ("events/notes.txt", "event", None),
        ("README.md", None, None),
        ("images/a.jpg", None, None),
        ("graph.png", None, None),
    ],
)
def test_the_first_path_component_decides_the_source(path: str, kind: str | None, file_format: str | None) -> None:
    assert kind_of(path) == kind
    assert (format_of(path) if kind else None) == file_format


def test_vector_files_name_modality_and_encoder() -> None:
    assert vector_name("vectors/audio-vggish-1.0.parquet") == ("audio", "vggish-1.0")
    assert vector_name("vectors/image.parquet") == ("image", "provided")


@given(
    lines=st.lists(st.binary(max_size=12).map(lambda b: b.replace(b"\n", b"")), max_size=30),
    split_bytes=st.integers(1, 40),
    ends=st.booleans(),
)
def test_pieces_cover_the_file_and_count_its_lines(lines: list[bytes], split_bytes: int, ends: bool) -> None:
    content = b"\n".join(lines) + (b"\n" if ends else b"")
    _, pieces = hash_and_split(io.BytesIO(content), split_bytes)
    assert b"".join(content[start:stop] for start, stop, _, _ in pieces) == content
    for start, stop, first_line, crc in pieces:
        assert crc == zlib.crc32(content[start:stop])
        assert first_line == 1 + content[:start].count(b"\n")
        assert start == 0 or content[start - 1 : start] == b"\n"


def test_json_lines_keep_their_numbers_whatever_the_pieces(tmp_path: Path) -> None:
    content = b'\xef\xbb\xbf{"a":1}\r\n\r\n   \n{"b":2}\n{"c":3}'
    for split_bytes in (1024, 4):
        rows = rows_of(tmp_path, "events.jsonl", content, split_bytes=split_bytes)
        assert [(row.line, row.raw) for row in rows] == [(1, b'{"a":1}'), (4, b'{"b":2}'), (5, b'{"c":3}')]


def test_a_line_without_end_is_cut_and_the_next_one_is_whole(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, "events.jsonl", b"x" * 5000 + b'\n{"a":1}\n', limit=100)
    assert [(row.line, len(row.raw or b"")) for row in rows] == [(1, 101), (2, 7)]


def test_csv_rows_carry_their_header_and_can_be_read_again(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, "users.csv", b'\xef\xbb\xbfuser_id,note\r\nu1,"a\nb"\r\n\r\nu2,"x, y"\r\n')
    assert [(row.line, row.values) for row in rows] == [
        (2, {"user_id": "u1", "note": "a\nb"}),
        (5, {"user_id": "u2", "note": "x, y"}),
    ]
    assert rows[1].raw == b'user_id,note\nu2,"x, y"'
    assert [csv_row(row.raw or b"", MB).values for row in rows] == [row.values for row in rows]


def test_csv_rows_of_the_wrong_length_or_with_broken_quotes_are_refused_alone(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, "users.csv", b'a,b\n1\n"x"y,2\n3,4\n1,2,3\n')
    assert [(row.line, row.reason) for row in rows] == [(2, "not_json"), (3, "not_json"), (4, None), (5, "not_json")]


def test_a_csv_with_a_column_twice_is_unreadable_as_a_whole(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, "users.csv", b"a,a\n1,2\n\n3,4\n")
    assert [(row.line, row.reason) for row in rows] == [(1, "unreadable_file"), (2, "not_json"), (4, "not_json")]


def test_a_graph_needs_its_header(tmp_path: Path) -> None:
    good = rows_of(tmp_path, "graph.tsv", b'head\trelation\ttail\ni1\tmade by\t"x\n')
    bad = rows_of(tmp_path, "graph-2.tsv", b"i1\tmade_by\tx\n")
    assert good[0].values == {"head": "i1", "relation": "made by", "tail": '"x'}
    assert [row.reason for row in bad] == ["unreadable_file"]


def test_parquet_rows_that_python_cannot_hold_are_refused_alone(tmp_path: Path) -> None:
    bad_text = pa.array([b"ok", b"\xff"]).view(pa.string())
    sink = io.BytesIO()
    pq.write_table(pa.table({"user_id": bad_text, "n": [1, 2]}), sink)
    rows = rows_of(tmp_path, "events.parquet", sink.getvalue())
    assert rows[0].values == {"user_id": "ok", "n": 1}
    assert (rows[1].line, rows[1].reason) == (2, "invalid_utf8")


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [("events.parquet", b"PAR1 no", "unreadable_file"), ("events.xml", b"<a/>", "unsupported_format")],
)
def test_a_file_of_which_nothing_can_be_read_is_a_delivery_with_a_problem(
    tmp_path: Path, name: str, content: bytes, reason: str
) -> None:
    (tmp_path / name).write_bytes(content)
    landing = LandingFolder(str(tmp_path))
    (delivery,) = landing.deliveries(landing.files(), [], MB)
    assert delivery.problem is not None and delivery.problem.reason == reason and delivery.problem.raw == content


def test_only_new_and_changed_files_are_delivered(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_bytes(b"{}\n")
    (tmp_path / "users.csv").write_bytes(b"user_id\n")
    landing = LandingFolder(str(tmp_path))
    known = known_of(landing)
    assert landing.deliveries(landing.files(), known, MB) == []
    os.utime(tmp_path / "users.csv", (1, 1))
    assert landing.deliveries(landing.files(), known, MB) == []
    (tmp_path / "events.jsonl").write_bytes(b"{ }\n")
    assert [d.file.path for d in landing.deliveries(landing.files(), known, MB)] == ["events.jsonl"]


def test_a_file_that_is_changed_back_is_a_delivery_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "items.jsonl").write_bytes(b"first\n")
    landing = LandingFolder(str(tmp_path))
    known = known_of(landing, written_us=1)
    (tmp_path / "items.jsonl").write_bytes(b"second\n")
    known += known_of(landing, written_us=2)
    (tmp_path / "items.jsonl").write_bytes(b"first\n")
    os.utime(tmp_path / "items.jsonl", (7, 7))
    (again,) = landing.deliveries(landing.files(), known, MB)
    assert again.file_id not in {file.file_id for file in known}
    assert {split.file_id for split in again.splits} == {again.file_id}


def test_hidden_files_and_links_in_a_circle_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "events").mkdir()
    for name in ("a.jsonl", "_SUCCESS", ".a.crc"):
        (tmp_path / "events" / name).write_bytes(b"")
    (tmp_path / "events" / "loop").symlink_to(tmp_path)
    (tmp_path / "events" / "nowhere.jsonl").symlink_to(tmp_path / "missing")
    assert [file.path for file in LandingFolder(str(tmp_path)).files()] == ["events/a.jsonl"]


def test_a_link_out_of_the_folder_is_noticed(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (tmp_path / "secret.jpg").write_bytes(b"x")
    (data / "in.jpg").write_bytes(b"x")
    (data / "out.jpg").symlink_to(tmp_path / "secret.jpg")
    landing = LandingFolder(str(data))
    assert landing.holds("in.jpg") and not landing.holds("out.jpg")


def test_missing_and_empty_folders_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(LandingError, match="there is nothing"):
        LandingFolder(str(tmp_path / "nowhere"))
    (tmp_path / "README.md").write_text("hello")
    with pytest.raises(LandingError, match="that is a file"):
        LandingFolder(str(tmp_path / "README.md"))
    landing = LandingFolder(str(tmp_path))
    with pytest.raises(LandingError, match="no known source"):
        landing.require_sources()


def test_a_landing_folder_travels_to_workers(tmp_path: Path) -> None:
    clone: Any = pickle.loads(pickle.dumps(LandingFolder(str(tmp_path))))
    assert clone.uri == str(tmp_path)


def test_a_landing_folder_may_be_a_uri(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_bytes(b"{}\n")
    landing = LandingFolder(tmp_path.as_uri())
    assert [file.path for file in landing.files()] == ["events.jsonl"]
    assert landing.read_bytes("events.jsonl") == b"{}\n"
