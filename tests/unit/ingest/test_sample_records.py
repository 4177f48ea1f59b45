"""The sample store through the readers: each of its broken records ends where it must, and no other one does."""

from __future__ import annotations

import json
from collections import Counter

from mmrec_lib.ingest.config import LandingConfig
from mmrec_lib.ingest.landing import LandingFolder
from mmrec_lib.ingest.landing.rows import iter_rows, split_fields
from mmrec_lib.ingest.records.folder_fields import with_folder_fields
from mmrec_lib.ingest.records.parse import parse_record
from mmrec_lib.ingest.records.values import Rules
from tests.conftest import PROJECT

DATA = PROJECT / "tests" / "data"
RULES = Rules.of(LandingConfig())
OF_THE_STORE = {"unknown_item", "conflicting_redelivery"}


def test_every_broken_record_of_the_sample_store_is_refused_for_its_reason_and_no_field_is_lost() -> None:
    expected = json.loads((DATA / "expected.json").read_text(encoding="utf-8"))["quarantine_by_kind"]
    landing = LandingFolder(str(DATA / "store"))
    reasons: dict[str, Counter[str]] = {}
    num_notes = 0
    for delivery in landing.deliveries(landing.files(), [], 1 << 25):
        counted = reasons.setdefault(delivery.kind, Counter())
        for split in delivery.splits:
            for row in iter_rows(landing, split, RULES.max_record_bytes):
                if row.reason is not None:
                    counted[row.reason] += 1
                    continue
                given = split_fields(split)
                values = with_folder_fields(row.raw, row.values, given, RULES) if given else row.values
                parsed = parse_record(delivery.kind, row.raw, values, RULES)
                num_notes += len(parsed.notes)
                if parsed.reason is not None:
                    counted[parsed.reason] += 1
    for kind, counted in reasons.items():
        judged = {reason: n for reason, n in expected.get(kind, {}).items() if reason not in OF_THE_STORE}
        assert dict(counted) == judged, kind
    assert num_notes == 0
