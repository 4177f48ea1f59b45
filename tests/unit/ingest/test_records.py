from __future__ import annotations

import json
import math
import random
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmrec_lib.ingest.config import EventTypeConfig, IngestConfig, LandingConfig
from mmrec_lib.ingest.landing import LandingFolder
from mmrec_lib.ingest.landing.names import folder_fields, kind_of
from mmrec_lib.ingest.landing.rows import iter_rows
from mmrec_lib.ingest.records.parse import READERS, Parsed, landing_path, parse_record
from mmrec_lib.ingest.records.reasons import Reason
from mmrec_lib.ingest.records.values import Fields, Rules

RULES = Rules.of(LandingConfig())
REASONS = {str(reason) for reason in Reason}
TS = "2025-07-01T12:00:00Z"
TS_US = 1_751_371_200_000_000

GOOD: dict[str, dict[str, Any]] = {
    "event": {"event_id": "e1", "user_id": "u1", "item_id": "i1", "event_type": "view", "seconds": 3, "ts": TS},
    "review": {"review_id": "r1", "user_id": "u1", "item_id": "i1", "text": "Très bien", "rating": 4, "ts": TS},
    "item": {"item_id": "i1", "title": "Hat", "categories": ["a", "b"], "price": 9.5, "image": "images/1.jpg"},
    "user": {"user_id": "u1", "age": 30, "updated_at": TS},
    "user_edge": {"user_id": "u1", "friend_id": "u2", "since": 2020},
    "user_control": {"user_id": "u1", "action": "less", "category": "Hats", "strength": 0.5, "updated_at": TS},
    "query": {"query_id": "q1", "text": "red hat", "image": "images/q.jpg", "user_id": 7, "k": "5", "updated_at": TS},
    "answer": {"answer_id": "a1", "question": "How long?", "answer": "Two days.", "source": "help"},
    "label": {"task": "t", "owner_id": "i1", "text": "red hat", "spans": [{"start": 0, "end": 3, "label": "colour"}]},
    "graph_edge": {"head": "i1", "relation": "made_by", "tail": "x"},
    "provided_text": {"audio": "audio/1.flac", "text": "hello"},
}


def parse(kind: str, record: Any) -> Parsed:
    raw = record if isinstance(record, bytes) else json.dumps(record).encode()
    return parse_record(kind, raw, None, RULES)


def parse_plain(kind: str, record: dict[str, str]) -> Parsed:
    return parse_record(kind, b"", record, RULES)


def parse_values(kind: str, values: dict[str, Any]) -> Parsed:
    """A record as a typed format (Parquet) delivers it."""
    return parse_record(kind, None, values, RULES)


def event(**fields: Any) -> dict[str, Any]:
    return {**GOOD["event"], **fields}


@pytest.mark.parametrize("kind", sorted(GOOD))
def test_a_good_record_of_each_kind_is_accepted(kind: str) -> None:
    parsed = parse(kind, GOOD[kind])
    assert parsed.reason is None and parsed.columns is not None


def test_a_query_becomes_columns_and_a_deletion_needs_no_words() -> None:
    columns = parse("query", GOOD["query"]).columns
    assert columns is not None
    assert (columns["images"], columns["user_id"], columns["k"], columns["audio"]) == (["images/q.jpg"], "7", 5, None)
    for kind in ("query", "answer"):
        gone = parse(kind, {f"{kind}_id": "x", "op": "delete"}).columns
        assert gone is not None and gone["_deleted"]


@pytest.mark.parametrize(
    ("kind", "record", "reason"),
    [
        ("query", {"query_id": "q1"}, "missing_field"),
        ("query", {"query_id": "q1", "text": " \u00a0 "}, "missing_field"),
        ("query", {"text": "red"}, "missing_key"),
        ("query", {"query_id": "q1", "text": ["red"]}, "wrong_type"),
        ("query", {"query_id": "q1", "image": ["a.jpg", "b.jpg"]}, "impossible_value"),
        ("query", {"query_id": "q1", "text": "red", "k": 0}, "impossible_value"),
        ("query", {"query_id": "q1", "text": "red", "k": 2.5}, "impossible_value"),
        ("query", {"query_id": "q1", "text": "red", "k": 10**6}, "impossible_value"),
        ("query", {"query_id": "q1", "text": "red", "op": "drop"}, "impossible_value"),
        ("answer", {"answer_id": "a1", "question": "How?"}, "missing_field"),
        ("answer", {"answer_id": "a1", "answer": "So."}, "missing_field"),
    ],
)
def test_a_bad_query_or_answer_is_refused_with_its_reason(kind: str, record: dict[str, Any], reason: str) -> None:
    assert parse(kind, record).reason == reason


