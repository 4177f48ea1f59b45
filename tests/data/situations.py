"""One landing folder that holds what real exports, people and machines bring, each with its known answer beside it."""

from __future__ import annotations

import gzip
import io
import json
import os
import unicodedata
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile
from deltalake import DeltaTable, write_deltalake
from PIL import Image

from tests.unit.media.clips import clip, scene

TS = "2025-07-01T12:00:00Z"
NOON = datetime(2025, 7, 1, 12, tzinfo=UTC)
SECRET = "quite-secret-7f3a91"
FAR_AHEAD = timedelta(days=400)
SOON = timedelta(minutes=1)
ODD_NAMES = (
    "it's",
    'say "hi"',
    "back`tick",
    "two\nlines",
    "../up/../../up",
    "<script>alert(1)</script>",
    "\U0001f45f shoe",
    "\u202eright to left \u05e9\u05dc\u05d5\u05dd",
    "made of (%)",
    "semi;colon, comma",
    "\x1b[31mred",
    "$HOME ${x} %41",
    "a" * 200,
)
"""Ids, attribute names and relations that somebody, somewhere, uses."""
ODD_FILES = (
    "it's",
    'say "hi"',
    "back`tick",
    "two\nlines",
    "<b>bold<b>",
    "\U0001f45f",
    "\u202ertl",
    "100% %41",
    "\x1b[31mred",
    "back\\slash",
    "semi;colon, comma",
    "[ab]*?{c}",
    "l" * 200,
)
ITEMS = [f"i{number}" for number in range(1, 11)]
Record = dict[str, Any]


@dataclass(frozen=True)
class Refused:
    """A quarantine row that must exist.

    Attributes:
        path: The landing file.
        line: Line or row; None for any.
        words: The detail holds one of these at least (in any case); empty for any detail.
        record_id: Key of the record; None for any.
    """

    path: str
    line: int | None = None
    words: tuple[str, ...] = ()
    record_id: str | None = None


@dataclass
class Answer:
    """Facts that must hold after the ingest of one situation.

    Attributes:
        rows: (table, key) → columns that the row must have; `attributes` names a part of the map, None means absent.
        absent: (table, key) that no row may have.
        refused: Quarantine rows that must exist.
        either: Per record, its row with columns, or a quarantine row: one of the two must hold.
        books: Path → physical records; None where only the balance is known.
        clean: Paths that have no quarantine row.
        at_most: Path → most quarantine rows that it may have.
    """

    rows: dict[tuple[str, str], Record] = field(default_factory=dict)
    absent: list[tuple[str, str]] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    either: list[tuple[str, str, Record, Refused]] = field(default_factory=list)
    reconciliation: dict[str, int | None] = field(default_factory=dict)
    clean: list[str] = field(default_factory=list)
    at_most: dict[str, int] = field(default_factory=dict)

    def events(self, ids: Iterable[str], **columns: Any) -> None:
        """These events must be stored."""
        self.rows.update({("event", event_id): dict(columns) for event_id in ids})


@dataclass
class Landing:
    """A landing folder in the making, with the answers by kind and situation."""

    folder: Path
    answers: dict[str, dict[str, Answer]] = field(default_factory=dict)
    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    def answer(self, kind: str, situation: str) -> Answer:
        """A new answer."""
        made = self.answers.setdefault(kind, {})[situation] = Answer()
        return made

    def write(self, path: str, content: bytes | str | Sequence[Record]) -> str:
        """Write bytes, text, or records as JSON Lines; returns the path."""
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str):
            content = content.encode()
        elif not isinstance(content, bytes):
            content = b"".join(json.dumps(record, ensure_ascii=False).encode() + b"\n" for record in content)
        target.write_bytes(content)
        return path

    def parquet(self, path: str, table: pa.Table, **options: Any) -> str:
        """Write a Parquet file; returns the path."""
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, target, **options)
        return path


def event(event_id: str | None, user: Any = "u1", item: Any = "i1", **more: Any) -> Record:
    """A view."""
    record = {"event_id": event_id, "user_id": user, "item_id": item, "event_type": "view", "ts": TS, **more}
    return {name: value for name, value in record.items() if not (name == "event_id" and value is None)}


def csv_lines(header: str, rows: Iterable[str], end: str = "\n") -> bytes:
    """A CSV file."""
    return end.join([header, *rows, ""]).encode()


def write_situations(folder: Path, kinds: Sequence[Callable[[Landing], None]] | None = None) -> Landing:
    """Write the landing folder as it is at the first run.

    Args:
        folder: Where to write; made when absent.
        kinds: Some of `KINDS`, to look at them alone; None for all.

    Returns:
        The folder and the known answers, by kind and situation.
    """
    landing = Landing(folder)
    items: list[Record] = [{"item_id": item, "title": f"Thing {item}", "updated_at": "2025-01-01"} for item in ITEMS]
    items += [{"item_id": number, "title": "By number"} for number in (17, 18)]
    items.append({"item_id": str(_UUID), "title": "By UUID"})
    landing.write("items.jsonl", items)
    for write in KINDS if kinds is None else kinds:
        write(landing)
    for answers in landing.answers.values():
        for answer in answers.values():
            for path in answer.clean:
                answer.reconciliation.setdefault(path, None)
    return landing


# files of another shape


_HEADER = "event_id,user_id,item_id,event_type,query,ts"


def _row(event_id: str, query: str = "", separator: str = ",") -> str:
    return separator.join([event_id, "u1", "i1", "view", query, TS])


def _csv_shapes(landing: Landing) -> None:
    kind = "csv"
    answer = landing.answer(kind, "unclosed quote in the middle of 100 lines")
    ids = [f"unclosed-{number}" for number in range(1, 101)]
    rows = [_row(event_id, '"never closed' if event_id == "unclosed-50" else "hat") for event_id in ids]
    path = landing.write("events/unclosed.csv", csv_lines(_HEADER, rows))
    answer.events(set(ids) - {"unclosed-50"})
    answer.refused.append(Refused(path, 51))
    answer.reconciliation[path], answer.at_most[path] = 100, 1

    answer = landing.answer(kind, "unclosed quotes before rows with good quotes")
    ids = [f"twice-{number}" for number in range(1, 41)]
    queries = {"twice-10": '"lost', "twice-20": '"lost again', "twice-15": '"a, b"', "twice-30": '"say ""hi"""'}
    rows = [_row(event_id, queries.get(event_id, "hat")) for event_id in ids]
    path = landing.write("events/twice.csv", csv_lines(_HEADER, rows))
    answer.events(set(ids) - {"twice-10", "twice-20"})
    answer.rows["event", "twice-30"] = {"query": 'say "hi"'}
    answer.reconciliation[path], answer.at_most[path] = 40, 2

    answer = landing.answer(kind, "cells of several lines")
    path = landing.write(
        "events/long-cells.csv", csv_lines(_HEADER, [_row("cell-1", '"one\ntwo\nthree"'), _row("cell-2", "x")])
    )
    answer.rows["event", "cell-1"] = {"query": "one\ntwo\nthree"}
    answer.events(["cell-2"])
    answer.reconciliation[path] = 2
    answer.clean.append(path)

    answer = landing.answer(kind, "carriage returns inside quotes")
    rows = ['"cr-1","u1","i1","view","one\rtwo",' + TS, '"cr-2","cr\ruser","i1","view","one\r\ntwo",' + TS]
    path = landing.write("events/cr.csv", csv_lines(_HEADER, rows, end="\r\n"))
    landing.write("events/cr.jsonl", [event("cr-3", user="cr\ruser")])
    answer.rows |= {
        ("event", "cr-1"): {"query": "one\rtwo"},
        ("event", "cr-2"): {"query": "one\r\ntwo", "user_id": "cr\ruser"},
        ("user", "cr\ruser"): {},
    }
    answer.absent += [("user", "cruser"), ("user", "cr\nuser"), ("user", "cr user")]
    answer.reconciliation[path] = 2
    answer.clean.append(path)


