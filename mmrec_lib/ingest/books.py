"""The books: what became of every record read, by file and kind, and whether too many were refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from mmrec_lib.contracts.bronze import LANDING_FILE
from mmrec_lib.errors import DataQualityError
from mmrec_lib.ingest.actions import union
from mmrec_lib.ingest.config import IngestConfig
from mmrec_lib.ingest.frames import IMMUTABLE_KINDS
from mmrec_lib.ingest.quarantine import FIELD_KIND, FILE_KIND, has_notes, record_kind
from mmrec_lib.ingest.settle_first import DUPLICATE, QUARANTINED, STORED, SUPERSEDED
from mmrec_lib.lakehouse.landing import Delivery

STATUSES = (STORED, SUPERSEDED, DUPLICATE, QUARANTINED)
_WAITING = "waiting"
_PLURAL = {DUPLICATE: "duplicates"}


@dataclass(frozen=True)
class Example:
    """One refused record, to be shown in a message."""

    path: str
    line: int
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
class Books:
    """What became of the records of one run.

    Attributes:
        by_file: (file_id, kind) → status → records.
        by_reason: kind → reason → records, refused ones only.
        examples: (kind, reason) → the first such record.
        num_returned: kind → records that came back from quarantine; they are in no file's books of this run.
        num_waiting: kind → records in quarantine that wait for their item after this run.
        num_noted: kind → records that were kept, but not all of their fields as delivered.
        num_fields: Such fields; they are in no file's books.
        field_example: The first such record.
        num_known: file_id → records of which the store had the key from elsewhere.
        num_deleted: kind → records that delete.
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

    def add(self, file_id: str, kind: str, status: str, *, reason: str | None, count: int, example: Example) -> None:
        """Book `count` records of one file that met the same fate."""
        self.by_file.setdefault((file_id, kind), Counter())[status] += count
        if reason is not None:
            self.by_reason.setdefault(kind, Counter())[reason] += count
            known = self.examples.get((kind, reason))
            if known is None or (example.path, example.line) < (known.path, known.line):
                self.examples[kind, reason] = example

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
        return tuple(checks)


def keep_books(
    settled: Mapping[str, DataFrame], deliveries: Iterable[Delivery], waiting: DataFrame | None = None
) -> Books:
    """Count settled records by file, kind, status and reason; one Spark action over all kinds.

    Args:
        settled: Kind → its settled records; those of reviews and events may have `_retry`.
        deliveries: The files of this run; one without records gets books of zeros.
        waiting: Rows of `quarantine` of earlier files that wait for their item; None when there are none.
    """
    books = Books()
    for delivery in deliveries:
        if delivery.problem is None:
            books.by_file[delivery.file_id, delivery.kind] = Counter()
        else:
            example = Example(delivery.file.path, 1, delivery.problem.detail)
            reason = delivery.problem.reason
            books.add(delivery.file_id, FILE_KIND, QUARANTINED, reason=reason, count=1, example=example)
    if not settled:
        return books
    parts = [_fates(frame, kind) for kind, frame in settled.items()]
    if waiting is not None:
        parts.append(_waiting_fates(waiting))
    fates = union(parts)
    grouped = fates.groupBy("source_file_id", "_kind", "_status", "_reason", "_retry").agg(
        F.count(F.lit(1)).alias("num"),
        F.count_if("_deleted").alias("num_deleted"),
        F.count_if("_waits").alias("num_waiting"),
        F.count_if("_is_known").alias("num_known"),
        F.count_if(F.col("_num_notes") > 0).alias("num_noted"),
        F.sum("_num_notes").alias("num_fields"),
        F.min(F.when(F.col("_num_notes") > 0, F.struct("source_path", "source_line", "_note"))).alias("first_note"),
        F.min(F.struct("source_path", "source_line", "_detail")).alias("first"),
    )
    for row in grouped.collect():
        kind = row["_kind"]
        books.num_waiting[kind] += row["num_waiting"]
        if row["_status"] == _WAITING:
            continue
        books.num_noted[kind] += row["num_noted"]
        books.num_fields += row["num_fields"] or 0
        if (note := row["first_note"]) is not None:
            known = books.field_example
            if known is None or (note["source_path"], note["source_line"]) < (known.path, known.line):
                books.field_example = Example(note["source_path"], note["source_line"], note["_note"])
        if row["_retry"]:
            # It was among those that waited, and what became of it now is counted here.
            books.num_waiting[kind] -= row["num"]
            if row["_status"] != QUARANTINED:
                books.num_returned[kind] += row["num"]
            continue
        books.num_known[row["source_file_id"]] += row["num_known"]
        books.num_deleted[row["_kind"]] += row["num_deleted"]
        first = row["first"]
        example = Example(first["source_path"], first["source_line"], first["_detail"] or "")
        books.add(
            row["source_file_id"],
            row["_kind"],
            row["_status"],
            reason=row["_reason"],
            count=row["num"],
            example=example,
        )
    return books


