from __future__ import annotations

import io
import json
import os
import socket
import stat
import subprocess
import sys
import unicodedata
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmrec_lib.ingest.config import LandingConfig
from mmrec_lib.ingest.landing import Delivery, KnownFile, LandingFolder
from mmrec_lib.ingest.landing import safe_open as safe_open_module
from mmrec_lib.ingest.landing.delta_log import DeltaLogError, is_own, read_state
from mmrec_lib.ingest.landing.names import folder_fields, is_hidden, table_roots
from mmrec_lib.ingest.landing.parquet import MAX_VECTOR_LENGTH, LostRows, iter_batches
from mmrec_lib.ingest.landing.rows import iter_rows
from mmrec_lib.ingest.landing.safe_open import OutsideError, open_inside
from mmrec_lib.ingest.records.folder_fields import with_folder_fields
from mmrec_lib.ingest.records.values import Rules

MB = 1 << 20


def known_of(landing: LandingFolder, number: int | None = None, written_us: int = 0) -> list[KnownFile]:
    return [
        KnownFile(d.file.path, d.file.bytes_len, d.file.modified_us, d.file_id, d.sha256, written_us, number)
        for d in landing.deliveries(landing.files(), [], MB)
    ]


def only(landing: LandingFolder) -> Delivery:
    (delivery,) = landing.deliveries(landing.files(), [], MB)
    return delivery


# name=value folders


RULES = Rules.of(LandingConfig())


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("events/a.jsonl", {}),
        ("events/split=train/country=DE/a.csv", {"split": "train", "country": "DE"}),
        ("events/name=a%2Fb%3D%20c/x.parquet", {"name": "a/b= c"}),
        ("events/split=__HIVE_DEFAULT_PARTITION__/x.parquet", {"split": None}),
        ("events/x=1=2/a", {"x": "1=2"}),
        ("events/=x/a=b.csv", {}),
    ],
)
def test_folders_name_fields(path: str, fields: dict[str, str | None]) -> None:
    assert folder_fields(path) == fields


def test_a_folder_gives_what_the_record_lacks_and_nothing_else() -> None:
    given = {"split": "train", "value": "4.5", "available": "false", "user_id": "007", "gone": None}
    typed = with_folder_fields(b'{"split": "test", "user_id": null}', None, given, RULES)
    assert typed == {"split": "test", "value": "4.5", "available": "false", "user_id": "007"}
    text = with_folder_fields(b"x", {"split": "NULL", "value": "1"}, given, RULES)
    assert text == {"split": "train", "value": "1", "available": "false", "user_id": "007"}
    assert with_folder_fields(b"{", None, given, RULES) is None


def test_hidden_names_are_not_fields() -> None:
    assert is_hidden("events/_SUCCESS") and is_hidden("events/.a.crc") and not is_hidden("events/_c0=1/a.csv")


# tables


def test_folders_of_table_formats_are_told_by_what_is_in_them() -> None:
    paths = [
        "events/_delta_log/00000000000000000000.json",
        "events/a.parquet",
        "items/x/metadata/v1.metadata.json",
        "reviews/.hoodie/hoodie.properties",
        "users/metadata/notes.txt",
    ]
    assert table_roots(paths) == {"events": "delta", "items/x": "iceberg", "reviews": "hudi"}