def test_a_label_is_a_class_or_spans_of_an_owner_or_of_a_pair() -> None:
    pair = {"task": "t", "owner_kind": "user", "owner_id": 7, "item_id": "i1", "label": 8, "split": "test", "by": "me"}
    columns = parse("label", pair).columns
    assert columns is not None
    assert (columns["owner_id"], columns["item_id"], columns["label"]) == ("7", "i1", "8")
    assert (columns["spans"], columns["split"], columns["attributes"]) == (None, "test", {"by": "me"})
    spans = parse_plain("label", {"task": "t", "owner_id": "i1", "spans": '[{"start": 4, "end": 7, "label": "b"}]'})
    assert spans.columns is not None and spans.columns["owner_kind"] == "item"
    ids = {parse("label", {**pair, **change}).columns["label_id"] for change in ({}, {"label": 3}, {"item_id": "i2"})}  # type: ignore[index]
    assert len(ids) == 2, "the same thing labelled anew is a new version, another pair another label"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, "missing_field"),
        ({"label": "a", "spans": []}, "missing_field"),
        ({"label": "a", "task": " "}, "missing_key"),
        ({"label": "a", "owner_id": None}, "missing_key"),
        ({"label": "a", "owner_kind": "shop"}, "impossible_value"),
        ({"label": "a", "item_id": "i2"}, "impossible_value"),
        ({"label": "a", "split": "dev"}, "impossible_value"),
        ({"label": ["a"]}, "wrong_type"),
        ({"spans": "colour"}, "wrong_type"),
        ({"spans": ["colour"]}, "wrong_type"),
        ({"spans": [{"start": 0, "end": 8, "label": "x"}], "text": "red hat"}, "impossible_value"),
        ({"spans": [{"start": 3, "end": 3, "label": "x"}]}, "impossible_value"),
        ({"spans": [{"start": -1, "end": 3, "label": "x"}]}, "impossible_value"),
        ({"spans": [{"start": 0, "end": True, "label": "x"}]}, "impossible_value"),
        ({"spans": [{"start": 0, "end": 2}]}, "missing_field"),
        ({"spans": [{"start": 0, "end": 3, "label": "x"}, {"start": 2, "end": 4, "label": "y"}]}, "impossible_value"),
    ],
)
def test_a_bad_label_is_refused_with_its_reason(fields: dict[str, Any], reason: str) -> None:
    assert parse("label", {"task": "t", "owner_id": "i1", **fields}).reason == reason


@pytest.mark.parametrize(
    ("path", "task"),
    [
        ("labels/topic.jsonl", "topic"),
        ("labels/topic.csv.gz", "topic"),
        ("labels-topic.csv", "topic"),
        ("labels/topic/part-1.parquet", "topic"),
        ("labels/task=tone/part-1.parquet", "tone"),
        ("labels.jsonl", None),
    ],
)
def test_the_name_of_a_file_of_labels_gives_the_task(path: str, task: str | None) -> None:
    assert kind_of(path) == "label"
    assert folder_fields(path)["task"] == task


def test_an_event_becomes_typed_columns_and_keeps_unknown_fields_as_attributes() -> None:
    fields = {"device": "phone", "n": 3, "x": 2.5, "ok": True, "none": None, "tags": ["b", {"a": 1}]}
    parsed = parse("event", event(**fields))
    assert parsed.columns == {
        "event_id": "e1",
        "user_id": "u1",
        "item_id": "i1",
        "event_type": "view",
        "value": None,
        "seconds": 3.0,
        "query": None,
        "event_ts": TS_US,
        "split": None,
        "attributes": {"device": "phone", "n": "3", "ok": "true", "tags": '["b",{"a":1}]', "x": "2.5"},
    }
    assert parsed.record_id == "e1"


def test_a_control_has_one_target_and_its_key_is_user_and_target() -> None:
    parsed = parse("user_control", {**GOOD["user_control"], "screen": "list"})
    assert parsed.columns is not None
    assert len(parsed.columns.pop("control_id")) == 32
    assert parsed.columns == {
        "user_id": "u1",
        "action": "less",
        "target_kind": "category",
        "target": "Hats",
        "strength": 0.5,
        "updated_at": TS_US,
        "_deleted": False,
        "attributes": {"screen": "list"},
    }

    def key_of(**fields: Any) -> str:
        columns = parse("user_control", fields).columns
        assert columns is not None
        return str(columns["control_id"])

    hats = key_of(user_id="u1", action="less", category="Hats")
    assert hats == key_of(user_id="u1", action="mute", category="Hats"), "a later action replaces the earlier one"
    assert hats == key_of(user_id="u1", op="delete", category="Hats"), "a deletion needs no action"
    assert (
        hats != key_of(user_id="u1", action="less", brand="Hats") != key_of(user_id="u2", action="less", brand="Hats")
    )
    assert key_of(user_id="u1", action="block", item_id=7) == key_of(user_id="u1", action="mute", item_id="7")


BAD_CONTROLS = [
    ({"user_id": "u1", "action": "less"}, Reason.MISSING_FIELD, "one of them is needed, got none"),
    ({"user_id": "u1", "action": "less", "category": "a", "brand": "b"}, Reason.IMPOSSIBLE_VALUE, "got 2"),
    ({"user_id": "u1", "category": "a"}, Reason.MISSING_FIELD, "one of block, mute, less, boost is needed"),
    ({"user_id": "u1", "action": "hide", "category": "a"}, Reason.IMPOSSIBLE_VALUE, "got 'hide'"),
    ({"user_id": "u1", "action": "boost", "item_id": "i1"}, Reason.IMPOSSIBLE_VALUE, "block or mute is needed for"),
    ({"user_id": "u1", "action": "less", "brand": "a", "strength": -1}, Reason.IMPOSSIBLE_VALUE, "from 0 to 100"),
    ({"user_id": "u1", "action": "less", "brand": ["a"]}, Reason.WRONG_TYPE, "text"),
    ({"action": "less", "brand": "a"}, Reason.MISSING_KEY, "user_id"),
]


