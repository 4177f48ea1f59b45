"""One landing record → the columns of its table, or the reason why not; pure Python, to be tested at speed."""

from __future__ import annotations

import hashlib
import json
import posixpath
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mmrec_lib.ingest.records.labels import LABEL_ID_FIELDS, read_label
from mmrec_lib.ingest.records.reasons import Reason, RecordError
from mmrec_lib.ingest.records.spellings import json_text, shown
from mmrec_lib.ingest.records.values import SPLITS, Fields, Note, Rules, first_readable_id, user_key

Columns = dict[str, Any]

RATING_MIN, RATING_MAX = 1.0, 5.0
CONTROL_ACTIONS = ("block", "mute", "less", "boost")
SOFT_ACTIONS = ("less", "boost")
MIN_STRENGTH, MAX_STRENGTH = 0.0, 100.0
MAX_K = 1000


@dataclass(frozen=True, slots=True)
class Parsed:
    """Outcome of parsing one record: columns, or a reason with its detail.

    Attributes:
        columns: Columns of the kind's table without the source columns; None when rejected. Times are microseconds
            since the epoch. Kinds that can be deleted have `_deleted` besides, events and reviews without an id of
            their own `_derived_id`.
        reason: Why it was rejected; None when accepted.
        detail: What was wrong; None when accepted.
        record_id: Key of the record as far as it could be read.
        notes: Fields of an accepted record that could not be kept as delivered.
    """

    columns: Columns | None
    reason: str | None
    detail: str | None
    record_id: str | None
    notes: tuple[Note, ...] = ()


def parse_json(raw: bytes) -> dict[str, Any]:
    """One JSON object from bytes, strictly: valid UTF-8, no trailing text, no name twice.

    NaN and Infinity come through as floats: the field they stand in refuses them, and the record's key stays readable.

    Raises:
        RecordError: `invalid_utf8`, `not_json` or `wrong_type` (JSON, but no object).
    """
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _invalid_utf8(error) from None
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise RecordError(
            Reason.NOT_JSON, f"character {error.pos + 1}: one JSON object a line is needed, but {error.msg.lower()}"
        ) from None
    except ValueError as error:  # an integer of thousands of digits
        raise RecordError(Reason.NOT_JSON, f"one JSON object a line is needed, but {error}") from None
    except RecursionError:
        raise RecordError(Reason.NOT_JSON, "one JSON object a line is needed, but it is nested too deeply") from None
    if not isinstance(value, dict):
        raise RecordError(
            Reason.WRONG_TYPE, f"one JSON object a line is needed, got {type(value).__name__} {shown(value)}"
        )
    return value


def check_utf8(raw: bytes) -> None:
    """Refuse bytes that are not UTF-8.

    Raises:
        RecordError: `invalid_utf8`.
    """
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _invalid_utf8(error) from None


def parse_record(kind: str, raw: bytes | None, values: Mapping[str, Any] | None, rules: Rules) -> Parsed:
    """Read one record, by the same rules whatever format it came in.

    The length of rows that were cut already was checked by who cut them: their `raw` may hold a header besides.

    Args:
        kind: Table of the record, such as event.
        raw: Bytes of a JSON line, or of the CSV or TSV row that `values` was cut from; None for a Parquet row.
        values: The fields, where the format has cut them already; None to parse `raw` as JSON.
        rules: What records are held to.
    """
    record_id = None
    try:
        if values is None:
            if raw is not None and len(raw) > rules.max_record_bytes:
                raise RecordError(
                    Reason.IMPOSSIBLE_VALUE,
                    f"at most {rules.max_record_bytes} bytes (ingest.max_record_bytes) are needed, this record is "
                    "longer",
                )
            values = parse_json(raw or b"")
        elif raw is not None:
            check_utf8(raw)
        record_id = first_readable_id(values, ID_FIELDS[kind])
        fields = Fields(values, rules)
        columns = READERS[kind](fields, rules)
        return Parsed(columns, None, None, record_id, fields.notes)
    except RecordError as error:
        return Parsed(None, str(error.reason), error.detail, record_id)
    except (ValueError, TypeError, ArithmeticError, RecursionError) as error:
        # A value of a kind that nobody thought of must cost its record, not the run.
        detail = f"the record cannot be read: {type(error).__name__} {error}"
        return Parsed(None, str(Reason.WRONG_TYPE), detail, record_id)


def landing_path(path: str) -> str:
    """A media path relative to the landing folder in its plain form, without `./` and doubled slashes."""
    return posixpath.normpath(path) if path and ".." not in path.split("/") else path


