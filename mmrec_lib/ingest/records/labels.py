"""One landing record of a label → the columns of its table, or the reason why not."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from mmrec_lib.ingest.records.reasons import Reason, RecordError
from mmrec_lib.ingest.records.spellings import json_text, scalar_text, shown
from mmrec_lib.ingest.records.values import SPLITS, Fields, Rules, user_key

LABEL_OWNERS = ("item", "review", "user")
LABEL_ID_FIELDS = ("task", "owner_id", "item_id")
"""Landing fields that tell a person which label a refused record is."""

MAX_SPANS = 10_000


def read_label(fields: Fields, rules: Rules) -> dict[str, Any]:
    """Columns of `label`, and `_deleted`: a class, or spans of the text that the record brings or its owner has."""
    del rules
    task = fields.key("task")
    owner_kind = fields.choice("owner_kind", LABEL_OWNERS) or "item"
    owner_id, item_id, text = fields.key("owner_id"), fields.optional_key("item_id"), fields.text("text")
    if owner_kind == "user":
        owner_id = user_key(owner_id)
    elif item_id is not None:
        raise RecordError(
            Reason.IMPOSSIBLE_VALUE,
            f"field `item_id`: it makes a pair with a user, so owner_kind user is needed, got {owner_kind}",
        )
    deleted = fields.choice("op", ("delete",)) is not None
    label, delivered = fields.text("label"), fields.objects("spans")
    if not deleted and (label is None) == (delivered is None):
        fields.require_readable("label")
        got = "neither" if label is None else "both"
        raise RecordError(Reason.MISSING_FIELD, f"fields `label` and `spans`: one of them is needed, got {got}")
    spans = None if delivered is None else _spans(delivered, text)
    identity = json_text([task, owner_kind, owner_id, item_id, text])
    return {
        "label_id": hashlib.sha256(identity.encode("utf-8")).hexdigest()[:32],
        "task": task,
        "owner_kind": owner_kind,
        "owner_id": owner_id,
        "item_id": item_id,
        "text": text,
        "label": None if label is None else label.strip(),
        "spans": spans,
        "split": fields.choice("split", SPLITS),
        "updated_at": fields.time_us("updated_at"),
        "_deleted": deleted,
        "attributes": fields.rest(),
    }


def _spans(delivered: list[Mapping[str, Any]], text: str | None) -> list[dict[str, Any]]:
    """Spans in the order of the text; they lie in it, have a label each and do not overlap."""
    if len(delivered) > MAX_SPANS:
        raise RecordError(
            Reason.IMPOSSIBLE_VALUE, f"field `spans`: at most {MAX_SPANS} are needed, got {len(delivered)}"
        )
    spans = sorted((_span(number, one) for number, one in enumerate(delivered)), key=lambda s: (s["start"], s["end"]))
    end = 0
    for span in spans:
        if span["start"] < end:
            raise RecordError(
                Reason.IMPOSSIBLE_VALUE,
                f"field `spans`: spans that do not overlap are needed, but one ends at {end} and the next starts at "
                f"{span['start']}",
            )
        end = span["end"]
    if text is not None and end > len(text):
        raise RecordError(
            Reason.IMPOSSIBLE_VALUE,
            f"field `spans`: ends of at most {len(text)}, the length of `text` in characters, are needed, got {end}",
        )
    return spans


def _span(number: int, one: Mapping[str, Any]) -> dict[str, Any]:
    start, end, label = one.get("start"), one.get("end"), one.get("label")
    bounds_are_whole = all(isinstance(bound, int) and not isinstance(bound, bool) for bound in (start, end))
    if not bounds_are_whole or not 0 <= start < end < 2**31:  # type: ignore[operator]
        raise RecordError(
            Reason.IMPOSSIBLE_VALUE,
            f"field `spans[{number}]`: whole numbers with 0 <= start < end are needed, got {shown(start)} and "
            f"{shown(end)}",
        )
    name = "" if label is None else scalar_text(f"spans[{number}].label", label).strip()
    if not name:
        raise RecordError(Reason.MISSING_FIELD, f"field `spans[{number}].label`: text is needed, got none")
    return {"start": start, "end": end, "label": name}