@pytest.mark.parametrize(("record", "reason", "detail"), BAD_CONTROLS)
def test_a_wrong_control_is_refused(record: dict[str, Any], reason: Reason, detail: str) -> None:
    parsed = parse("user_control", record)
    assert parsed.reason == reason and detail in (parsed.detail or "")


BAD_EVENTS = [
    (b"{", Reason.NOT_JSON),
    (b'{"a": 1} x', Reason.NOT_JSON),
    (b'{"user_id": "u", "user_id": "u"}', Reason.NOT_JSON),
    (b'{"a": ' + b"9" * 5000 + b"}", Reason.NOT_JSON),
    (b"[" * 100_000, Reason.NOT_JSON),
    (b'{"user_id": "caf\xe9"}', Reason.INVALID_UTF8),
    (b'["u1"]', Reason.WRONG_TYPE),
    (b'"u1"', Reason.WRONG_TYPE),
    (event(user_id={"id": 1}), Reason.WRONG_TYPE),
    (event(user_id=True), Reason.WRONG_TYPE),
    (event(user_id=1.5), Reason.WRONG_TYPE),
    (event(user_id="a\x00b"), Reason.WRONG_TYPE),
    (event(user_id="\ud800"), Reason.WRONG_TYPE),
    (event(ts=True), Reason.WRONG_TYPE),
    (event(ts={"at": 1}), Reason.WRONG_TYPE),
    (event(event_type={"name": "view"}), Reason.WRONG_TYPE),
    (event(event_type="rating", value="abc"), Reason.WRONG_TYPE),
    (event(event_type="search", query=["hat"]), Reason.WRONG_TYPE),
    (event(split={"of": "train"}), Reason.WRONG_TYPE),
    (event(event_id={"id": 1}), Reason.WRONG_TYPE),
    (event(ts=math.inf), Reason.NOT_FINITE),
    (event(ts=20251301), Reason.BAD_TIME),
    (event(ts="20251301"), Reason.BAD_TIME),
    (event(ts=99_999_999), Reason.BAD_TIME),
    (event(user_id=None), Reason.MISSING_KEY),
    (event(user_id="  "), Reason.MISSING_KEY),
    (event(item_id=""), Reason.MISSING_KEY),
    (event(event_type=None), Reason.MISSING_FIELD),
    (event(event_type="rating"), Reason.MISSING_FIELD),
    (event(event_type="search", item_id=None), Reason.MISSING_FIELD),
    (event(event_type="teleport"), Reason.UNKNOWN_EVENT_TYPE),
    (event(event_type="rating", value=9), Reason.IMPOSSIBLE_VALUE),
    (event(seconds=-1), Reason.IMPOSSIBLE_VALUE),
    (event(split="dev"), Reason.IMPOSSIBLE_VALUE),
    (event(user_id="u" * 300), Reason.IMPOSSIBLE_VALUE),
    (b'{"user_id": "u", "item_id": "i", "event_type": "view", "seconds": 1e999}', Reason.NOT_FINITE),
    (b'{"user_id": "u", "item_id": "i", "event_type": "view", "seconds": 1' + b"0" * 400 + b"}", Reason.NOT_FINITE),
    (event(ts="yesterday"), Reason.BAD_TIME),
    (event(ts="2025-13-45T00:00:00Z"), Reason.BAD_TIME),
    (event(ts="2099-01-01T00:00:00Z"), Reason.TIME_OUT_OF_BOUNDS),
    (event(ts="1970-01-01T00:00:00Z"), Reason.TIME_OUT_OF_BOUNDS),
    (event(ts="0001-01-01T00:00:00+23:59"), Reason.TIME_OUT_OF_BOUNDS),
    (event(ts=10**400), Reason.TIME_OUT_OF_BOUNDS),
]


@pytest.mark.parametrize(("record", "reason"), BAD_EVENTS, ids=[f"{i}-{r}" for i, (_, r) in enumerate(BAD_EVENTS)])
def test_a_broken_event_is_refused_for_its_reason_with_a_detail(record: Any, reason: Reason) -> None:
    parsed = parse("event", record)
    assert (parsed.reason, parsed.columns) == (str(reason), None)
    assert parsed.detail and "needed" in parsed.detail and parsed.detail.encode("utf-8")


def test_a_detail_names_the_field_the_rule_and_what_came() -> None:
    parsed = parse("event", event(event_type="rating", value=9))
    assert parsed.detail == "field `value`: a number from 1 to 5 is needed, got 9"


def test_a_refused_record_keeps_its_key_where_it_can_be_read() -> None:
    assert parse("item", b'{"item_id": 7, "price": NaN}').record_id == "7"
    assert parse("item", {"item_id": {"sku": 7}}).record_id is None


@pytest.mark.parametrize("value", [7, 7.0, "7"])
def test_whole_numbers_are_cast_to_ids(value: Any) -> None:
    parsed = parse("event", event(user_id=value))
    assert parsed.columns is not None and parsed.columns["user_id"] == "7"