def read_event(fields: Fields, rules: Rules) -> Columns:
    """Columns of `event`; what is needed depends on the declared event type."""
    event_id = fields.optional_key("event_id")
    user_id = user_key(fields.key("user_id"))
    event_type = fields.needed_text("event_type")
    declared = rules.event_types.get(event_type)
    if declared is None:
        raise RecordError(
            Reason.UNKNOWN_EVENT_TYPE,
            f"field `event_type`: one of {', '.join(sorted(rules.event_types))} is needed (declare others under "
            f"`events` in the configuration), got {shown(event_type)}",
        )
    columns: Columns = {
        "user_id": user_id,
        "item_id": fields.key("item_id") if declared.needs_item else fields.optional_key("item_id"),
        "event_type": event_type,
        "value": fields.number(
            "value", declared.value_min, declared.value_max, needed_for=event_type if declared.needs_value else None
        ),
        "seconds": fields.number("seconds", 0.0),
        "query": fields.needed_text("query") if declared.needs_query else fields.text("query"),
        "event_ts": fields.time_us("ts"),
        "split": fields.choice("split", SPLITS),
        "attributes": fields.rest(),
    }
    return _with_id(columns, "event_id", event_id)


def read_review(fields: Fields, rules: Rules) -> Columns:
    """Columns of `review`: words, sound or both."""
    del rules
    review_id = fields.optional_key("review_id")
    columns: Columns = {
        "user_id": user_key(fields.key("user_id")),
        "item_id": fields.key("item_id"),
        "text": fields.text("text"),
        "rating": fields.number("rating", RATING_MIN, RATING_MAX),
        "language": fields.text("language"),
        "audio": fields.paths("audio"),
        "review_ts": fields.time_us("ts"),
        "attributes": fields.rest(),
    }
    if columns["text"] is None and columns["audio"] is None:
        fields.require_readable("text", "audio")
        raise RecordError(Reason.MISSING_FIELD, "fields `text` and `audio`: one of them is needed, got neither")
    return _with_id(columns, "review_id", review_id)


def read_item(fields: Fields, rules: Rules) -> Columns:
    """Columns of `item`, and `_deleted`."""
    del rules
    return {
        "item_id": fields.key("item_id"),
        "title": fields.text("title"),
        "description": fields.text("description"),
        "categories": fields.strings("categories"),
        "price": fields.number("price", 0.0),
        "available": fields.flag("available", True),
        "markets": fields.strings("markets"),
        "images": fields.paths("images", "image"),
        "audio": fields.paths("audio"),
        "video": fields.paths("video"),
        "updated_at": fields.time_us("updated_at"),
        "_deleted": fields.choice("op", ("delete",)) is not None,
        "attributes": fields.rest(),
    }


def read_user(fields: Fields, rules: Rules) -> Columns:
    """Columns of `user`, and `_deleted`; everything but id, version and op is an attribute."""
    del rules
    return {
        "user_id": user_key(fields.key("user_id")),
        "updated_at": fields.time_us("updated_at"),
        "is_declared": True,
        "_deleted": fields.choice("op", ("delete",)) is not None,
        "attributes": fields.rest(),
    }


def read_user_edge(fields: Fields, rules: Rules) -> Columns:
    """Columns of `user_edge`."""
    del rules
    return {
        "user_id": user_key(fields.key("user_id")),
        "friend_id": user_key(fields.key("friend_id")),
        "attributes": fields.rest(),
    }


def read_user_control(fields: Fields, rules: Rules) -> Columns:
    """Columns of `user_control`, and `_deleted`; one of item_id, category and brand is the target."""
    del rules
    user_id = user_key(fields.key("user_id"))
    item_id, category, brand = fields.optional_key("item_id"), fields.text("category"), fields.text("brand")
    named = [(kind, name) for kind, name in (("item", item_id), ("category", category), ("brand", brand)) if name]
    if not named:
        fields.require_readable("category", "brand")
        raise RecordError(
            Reason.MISSING_FIELD, "fields `item_id`, `category` and `brand`: one of them is needed, got none"
        )
    if len(named) > 1:
        raise RecordError(
            Reason.IMPOSSIBLE_VALUE,
            f"fields `item_id`, `category` and `brand`: one of them is needed, got {len(named)}. Deliver a record for "
            "each",
        )
    target_kind, target = named[0]
    deleted = fields.choice("op", ("delete",)) is not None
    action = fields.choice("action", CONTROL_ACTIONS)
    if action is None and not deleted:
        raise RecordError(
            Reason.MISSING_FIELD, f"field `action`: one of {', '.join(CONTROL_ACTIONS)} is needed, got none"
        )
    if action in SOFT_ACTIONS and target_kind == "item":
        raise RecordError(
            Reason.IMPOSSIBLE_VALUE, f"field `action`: block or mute is needed for an item_id, got {shown(action)}"
        )
    identity = json_text([user_id, target_kind, target])
    return {
        "control_id": hashlib.sha256(identity.encode("utf-8")).hexdigest()[:32],
        "user_id": user_id,
        "action": action,
        "target_kind": target_kind,
        "target": target,
        "strength": fields.number("strength", MIN_STRENGTH, MAX_STRENGTH),
        "updated_at": fields.time_us("updated_at"),
        "_deleted": deleted,
        "attributes": fields.rest(),
    }


