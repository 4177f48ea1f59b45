"""Reconciliation: what became of every record read, by file and kind, and whether too many were refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from mmrec_lib.contracts.bronze import LANDING_FILE
from mmrec_lib.errors import DataQualityError
from mmrec_lib.ingest.config import IngestConfig
from mmrec_lib.ingest.landing import Delivery
from mmrec_lib.ingest.records.frames import IMMUTABLE_KINDS
from mmrec_lib.ingest.records.reasons import LOST_REASONS, Reason
from mmrec_lib.ingest.resolve.first_wins import DUPLICATE, QUARANTINED, STORED, SUPERSEDED
from mmrec_lib.ingest.resolve.quarantine import FIELD_KIND, FILE_KIND
from mmrec_lib.safe_text import for_people

_EXTRA_KIND = "provided_vector"
STATUSES = (STORED, SUPERSEDED, DUPLICATE, QUARANTINED)
_PLURAL = {DUPLICATE: "duplicates"}


@dataclass(frozen=True)
class Example:
    """One refused record, to be shown in a message."""

    path: str
    line: int
    detail: str


@dataclass
class Loss:
    """Part of a file that could not be understood: its kind, how many lines or rows, and the first of them."""

    kind: str
    num_lost: int
    example: Example

    @property
    def first(self) -> str:
        """The first loss, for a message; what is wrong with a file as a whole stands in no line."""
        where = f"first in line {self.example.line}: " if self.example.line else ""
        return where + for_people(self.example.detail)


@dataclass(frozen=True)
class Unreadable:
    """Files of a kind of which nothing can be read: their share of its bytes, and what is wrong with the first."""

    share: float
    detail: str


@dataclass(frozen=True)
class QualityCheck:
    """A row of `data_quality_result` without its run: what was measured, what is allowed, whether it passed."""

    record_kind: str
    check_name: str
    value: float
    threshold: float | None
    passed: bool


@dataclass
class Reconciliation:
    """Outcomes of the records of one run.

    Attributes:
        by_file: (file_id, kind) → status → records.
        by_reason: kind → reason → records, refused ones only.
        examples: (kind, reason) → the first such record.
        num_returned: kind → records that came back from quarantine; they are in no file's counts of this run.
        num_waiting: kind → records in quarantine that wait for their item after this run.
        num_noted: kind → records that were kept, but not all of their fields as delivered.
        num_fields: Such fields; they are in no file's counts.
        field_example: The first such record.
        num_known: file_id → records of which the store had the key from elsewhere.
        num_deleted: kind → records that delete.
        losses: file_id → what could not be understood of the file.
        unreadable: kind → its files that are damaged so that nobody knows how many records they had.
        unread: Sentences about places that could not be read at all.
        changed: file_id of the files that changed while they were read; nothing of this run may be written then.
        has_refused: Whether a record, read now or once more, or a field of one belongs in quarantine.
    """

    by_file: dict[tuple[str, str], Counter[str]] = field(default_factory=dict)
    by_reason: dict[str, Counter[str]] = field(default_factory=dict)
    examples: dict[tuple[str, str], Example] = field(default_factory=dict)
    num_returned: Counter[str] = field(default_factory=Counter)
    num_waiting: Counter[str] = field(default_factory=Counter)
    num_noted: Counter[str] = field(default_factory=Counter)
    num_fields: int = 0
    field_example: Example | None = None
    num_known: Counter[str] = field(default_factory=Counter)
    num_deleted: Counter[str] = field(default_factory=Counter)
    losses: dict[str, Loss] = field(default_factory=dict)
    unreadable: dict[str, Unreadable] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)
    changed: set[str] = field(default_factory=set)
    has_refused: bool = False

    def add(self, file_id: str, kind: str, status: str, *, reason: str | None, count: int, example: Example) -> None:
        """Count `count` records of one file that met the same fate."""
        self.by_file.setdefault((file_id, kind), Counter())[status] += count
        if reason == Reason.FILE_CHANGED:
            self.changed.add(file_id)
        if reason in LOST_REASONS or reason == Reason.UNREADABLE_FILE:
            self.lose(file_id, kind, count, example)
        if reason is not None:
            self.by_reason.setdefault(kind, Counter())[reason] += count
            known = self.examples.get((kind, reason))
            if known is None or (example.path, example.line) < (known.path, known.line):
                self.examples[kind, reason] = example

    def lose(self, file_id: str, kind: str, count: int, example: Example) -> None:
        """Note that `count` lines or rows of a file were not understood."""
        known = self.losses.get(file_id)
        if known is None:
            self.losses[file_id] = Loss(kind, count, example)
            return
        known.num_lost += count
        known.kind = kind if known.kind == FILE_KIND else known.kind
        if example.line < known.example.line:
            known.example = example

    def lost_shares(self) -> dict[str, tuple[Loss, int, float]]:
        """file_id → its loss, its records, and the lost share of them."""
        sizes: Counter[str] = Counter()
        for (file_id, _), statuses in self.by_file.items():
            sizes[file_id] += statuses.total()
        shares = {}
        for file_id, loss in self.losses.items():
            size = max(sizes[file_id], loss.num_lost, 1)
            shares[file_id] = (loss, size, loss.num_lost / size)
        return shares

    def lost_files(self, config: IngestConfig) -> list[str]:
        """Sentences about files of which more is lost than may be, however few records they have.

        A file that does not tell how many records it had is weighed by its bytes among those of its kind in the run.
        Vectors are extras of items, which a file of them does not take along.
        """
        unreadable = [
            f"{kind}: files with {one.share:.1%} of the bytes cannot be read, at most "
            f"{config.max_quarantine_share:.1%} may be; {for_people(one.detail)}"
            for kind, one in sorted(self.unreadable.items())
            if one.share > config.max_quarantine_share and kind != _EXTRA_KIND
        ]
        return unreadable + [
            f"{for_people(loss.example.path)}: {loss.num_lost:,} of {size:,} records ({share:.1%}) cannot be "
            f"understood, at most {config.max_quarantine_share:.1%} of a file may be; {loss.first}"
            for loss, size, share in self.lost_shares().values()
            if share > config.max_quarantine_share and loss.kind != _EXTRA_KIND
        ]

    def not_read_whole(self) -> str:
        """The part of the job's message that names every file that was not read whole; empty when all were."""
        parts = [
            f"{for_people(loss.example.path)} ({loss.num_lost:,} of {size:,} lost; {loss.first})"
            for loss, size, _ in sorted(self.lost_shares().values(), key=lambda entry: entry[0].example.path)
        ]
        parts.extend(for_people(sentence) for sentence in self.unread)
        return f"; not read whole: {'; '.join(parts)}" if parts else ""

    def totals(self) -> dict[str, Counter[str]]:
        """Records by kind and status."""
        totals: dict[str, Counter[str]] = {}
        for (_, kind), statuses in self.by_file.items():
            totals.setdefault(kind, Counter()).update(statuses)
        return totals

    def counts(self) -> dict[str, int]:
        """Flat counts for `job_run`, such as `event.read` and `event.stored`."""
        result: dict[str, int] = {}
        for kind, statuses in sorted(self.totals().items()):
            result[f"{kind}.read"] = statuses.total()
            for status in STATUSES:
                result[f"{kind}.{_PLURAL.get(status, status)}"] = statuses[status]
        for kind, count in sorted(self.num_returned.items()):
            result[f"{kind}.returned"] = count
        for kind, count in sorted((+self.num_waiting).items()):
            result[f"{kind}.waiting"] = count
        if self.num_fields:
            result |= {f"{FIELD_KIND}.read": self.num_fields, f"{FIELD_KIND}.quarantined": self.num_fields}
            result |= {f"{FIELD_KIND}.{_PLURAL.get(s, s)}": 0 for s in (STORED, SUPERSEDED, DUPLICATE)}
        return result

    def checks(self, config: IngestConfig) -> tuple[QualityCheck, ...]:
        """Share of refused records by kind against the configured limit."""
        checks = []
        for kind, statuses in sorted(self.totals().items()):
            share = statuses[QUARANTINED] / max(statuses.total(), 1)
            is_held = kind != FILE_KIND and statuses.total() >= config.min_records
            limit = config.max_quarantine_share if is_held else None
            checks.append(QualityCheck(kind, "quarantine_share", share, limit, limit is None or share <= limit))
            if self.num_noted[kind]:
                # Told, not held to a limit: a field that cannot be read does not take its record along.
                noted = self.num_noted[kind] / max(statuses.total(), 1)
                checks.append(QualityCheck(kind, "unreadable_field_share", noted, None, True))
        worst: dict[str, float] = {}
        for loss, _, share in self.lost_shares().values():
            worst[loss.kind] = max(share, worst.get(loss.kind, 0.0))
        for kind, share in sorted(worst.items()):
            limit = None if kind == _EXTRA_KIND else config.max_quarantine_share
            checks.append(QualityCheck(kind, "worst_file_lost_share", share, limit, limit is None or share <= limit))
        for kind, one in sorted(self.unreadable.items()):
            limit = None if kind == _EXTRA_KIND else config.max_quarantine_share
            is_good = limit is None or one.share <= limit
            checks.append(QualityCheck(kind, "unreadable_bytes_share", one.share, limit, is_good))
        return tuple(checks)