def test_no_file_of_a_table_is_read_alone_and_foreign_tables_are_named(tmp_path: Path) -> None:
    for name in (
        "items/x/metadata/v1.metadata.json",
        "items/x/data/a.parquet",
        "reviews/.hoodie/h",
        "reviews/a.parquet",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    scan = LandingFolder(str(tmp_path)).scan()
    assert scan.files == []
    assert {(p.path, p.reason) for p in scan.problems} == {
        ("items/x", "unsupported_format"),
        ("reviews", "unsupported_format"),
    }
    assert "Iceberg" in scan.problems[0].detail and "Hudi" in scan.problems[1].detail


def log_of(folder: Path, *commits: list[dict[str, object]]) -> list[str]:
    (folder / "_delta_log").mkdir(parents=True, exist_ok=True)
    for version, actions in enumerate(commits):
        path = folder / "_delta_log" / f"{version:020d}.json"
        path.write_text("\n".join(json.dumps(action) for action in actions))
    return sorted(str(path) for path in (folder / "_delta_log").iterdir())


def opened(path: str) -> io.BytesIO:
    return io.BytesIO(Path(path).read_bytes())


CREATED: list[dict[str, object]] = [
    {"commitInfo": {"operation": "WRITE"}},
    {"metaData": {"id": "t1", "configuration": {"delta.enableChangeDataFeed": "true"}}},
    {"add": {"path": "part-0.parquet"}},
]


def test_a_log_tells_version_identity_and_feed(tmp_path: Path) -> None:
    names = log_of(tmp_path, CREATED, [{"commitInfo": {"operation": "OPTIMIZE"}}])
    state = read_state(names, opened)
    assert (state.table_id, state.version, state.has_feed, state.changed_at) == ("t1", 1, True, 0)


@pytest.mark.parametrize(
    "path", ["/etc/secret.parquet", "file:/etc/x", "s3://b/x", "../x.parquet", "a/%2E%2E/%2e%2e/x"]
)
def test_a_log_that_names_strangers_is_refused(tmp_path: Path, path: str) -> None:
    assert not is_own(path) and is_own("ts=2025-07-01 12%3A00/part-0.parquet")
    names = log_of(tmp_path, CREATED, [{"add": {"path": path}}])
    with pytest.raises(DeltaLogError, match="outside its folder"):
        read_state(names, opened)


STRANGER = {"path": "file:/etc/x.parquet", "size": 1}
ELSEWHERE = {"path": "part-1.parquet", "deletionVector": {"storageType": "p", "pathOrInlineDv": "/etc/x.bin"}}


@pytest.mark.parametrize("add", [STRANGER, ELSEWHERE], ids=["a file", "a deletion vector"])
@pytest.mark.parametrize(
    "name",
    [
        f"{0:020d}.checkpoint.parquet",
        f"{0:020d}.checkpoint.0a1b.json",
        "_sidecars/0a1b.parquet",
        f"{0:020d}.{1:020d}.compacted.json",
        f"{0:020d}.crc",
    ],
)
def test_strangers_are_refused_wherever_a_log_names_them(tmp_path: Path, name: str, add: dict[str, object]) -> None:
    names = log_of(tmp_path, CREATED)
    path = tmp_path / "_delta_log" / name
    path.parent.mkdir(exist_ok=True)
    if name.endswith(".parquet"):
        pq.write_table(pa.Table.from_pylist([{"add": {"path": "part-0.parquet"}}, {"add": add}]), path)
    elif name.endswith(".crc"):
        path.write_text(json.dumps({"numFiles": 1, "allFiles": [add]}))
    else:
        path.write_text(json.dumps({"add": add}))
    with pytest.raises(DeltaLogError, match="outside its folder"):
        read_state([*names, str(path)], opened)


def test_a_table_is_a_new_delivery_when_its_rows_changed(tmp_path: Path) -> None:
    log_of(tmp_path / "events", CREATED)
    landing = LandingFolder(str(tmp_path))
    first = only(landing)
    assert first.table is not None and (first.table.version, first.table.changes_from) == (0, None)
    file = first.file
    known = [
        KnownFile(file.path, file.bytes_len, file.modified_us, first.file_id, first.sha256, 0, 1, 0, "t1"),
    ]
    assert landing.deliveries(landing.files(), known, MB) == []
    log_of(tmp_path / "events", CREATED, [{"commitInfo": {"operation": "OPTIMIZE"}}])
    assert landing.deliveries(landing.files(), known, MB) == [], "the same rows in other files are nothing new"
    log_of(
        tmp_path / "events",
        CREATED,
        [{"commitInfo": {"operation": "OPTIMIZE"}}],
        [{"commitInfo": {"operation": "WRITE"}}],
    )
    (second,) = landing.deliveries(landing.files(), known, MB)
    assert second.table is not None and (second.table.version, second.table.changes_from) == (2, 1)
    other = [replace(known[0], table_id="another")]
    (again,) = landing.deliveries(landing.files(), other, MB)
    assert again.table is not None and again.table.changes_from is None


# places that cannot be read


def test_pipes_devices_and_odd_names_are_named_and_never_opened(tmp_path: Path) -> None:
    (tmp_path / "events").mkdir()
    (tmp_path / "events" / "a.jsonl").write_bytes(b"{}\n")
    os.mkfifo(tmp_path / "events" / "pipe.jsonl")
    (tmp_path / "events" / "nowhere.jsonl").symlink_to(tmp_path / "missing")
    (tmp_path / "events" / "zero.jsonl").symlink_to("/dev/zero")
    Path(os.fsdecode(os.fsencode(tmp_path / "events") + b"/\xff\xfe.jsonl")).write_bytes(b"{}\n")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(tmp_path / "events" / "s.jsonl"))
        scan = LandingFolder(str(tmp_path)).scan()
    assert [file.path for file in scan.files] == ["events/a.jsonl"]
    told = {problem.path: problem.detail for problem in scan.problems}
    assert set(told) == {
        "events/pipe.jsonl",
        "events/nowhere.jsonl",
        "events/zero.jsonl",
        "events/s.jsonl",
        "events/\\xff\\xfe.jsonl",
    }
    assert "pipe" in told["events/pipe.jsonl"] and "UTF-8" in told["events/\\xff\\xfe.jsonl"]