def read_query(fields: Fields, rules: Rules) -> Columns:
    """Columns of `query`, and `_deleted`: words, an image, a recording, or several of them."""
    del rules
    user_id = fields.optional_key("user_id")
    columns: Columns = {
        "query_id": fields.key("query_id"),
        "text": fields.text("text"),
        "images": fields.paths("image", "images"),
        "audio": fields.paths("audio"),
        "user_id": None if user_id is None else user_key(user_id),
        "k": fields.whole_number("k", 1, MAX_K),
        "market": fields.text("market"),
        "updated_at": fields.time_us("updated_at"),
        "_deleted": fields.choice("op", ("delete",)) is not None,
        "attributes": fields.rest(),
    }
    if columns["_deleted"]:
        return columns
    if columns["text"] is columns["images"] is columns["audio"] is None:
        fields.require_readable("text", "image", "images", "audio")
        raise RecordError(Reason.MISSING_FIELD, "fields `text`, `image` and `audio`: one of them is needed, got none")
    for name, paths in (("image", columns["images"]), ("audio", columns["audio"])):
        if paths is not None and len(paths) > 1:
            raise RecordError(
                Reason.IMPOSSIBLE_VALUE, f"field `{name}`: one path is needed, got {len(paths)}. Deliver a query each"
            )
    return columns


def read_answer(fields: Fields, rules: Rules) -> Columns:
    """Columns of `answer`, and `_deleted`."""
    del rules
    deleted = fields.choice("op", ("delete",)) is not None
    return {
        "answer_id": fields.key("answer_id"),
        "question": fields.text("question") if deleted else fields.needed_text("question"),
        "answer": fields.text("answer") if deleted else fields.needed_text("answer"),
        "language": fields.text("language"),
        "source": fields.text("source"),
        "updated_at": fields.time_us("updated_at"),
        "_deleted": deleted,
        "attributes": fields.rest(),
    }


def read_graph_edge(fields: Fields, rules: Rules) -> Columns:
    """Columns of `graph_edge`."""
    del rules
    return {name: fields.key(name) for name in ("head", "relation", "tail")}


def read_provided_text(fields: Fields, rules: Rules) -> Columns:
    """Columns of `provided_text`: a transcript of a medium, or else of a review or an item."""
    del rules
    audio, review_id, item_id = fields.text("audio"), fields.optional_key("review_id"), fields.optional_key("item_id")
    owners = (("media", landing_path(audio) if audio else None), ("review", review_id), ("item", item_id))
    owner = next(((kind, owner_id) for kind, owner_id in owners if owner_id), None)
    if owner is None:
        fields.require_readable("audio")
        raise RecordError(
            Reason.MISSING_KEY, "fields `audio`, `review_id` and `item_id`: one of them is needed, got none"
        )
    return {
        "owner_kind": owner[0],
        "owner_id": owner[1],
        "kind": "transcript",
        "text": fields.needed_text("text"),
        "language": fields.text("language"),
    }


READERS: dict[str, Callable[[Fields, Rules], Columns]] = {
    "event": read_event,
    "review": read_review,
    "item": read_item,
    "user": read_user,
    "user_edge": read_user_edge,
    "user_control": read_user_control,
    "query": read_query,
    "answer": read_answer,
    "label": read_label,
    "graph_edge": read_graph_edge,
    "provided_text": read_provided_text,
}

ID_FIELDS: dict[str, tuple[str, ...]] = {
    "event": ("event_id",),
    "review": ("review_id",),
    "item": ("item_id",),
    "user": ("user_id",),
    "user_edge": ("user_id", "friend_id"),
    "user_control": ("user_id", "item_id", "category", "brand"),
    "query": ("query_id",),
    "answer": ("answer_id",),
    "label": LABEL_ID_FIELDS,
    "graph_edge": ("head", "relation", "tail"),
    "provided_text": ("audio", "review_id", "item_id"),
    "provided_vector": ("item_id",),
}
"""Landing fields that make up a record's key, by kind."""


def _with_id(columns: Columns, name: str, given: str | None) -> Columns:
    """The columns with their key: the given one, or a hash of the contract's fields.

    Fields beyond the contract are no part of it, so that an export with one column more is still the same export; nor
    are fields that are null, so that a contract may gain columns.
    """
    if given is not None:
        return {name: given, **columns}
    identity = {field: value for field, value in columns.items() if value is not None and field != "attributes"}
    digest = hashlib.sha256(json_text(identity).encode("utf-8")).hexdigest()[:32]
    return {name: digest, **columns, "_derived_id": True}


def _invalid_utf8(error: UnicodeDecodeError) -> RecordError:
    return RecordError(
        Reason.INVALID_UTF8, f"byte {error.start + 1}: UTF-8 is needed, got 0x{error.object[error.start]:02x}"
    )


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise RecordError(Reason.NOT_JSON, f"field {shown(twice)}: each name once is needed, but it stands twice")
    return result


_DECODER = json.JSONDecoder(object_pairs_hook=_object)