def _csv_columns(landing: Landing) -> None:
    kind = "csv"
    answer = landing.answer(kind, "trailing separator in header and rows")
    path = landing.write("events/trailing.csv", csv_lines(_HEADER + ",", [_row(f"trail-{n}") + "," for n in range(5)]))
    answer.events([f"trail-{n}" for n in range(5)], attributes={"": None})
    answer.reconciliation[path] = 5
    answer.clean.append(path)

    answer = landing.answer(kind, "trailing separators in the header only once")
    path = landing.write(
        "events/trailing-2.csv", csv_lines(_HEADER + ",,", [_row(f"more-{n}") + ",," for n in range(5)])
    )
    answer.events([f"more-{n}" for n in range(5)])
    answer.reconciliation[path] = 5
    answer.clean.append(path)

    answer = landing.answer(kind, "trailing separator in the rows alone")
    path = landing.write("events/trailing-3.csv", csv_lines(_HEADER, [_row(f"alone-{n}") + "," for n in range(5)]))
    answer.events([f"alone-{n}" for n in range(5)])
    answer.reconciliation[path] = 5

    answer = landing.answer(kind, "an index column without a name")
    path = landing.write("events/index.csv", csv_lines("," + _HEADER, [f"{n}," + _row(f"index-{n}") for n in range(5)]))
    answer.events([f"index-{n}" for n in range(5)])
    answer.reconciliation[path] = 5

    answer = landing.answer(kind, "quotes inside cells that are not quoted")
    path = landing.write("events/inches.csv", csv_lines(_HEADER, [_row("inch-1", '5" screen'), _row("inch-2", "x")]))
    answer.rows["event", "inch-1"] = {"query": '5" screen'}
    answer.events(["inch-2"])
    answer.reconciliation[path] = 2


def _csv_dialects(landing: Landing) -> None:
    kind = "csv"
    for name, separator in (("semicolon", ";"), ("tab", "\t")):
        answer = landing.answer(kind, f"separated by {name}")
        rows = [_row(f"{name}-{n}", "red, blue" if n == 1 else "", separator) for n in range(5)]
        path = landing.write(f"events/{name}.csv", csv_lines(_HEADER.replace(",", separator), rows))
        answer.events([f"{name}-{n}" for n in range(5)])
        answer.rows["event", f"{name}-1"] = {"query": "red, blue"}
        answer.reconciliation[path] = 5
        answer.clean.append(path)

    answer = landing.answer(kind, "byte order mark, quoted header and CRLF")
    header = ",".join(f'"{name}"' for name in _HEADER.split(","))
    path = landing.write("events/bom.csv", b"\xef\xbb\xbf" + csv_lines(header, [_row("bom-1"), _row("bom-2")], "\r\n"))
    answer.events(["bom-1", "bom-2"])
    answer.reconciliation[path] = 2
    answer.clean.append(path)

    answer = landing.answer(kind, "header alone, and nothing at all")
    answer.reconciliation[landing.write("events/header.csv", _HEADER + "\n")] = 0
    answer.reconciliation[landing.write("events/nothing.csv", b"")] = 0

    answer = landing.answer(kind, "a header of 2 MB before bad rows")
    rows = [f"wide-{n},,i1,view,,{TS},x" for n in range(40)]
    path = landing.write("events/wide.csv", csv_lines(_HEADER + "," + "h" * 2_000_000, rows))
    answer.refused.append(Refused(path))
    answer.reconciliation[path] = 40


def _json_shapes(landing: Landing) -> None:
    kind = "json"
    for name, indent in (("one line", None), ("pretty", 2)):
        answer = landing.answer(kind, f"an array, {name}")
        slug = name.replace(" ", "-")
        ids = [f"array-{slug}-{n}" for n in range(5)]
        path = landing.write(
            f"events/array-{slug}.json", json.dumps([event(event_id) for event_id in ids], indent=indent)
        )
        answer.events(ids)
        answer.reconciliation[path] = 5
        answer.clean.append(path)

    answer = landing.answer(kind, "an array with one bad element")
    path = landing.write(
        "events/array-bad.json", json.dumps([event("ab-1"), 7, event("ab-3", user=None), event("ab-4")])
    )
    answer.events(["ab-1", "ab-4"])
    answer.reconciliation[path], answer.at_most[path] = 4, 2

    answer = landing.answer(kind, "an array cut off")
    path = landing.write("events/array-cut.json", json.dumps([event(f"ac-{n}") for n in range(5)], indent=1)[:-90])
    answer.refused.append(Refused(path))

    answer = landing.answer(kind, "byte order mark, CRLF, blank lines, no last line end")
    path = landing.write(
        "events/bom.jsonl",
        b"\xef\xbb\xbf" + b"\r\n\r\n".join(json.dumps(event(f"bomj-{n}")).encode() for n in range(3)),
    )
    answer.events([f"bomj-{n}" for n in range(3)])
    answer.reconciliation[path] = 3
    answer.clean.append(path)

    answer = landing.answer(kind, "one object over several lines: read, or one sentence")
    path = landing.write("events/pretty.json", json.dumps(event("pretty-1"), indent=2))
    answer.either.append(("event", "pretty-1", {}, Refused(path)))
    answer.at_most[path] = 1


def _encodings(landing: Landing) -> None:
    kind = "encodings"
    lines = [event(f"gz-{n}") for n in range(4)]
    answer = landing.answer(kind, "gzip")
    body = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    path = landing.write("events/packed.jsonl.gz", gzip.compress(body))
    answer.events([f"gz-{n}" for n in range(4)])
    second = landing.write("events/packed.csv.gz", gzip.compress(csv_lines(_HEADER, [_row("gzc-1"), _row("gzc-2")])))
    answer.events(["gzc-1", "gzc-2"])
    answer.reconciliation |= {path: 4, second: 2}
    answer.clean += [path, second]

    answer = landing.answer(kind, "gzip under a plain name: read, or one sentence")
    body = json.dumps(event("gzp-1")).encode()
    path = landing.write("events/packed-plain.jsonl", gzip.compress(body))
    answer.either.append(("event", "gzp-1", {}, Refused(path, words=("gzip",))))
    answer.at_most[path] = 1

    answer = landing.answer(kind, "gzip cut off")
    body = b"".join(
        json.dumps(event(f"gzt-{n}", query=str(uuid.UUID(int=n * 7**40)))).encode() + b"\n" for n in range(1, 200)
    )
    path = landing.write("events/packed-cut.jsonl.gz", gzip.compress(body)[:-1500])
    answer.refused.append(Refused(path))

    for name, encoding in (("utf16", "utf-16"), ("utf16le", "utf-16-le")):
        for suffix in ("csv", "jsonl"):
            answer = landing.answer(kind, f"{encoding} as {suffix}: read, or one sentence that names it")
            key = f"{name}-{suffix}"
            text = csv_lines(_HEADER, [_row(f"{key}-1"), _row(f"{key}-2")]).decode()
            if suffix == "jsonl":
                text = json.dumps(event(f"{key}-1")) + "\n" + json.dumps(event(f"{key}-2")) + "\n"
            path = landing.write(f"events/{name}.{suffix}", text.encode(encoding))
            for number in (1, 2):
                answer.either.append(
                    ("event", f"{key}-{number}", {}, Refused(path, words=("utf-16", "utf16", "utf 16")))
                )
            answer.at_most[path] = 1

    answer = landing.answer(kind, "formats that are not read")
    for name in ("sheet.xlsx", "events.orc", "notes.txt"):
        path = landing.write(f"events/{name}", b"PK\x03\x04 not for us")
        answer.refused.append(Refused(path))
        answer.at_most[path] = 1