def require_quality(reconciliation: Reconciliation, config: IngestConfig) -> None:
    """Refuse a run of which too much is bad, before anything of it is written.

    Raises:
        DataQualityError: With the top reasons and an example of each.
    """
    checks = reconciliation.checks(config)
    failed = [check for check in checks if not check.passed and check.check_name == "quarantine_share"]
    lost = reconciliation.lost_files(config)
    if not failed and not lost:
        return
    totals = reconciliation.totals()
    parts = []
    for check in failed:
        kind, statuses = check.record_kind, totals[check.record_kind]
        top = reconciliation.by_reason[kind].most_common(3)
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in top)
        example = reconciliation.examples[kind, top[0][0]]
        parts.append(
            f"{kind}: {statuses[QUARANTINED]:,} of {statuses.total():,} records ({check.value:.1%}) are bad, at most "
            f"{check.threshold:.1%} are allowed; top reasons: {reasons}; for example {for_people(example.path)} line "
            f"{example.line}: {example.detail}"
        )
    parts.extend(lost)
    raise DataQualityError(
        f"{'. '.join(parts)}. Nothing was written. Correct the files, or raise ingest.max_quarantine_share"
        f"{reconciliation.not_read_whole()}."
    )


def notes_for_person(
    reconciliation: Reconciliation, deliveries: Iterable[Delivery], known_paths: Collection[str]
) -> list[str]:
    """Sentences on what went well and still deserves a look: fields that were not kept, and unlike redeliveries.

    Args:
        reconciliation: That of this run.
        deliveries: The files of this run.
        known_paths: Paths that were delivered before.
    """
    notes = []
    if (example := reconciliation.field_example) is not None:
        notes.append(
            f"{reconciliation.num_fields:,} fields of stored records could not be kept as delivered (quarantine, "
            f"record_kind {FIELD_KIND}), for example {example.path} line {example.line}: {example.detail}"
        )
    unlike = [
        delivery.file.path
        for delivery in deliveries
        if delivery.kind in IMMUTABLE_KINDS
        and delivery.file.path in known_paths
        and reconciliation.by_file.get((delivery.file_id, delivery.kind), Counter())[STORED]
        and not reconciliation.num_known[delivery.file_id]
    ]
    if unlike:
        shown = ", ".join(unlike[:3]) + (f" and {len(unlike) - 3} more" if len(unlike) > 3 else "")
        notes.append(
            f"{shown}: delivered before, but no record of this delivery is in the store already, so all of them were "
            "added. If it is the same export, its ids or times have changed, and its history counts twice now"
        )
    return notes


def landing_file_rows(
    spark: SparkSession, deliveries: Iterable[Delivery], reconciliation: Reconciliation, number: int
) -> DataFrame:
    """Rows of `landing_file`: one a file and kind of record in it."""
    by_id = {delivery.file_id: delivery for delivery in deliveries}
    rows: list[tuple[Any, ...]] = []
    for (file_id, kind), statuses in reconciliation.by_file.items():
        delivery = by_id[file_id]
        file = delivery.file
        modified_at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=file.modified_us)
        counts = [statuses[status] for status in STATUSES]
        # A table that could not be read is tried again as a whole.
        table = delivery.table if delivery.problem is None else None
        read = (file.table_version, table.table_id if table is not None else None, delivery.header)
        books_of_file = (file.bytes_len, sum(counts), *counts)
        rows.append((file_id, kind, file.path, delivery.sha256, *books_of_file, modified_at, number, *read))
    return spark.createDataFrame(rows, LANDING_FILE.input_schema)