def _fates(settled: DataFrame, kind: str) -> DataFrame:
    columns = ("source_file_id", "source_path", "source_line", "_status", "_reason", "_detail", "_deleted")
    false = F.lit(False)
    return settled.select(
        *columns,
        record_kind(kind).alias("_kind"),
        (F.col("_retry") if "_retry" in settled.columns else false).alias("_retry"),
        F.col("_waits_for").isNotNull().alias("_waits"),
        (F.col("_is_known") if "_is_known" in settled.columns else false).alias("_is_known"),
        F.when(has_notes(), F.size("_notes")).otherwise(0).alias("_num_notes"),
        F.when(has_notes(), F.col("_notes")[0]["detail"]).alias("_note"),
    )


def _waiting_fates(waiting: DataFrame) -> DataFrame:
    """Rows of quarantine in the form of `_fates`, to be counted in the same pass."""
    none = F.lit(None).cast("string")
    return waiting.select(
        *("source_file_id", "source_path", "source_line"),
        F.lit(_WAITING).alias("_status"),
        *[none.alias(name) for name in ("_reason", "_detail", "_note")],
        *[F.lit(False).alias(name) for name in ("_deleted", "_retry", "_is_known")],
        F.col("record_kind").alias("_kind"),
        F.lit(True).alias("_waits"),
        F.lit(0).alias("_num_notes"),
    )


def require_quality(books: Books, config: IngestConfig) -> None:
    """Refuse a run of which too much is bad, before anything of it is written.

    Raises:
        DataQualityError: With the top reasons and an example of each.
    """
    failed = [check for check in books.checks(config) if not check.passed]
    if not failed:
        return
    totals = books.totals()
    parts = []
    for check in failed:
        kind, statuses = check.record_kind, totals[check.record_kind]
        top = books.by_reason[kind].most_common(3)
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in top)
        example = books.examples[kind, top[0][0]]
        parts.append(
            f"{kind}: {statuses[QUARANTINED]:,} of {statuses.total():,} records ({check.value:.1%}) are bad, at most "
            f"{check.threshold:.1%} are allowed; top reasons: {reasons}; for example {example.path} line "
            f"{example.line}: {example.detail}"
        )
    raise DataQualityError(
        f"{'. '.join(parts)}. Nothing was written. Correct the files, or raise ingest.max_quarantine_share."
    )


def notes_for_person(books: Books, deliveries: Iterable[Delivery], known_paths: Collection[str]) -> list[str]:
    """Sentences on what went well and still deserves a look: fields that were not kept, and unlike redeliveries.

    Args:
        books: Those of this run.
        deliveries: The files of this run.
        known_paths: Paths that were delivered before.
    """
    notes = []
    if (example := books.field_example) is not None:
        notes.append(
            f"{books.num_fields:,} fields of stored records could not be kept as delivered (quarantine, record_kind "
            f"{FIELD_KIND}), for example {example.path} line {example.line}: {example.detail}"
        )
    unlike = [
        delivery.file.path
        for delivery in deliveries
        if delivery.kind in IMMUTABLE_KINDS
        and delivery.file.path in known_paths
        and books.by_file.get((delivery.file_id, delivery.kind), Counter())[STORED]
        and not books.num_known[delivery.file_id]
    ]
    if unlike:
        shown = ", ".join(unlike[:3]) + (f" and {len(unlike) - 3} more" if len(unlike) > 3 else "")
        notes.append(
            f"{shown}: delivered before, but no record of this delivery is in the store already, so all of them were "
            "added. If it is the same export, its ids or times have changed, and its history counts twice now"
        )
    return notes


def landing_file_rows(spark: SparkSession, deliveries: Iterable[Delivery], books: Books) -> DataFrame:
    """Rows of `landing_file`: one a file and kind of record in it."""
    by_id = {delivery.file_id: delivery for delivery in deliveries}
    rows: list[tuple[Any, ...]] = []
    for (file_id, kind), statuses in books.by_file.items():
        delivery = by_id[file_id]
        file = delivery.file
        modified_at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=file.modified_us)
        counts = [statuses[status] for status in STATUSES]
        rows.append((file_id, kind, file.path, delivery.sha256, file.bytes_len, sum(counts), *counts, modified_at))
    return spark.createDataFrame(rows, LANDING_FILE.input_schema)