# words in paths


def _paths(landing: Landing) -> None:
    kind = "paths"

    def land(stem: str, records: list[Record], suffix: str) -> str:
        path = f"{stem}.{suffix}"
        if suffix == "jsonl":
            return landing.write(path, records)
        if suffix == "csv":
            names = list(records[0])
            return landing.write(path, csv_lines(",".join(names), [",".join(map(str, r.values())) for r in records]))
        return landing.parquet(path, pa.Table.from_pylist(records))

    for suffix in ("jsonl", "csv", "parquet"):
        answer = landing.answer(kind, f"country and split as {suffix}")
        paths = [
            land(f"events/country=DE/{suffix}-a", [event(f"p-{suffix}-1")], suffix),
            land(f"events/split=train/{suffix}-a", [event(f"p-{suffix}-2")], suffix),
            land(f"events/split=valid/country=FR/{suffix}-b", [event(f"p-{suffix}-3")], suffix),
            land(f"events/country=__HIVE_DEFAULT_PARTITION__/{suffix}-c", [event(f"p-{suffix}-4")], suffix),
            land(f"events/split=__HIVE_DEFAULT_PARTITION__/{suffix}-c", [event(f"p-{suffix}-5")], suffix),
            land(f"events/year=2025/month=07/{suffix}-d", [event(f"p-{suffix}-6")], suffix),
            land(f"events/at=10%3A00/city=M%C3%BCnchen/{suffix}-e", [event(f"p-{suffix}-7")], suffix),
        ]
        answer.rows |= {
            ("event", f"p-{suffix}-1"): {"attributes": {"country": "DE"}, "split": None},
            ("event", f"p-{suffix}-2"): {"split": "train"},
            ("event", f"p-{suffix}-3"): {"split": "valid", "attributes": {"country": "FR"}},
            ("event", f"p-{suffix}-4"): {"attributes": {"country": None}},
            ("event", f"p-{suffix}-5"): {"split": None},
            ("event", f"p-{suffix}-6"): {"attributes": {"year": "2025", "month": "07"}},
            ("event", f"p-{suffix}-7"): {"attributes": {"at": "10:00", "city": "München"}},
        }
        answer.reconciliation |= dict.fromkeys(paths, 1)
        answer.clean += paths

    answer = landing.answer(kind, "a field of the contract in the path")
    bare = [{name: value for name, value in event("p-type-1").items() if name != "event_type"}]
    path = landing.write("events/event_type=like/a.jsonl", bare)
    answer.rows["event", "p-type-1"] = {"event_type": "like"}
    answer.clean.append(path)

    answer = landing.answer(kind, "a bad value in the path is refused")
    path = landing.write("events/split=holdout/a.jsonl", [event("p-split-1")])
    answer.refused.append(Refused(path, words=("split",)))
    answer.absent.append(("event", "p-split-1"))

    answer = landing.answer(kind, "users, items and reviews")
    landing.write("users/country=IT/a.csv", "user_id,age\np-user,30\n")
    landing.write("items/season=winter/a.jsonl", [{"item_id": "p-item", "title": "Coat"}])
    review = {"review_id": "p-review", "user_id": "u1", "item_id": "i1", "text": "Fine.", "ts": TS}
    landing.write("reviews/language=de/a.jsonl", [review])
    answer.rows |= {
        ("user", "p-user"): {"attributes": {"age": "30", "country": "IT"}},
        ("item", "p-item"): {"attributes": {"season": "winter"}},
        ("review", "p-review"): {"language": "de"},
    }


# table formats


def _table_formats(landing: Landing) -> None:
    kind = "table formats"
    answer = landing.answer(kind, "a Delta table: its current version")
    target = landing.folder / "events-delta"
    write_deltalake(target, pa.Table.from_pylist([event(f"delta-{n}") for n in range(6)]))
    write_deltalake(target, pa.Table.from_pylist([event(f"delta-{n}") for n in range(6, 9)]), mode="append")
    DeltaTable(target).delete("event_id in ('delta-2', 'delta-7')")
    answer.events([f"delta-{n}" for n in (0, 1, 3, 4, 5, 6, 8)])
    answer.absent += [("event", "delta-2"), ("event", "delta-7")]

    answer = landing.answer(kind, "a Delta table in partitions, below a folder")
    target = landing.folder / "events" / "lake" / "shop"
    rows = pa.Table.from_pylist([event(f"parts-{n}", country="DE" if n % 2 else None) for n in range(4)])
    write_deltalake(target, rows, partition_by=["country"])
    DeltaTable(target).delete("event_id = 'parts-3'")
    answer.events(["parts-0", "parts-2"], attributes={"country": None})
    answer.rows["event", "parts-1"] = {"attributes": {"country": "DE"}}
    answer.absent.append(("event", "parts-3"))

    answer = landing.answer(kind, "a Delta table that was overwritten")
    target = landing.folder / "items-delta"
    write_deltalake(target, pa.Table.from_pylist([{"item_id": "delta-old", "title": "Old"}]))
    write_deltalake(target, pa.Table.from_pylist([{"item_id": "delta-new", "title": "New"}]), mode="overwrite")
    answer.rows["item", "delta-new"] = {"title": "New"}
    answer.absent.append(("item", "delta-old"))

    answer = landing.answer(kind, "Iceberg is refused by name")
    landing.write("events-lake-1/metadata/v1.metadata.json", json.dumps({"format-version": 2}))
    landing.write("events-lake-1/metadata/version-hint.text", "1")
    landing.parquet("events-lake-1/data/00000-0.parquet", pa.Table.from_pylist([event("iceberg-1")]))
    answer.absent.append(("event", "iceberg-1"))
    answer.refused.append(Refused("events-lake-1", words=("iceberg",)))

    answer = landing.answer(kind, "Hudi is refused by name")
    landing.write("events-lake-2/.hoodie/hoodie.properties", "hoodie.table.name=events\n")
    landing.parquet("events-lake-2/part/a.parquet", pa.Table.from_pylist([event("hudi-1")]))
    answer.absent.append(("event", "hudi-1"))
    answer.refused.append(Refused("events-lake-2", words=("hudi",)))


# identity


IDENTITY_ROWS = 6


def _identity(landing: Landing) -> None:
    """The same records in six exports; the counts by user are the answer, see the test."""
    events = [event(None, user=f"same-{n}", seconds=2.5 * n) for n in range(IDENTITY_ROWS)]
    landing.write("events/same-1.jsonl", events)
    landing.write("events/same-2.jsonl", [{**record, "device": "phone"} for record in events])
    names = list(events[0])
    rows = [",".join(str(record[name]) for name in reversed(names)) for record in events]
    landing.write("events/same-3.csv", csv_lines(",".join(reversed(names)), rows))
    rows = [f"{n}," + ",".join(str(value) for value in record.values()) for n, record in enumerate(events)]
    landing.write("events/same-4.csv", csv_lines("Unnamed: 0," + ",".join(names), rows))
    landing.write("events/same-5.csv", csv_lines("," + ",".join(names), rows))
    typed = [{**r, "ts": NOON, "__index_level_0__": 10 + n} for n, r in enumerate(events)]
    landing.parquet("events/same-6.parquet", pa.Table.from_pylist(typed))
    landing.write("events/same-7.jsonl", [{"event_id": None, "value": None, "query": "", **r} for r in events])
    landing.write("events/export=2/same-8.jsonl", events)
    review = {"user_id": "same-0", "item_id": "i1", "text": "Good.", "rating": 5, "ts": TS}
    landing.write("reviews/same-1.jsonl", [review])
    landing.write("reviews/same-2.jsonl", [{**review, "helpful": 3, "verified": True}])
    answer = landing.answer("identity", "every export is read whole")
    paths = [f"events/same-{n}.{suffix}" for n, suffix in ((1, "jsonl"), (2, "jsonl"), (3, "csv"), (4, "csv"))]
    paths += ["events/same-5.csv", "events/same-6.parquet", "events/same-7.jsonl", "events/export=2/same-8.jsonl"]
    answer.reconciliation |= dict.fromkeys(paths, IDENTITY_ROWS)
    landing.write("events/replaced.jsonl", [event(f"before-{n}") for n in range(10)])