def test_a_pipe_in_the_place_of_a_file_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "p")
    with pytest.raises(OSError, match="plain file"):
        open_inside(str(tmp_path), "p")


def test_a_link_out_of_the_folder_is_refused_for_records_too(tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "events").mkdir(parents=True)
    (tmp_path / "secret").write_bytes(b'{"password": 1}\n')
    (data / "events" / "out.jsonl").symlink_to(tmp_path / "secret")
    (data / "events" / "real").write_bytes(b"{}\n")
    (data / "events" / "in.jsonl").symlink_to(data / "events" / "real")
    landing = LandingFolder(str(data))
    told = {d.file.path: d.problem for d in landing.deliveries(landing.files(), [], MB) if "json" in d.file.path}
    assert told["events/in.jsonl"] is None
    problem = told["events/out.jsonl"]
    assert problem is not None and "link leads out" in problem.detail and problem.raw == b""


def test_a_folder_that_is_a_link_out_is_named_and_not_walked(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (tmp_path / "away").mkdir()
    (tmp_path / "away" / "a.jsonl").write_bytes(b"secret")
    (data / "events").symlink_to(tmp_path / "away")
    scan = LandingFolder(str(data)).scan()
    assert scan.files == [] and scan.outside == ["events"]
    assert [problem.path for problem in scan.problems] == ["events"]


def test_a_link_that_is_exchanged_while_it_is_opened_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (tmp_path / "secret").write_bytes(b"s")
    (data / "a.jsonl").write_bytes(b"x")
    really_open = os.open

    def exchange(path: str, flags: int) -> int:
        (data / "a.jsonl").unlink()
        (data / "a.jsonl").symlink_to(tmp_path / "secret")
        return really_open(path, flags)

    monkeypatch.setattr(safe_open_module.os, "open", exchange)
    with pytest.raises(OutsideError):
        open_inside(str(data), "a.jsonl")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_files_and_folders_without_permission_are_named_and_the_rest_is_read(tmp_path: Path) -> None:
    (tmp_path / "events" / "locked").mkdir(parents=True)
    (tmp_path / "events" / "good.jsonl").write_bytes(b"{}\n")
    (tmp_path / "events" / "secret.jsonl").write_bytes(b"{}\n")
    (tmp_path / "events" / "secret.jsonl").chmod(0)
    (tmp_path / "events" / "locked").chmod(0)
    for folder in (tmp_path, *tmp_path.parents):
        if stat.S_IMODE(folder.stat().st_mode) & 0o055 != 0o055 and folder != Path("/"):
            folder.chmod(0o755)
    script = (
        "import os, sys, json\n"
        "from mmrec_lib.ingest.landing import LandingFolder\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "landing = LandingFolder(sys.argv[1]); scan = landing.scan()\n"
        "found = landing.deliveries(scan.files, [], 1 << 20)\n"
        "print(json.dumps([[d.file.path, d.problem and d.problem.detail, d.is_read] for d in found]"
        " + [[p.path, p.detail, False] for p in scan.problems]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True, timeout=60
    )
    good, secret, locked = json.loads(done.stdout)
    assert good == ["events/good.jsonl", None, True]
    assert secret[0] == "events/secret.jsonl" and "Permission denied" in secret[1] and not secret[2]
    assert locked[0] == "events/locked" and "Permission denied" in locked[1]


def test_a_file_that_cannot_be_opened_is_tried_again_and_known_by_no_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "events.jsonl").write_bytes(b"{}\n")
    landing = LandingFolder(str(tmp_path))

    def refuse(root: str, path: str) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr("mmrec_lib.ingest.landing.folder.open_inside", refuse)
        delivery = only(landing)
    assert not delivery.is_read and delivery.file_id.startswith("unread-")
    assert (
        delivery.problem is not None and not delivery.problem.is_lost and "Permission denied" in delivery.problem.detail
    )
    assert only(landing).is_read