@pytest.mark.parametrize(
    "ts",
    [
        TS,
        "2025-07-01T14:00:00+02:00",
        "2025-07-01T12:00:00",
        "2025-07-01 12:00",
        "2025-07-01 12:00:00 UTC",
        "2025-07-01 12:00:00UTC",
        "2025-07-01t12:00:00z",
        "2025-07-01 12:00:00 +0000 UTC",
        "2025-07-01 14:00:00 +02:00",
        "2025-07-01T12:00:00.000000123Z",
        TS_US // 10**6,
        TS_US / 1e6,
        str(TS_US // 10**6),
        f"{TS_US // 10**6}.0",
    ],
)
def test_times_are_iso_8601_or_epoch_seconds_and_naive_ones_are_utc(ts: Any) -> None:
    parsed = parse("event", event(ts=ts))
    assert parsed.columns is not None and parsed.columns["event_ts"] == TS_US


def test_a_date_is_its_midnight_and_no_time_is_1970() -> None:
    for date in ("2025-07-01", "2025-07-01 UTC", "20250701", 20250701, 20250701.0, "20250701.0"):
        midnight = parse("event", event(ts=date)).columns
        assert midnight is not None and midnight["event_ts"] == TS_US - 12 * 3_600_000_000, date
    for none in (None, "", "NaT", math.nan):
        absent = parse("event", event(ts=none)).columns
        assert absent is not None and absent["event_ts"] == 0, none


@pytest.mark.parametrize(
    ("ts", "unit"),
    [
        (TS_US // 1000, "milliseconds"),
        (TS_US, "microseconds"),
        (TS_US * 1000, "nanoseconds"),
        (float(TS_US), "microseconds"),
        (str(TS_US * 1000), "nanoseconds"),
    ],
)
def test_finer_units_than_seconds_are_refused_with_a_hint_that_names_the_unit(ts: Any, unit: str) -> None:
    parsed = parse("event", event(ts=ts))
    assert parsed.reason == Reason.TIME_OUT_OF_BOUNDS and f"looks like {unit}" in str(parsed.detail)


def test_bounds_and_event_types_come_from_the_configuration() -> None:
    config = LandingConfig(
        ingest=IngestConfig(ts_min=datetime(2026, 1, 1)), events={"sniff": EventTypeConfig(needs_item=False)}
    )
    rules = Rules.of(config)
    early = parse_record("event", b'{"user_id": "u", "event_type": "sniff", "ts": "2025-12-31"}', None, rules)
    good = parse_record("event", b'{"user_id": "u", "event_type": "sniff", "ts": "2026-01-01"}', None, rules)
    assert early.reason == Reason.TIME_OUT_OF_BOUNDS and good.reason is None


def test_equal_events_without_an_id_get_the_same_key_in_every_format() -> None:
    record = {"user_id": "u1", "item_id": "i1", "event_type": "rating", "value": 4.0, "ts": TS}
    from_json = parse("event", record).columns
    from_csv = parse_plain("event", {**record, "event_id": "", "value": "4", "ts": str(TS_US // 10**6)}).columns
    from_parquet = parse_record(
        "event", None, {**record, "value": Decimal(4), "ts": datetime(2025, 7, 1, 12, tzinfo=UTC)}, RULES
    ).columns
    other = parse("event", {**record, "value": 5}).columns
    assert from_json == from_csv == from_parquet
    assert from_json is not None and other is not None and other["event_id"] != from_json["event_id"]


def test_text_formats_read_numbers_flags_and_lists_from_text_and_take_empty_as_null() -> None:
    record = {
        "item_id": "i",
        "price": " 9.5 ",
        "available": "No",
        "categories": "a; b;",
        "images": '["x.jpg", "y.jpg"]',
        "title": "",
        "brand": "",
        "colour": "red",
    }
    columns = parse_plain("item", record).columns
    assert columns is not None
    assert (columns["price"], columns["available"], columns["title"]) == (9.5, False, None)
    assert (columns["categories"], columns["images"]) == (["a", "b"], ["x.jpg", "y.jpg"])
    assert columns["attributes"] == {"colour": "red"}


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("price", "on request", Reason.WRONG_TYPE),
        ("price", "1_000", Reason.WRONG_TYPE),
        ("price", True, Reason.WRONG_TYPE),
        ("title", {"en": "Hat"}, Reason.WRONG_TYPE),
        ("title", "a\x00b", Reason.WRONG_TYPE),
        ("title", "\ud800", Reason.WRONG_TYPE),
        ("title", b"\xff\xfe", Reason.INVALID_UTF8),
        ("description", ["a", "b"], Reason.WRONG_TYPE),
        ("categories", [["a"]], Reason.WRONG_TYPE),
        ("images", "[1", Reason.WRONG_TYPE),
        ("images", "['a' 'b']", Reason.WRONG_TYPE),
    ],
)
def test_an_optional_field_that_cannot_be_read_is_null_with_a_note(field: str, value: Any, reason: Reason) -> None:
    parsed = parse_values("item", {"item_id": "i", "brand": "x", field: value})
    assert parsed.reason is None and parsed.columns is not None
    assert parsed.columns[field] is None and parsed.columns["attributes"] == {"brand": "x"}
    (note,) = parsed.notes
    assert (note.field, note.reason) == (field, str(reason))
    assert f"`{field}" in note.detail or f"'{field}" in note.detail
    assert note.detail.endswith("the field is null") and note.raw.startswith(f'{{"{field}":'.encode())


def test_a_flag_that_cannot_be_read_is_its_default_with_a_note() -> None:
    parsed = parse("item", {"item_id": "i", "available": "perhaps"})
    assert parsed.columns is not None and parsed.columns["available"] is True
    assert [note.detail for note in parsed.notes] == [
        "field `available`: true or false is needed, got str 'perhaps'; true counts, as where there is none"
    ]


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("price", "1e999", Reason.NOT_FINITE),
        ("price", -1, Reason.IMPOSSIBLE_VALUE),
        ("price", "-1", Reason.IMPOSSIBLE_VALUE),
        ("updated_at", "spring", Reason.BAD_TIME),
        ("op", "remove", Reason.IMPOSSIBLE_VALUE),
        ("op", ["delete"], Reason.WRONG_TYPE),
    ],
)
def test_impossible_numbers_times_and_operations_refuse_the_record(field: str, value: Any, reason: Reason) -> None:
    assert parse_values("item", {"item_id": "i", field: value}).reason == str(reason)


def test_a_review_whose_only_words_cannot_be_read_is_refused_and_one_with_sound_is_not() -> None:
    silent = parse("review", {"user_id": "u", "item_id": "i", "text": {"de": "Gut"}})
    assert silent.reason == Reason.WRONG_TYPE and "`text`" in str(silent.detail)
    spoken = parse("review", {"user_id": "u", "item_id": "i", "text": {"de": "Gut"}, "audio": "a.flac", "rating": "x"})
    assert spoken.columns is not None and spoken.columns["text"] is None and spoken.columns["rating"] is None
    assert [note.field for note in spoken.notes] == ["text", "rating"]


@pytest.mark.parametrize(
    "null", ["NULL", "null", "\\N", "nan", "NaN", "None", " NULL ", "", "  ", "<NA>", b"nan", math.nan]
)
def test_spellings_of_null_are_null_in_optional_fields_of_every_format(null: Any) -> None:
    optional = ("title", "price", "available", "categories", "images", "updated_at", "op", "colour")
    parsed = parse_values("item", {"item_id": "i", **dict.fromkeys(optional, null)})
    assert parsed.notes == () and parsed.columns == parse("item", {"item_id": "i"}).columns


@pytest.mark.parametrize("null", ["nan", "NULL", "\\N", "None", math.nan])
def test_spellings_of_null_are_refused_in_keys_and_required_fields_with_a_hint(null: Any) -> None:
    for name, reason in (("user_id", Reason.MISSING_KEY), ("item_id", Reason.MISSING_KEY)):
        parsed = parse_values("event", event(**{name: null}))
        assert parsed.reason == reason and "ingest.null_spellings" in str(parsed.detail)
    rating = parse_values("event", event(event_type="rating", value=null))
    assert rating.reason == Reason.MISSING_FIELD and "ingest.null_spellings" in str(rating.detail)
    search = parse_values("event", event(event_type="search", item_id=null, query="hat"))
    assert search.columns is not None and search.columns["item_id"] is None
    assert "null_spellings" not in str(parse_values("event", event(user_id=None)).detail)


def test_spellings_of_null_are_configured() -> None:
    rules = Rules.of(LandingConfig(ingest=IngestConfig(null_spellings=("-", "nil"))))
    columns = parse_record(
        "item", None, {"item_id": "nan", "title": "nil", "brand": "NULL", "price": "-"}, rules
    ).columns
    assert columns is not None and (columns["item_id"], columns["title"], columns["price"]) == ("nan", None, None)
    assert columns["attributes"] == {"brand": "NULL"}


UUID = "0f8fad5b-d9cb-469f-a165-70867728950e"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Decimal(7), "7"),
        (Decimal("7.00"), "7"),
        (Decimal(10) ** 30, "1" + "0" * 30),
        (7.0, "7"),
        ("7.0", "7"),
        (b"p7", "p7"),
        (b"7.0", "7"),
        (uuid.UUID(UUID), UUID),
        ("007.0", "007.0"),
        ("1.00", "1.00"),
    ],
)
def test_ids_come_as_decimals_bytes_and_uuids(value: Any, expected: str) -> None:
    parsed = parse_values("event", event(user_id=value))
    assert parsed.columns is not None and parsed.columns["user_id"] == expected
    vector_id = Fields({"item_id": value}, RULES).key("item_id")
    assert vector_id == expected