# waiting for an item


NUM_WAITING, NUM_WAITING_FOREVER = 8, 2


def _waiting_rows(item: str, prefix: str) -> pa.Table:
    """Two rows of every type that an export may hold."""
    count = 2
    return pa.table(
        {
            "event_id": [f"{prefix}-{n}" for n in range(count)],
            "user_id": pa.array([Decimal(71), Decimal(72)], pa.decimal128(10, 0)),
            "item_id": pa.array([item.encode()] * count, pa.binary()),
            "event_type": pa.array(["rating"] * count).dictionary_encode(),
            "value": pa.array([Decimal("4.50"), Decimal("3.25")], pa.decimal128(6, 2)),
            "seconds": pa.array([1.5, None], pa.float32()),
            "ts": pa.array([1751371200123456789, 1751371260987654321], pa.timestamp("ns")),
            "cart": pa.array([{"lines": [{"sku": "a", "n": 2}], "total": Decimal("9.99")}, None]),
            "day": pa.array([date(2025, 7, 1), None]),
            "amount": pa.array([Decimal("12.30"), Decimal("7.00")], pa.decimal128(8, 2)),
            "seen_at": pa.array([1751371200123456789, None], pa.timestamp("ns", tz="Europe/Berlin")),
            "is_new": pa.array([True, False]),
            "blob": pa.array([b"\xff\x00\x01", b"text"]),
            "tags": pa.array([["x", None], []]),
            "big": pa.array([2**60 + 1, 7], pa.int64()),
            "ratio": pa.array([34.0, 0.1]),
        }
    )


def _waiting(landing: Landing) -> None:
    kind = "waiting"
    answer = landing.answer(kind, "rows of every type, item known at once")
    landing.parquet("events/typed-now.parquet", _waiting_rows("i1", "now"))
    stamps = [datetime(2025, 7, 1, 12, 0, 0, 123456, UTC), datetime(2025, 7, 1, 12, 1, 0, 987654, UTC)]
    for number, value in enumerate((4.5, 3.25)):
        columns = {"value": value, "user_id": f"7{number + 1}", "event_ts": stamps[number]}
        answer.rows["event", f"now-{number}"] = columns
    landing.parquet("events/typed-later.parquet", _waiting_rows("late", "later"))
    waits = [
        event("later-2", item="late", price=1e21, nested={"a": [1, None, {"b": "ü"}]}),
        event("later-3", item="late", ts=1751371200.123456),
    ]
    landing.write("events/later.jsonl", waits)
    landing.write("events/later.csv", csv_lines(_HEADER, [f'later-4,u1,late,view,"a, ""b""\nc",{TS}']))
    landing.write("events/country=DE/later.jsonl", [event("later-5", item="late")])
    landing.write("events/later-array.json", json.dumps([event("later-6", item="late")]))
    landing.write("events/later-semicolon.csv", csv_lines(_HEADER.replace(",", ";"), [f"later-7;u1;late;view;x;{TS}"]))
    landing.write("events/never.jsonl", [event(f"never-{n}", item="nobody") for n in range(NUM_WAITING_FOREVER)])
    review = {"review_id": "later-r", "user_id": "u1", "item_id": "late", "text": "Worth the wait.", "rating": 5}
    landing.write("reviews/later.jsonl", [{**review, "ts": TS}])
    answer = landing.answer(kind, "nothing is stored before its item")
    answer.absent += [("event", f"later-{n}") for n in range(NUM_WAITING)] + [("review", "later-r")]


# values


_UUID = uuid.UUID("550e8400-e29b-41d4-a716-446655440000")


def _ids(landing: Landing) -> None:
    kind = "ids"
    types: dict[str, tuple[pa.Array, str]] = {
        "decimal": (pa.array([Decimal(17)], pa.decimal128(18, 0)), "17"),
        "decimal256": (pa.array([Decimal(17)], pa.decimal256(40, 0)), "17"),
        "bytes": (pa.array([b"i1"], pa.binary()), "i1"),
        "large bytes": (pa.array([b"i1"], pa.large_binary()), "i1"),
        "float": (pa.array([17.0]), "17"),
        "uint64": (pa.array([17], pa.uint64()), "17"),
        "int8": (pa.array([17], pa.int8()), "17"),
        "dictionary": (pa.array(["i1"]).dictionary_encode(), "i1"),
        "large text": (pa.array(["i1"], pa.large_string()), "i1"),
        "uuid": (pa.ExtensionArray.from_storage(pa.uuid(), pa.array([_UUID.bytes], pa.binary(16))), str(_UUID)),
    }
    for name, (array, expected) in types.items():
        answer = landing.answer(kind, f"{name} in Parquet")
        slug = name.replace(" ", "-")
        columns = {"event_id": [f"id-{slug}"], "user_id": array, "item_id": array, "event_type": ["view"], "ts": [TS]}
        path = landing.parquet(f"events/id-{slug}.parquet", pa.table(columns))
        answer.rows["event", f"id-{slug}"] = {"user_id": expected, "item_id": expected}
        answer.reconciliation[path] = 1
        answer.clean.append(path)

    answer = landing.answer(kind, "every string as bytes without annotation")
    record = event("id-all-bytes", query="Ü", shade="grün", ts=TS)
    columns = {name: pa.array([str(value).encode()], pa.binary()) for name, value in record.items()}
    path = landing.parquet("events/id-all-bytes.parquet", pa.table(columns))
    answer.rows["event", "id-all-bytes"] = {"user_id": "u1", "query": "Ü", "attributes": {"shade": "grün"}}
    answer.clean.append(path)

    answer = landing.answer(kind, "fractions, flags and bad bytes are no ids")
    columns = {"event_id": ["id-half"], "user_id": [17.5], "item_id": ["i1"], "event_type": ["view"]}
    answer.refused.append(Refused(landing.parquet("events/id-half.parquet", pa.table(columns)), 1, ("user_id",)))
    columns |= {"event_id": ["id-flag"], "user_id": [True]}
    answer.refused.append(Refused(landing.parquet("events/id-flag.parquet", pa.table(columns)), 1, ("user_id",)))
    columns |= {"event_id": ["id-bad"], "user_id": pa.array([b"\xff\xfe"], pa.binary())}
    answer.refused.append(Refused(landing.parquet("events/id-bad.parquet", pa.table(columns)), 1))
    columns |= {"event_id": ["id-time"], "user_id": [NOON]}
    answer.refused.append(Refused(landing.parquet("events/id-time.parquet", pa.table(columns)), 1, ("user_id",)))
    answer.absent += [("event", key) for key in ("id-half", "id-flag", "id-bad", "id-time")]


NULLS = ("NULL", "\\N", "nan", "None")