# files that change


def test_a_file_that_changes_after_it_was_planned_says_so_whatever_its_format(tmp_path: Path) -> None:
    pq.write_table(pa.table({"user_id": ["a"]}), tmp_path / "users.parquet")
    for name, content in (("users.csv", b"user_id\nu1\n"), ("users.jsonl", b'{"user_id": "a"}\n')):
        (tmp_path / name).write_bytes(content)
    landing = LandingFolder(str(tmp_path))
    deliveries = landing.deliveries(landing.files(), [], MB)
    for delivery in deliveries:
        path = tmp_path / delivery.file.path
        assert "file_changed" not in [r.reason for s in delivery.splits for r in iter_rows(landing, s, MB)]
        before = path.stat()
        path.write_bytes(path.read_bytes().replace(b"u1", b"u2").replace(b'"a"', b'"b"'))
        if path.suffix == ".parquet":
            os.utime(path, (1, 1))
        else:  # neither size nor time gives the change away
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert [r.reason for s in delivery.splits for r in iter_rows(landing, s, MB)][-1] == "file_changed"
        path.unlink()
        assert [r.reason for s in delivery.splits for r in iter_rows(landing, s, MB)] == ["file_changed"]


# order and names


def test_the_newest_delivery_is_the_last_commit_whatever_the_clock_says(tmp_path: Path) -> None:
    (tmp_path / "items.jsonl").write_bytes(b"first\n")
    landing = LandingFolder(str(tmp_path))
    known = known_of(landing, number=1, written_us=2_000)
    (tmp_path / "items.jsonl").write_bytes(b"second\n")
    known += known_of(landing, number=2, written_us=1_000)
    os.utime(tmp_path / "items.jsonl", (7, 7))
    plan = landing.plan(landing.files(), known, MB)
    assert plan.deliveries == []
    assert [(old.number, new.modified_us) for old, new in plan.touched] == [(2, 7_000_000)]