@pytest.mark.parametrize("value", [Decimal("7.5"), 2.0**60, b"\xff", datetime(2025, 1, 1, tzinfo=UTC), [7], False])
def test_what_is_no_id_is_refused(value: Any) -> None:
    assert parse_values("event", event(user_id=value)).reason in (Reason.WRONG_TYPE, Reason.INVALID_UTF8)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ((True, 1, 1.0, "1", "t", "T", "true", "True", "yes", "Y", b"t", Decimal(1)), True),
        ((False, 0, 0.0, "0", "f", "F", "false", "FALSE", "no", "n", b"0", Decimal(0)), False),
    ],
)
def test_flags_are_read_in_every_spelling(flags: tuple[Any, ...], expected: bool) -> None:
    for value in flags:
        columns = parse_values("item", {"item_id": "i", "available": value}).columns
        assert columns is not None and columns["available"] is expected, value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (34.0, "34"),
        ("34.0", "34"),
        (Decimal("34.0"), "34"),
        (34, "34"),
        (b"34", "34"),
        (2.5, "2.5"),
        (Decimal("2.50"), "2.5"),
        (True, "true"),
        ({"a": 1.0, "b": [2.0, math.nan]}, '{"a":1,"b":[2,null]}'),
        ([("a", 1), ("b", None)], '{"a":1,"b":null}'),
        (["a", None], '["a",null]'),
    ],
)
def test_attributes_say_the_same_in_every_spelling(value: Any, expected: str) -> None:
    columns = parse_values("user", {"user_id": "u", "x": value}).columns
    assert columns is not None and columns["attributes"] == {"x": expected}