def _nulls(landing: Landing) -> None:
    kind = "nulls"
    header = "event_id,user_id,item_id,event_type,value,seconds,split,ts"
    optional: list[str] = []
    keys: list[str] = []
    records: list[Record] = []
    refused: list[Record] = []
    items: list[Record] = []
    for number, spelling in enumerate(NULLS):
        answer = landing.answer(kind, f"{spelling} in optional fields")
        optional.append(f"null-csv-{number},u1,i1,view,{spelling},{spelling},{spelling},{TS}")
        more = {"value": spelling, "seconds": spelling, "split": spelling}
        records.append(event(f"null-{number}", **more))
        for form in ("csv", "json", "pq"):
            answer.rows["event", f"null-{form}-{number}"] = {"value": None, "seconds": None, "split": None}
        item = {"item_id": f"null-{number}", "price": spelling, "description": spelling, "updated_at": spelling}
        items.append({**item, "categories": spelling, "available": spelling})
        answer.rows["item", f"null-{number}"] = {"price": None, "description": None, "categories": None}

        answer = landing.answer(kind, f"{spelling} in keys is refused")
        keys += [f"nullkey-{number},{spelling},i1,view,,,,{TS}", f"nullitem-{number},u1,{spelling},view,,,,{TS}"]
        refused.append(event(f"nullkeyj-{number}", user=spelling))
        answer.refused += [
            Refused("events/null-keys.csv", 2 + 2 * number, ("user_id",)),
            Refused("events/null-keys.csv", 3 + 2 * number, ("item_id",)),
            Refused("events/null-keys.jsonl", 1 + number, ("user_id",)),
        ]
        answer.absent += [("event", f"{name}-{number}") for name in ("nullkey", "nullitem", "nullkeyj")]
        answer.absent.append(("user", spelling))
    landing.write("events/null-keys.csv", csv_lines(header, keys))
    landing.write("events/null-keys.jsonl", refused)
    answer = landing.answer(kind, "no spelling of null in an optional field is worth a note")
    by_form = {
        form: [{**r, "event_id": r["event_id"].replace("null", f"null-{form}")} for r in records]
        for form in ("json", "pq")
    }
    answer.clean += [
        landing.write("events/nulls.csv", csv_lines(header, optional)),
        landing.write("events/nulls.jsonl", by_form["json"]),
        landing.parquet("events/nulls.parquet", pa.Table.from_pylist(by_form["pq"])),
        landing.write("items/nulls.jsonl", items),
    ]
    answer.reconciliation |= {"events/null-keys.csv": 2 * len(NULLS), "events/null-keys.jsonl": len(NULLS)}


def _plain_values(landing: Landing) -> None:
    kind = "values"
    spellings = {"0": False, "1": True, "t": True, "f": False, "true": True, "FALSE": False, "yes": True, "no": False}
    answer = landing.answer(kind, "booleans in CSV, JSON and Parquet")
    rows = [f"flag-csv-{text},{text}" for text in spellings]
    answer.clean.append(landing.write("items/flags.csv", csv_lines("item_id,available", rows)))
    answer.rows |= {("item", f"flag-csv-{text}"): {"available": flag} for text, flag in spellings.items()}
    records: list[Record] = [{"item_id": f"flag-json-{text}", "available": text} for text in spellings]
    answer.rows |= {("item", f"flag-json-{text}"): {"available": flag} for text, flag in spellings.items()}
    records += [{"item_id": "flag-int-0", "available": 0}, {"item_id": "flag-int-1", "available": 1}]
    answer.rows |= {("item", "flag-int-0"): {"available": False}, ("item", "flag-int-1"): {"available": True}}
    answer.clean.append(landing.write("items/flags.jsonl", records))
    table = pa.table({"item_id": ["flag-pq-0", "flag-pq-1"], "available": pa.array([0, 1], pa.int8())})
    answer.clean.append(landing.parquet("items/flags-int.parquet", table))
    table = pa.table({"item_id": ["flag-pq-t", "flag-pq-f"], "available": ["t", "f"]})
    answer.clean.append(landing.parquet("items/flags-text.parquet", table))
    answer.rows |= {("item", f"flag-pq-{text}"): {"available": text in "1t"} for text in "01tf"}

    answer = landing.answer(kind, "lists with a null inside")
    path = landing.write(
        "items/lists.jsonl", [{"item_id": "list-json", "categories": ["a", None, "b"], "markets": [None]}]
    )
    table = pa.table({"item_id": ["list-pq"], "categories": [["a", None, "b"]]})
    answer.clean += [path, landing.parquet("items/lists.parquet", table)]
    answer.rows |= {("item", f"list-{name}"): {"categories": ["a", "b"]} for name in ("json", "pq")}

    answer = landing.answer(kind, "a title that is a number")
    path = landing.write("items/titles.jsonl", [{"item_id": "title-json", "title": 1984, "description": 7.0}])
    table = pa.table({"item_id": ["title-pq", "title-pq-2"], "title": [1984.0, None], "description": [7, 8]})
    answer.clean += [path, landing.parquet("items/titles.parquet", table)]
    answer.rows |= {("item", f"title-{name}"): {"title": "1984", "description": "7"} for name in ("json", "pq")}

    answer = landing.answer(kind, "whole floats in attributes")
    path = landing.write("users-floats.jsonl", [{"user_id": "float-json", "age": 34.0, "height": 1.5}])
    table = pa.table({"user_id": ["float-pq", "float-none"], "age": [34.0, None], "height": [1.5, None]})
    answer.clean += [path, landing.parquet("users-floats.parquet", table)]
    answer.rows |= {
        ("user", f"float-{name}"): {"attributes": {"age": "34", "height": "1.5"}} for name in ("json", "pq")
    }
    answer.rows["user", "float-none"] = {"attributes": {"age": None}}

    answer = landing.answer(kind, "an optional field that cannot be read leaves its item")
    bad: dict[str, Any] = {"price": "on request", "categories": {"a": 1}, "description": {"de": "Hut"}}
    path = landing.write(
        "items/optional.jsonl", [{"item_id": f"opt-{name}", "title": "x", name: bad[name]} for name in bad]
    )
    csv_path = landing.write(
        "items/optional.csv", csv_lines("item_id,title,price", ["opt-csv,x,ask us", "opt-csv-2,x,5"])
    )
    for line, name in enumerate(bad, start=1):
        answer.rows["item", f"opt-{name}"] = {"title": "x", name: None}
        answer.refused.append(Refused(path, line, (name,)))
    answer.rows |= {("item", "opt-csv"): {"title": "x", "price": None}, ("item", "opt-csv-2"): {"price": 5.0}}
    answer.refused.append(Refused(csv_path, 2, ("price",)))
    answer.reconciliation |= {path: None, csv_path: None}

    answer = landing.answer(kind, "a price that pandas left as NaN")
    landing.parquet("items/nan.parquet", pa.table({"item_id": ["opt-nan"], "title": ["x"], "price": [float("nan")]}))
    answer.rows["item", "opt-nan"] = {"title": "x", "price": None}


