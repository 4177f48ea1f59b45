from __future__ import annotations

import json
import math
import random
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmrec_lib.ingest.config import EventTypeConfig, IngestConfig, LandingConfig
from mmrec_lib.ingest.reasons import Reason
from mmrec_lib.ingest.records import READERS, Parsed, landing_path, parse_record
from mmrec_lib.ingest.values import Rules

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
    "graph_edge": {"head": "i1", "relation": "made_by", "tail": "x"},
    "provided_text": {"audio": "audio/1.flac", "text": "hello"},
}


def parse(kind: str, record: Any) -> Parsed:
    raw = record if isinstance(record, bytes) else json.dumps(record).encode()
    return parse_record(kind, raw, None, RULES)


def parse_plain(kind: str, record: dict[str, str]) -> Parsed:
    return parse_record(kind, b"", record, RULES)


def event(**fields: Any) -> dict[str, Any]:
    return {**GOOD["event"], **fields}


@pytest.mark.parametrize("kind", sorted(GOOD))
def test_a_good_record_of_each_kind_is_accepted(kind: str) -> None:
    parsed = parse(kind, GOOD[kind])
    assert parsed.reason is None and parsed.columns is not None


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
    (event(note="\ud800"), Reason.WRONG_TYPE),
    (event(seconds="3"), Reason.WRONG_TYPE),
    (event(seconds=True), Reason.WRONG_TYPE),
    (event(ts=True), Reason.WRONG_TYPE),
    (event(ts={"at": 1}), Reason.WRONG_TYPE),
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
    (b'{"user_id": "u", "item_id": "i", "event_type": "view", "seconds": NaN}', Reason.NOT_FINITE),
    (b'{"user_id": "u", "item_id": "i", "event_type": "view", "seconds": 1' + b"0" * 400 + b"}", Reason.NOT_FINITE),
    (b'{"user_id": "u", "item_id": "i", "event_type": "view", "x": [{"y": -Infinity}]}', Reason.NOT_FINITE),
    (event(ts=math.nan), Reason.NOT_FINITE),
    (event(ts="yesterday"), Reason.BAD_TIME),
    (event(ts="2025-13-45T00:00:00Z"), Reason.BAD_TIME),
    (event(ts=""), Reason.BAD_TIME),
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
    [TS, "2025-07-01T14:00:00+02:00", "2025-07-01T12:00:00", "2025-07-01 12:00", TS_US // 10**6, TS_US / 1e6],
)
def test_times_are_iso_8601_or_epoch_seconds_and_naive_ones_are_utc(ts: Any) -> None:
    parsed = parse("event", event(ts=ts))
    assert parsed.columns is not None and parsed.columns["event_ts"] == TS_US


def test_a_date_is_its_midnight_and_no_time_is_1970() -> None:
    midnight = parse("event", event(ts="2025-07-01")).columns
    absent = parse("event", event(ts=None)).columns
    assert midnight is not None and midnight["event_ts"] == TS_US - 12 * 3_600_000_000
    assert absent is not None and absent["event_ts"] == 0


def test_milliseconds_since_the_epoch_are_refused_with_a_hint() -> None:
    parsed = parse("event", event(ts=TS_US // 1000))
    assert parsed.reason == Reason.TIME_OUT_OF_BOUNDS and "milliseconds" in str(parsed.detail)


def test_bounds_and_event_types_come_from_the_configuration() -> None:
    config = LandingConfig(
        ingest=IngestConfig(ts_min=datetime(2026, 1, 1)), events={"sniff": EventTypeConfig(needs_item=False)}
    )
    rules = Rules.of(config)
    early = parse_record(
        "event", b'{"user_id": "u", "event_type": "sniff", "ts": "2025-12-31"}', None, rules
    )
    good = parse_record(
        "event", b'{"user_id": "u", "event_type": "sniff", "ts": "2026-01-01"}', None, rules
    )
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
    ("field", "text", "reason"),
    [
        ("price", "abc", Reason.WRONG_TYPE),
        ("price", "1_000", Reason.WRONG_TYPE),
        ("price", "nan", Reason.NOT_FINITE),
        ("price", "1e999", Reason.NOT_FINITE),
        ("price", "-1", Reason.IMPOSSIBLE_VALUE),
        ("images", "[1", Reason.WRONG_TYPE),
        ("available", "perhaps", Reason.WRONG_TYPE),
        ("updated_at", "spring", Reason.BAD_TIME),
    ],
)
def test_text_formats_refuse_what_is_no_number_flag_list_or_time(field: str, text: str, reason: Reason) -> None:
    assert parse_plain("item", {"item_id": "i", field: text}).reason == str(reason)


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
        assert parsed.reason in REASONS and parsed.detail
        assert "cannot be read" not in parsed.detail, "the safety net is not meant to be needed"
        parsed.detail.encode("utf-8")
    else:
        json.dumps(parsed.columns, allow_nan=False, ensure_ascii=False).encode("utf-8")
    (parsed.record_id or "").encode("utf-8")