def test_an_attribute_that_cannot_be_kept_is_dropped_with_a_note() -> None:
    deep: Any = "x"
    for _ in range(5000):
        deep = [deep]
    values = {"user_id": "u", "age": 3, "inf": [{"y": -math.inf}], "bad\x00": 1, "deep": deep, "half": "\ud800"}
    parsed = parse_values("user", values)
    assert parsed.columns is not None and parsed.columns["attributes"] == {"age": "3"}
    assert [(note.field, note.reason) for note in parsed.notes] == [
        ("bad\x00", "wrong_type"),
        ("deep", "wrong_type"),
        ("half", "wrong_type"),
        ("inf", "not_finite"),
    ]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (["a", None, "b"], ["a", "b"]),
        (["a", math.nan], ["a"]),
        ([None], None),
        ([], []),
        ("[]", []),
        ("a; b;", ["a", "b"]),
        ('["a", null, "b"]', ["a", "b"]),
        ("['a', \"b's\"]", ["a", "b's"]),
        ([1, 2.0, Decimal(3), b"x"], ["1", "2", "3", "x"]),
        (5, ["5"]),
    ],
)
def test_lists_are_read_in_every_spelling_and_their_nulls_passed_over(value: Any, expected: list[str] | None) -> None:
    columns = parse_values("item", {"item_id": "i", "categories": value}).columns
    assert columns is not None and columns["categories"] == expected


@pytest.mark.parametrize("title", [1984, 1984.0, Decimal(1984), "1984", b"1984"])
def test_a_title_may_be_a_number(title: Any) -> None:
    columns = parse_values("item", {"item_id": "i", "title": title}).columns
    assert columns is not None and columns["title"] == "1984"


def test_attributes_beyond_the_limit_are_dropped_and_told() -> None:
    rules = Rules.of(LandingConfig(ingest=IngestConfig(max_attributes=2, max_attribute_name_chars=5)))
    values = {"user_id": "u", "d": 4, "b": 2, "a" * 6: 1, "c": 3, "a": 1}
    parsed = parse_record("user", None, values, rules)
    assert parsed.columns is not None and parsed.columns["attributes"] == {"a": "1", "b": "2"}
    assert [note.field for note in parsed.notes] == ["aaaaaa", "attributes"]
    assert "2 were dropped, among them 'c', 'd'" in parsed.notes[1].detail
    assert json.loads(parsed.notes[1].raw) == {"attributes": {"c": 3, "d": 4}}
    bad = parse("user", {"user_id": "u", "z": 1, **{f"a\x00{n:05}": n for n in range(3000)}})
    assert bad.columns is not None and bad.columns["attributes"] == {"z": "1"}
    assert len(bad.notes) == 21 and "2980 were dropped" in bad.notes[-1].detail
    same = parse("user", {"user_id": "u", chr(0xD800): 1, chr(0xD801): 2, "?": "\ud802"})
    assert [note.field for note in same.notes] == ["?"]
    many = parse("user", {"user_id": "u", **{f"a{n:05}": n for n in range(3000)}})
    assert many.columns is not None and len(many.columns["attributes"]) == 200 and len(many.notes) == 1


def test_text_beyond_the_limit_is_cut_and_told() -> None:
    rules = Rules.of(LandingConfig(ingest=IngestConfig(max_text_chars=1000)))
    parsed = parse_record("item", None, {"item_id": "i", "title": "x" * 1001, "a": "y" * 1000}, rules)
    assert parsed.columns is not None and parsed.columns["title"] == "x" * 1000
    assert parsed.columns["attributes"] == {"a": "y" * 1000}
    assert [(note.field, note.reason) for note in parsed.notes] == [("title", "impossible_value")]
    assert parsed.notes[0].detail.endswith("the rest was cut off")


@pytest.mark.parametrize(
    "extra",
    [{"device": "ios"}, {"Unnamed: 0": 7}, {"__index_level_0__": 3}, {"device": {"b": 1, "a": 2}}, {"value": None}],
)
def test_the_identity_of_a_record_without_id_does_not_depend_on_extras(extra: dict[str, Any]) -> None:
    for kind in ("event", "review"):
        record = {name: value for name, value in GOOD[kind].items() if name != f"{kind}_id"}
        bare, extended = parse(kind, record).columns, parse(kind, {**extra, **record}).columns
        turned = parse(kind, dict(reversed(record.items()))).columns
        assert bare is not None and extended is not None and turned is not None
        assert bare[f"{kind}_id"] == extended[f"{kind}_id"] == turned[f"{kind}_id"]
        assert bare["_derived_id"] and "_derived_id" not in (parse(kind, GOOD[kind]).columns or {})


def test_the_identity_of_a_record_without_id_depends_on_every_field_of_the_contract() -> None:
    base = {"user_id": "u", "item_id": "i", "event_type": "view", "ts": TS}
    changes = [{}, {"user_id": "v"}, {"item_id": "j"}, {"event_type": "like"}, {"value": 1}, {"seconds": 1}]
    changes += [{"query": "q"}, {"ts": "2025-07-02"}, {"split": "train"}]
    ids = {(parse("event", {**base, **change}).columns or {})["event_id"] for change in changes}
    assert len(ids) == len(changes)


