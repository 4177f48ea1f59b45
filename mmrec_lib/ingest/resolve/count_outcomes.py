"""Settled records → the reconciliation of a run, in one Spark action over all kinds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from mmrec_lib.ingest.landing import Delivery
from mmrec_lib.ingest.resolve.first_wins import QUARANTINED
from mmrec_lib.ingest.resolve.quarantine import FILE_KIND, has_notes, record_kind
from mmrec_lib.ingest.resolve.reconciliation import Example, Loss, Reconciliation, Unreadable
from mmrec_lib.lakehouse.actions import union

_WAITING = "waiting"


def count_outcomes(
    settled: Mapping[str, DataFrame],
    deliveries: Sequence[Delivery],
    unread: Iterable[Delivery] = (),
    waiting: DataFrame | None = None,
) -> Reconciliation:
    """Count settled records by file, kind, status and reason; one Spark action over all kinds.

    Args:
        settled: Kind → its settled records; those of reviews and events may have `_retry`.
        deliveries: The files of this run; one without records gets counts of zero.
        unread: Places that could not be read; they are not counted.
        waiting: Rows of `quarantine` of earlier files that wait for their item; None when there are none.
    """
    reconciliation = _outcomes_of_files(deliveries, unread)
    if not settled:
        return reconciliation
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
        _count_group(reconciliation, row)
    return reconciliation


def _outcomes_of_files(deliveries: Sequence[Delivery], unread: Iterable[Delivery]) -> Reconciliation:
    """Reconciliation with what is known of whole files."""
    reconciliation = Reconciliation(unread=[one.problem.detail for one in unread if one.problem is not None])
    for delivery in deliveries:
        if delivery.problem is None:
            reconciliation.by_file[delivery.file_id, delivery.kind] = Counter()
        else:
            example = Example(delivery.file.path, 1, delivery.problem.detail)
            reason = delivery.problem.reason
            reconciliation.add(delivery.file_id, FILE_KIND, QUARANTINED, reason=reason, count=1, example=example)
            reconciliation.losses.pop(delivery.file_id, None)
            if delivery.problem.is_lost and delivery.problem.num_records is not None:
                whole = Example(delivery.file.path, 0, delivery.problem.detail)
                reconciliation.losses[delivery.file_id] = Loss(delivery.kind, delivery.problem.num_records, whole)
            else:
                reconciliation.unread.append(delivery.problem.detail)
    reconciliation.unreadable = _unreadable(deliveries)
    return reconciliation


def _count_group(reconciliation: Reconciliation, row: Row) -> None:
    """Count records of one file that met the same fate."""
    kind = row["_kind"]
    reconciliation.num_waiting[kind] += row["num_waiting"]
    if row["_status"] == _WAITING:
        return
    reconciliation.has_refused |= row["_status"] == QUARANTINED or bool(row["num_fields"])
    reconciliation.num_noted[kind] += row["num_noted"]
    reconciliation.num_fields += row["num_fields"] or 0
    if (note := row["first_note"]) is not None:
        known = reconciliation.field_example
        if known is None or (note["source_path"], note["source_line"]) < (known.path, known.line):
            reconciliation.field_example = Example(note["source_path"], note["source_line"], note["_note"])
    if row["_retry"]:
        # It was among those that waited, and what became of it now is counted here.
        reconciliation.num_waiting[kind] -= row["num"]
        if row["_status"] != QUARANTINED:
            reconciliation.num_returned[kind] += row["num"]
        return
    reconciliation.num_known[row["source_file_id"]] += row["num_known"]
    reconciliation.num_deleted[row["_kind"]] += row["num_deleted"]
    first = row["first"]
    example = Example(first["source_path"], first["source_line"], first["_detail"] or "")
    reconciliation.add(
        row["source_file_id"],
        row["_kind"],
        row["_status"],
        reason=row["_reason"],
        count=row["num"],
        example=example,
    )


def _unreadable(deliveries: Sequence[Delivery]) -> dict[str, Unreadable]:
    """Kind → its files that do not even tell how many records they had."""
    sizes: Counter[str] = Counter()
    lost: dict[str, list[Delivery]] = {}
    for delivery in deliveries:
        sizes[delivery.kind] += delivery.file.bytes_len
        problem = delivery.problem
        if problem is not None and problem.is_lost and problem.num_records is None:
            lost.setdefault(delivery.kind, []).append(delivery)
    return {
        kind: Unreadable(
            sum(one.file.bytes_len for one in parts) / max(sizes[kind], 1),
            parts[0].problem.detail if parts[0].problem is not None else "",
        )
        for kind, parts in lost.items()
    }


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