def test_names_match_in_every_unicode_form(tmp_path: Path) -> None:
    decomposed = unicodedata.normalize("NFD", "events/bücher.jsonl")
    (tmp_path / "events").mkdir()
    (tmp_path / decomposed).write_bytes(b"{}\n")
    landing = LandingFolder(str(tmp_path))
    (file,) = landing.files()
    assert file.path == unicodedata.normalize("NFC", "events/bücher.jsonl") != decomposed
    assert landing.read_bytes(file.path) == landing.read_bytes(decomposed) == b"{}\n"
    assert Path(landing.uri_of(file.path)).exists()
    assert only(landing).problem is None


# Parquet


def test_a_damaged_page_costs_its_row_group(tmp_path: Path) -> None:
    path = tmp_path / "events.parquet"
    table = pa.table({"user_id": [f"user-{n:06d}" for n in range(3000)]})
    pq.write_table(table, path, row_group_size=1000, use_dictionary=False, compression="zstd")
    start = pq.ParquetFile(path).metadata.row_group(1).column(0).data_page_offset
    data = bytearray(path.read_bytes())
    data[start + 60 : start + 400] = bytes(340)
    path.write_bytes(data)
    rows = [
        r for s in only(LandingFolder(str(tmp_path))).splits for r in iter_rows(LandingFolder(str(tmp_path)), s, MB)
    ]
    assert [row.line for row in rows] == list(range(1, 3001))
    assert {row.line for row in rows if row.reason == "unreadable_record"} == set(range(1001, 2001))


def test_a_bomb_of_vectors_is_refused_by_its_footer(tmp_path: Path) -> None:
    (tmp_path / "vectors").mkdir()
    zeros = pa.array([[0.0] * (MAX_VECTOR_LENGTH + 1)] * 2, pa.list_(pa.float32()))
    pq.write_table(pa.table({"item_id": ["a", "b"], "vector": zeros}), tmp_path / "vectors" / "text.parquet")
    delivery = only(LandingFolder(str(tmp_path)))
    assert delivery.problem is not None and "at most 65536 numbers" in delivery.problem.detail


def test_a_bomb_of_records_is_refused_row_by_row_and_never_decoded_at_once(tmp_path: Path) -> None:
    huge = "x" * (8 * MB)
    column = pa.DictionaryArray.from_arrays(pa.array([0] * 400 + [1], pa.int32()), pa.array([huge, "small"]))
    pq.write_table(pa.table({"user_id": [f"u{n}" for n in range(401)], "note": column}), tmp_path / "users.parquet")
    assert (tmp_path / "users.parquet").stat().st_size < 2 * MB
    landing = LandingFolder(str(tmp_path))
    delivery = only(landing)
    assert delivery.problem is None
    before = pa.total_allocated_bytes()
    reasons = []
    for split in delivery.splits:
        for row in iter_rows(landing, split, 4 * MB):
            reasons.append(row.reason)
            assert pa.total_allocated_bytes() - before < 200 * MB
    assert reasons == ["impossible_value"] * 400 + [None]


def test_a_nested_bomb_is_refused_by_its_footer(tmp_path: Path) -> None:
    lists = pa.array([[0] * 5_000_000] * 4, pa.list_(pa.int64()))
    pq.write_table(pa.table({"user_id": list("abcd"), "xs": lists}), tmp_path / "users.parquet")
    delivery = only(LandingFolder(str(tmp_path)))
    assert delivery.problem is not None and "bomb" in delivery.problem.detail


def test_batches_are_bounded_by_bytes(tmp_path: Path) -> None:
    wide = pa.table({"note": [os.urandom(200_000).hex() for _ in range(100)]})
    pq.write_table(wide, tmp_path / "w.parquet", use_dictionary=False)
    with (tmp_path / "w.parquet").open("rb") as stream:
        sizes = [part[1].nbytes for part in iter_batches(stream, "w", range(1), 1) if not isinstance(part, LostRows)]
    assert max(sizes) <= 32 * MB and sum(sizes) > 38 * MB