def _times(landing: Landing) -> None:
    kind = "times"
    spellings = {
        "Z": TS,
        "z": "2025-07-01T12:00:00z",
        " UTC": "2025-07-01 12:00:00 UTC",
        "T UTC": "2025-07-01T12:00:00 UTC",
        "fraction UTC": "2025-07-01 12:00:00.000000 UTC",
        "offset": "2025-07-01T14:00:00+02:00",
        "naive": "2025-07-01 12:00:00",
        "seconds": "1751371200",
        "fraction": "1751371200.0",
        "exponent": "1.7513712E9",
    }
    slugs = {name: name.strip().replace(" ", "-") for name in spellings}
    for name, slug in slugs.items():
        answer = landing.answer(kind, f"{name} in CSV, JSON and Parquet")
        answer.events([f"ts-{form}-{slug}" for form in ("csv", "json", "pq")], event_ts=NOON)
    answer = landing.answer(kind, "no spelling is worth a note")
    texts = {slugs[name]: text for name, text in spellings.items()}
    rows = [f"ts-csv-{slug},u1,i1,view,,{text}" for slug, text in texts.items()]
    typed = pa.Table.from_pylist([event(f"ts-pq-{slug}", ts=text) for slug, text in texts.items()])
    answer.clean += [
        landing.write("events/times.csv", csv_lines(_HEADER, rows)),
        landing.write("events/times.jsonl", [event(f"ts-json-{slug}", ts=text) for slug, text in texts.items()]),
        landing.parquet("events/times.parquet", typed),
    ]

    answer = landing.answer(kind, "Arrow units, zones and dates")
    micros = 1751371200_000_000
    arrays = {
        "s": pa.array([micros // 10**6], pa.timestamp("s")),
        "ms": pa.array([micros // 1000], pa.timestamp("ms")),
        "us": pa.array([micros], pa.timestamp("us", tz="America/New_York")),
        "ns": pa.array([micros * 1000 + 1], pa.timestamp("ns")),
        "int": pa.array([micros // 10**6], pa.int64()),
        "decimal": pa.array([Decimal(micros // 10**6)], pa.decimal128(12, 0)),
    }
    for name, array in arrays.items():
        table = pa.table({**{k: [v] for k, v in event(f"ts-arrow-{name}").items()}, "ts": array})
        answer.clean.append(landing.parquet(f"events/ts-arrow-{name}.parquet", table))
        answer.rows["event", f"ts-arrow-{name}"] = {"event_ts": NOON}

    units = {"millisecond": 10**3, "microsecond": 10**6, "nanosecond": 10**9}
    numbers = {name: 1751371200 * factor for name, factor in units.items()}
    records = [event(f"unit-pq-{name}", ts=number) for name, number in numbers.items()]
    rows = [f"unit-csv-{name},u1,i1,view,,{number}" for name, number in numbers.items()]
    paths = {
        "csv": landing.write("events/units.csv", csv_lines(_HEADER, rows)),
        "json": landing.write("events/units.jsonl", [event(f"unit-json-{n}", ts=v) for n, v in numbers.items()]),
        "pq": landing.parquet("events/units.parquet", pa.Table.from_pylist(records)),
    }
    for line, name in enumerate(units, start=1):
        answer = landing.answer(kind, f"{name}s since 1970: read, or refused with a hint")
        for form, path in paths.items():
            refused = Refused(path, line + (form == "csv"), (name,))
            answer.either.append(("event", f"unit-{form}-{name}", {"event_ts": NOON}, refused))

    for number, value in (("day-text", "20250701"), ("day-int", 20250701)):
        landing.write(f"events/{number}.jsonl", [event(f"{number}-json", ts=value)])
        table = pa.Table.from_pylist([event(f"{number}-pq", ts=value)])
        landing.parquet(f"events/{number}.parquet", table)
    landing.write("events/day.csv", csv_lines(_HEADER, ["day-csv,u1,i1,view,,20250701"]))


DAYS = ("day-text-json", "day-int-json", "day-text-pq", "day-int-pq", "day-csv")
"""Events whose time is 20250701, in every format: one rule for all."""


def _clock(landing: Landing) -> None:
    answer = landing.answer("clock", "an event far ahead of the clock is refused, one by a minute is not")
    records = [
        event("ahead-far", ts=(landing.now + FAR_AHEAD).isoformat()),
        event("ahead-soon", ts=(landing.now + SOON).isoformat()),
    ]
    path = landing.write("events/ahead.jsonl", records)
    answer.absent.append(("event", "ahead-far"))
    answer.refused.append(Refused(path, 1, ("ts",)))
    answer.events(["ahead-soon"])
    item = {"item_id": "ahead", "title": "Tomorrow", "updated_at": (landing.now + FAR_AHEAD).isoformat()}
    answer.refused.append(Refused(landing.write("items/ahead.jsonl", [item]), 1, ("updated_at",)))
    answer.absent.append(("item", "ahead"))


# media


def image(shade: int) -> bytes:
    """A small image."""
    sink = io.BytesIO()
    Image.fromarray(np.full((8, 6, 3), shade, dtype=np.uint8)).save(sink, "PNG")
    return sink.getvalue()


def opposite_channels() -> bytes:
    """A stereo tone whose right channel is the left one upside down, as WAV."""
    wave = 0.4 * np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)
    sink = io.BytesIO()
    soundfile.write(sink, np.stack([wave, -wave], axis=1), 16_000, format="WAV", subtype="PCM_16")
    return sink.getvalue()


def sound_only(container: str, codec: str, **options: str) -> bytes:
    """A second of a tone without any image."""
    sink = io.BytesIO()
    rate = 48_000
    with av.open(sink, "w", format=container, container_options=options) as output:
        stream: Any = output.add_stream(codec, rate=rate, layout="mono")
        wave = (0.4 * np.sin(2 * np.pi * 440 * np.arange(rate) / rate)).astype(np.float32)
        step = stream.codec_context.frame_size or 1024
        for start in range(0, rate - step + 1, step):
            frame = av.AudioFrame.from_ndarray(wave[None, start : start + step], "fltp", "mono")
            if stream.codec_context.format.name != "fltp":
                frame = av.AudioFrame.from_ndarray(
                    (wave[None, start : start + step] * 32767).astype(np.int16), "s16", "mono"
                )
            frame.rate, frame.pts = rate, start
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return sink.getvalue()


def _branded(content: bytes, brand: bytes) -> bytes:
    """An ISO file with another major brand."""
    at = content.index(b"ftyp") + 4
    return content[:at] + brand + content[at + 4 :]


@dataclass(frozen=True)
class MediaFile:
    """A medium and what the store must say of it; None where that is left open."""

    field: str
    content: bytes
    media_kind: str
    seconds: float | None = None
    size: tuple[int, int] | None = None


def media_files() -> dict[str, MediaFile]:
    """Media whose header says something else than their content, by file name."""
    frames = scene(1, 12)
    sound = sound_only("mp4", "aac")
    video = clip(frames)
    fragments = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
    return {
        "sound-isom.mp4": MediaFile("audio", _branded(sound, b"isom"), "audio", 1.0),
        "sound-mp42.m4a": MediaFile("audio", _branded(sound, b"mp42"), "audio", 1.0),
        "sound-qt.mov": MediaFile("audio", sound_only("mov", "aac"), "audio", 1.0),
        "video-m4a.mp4": MediaFile("video", _branded(video, b"M4A "), "video", 1.0, (96, 64)),
        "video-m4b.m4v": MediaFile("video", _branded(video, b"M4B "), "video", 1.0, (96, 64)),
        "sound.mka": MediaFile("audio", sound_only("matroska", "aac"), "audio", 1.0),
        "sound.webm": MediaFile("audio", sound_only("webm", "libopus"), "audio", 1.0),
        "sound.avi": MediaFile("audio", sound_only("avi", "mp2"), "audio", 1.0),
        "fragmented-sound.mp4": MediaFile("audio", sound_only("mp4", "aac", **fragments), "audio", 1.0),
        "fragmented.mp4": MediaFile("video", clip(frames, container_options=fragments), "video", 1.0, (96, 64)),
        "live.mkv": MediaFile(
            "video", clip(frames, container="matroska", container_options={"live": "1"}), "video", 1.0, (96, 64)
        ),
        "turned.mp4": MediaFile("video", clip(frames, rotation=90), "video", 1.0, (64, 96)),
    }


def _media(landing: Landing) -> None:
    records: list[Record] = []
    for name, medium in media_files().items():
        path = landing.write(f"{medium.field}/{name}", medium.content)
        records.append({"item_id": f"media-{name}", "title": "With media", medium.field: path})
    composed, decomposed = (unicodedata.normalize(form, "images/café-ü.png") for form in ("NFC", "NFD"))
    landing.write(decomposed, image(10))
    records.append({"item_id": "nfc-record", "images": [composed]})
    other = [unicodedata.normalize(form, "images/crème.png") for form in ("NFC", "NFD")]
    landing.write(other[0], image(20))
    records.append({"item_id": "nfd-record", "images": [other[1], None]})
    landing.write("images/plain.png", image(30))
    records.append({"item_id": "plain-media", "images": ["images/plain.png"]})
    for number, name in enumerate(ODD_FILES):
        path = landing.write(f"images/{name}.png", image(100 + number))
        records.append({"item_id": f"odd-media-{number}", "images": [path]})
    secret = landing.folder.parent / "strangers" / "secret.png"
    secret.parent.mkdir(exist_ok=True)
    secret.write_bytes(image(99) + SECRET.encode())
    (landing.folder / "images" / "link.png").symlink_to(secret)
    records.append({"item_id": "media-link", "images": ["images/link.png"]})
    landing.write("items/media.jsonl", records)


# faults of files and machines


def _damage_group(path: Path, group: int, column: str) -> None:
    """Overwrite the first data page header of a column of a row group."""
    metadata = pq.ParquetFile(path).metadata
    names = [metadata.row_group(group).column(index).path_in_schema for index in range(metadata.num_columns)]
    index = next(number for number, name in enumerate(names) if name.split(".")[0] == column)
    chunk = metadata.row_group(group).column(index)
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    content = bytearray(path.read_bytes())
    content[start : start + chunk.total_compressed_size] = b"\xa5" * chunk.total_compressed_size
    path.write_bytes(bytes(content))


def _vector_table(items: Sequence[Any], vectors: Sequence[Any], ids: pa.DataType | None = None) -> pa.Table:
    columns = [pa.array(items, ids or pa.string()), pa.array(vectors, pa.list_(pa.float32()))]
    return pa.table(columns, names=["item_id", "vector"])


def _damaged(landing: Landing) -> None:
    kind = "damaged"
    answer = landing.answer(kind, "vectors with a damaged page")
    path = landing.parquet(
        "vectors/text-damaged.parquet",
        _vector_table(ITEMS[:9], [[float(n), 1.0] for n in range(9)]),
        row_group_size=3,
    )
    _damage_group(landing.folder / path, 1, "vector")
    answer.refused.append(Refused(path))
    answer.reconciliation[path] = 9
    for number in (0, 1, 2, 6, 7, 8):
        answer.rows["provided_vector", f"{ITEMS[number]}|text|damaged"] = {}

    answer = landing.answer(kind, "events with a damaged page")
    table = pa.Table.from_pylist([event(f"page-{n}") for n in range(9)])
    path = landing.parquet("events/damaged.parquet", table, row_group_size=3, use_dictionary=False)
    _damage_group(landing.folder / path, 1, "user_id")
    answer.events([f"page-{n}" for n in (0, 1, 2, 6, 7, 8)])
    answer.refused.append(Refused(path))
    answer.reconciliation[path] = 9

    answer = landing.answer(kind, "vectors with ids in bad UTF-8, as timestamps, and of other lengths")
    buffers = pa.array(["i1", "ab", "i2"]).buffers()
    raw = pa.py_buffer(b"i1\xff\xfei2")
    ids = pa.Array.from_buffers(pa.string(), 3, [None, buffers[1], raw])
    table = pa.table([ids, pa.array([[1.0, 2.0]] * 3, pa.list_(pa.float32()))], names=["item_id", "vector"])
    path = landing.parquet("vectors/image-badids.parquet", table)
    answer.refused.append(Refused(path, 2))
    answer.rows |= {("provided_vector", f"{item}|image|badids"): {} for item in ("i1", "i2")}
    answer.reconciliation[path] = 3
    times = _vector_table([NOON, NOON], [[1.0], [2.0]], pa.timestamp("us"))
    path = landing.parquet("vectors/image-times.parquet", times)
    answer.refused.append(Refused(path, words=("item_id",)))
    answer.reconciliation[path] = 2
    mixed = _vector_table(["i1", "i2", "i3", "i4"], [[1.0, 2.0], [1.0], [float("nan"), 1.0], None])
    path = landing.parquet("vectors/image-mixed.parquet", mixed)
    answer.rows["provided_vector", "i1|image|mixed"] = {}
    answer.refused += [Refused(path, line) for line in (2, 3, 4)]
    answer.reconciliation[path] = 4

    answer = landing.answer(kind, "ids of vectors by decimal, bytes and number")
    for name, type_ in (("decimal", pa.decimal128(9, 0)), ("number", pa.float64())):
        value = Decimal(17) if name == "decimal" else 17.0
        path = landing.parquet(f"vectors/video-{name}.parquet", _vector_table([value], [[1.0, 2.0]], type_))
        answer.rows["provided_vector", f"17|video|{name}"] = {}
    landing.parquet("vectors/video-bytes.parquet", _vector_table([b"i1"], [[1.0, 2.0]], pa.binary()))
    answer.rows["provided_vector", "i1|video|bytes"] = {}

    answer = landing.answer(kind, "a vector file with @ in its name")
    path = landing.parquet("vectors/audio-m@il (%).parquet", _vector_table(["i1"], [[1.0, 2.0]]))
    answer.rows["provided_vector", "i1|audio|m@il (%)"] = {}

    answer = landing.answer(kind, "no Parquet at all, and one cut off")
    body = (landing.folder / "events/typed-now.parquet").read_bytes()
    for name, content in (("none", b"hello"), ("cut", body[:-30]), ("zero", b"")):
        path = landing.write(f"events/broken-{name}.parquet", content)
        answer.refused.append(Refused(path))
        answer.at_most[path] = 1


def _bombs(landing: Landing) -> None:
    kind = "bombs"
    answer = landing.answer(kind, "vectors of four million zeros")
    zeros = pa.ListArray.from_arrays(
        pa.array([0, 4_000_000, 8_000_000], pa.int32()), pa.array(np.zeros(8_000_000, np.float32))
    )
    table = pa.table([pa.array(["i1", "i2"]), zeros], names=["item_id", "vector"])
    path = landing.parquet("vectors/text-bomb.parquet", table, compression="zstd")
    answer.absent += [("provided_vector", f"{item}|text|bomb") for item in ("i1", "i2")]
    answer.refused.append(Refused(path))
    answer.reconciliation[path] = 1  # refused by its footer, as one file

    answer = landing.answer(kind, "rows of eight megabytes in a small file")
    text = pa.array(["x" * 8_000_000]).dictionary_encode()
    query = pa.DictionaryArray.from_arrays(pa.array([0] * 12, pa.int32()), text.dictionary)
    columns: dict[str, Any] = {name: [event(f"bomb-{n}")[name] for n in range(12)] for name in event("x")}
    path = landing.parquet("events/bomb.parquet", pa.table({**columns, "query": query}), compression="zstd")
    answer.absent += [("event", f"bomb-{n}") for n in range(12)]
    answer.refused.append(Refused(path))
    answer.reconciliation[path] = 12

    answer = landing.answer(kind, "lists of a million nulls and a map of many names")
    path = landing.write("events/attributes.jsonl", [event("names-1", **{f"name-{n}": n for n in range(3000)})])
    answer.reconciliation[path] = 1


def _machine(landing: Landing) -> None:
    kind = "machine"
    outside = landing.folder.parent / "strangers"
    outside.mkdir(exist_ok=True)
    (landing.folder / "events").mkdir(exist_ok=True)
    stolen = event("stolen-1", note=SECRET)
    (outside / "events.jsonl").write_text(json.dumps(stolen) + f"\n{{broken {SECRET}\n", encoding="utf-8")
    (outside / "secret.csv").write_text(f"password,{SECRET}\n", encoding="utf-8")
    (landing.folder / "events" / "link.jsonl").symlink_to(outside / "events.jsonl")
    (landing.folder / "events" / "link.csv").symlink_to(outside / "secret.csv")
    (landing.folder / "events" / "linked-folder").symlink_to(outside, target_is_directory=True)
    (landing.folder / "events" / "dangling.jsonl").symlink_to(outside / "nothing.jsonl")
    os.mkfifo(landing.folder / "events" / "pipe.jsonl")
    name = os.fsencode(landing.folder / "events") + b"/caf\xe9.jsonl"
    Path(os.fsdecode(name)).write_bytes(json.dumps(event("latin-name")).encode())
    answer = landing.answer(kind, "nothing of strangers is read")
    answer.absent.append(("event", "stolen-1"))


UNREAD = ("pipe.jsonl", "caf", "dangling.jsonl", "link.jsonl", "linked-folder")
"""Parts of the names of what must be named as not read."""


def _names(landing: Landing) -> None:
    kind = "names"
    answer = landing.answer(kind, "odd ids, attribute names and values")
    items, events, users, edges = [], [], [], []
    for number, name in enumerate(ODD_NAMES):
        items.append({"item_id": name, "title": name, name: name})
        events.append(event(f"odd-{number}", user=name, item=name, **{name: name}))
        users.append({"user_id": name, name: name})
        edges.append(f"i1\t{name}\t{name}")
        answer.rows |= {
            ("item", name): {"title": name, "attributes": {name: name}},
            ("event", f"odd-{number}"): {"user_id": name, "item_id": name, "attributes": {name: name}},
            ("user", name): {"attributes": {name: name}},
        }
        if "\n" not in name:
            answer.rows["graph_edge", f"i1|{name}|{name}"] = {}
    answer.clean += [
        landing.write("items/odd.jsonl", items),
        landing.write("events/odd.jsonl", events),
        landing.write("users-odd.jsonl", users),
    ]
    good = [edge for edge in edges if "\n" not in edge]
    answer.clean.append(landing.write("graph-odd.tsv", "\n".join(["head\trelation\ttail", *good, ""])))

    answer = landing.answer(kind, "odd names of landing files")
    for number, name in enumerate(ODD_FILES):
        path = landing.write(f"events/{name}.jsonl", [event(f"file-{number}"), event(f"filebad-{number}", user=None)])
        answer.rows["event", f"file-{number}"] = {"source_path": path}
        answer.refused.append(Refused(path, 2))
        answer.reconciliation[path] = 2

    answer = landing.answer(kind, "an id of 10,000 characters is refused")
    path = landing.write("events/long-id.jsonl", [event("long-id", user="u" * 10_000)])
    answer.refused.append(Refused(path, 1, ("user_id",)))
    answer.absent.append(("event", "long-id"))


KINDS: tuple[Callable[[Landing], None], ...] = (
    _csv_shapes,
    _csv_columns,
    _csv_dialects,
    _json_shapes,
    _encodings,
    _paths,
    _table_formats,
    _identity,
    _waiting,
    _ids,
    _nulls,
    _plain_values,
    _times,
    _clock,
    _media,
    _damaged,
    _bombs,
    _machine,
    _names,
)


def deliver_second(landing: Landing) -> dict[str, dict[str, Answer]]:
    """Second deliveries, after the first run: late items, another version of a Delta table, a replaced file.

    Returns:
        The answers after the second run, by kind and situation.
    """
    later = Landing(landing.folder)
    answer = later.answer("waiting", "what waited comes back when its item arrives")
    later.write("items/late.jsonl", [{"item_id": "late", "title": "At last"}])
    answer.events([f"later-{n}" for n in range(NUM_WAITING)])
    answer.rows["event", "later-4"] = {"query": 'a, "b"\nc'}
    answer.rows["event", "later-5"] = {"attributes": {"country": "DE"}}
    answer.rows["event", "later-3"] = {"event_ts": datetime(2025, 7, 1, 12, 0, 0, 123456, UTC)}
    answer.rows["review", "later-r"] = {"rating": 5.0}
    answer.absent += [("event", f"never-{n}") for n in range(NUM_WAITING_FOREVER)]

    answer = later.answer("table formats", "the next version of a Delta table")
    target = landing.folder / "events-delta"
    write_deltalake(target, pa.Table.from_pylist([event("delta-9")]), mode="append")
    DeltaTable(target).optimize.compact()
    answer.events([f"delta-{n}" for n in (0, 1, 3, 4, 5, 6, 8, 9)])
    answer.absent += [("event", "delta-2"), ("event", "delta-7")]

    answer = later.answer("identity", "another content under the same path")
    later.write("events/replaced.jsonl", [event(f"after-{n}", user=f"after-{n}") for n in range(12)])
    answer.events([f"after-{n}" for n in range(12)])
    return later.answers


def touch_all(landing: Landing) -> None:
    """Give every file another modification time, as a copy does."""
    for path in landing.folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            os.utime(path, (NOON.timestamp() + 86_400, NOON.timestamp() + 86_400))


# a small shop whose people review


def write_small_shop(folder: Path, seed: int = 0) -> Mapping[str, list[str]]:
    """A shop of 24 items and 60 users that has reviews only, deleted users and items among them, and odd names.

    Returns:
        `deleted_users`, `deleted_items`, and `markup`: two items whose descriptions differ in their markup alone.
    """
    rng = np.random.default_rng(seed)
    landing = Landing(folder)
    items: list[Record] = []
    for number in range(24):
        name = ODD_NAMES[number] if number < len(ODD_NAMES) else f"s{number}"
        record = {"item_id": name, "title": f"Thing {number}", "categories": ["ball", "box", "tent"][number % 3 :][:1]}
        items.append({**record, "made of (%)": f"stuff {number % 4}", "updated_at": "2025-01-01"})
    items[20]["description"] = "A warm coat & hat for a < b days, with love <3 from us"
    items[21]["description"] = "<p>A warm <b>coat</b> &amp; hat for a &lt; b days,<br/>with love &lt;3 from us</p>"
    landing.write("items.jsonl", items)
    landing.write("items-gone.jsonl", [{"item_id": "s23", "op": "delete", "updated_at": "2025-09-01"}])
    landing.write("users.jsonl", [{"user_id": f"v{n}", "age": 20 + n, "updated_at": "2025-01-01"} for n in range(60)])
    landing.write(
        "users-gone.jsonl", [{"user_id": f"v{n}", "op": "delete", "updated_at": "2025-09-01"} for n in (0, 7)]
    )
    reviews = []
    for number in range(250):
        user = number % 60
        weights = np.array([8.0 if item % 3 == user % 3 else 1.0 for item in range(24)])
        if user == 0:
            weights = np.eye(24)[22] + 1e-9  # what only a deleted user liked must be liked by nobody
        if user != 0:
            weights[22] = 0
        item = int(rng.choice(24, p=weights / weights.sum()))
        when = datetime(2025, 3, 1, tzinfo=UTC) + timedelta(hours=10 * number)
        reviews.append(
            {
                "review_id": f"r{number}",
                "user_id": f"v{user}",
                "item_id": items[item]["item_id"],
                "rating": int(rng.integers(3, 6)) if number % 10 else None,
                "text": "Good value, and it arrived in time.",
                "ts": when.isoformat(),
            }
        )
    landing.write("reviews.jsonl", reviews)
    edges = [f"{items[n]['item_id']}\tmade of (%)\tstuff" for n in range(24) if "\n" not in items[n]["item_id"]]
    landing.write("graph.tsv", "\n".join(["head\trelation\ttail", *edges, ""]))
    vectors = [[float(n % 3), 1.0, 0.1 * n] for n in range(23)]
    landing.parquet("vectors/audio-m@il.parquet", _vector_table([items[n]["item_id"] for n in range(23)], vectors))
    return {"deleted_users": ["v0", "v7"], "deleted_items": ["s23"], "markup": ["s20", "s21"], "only_deleted": ["s22"]}