def test_media_fields_take_one_path_or_a_list_under_either_name() -> None:
    for fields in (
        {"image": "a.jpg"},
        {"images": "a.jpg"},
        {"images": ["a.jpg"]},
        {"images": ["a.jpg"], "image": "a.jpg"},
    ):
        columns = parse("item", {"item_id": "i", **fields}).columns
        assert columns is not None and columns["images"] == ["a.jpg"]
    none = parse("item", {"item_id": "i", "image": None, "audio": []}).columns
    assert none is not None and none["images"] is None and none["audio"] is None


def test_a_review_needs_words_or_sound() -> None:
    spoken = parse("review", {"user_id": "u", "item_id": "i", "audio": "a.flac"})
    assert spoken.columns is not None and spoken.columns["audio"] == ["a.flac"]
    assert parse("review", {"user_id": "u", "item_id": "i", "text": " "}).reason == Reason.MISSING_FIELD


def test_deletions_are_marked_and_other_operations_refused() -> None:
    deleted = parse("item", {"item_id": "i", "op": "delete"})
    assert deleted.columns is not None and deleted.columns["_deleted"] is True
    assert parse("item", {"item_id": "i", "op": "remove"}).reason == Reason.IMPOSSIBLE_VALUE


def test_a_transcript_belongs_to_a_medium_a_review_or_an_item() -> None:
    owners = [
        parse("provided_text", {"text": "t", **f}).columns
        for f in ({"audio": "./audio//1.flac"}, {"review_id": "r"}, {"item_id": 5})
    ]
    assert [(o["owner_kind"], o["owner_id"]) for o in owners if o] == [
        ("media", "audio/1.flac"),
        ("review", "r"),
        ("item", "5"),
    ]
    assert parse("provided_text", {"text": "t"}).reason == Reason.MISSING_KEY


def test_a_record_longer_than_allowed_is_refused() -> None:
    long = json.dumps(event(note="x" * (5 * 2**20))).encode()
    assert parse("event", long).reason == Reason.IMPOSSIBLE_VALUE


def test_landing_paths_are_made_plain_and_never_lead_up() -> None:
    assert landing_path("./images//a.jpg") == "images/a.jpg"
    assert landing_path("../a.jpg") == "../a.jpg"


@settings(max_examples=300, deadline=None)
@given(kind=st.sampled_from(sorted(READERS)), raw=st.binary(max_size=200))
def test_arbitrary_bytes_never_crash(kind: str, raw: bytes) -> None:
    check(parse(kind, raw))


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=500, deadline=None)
@given(kind=st.sampled_from(sorted(READERS)), data=st.data())
def test_good_records_with_any_field_replaced_never_crash(kind: str, data: st.DataObject) -> None:
    record = dict(GOOD[kind])
    for name in data.draw(st.lists(st.sampled_from([*sorted(record), "op", "split", "other"]), max_size=3)):
        record[name] = data.draw(JSON_VALUES)
    check(parse(kind, record))
    check(parse_record(kind, None, record, RULES))
    check(parse_plain(kind, {name: str(value) for name, value in record.items()}))


MEANINGS: dict[str, st.SearchStrategy[Any]] = {
    "id": st.integers(0, 10**14) | st.from_regex(r"i[a-z0-9-]{0,8}", fullmatch=True),
    "number": st.integers(1, 5) | st.sampled_from([1.5, 2.25, 4.0]),
    "text": st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=9).filter(
        lambda text: text not in RULES.null_spellings
    ),
    "flag": st.booleans(),
    "list": st.lists(st.from_regex(r"l[a-z]{0,4}", fullmatch=True), min_size=1, max_size=3),
    "time": st.integers(800_000_000, 1_790_000_000),
    "attribute": st.integers(-(10**9), 10**9) | st.floats(-1e6, 1e6).filter(lambda x: abs(x) >= 1e-4 or x == 0),
}
SHAPES = {
    "event": {
        "user_id": "id",
        "item_id": "id",
        "value": "number",
        "seconds": "number",
        "query": "text",
        "ts": "time",
        "age": "attribute",
    },
    "review": {"user_id": "id", "item_id": "id", "text": "text", "rating": "number", "ts": "time", "age": "attribute"},
    "item": {
        "item_id": "id",
        "title": "text",
        "price": "number",
        "available": "flag",
        "categories": "list",
        "updated_at": "time",
        "weight": "attribute",
    },
}


