"""Keyed records whose newest version stays: items and users by `updated_at`, edges, texts and vectors by arrival."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from mmrec_lib.contracts import CONTRACTS
from mmrec_lib.ingest.records.frames import CONTRADICTABLE_KINDS
from mmrec_lib.ingest.records.reasons import Reason
from mmrec_lib.ingest.resolve.content_hash import content_hash, row_slot, stored_state
from mmrec_lib.ingest.resolve.first_wins import DUPLICATE, QUARANTINED, STORED, SUPERSEDED

_CONTRADICTED = (
    "another record of the same version says something else of the same thing, and the last one counts. Give the right "
    "one a later updated_at"
)


def settle_latest(
    records: DataFrame, stored: DataFrame | None, kind: str, tombstones: DataFrame | None = None
) -> DataFrame:
    """Judge each record: stored, superseded, duplicate or quarantined.

    Of the records of a run the newest version wins, then file name and line. Against the store an older version is
    superseded; an equal one that arrives later replaces what is there. Of labels, two records of a run and one version
    that say something else contradict each other: the last one counts, the others are refused. A deletion without a
    version deletes whatever version came before it; the very version that was deleted does not come back. A record that
    the store has from the same line of the same file counts as stored.

    Args:
        records: Parsed records.
        stored: The table as it is; None when it is empty.
        kind: Table of the records.
        tombstones: Deleted keys of this kind (`record_id`, `updated_at`, source); None when there are none.

    Returns:
        The records with `_status`, `_write` (true where the winner must be brought into the table: as a row or, with
        `_deleted`, as a deletion) and `updated_at` filled in for deletions.
    """
    contract = CONTRACTS[kind]
    keys = list(contract.key)
    is_versioned = "updated_at" in contract.input_schema.names
    epoch = F.timestamp_micros(F.lit(0))
    judged = _with_state(records.withColumn("_content", content_hash(kind)), stored, kind, tombstones)
    is_bad = F.col("_reason").isNotNull()
    deleted = F.coalesce(F.col("_deleted"), F.lit(False))
    key = F.when(~is_bad, F.concat_ws("\x1e", *[F.concat(F.length(k).cast("string"), F.lit(":"), k) for k in keys]))
    judged = judged.withColumn("_slot", row_slot(key))
    arrival = [F.col("source_path"), F.col("source_line")]
    version: Column = F.lit(0)
    if is_versioned:
        so_far = Window.partitionBy("_slot").orderBy(*arrival).rowsBetween(Window.unboundedPreceding, 0)
        before = F.greatest(F.max("updated_at").over(so_far), "_stored_version", "_tomb_version")
        is_unversioned_delete = deleted & (F.col("updated_at") == epoch)
        judged = judged.withColumn("updated_at", F.when(is_unversioned_delete, before).otherwise(F.col("updated_at")))
        version = F.col("updated_at")
    best_first = Window.partitionBy("_slot").orderBy(version.desc(), *[column.desc() for column in arrival])
    judged = judged.withColumns(
        {
            "_place": F.row_number().over(best_first),
            "_best_content": F.first("_content").over(best_first),
            "_best_deleted": F.first(deleted).over(best_first),
        }
    )
    at_stored = _same("source_file_id", "_stored_file_id") & _same("source_line", "_stored_line")
    at_tomb = _same("source_file_id", "_tomb_file_id") & _same("source_line", "_tomb_line")
    is_winner = ~is_bad & (F.col("_place") == 1)
    same_place = F.when(deleted, at_tomb).otherwise(at_stored)
    if is_versioned:
        known_version = F.greatest("_stored_version", "_tomb_version")
        # What a deletion removed stays away; without versions only arrival can tell, and the last word wins.
        was_deleted = ~deleted & (version > epoch) & _same("updated_at", "_tomb_version")
        older = F.coalesce((version < known_version) | was_deleted, F.lit(False))
        repeats_deletion = deleted & _same("updated_at", "_tomb_version")
        repeats_row = ~deleted & _same("_content", "_stored_content") & F.col("_tomb_version").isNull()
        repeats = repeats_deletion | repeats_row
    else:
        older = F.lit(False)
        repeats = _same("_content", "_stored_content")
    repeats_winner = (deleted == F.col("_best_deleted")) & _same("_content", "_best_content")
    status = (
        F.when(is_bad, QUARANTINED)
        .when(~is_winner & repeats_winner, DUPLICATE)
        .when(~is_winner, SUPERSEDED)
        .when(same_place, STORED)
        .when(older, SUPERSEDED)
        .when(repeats, DUPLICATE)
        .otherwise(STORED)
    )
    # A deletion is applied again when it is read again: the run that noted it may have been killed before the row went.
    write = is_winner & (status == STORED) & (deleted | ~same_place)
    told = {}
    if kind in CONTRADICTABLE_KINDS:
        best_version = F.first("updated_at").over(best_first)
        is_rival = ~is_bad & ~is_winner & ~repeats_winner & ~deleted & ~F.col("_best_deleted")
        is_contradicted = is_rival & (F.col("updated_at") == best_version)
        status = F.when(is_contradicted, QUARANTINED).otherwise(status)
        told = {
            "_reason": F.when(is_contradicted, str(Reason.CONFLICTING_REDELIVERY)),
            "_detail": F.when(is_contradicted, _CONTRADICTED),
            "_record_id": F.when(is_contradicted, F.col(keys[0])),
        }
    return judged.select(
        *[F.coalesce(told[name], name).alias(name) if name in told else F.col(name) for name in records.columns],
        status.alias("_status"),
        write.alias("_write"),
        F.lit(None).cast("string").alias("_waits_for"),
    )


def _with_state(records: DataFrame, stored: DataFrame | None, kind: str, tombstones: DataFrame | None) -> DataFrame:
    keys = list(CONTRACTS[kind].key)
    result = records
    if stored is not None:
        result = result.join(stored_state(stored, kind), on=keys, how="left")
    if tombstones is not None:
        state = tombstones.select(
            F.col("record_id").alias(keys[0]),
            F.col("updated_at").alias("_tomb_version"),
            F.col("source_file_id").alias("_tomb_file_id"),
            F.col("source_line").alias("_tomb_line"),
        )
        result = result.join(state, on=keys[0], how="left")
    missing = {
        "_stored_content": "long",
        "_stored_line": "long",
        "_stored_file_id": "string",
        "_stored_version": "timestamp",
        "_tomb_version": "timestamp",
        "_tomb_line": "long",
        "_tomb_file_id": "string",
    }
    have = set(result.columns)
    return result.withColumns({n: F.lit(None).cast(one) for n, one in missing.items() if n not in have})


def _same(left: str, right: str) -> Column:
    return F.col(left).eqNullSafe(F.col(right))