def _spelled(meaning: str, value: Any, choose: Callable[[list[Any]], Any]) -> tuple[Any, str, Any]:
    """One value as JSON, CSV and Parquet may spell it."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    if meaning == "time":
        when = datetime.fromtimestamp(value, UTC)
        iso = when.strftime("%Y-%m-%d %H:%M:%S")
        texts = [f"{iso} UTC", f"{iso}z", iso, str(value), f"{value}.0"]
        return choose([*texts, value, float(value)]), choose(texts), choose([when, when.replace(tzinfo=None), value])
    if meaning == "flag":
        texts = ["true", "1", "t", "True", "yes"] if value else ["false", "0", "f", "False", "no"]
        return choose([value, int(value), texts[2]]), choose(texts), choose([value, int(value), float(value)])
    if meaning == "list":
        csv = choose([json.dumps(value), ";".join(value), repr(value)])
        return choose([value, [*value, None]]), csv, choose([value, [None, *value], [v.encode() for v in value]])
    if meaning == "text" or isinstance(value, str):
        return value, value, choose([value, value.encode()])
    typed = [value, Decimal(str(value)), *([float(value)] if whole else [])]
    return choose([value, str(value)]), choose([str(value), *([f"{value}.0"] if whole else [])]), choose(typed)


@pytest.mark.slow
@settings(max_examples=400, deadline=None)
@given(kind=st.sampled_from(sorted(SHAPES)), data=st.data())
def test_the_same_meaning_in_json_csv_and_parquet_becomes_the_same_columns_and_id(
    kind: str, data: st.DataObject
) -> None:
    def choose(spellings: list[Any]) -> Any:
        return data.draw(st.sampled_from(spellings))

    record: dict[str, tuple[Any, str, Any]] = {}
    for name, meaning in SHAPES[kind].items():
        is_present = name.endswith("_id") or name == "text" or data.draw(st.booleans())
        if is_present:
            record[name] = _spelled(meaning, data.draw(MEANINGS[meaning]), choose)
        else:
            null = choose(["NULL", "\\N", "nan", "None", ""])
            record[name] = (choose([None, null]), null, choose([None, null, math.nan]))
    if kind == "event":
        record["event_type"] = ("view", "view", b"view")
    from_json, from_csv, from_parquet = ({name: forms[n] for name, forms in record.items()} for n in range(3))
    parsed = [parse(kind, from_json), parse_plain(kind, from_csv), parse_values(kind, from_parquet)]
    assert [(p.reason, p.notes) for p in parsed] == [(None, ())] * 3
    assert parsed[0].columns == parsed[1].columns == parsed[2].columns
    extended = parse(kind, {"Unnamed: 0": 5, **dict(reversed(from_json.items()))}).columns
    assert extended is not None and parsed[0].columns is not None
    assert extended[f"{kind}_id"] == parsed[0].columns[f"{kind}_id"]


def test_thousands_of_mutated_lines_never_crash() -> None:
    rng = random.Random(3)
    for _ in range(4000):
        kind = rng.choice(sorted(GOOD))
        line = bytearray(json.dumps(GOOD[kind]).encode())
        for _ in range(rng.randint(1, 4)):
            place = rng.randrange(len(line))
            line[place : place + rng.randint(0, 2)] = bytes(rng.randrange(256) for _ in range(rng.randint(0, 3)))
        check(parse(kind, bytes(line)))


def check(parsed: Parsed) -> None:
    """A record is either accepted with storable columns or refused with a known reason and a storable detail."""
    assert (parsed.columns is None) != (parsed.reason is None)
    if parsed.reason is not None:
        assert parsed.reason in REASONS and parsed.detail and not parsed.notes
        assert "cannot be read" not in parsed.detail, "the safety net is not meant to be needed"
        parsed.detail.encode("utf-8")
    else:
        json.dumps(parsed.columns, allow_nan=False, ensure_ascii=False).encode("utf-8")
    (parsed.record_id or "").encode("utf-8")
    assert len({note.field for note in parsed.notes}) == len(parsed.notes)
    for note in parsed.notes:
        assert note.reason in REASONS
        (note.field + note.detail).encode("utf-8")


def test_what_a_run_says_of_a_future_time_is_the_same_in_every_run() -> None:
    record = b'{"event_id": "e", "user_id": "u", "item_id": "i", "event_type": "view", "ts": "2099-01-01T00:00:00Z"}'
    runs = [Rules.of(LandingConfig(), datetime(2026, 1, day, tzinfo=UTC)) for day in (1, 2)]
    first, second = (parse_record("event", record, None, rules) for rules in runs)
    assert first.reason == "time_out_of_bounds" and first == second
    assert "24 hours after the start of the run" in (first.detail or "")


def test_typed_columns_of_a_parquet_file_are_read_like_text(tmp_path: Path) -> None:
    key = uuid.UUID(UUID)
    user_ids = pa.ExtensionArray.from_storage(pa.uuid(), pa.array([key.bytes], pa.binary(16)))
    columns = {
        "event_id": pa.array([Decimal(12)], pa.decimal128(20, 0)),
        "user_id": user_ids,
        "item_id": pa.array([b"i1"]),
        "event_type": pa.array([b"rating"]).dictionary_encode(),
        "value": pa.array([Decimal("4.50")], pa.decimal128(9, 2)),
        "seconds": pa.array([math.nan]),
        "ts": pa.array([TS_US * 1000 + 7], pa.timestamp("ns", tz="UTC")),
        "age": pa.array([34.0]),
        "sizes": pa.array([[("s", 1), ("l", 2)]], pa.map_(pa.string(), pa.int32())),
        "place": pa.array([{"lat": 1.0, "tags": ["b", None]}]),
    }
    (tmp_path / "data").mkdir()
    pq.write_table(pa.table(columns), tmp_path / "data" / "events.parquet")
    landing = LandingFolder(str(tmp_path / "data"))
    (delivery,) = landing.deliveries(landing.files(), [], 1 << 20)
    (row,) = [row for split in delivery.splits for row in iter_rows(landing, split, 1 << 20)]
    typed = parse_record("event", row.raw, row.values, RULES)
    text = {"event_id": "12", "user_id": UUID, "item_id": "i1", "event_type": "rating", "value": "4.5", "ts": TS}
    text |= {"age": "34", "sizes": '{"l":2,"s":1}', "place": '{"lat":1,"tags":["b",null]}'}
    assert (typed.reason, typed.notes) == (None, ())
    assert typed.columns == parse_plain("event", text).columns
