"""Ingest: the new deliveries of a landing folder → bronze, exactly once per key, nothing lost."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cached_property, partial

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from mmrec_lib.contracts import CONTRACTS
from mmrec_lib.ingest.config import LandingConfig
from mmrec_lib.ingest.landing.arrivals import Arrivals, find_arrivals, landing_of, landing_state, remember_touched
from mmrec_lib.ingest.media.media import MediaResult, ingest_media
from mmrec_lib.ingest.media.refused import MEDIA_KIND
from mmrec_lib.ingest.records.frames import DELETABLE_KINDS, IMMUTABLE_KINDS, read_records
from mmrec_lib.ingest.records.reasons import LOST_REASONS
from mmrec_lib.ingest.records.table_records import read_tables
from mmrec_lib.ingest.records.values import Rules
from mmrec_lib.ingest.resolve.count_outcomes import count_outcomes
from mmrec_lib.ingest.resolve.first_wins import STORED, settle_first
from mmrec_lib.ingest.resolve.latest_wins import settle_latest
from mmrec_lib.ingest.resolve.quarantine import IS_UNREAD, file_rows, quarantine_rows, returned_ids
from mmrec_lib.ingest.resolve.reconciliation import (
    QualityCheck,
    Reconciliation,
    landing_file_rows,
    notes_for_person,
    require_quality,
)
from mmrec_lib.ingest.resolve.users import mentions, undeclared_users
from mmrec_lib.ingest.resolve.waiting import waiting_records
from mmrec_lib.lakehouse.actions import side_by_side, union
from mmrec_lib.lakehouse.tables import Lakehouse

__all__ = ["WRITES", "IngestSummary", "ingest", "landing_of", "landing_state"]

WRITES = (
    "landing_file",
    "quarantine",
    "tombstone",
    "event",
    "review",
    "item",
    "user",
    "user_edge",
    "user_control",
    "query",
    "answer",
    "label",
    "graph_edge",
    "provided_text",
    "provided_vector",
    "media_asset",
    "media_link",
)
"""Tables that `ingest` writes; besides landing files it reads only these."""

_LATEST_KINDS = (
    "item",
    "user",
    "user_edge",
    "user_control",
    "query",
    "answer",
    "label",
    "graph_edge",
    "provided_text",
    "provided_vector",
)
_USER_COLUMNS = {
    "event": ("user_id",),
    "review": ("user_id",),
    "user_edge": ("user_id", "friend_id"),
    "user_control": ("user_id",),
}
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class IngestSummary:
    """Summary of an ingest.

    Attributes:
        counts: For `job_run`: `<kind>.read`, `.stored`, `.superseded`, `.duplicates`, `.quarantined` of this run's new
            files, which balance; `<kind>.returned` for records that came back from quarantine, `<kind>.waiting` for
            those that still wait for their item; `field.quarantined` for fields that were not kept; the same for
            `media`; `file.new` and `file.ignored`.
        checks: For `data_quality_result`.
        is_changed: Whether any table was written.
        message: One sentence for a person.
    """

    counts: dict[str, int]
    checks: tuple[QualityCheck, ...]
    is_changed: bool
    message: str


def ingest(lakehouse: Lakehouse, config: LandingConfig) -> IngestSummary:
    """Bring what is new in a landing folder into bronze.

    Everything is read and judged before the first table is written, and the files' counts are written last: a run that
    is killed reads its files again and ends with the same tables and the same counts.

    Args:
        lakehouse: The store, which names its landing folder.
        config: Bounds, event types, limits.

    Raises:
        LandingError: When there is no landing folder, or it holds no known source.
        DataQualityError: When too many records are bad; nothing is written then.
    """
    arrivals = find_arrivals(lakehouse, config.ingest.split_bytes)
    _log.info(
        "landing: %d files, %d new deliveries, %d ignored, %d places that cannot be read",
        len(arrivals.scan.files),
        len(arrivals.deliveries),
        arrivals.num_ignored,
        len(arrivals.unread),
    )
    is_changed, reconciliation, run = False, Reconciliation(), None
    if arrivals.deliveries or arrivals.unread or _has_unread_before(lakehouse):
        arrivals, run, reconciliation = _settled(lakehouse, config, arrivals)
        require_quality(reconciliation, config.ingest)
        run.write(reconciliation)
        is_changed = bool(arrivals.deliveries)
    media = ingest_media(lakehouse, arrivals.landing, arrivals.scan, config.media)
    is_changed |= media.is_changed | _write_quarantine(lakehouse, run, reconciliation, media)
    if arrivals.deliveries:
        rows = landing_file_rows(lakehouse.spark, arrivals.deliveries, reconciliation, arrivals.number)
        lakehouse.merge("landing_file", rows)
    remember_touched(lakehouse, arrivals.touched)
    counts = {"file.new": len(arrivals.deliveries), "file.ignored": arrivals.num_ignored}
    if arrivals.unread:
        counts["file.unread"] = len(arrivals.unread)
    counts |= reconciliation.counts() | media.counts
    notes = notes_for_person(reconciliation, arrivals.deliveries, arrivals.known_paths)
    for note in notes:
        _log.warning("%s", note)
    message = "; ".join([_message(counts) + reconciliation.not_read_whole(), *notes])
    return IngestSummary(counts, reconciliation.checks(config.ingest), is_changed, message)


def _settled(lakehouse: Lakehouse, config: LandingConfig, arrivals: Arrivals) -> tuple[Arrivals, _Run, Reconciliation]:
    """Read and judge what arrived; files that change meanwhile are left out, and the others are judged without them."""
    while True:
        run = _Run(lakehouse, config, arrivals)
        reconciliation = run.settle()
        if not reconciliation.changed:
            return run.arrivals, run, reconciliation
        arrivals = run.arrivals.without(reconciliation.changed)


def _has_unread_before(lakehouse: Lakehouse) -> bool:
    """Tell whether quarantine names places that could not be read, which may be gone or readable now."""
    if not lakehouse.exists("quarantine"):
        return False
    return bool(lakehouse.read("quarantine").where(IS_UNREAD).limit(1).collect())


def _write_quarantine(
    lakehouse: Lakehouse, run: _Run | None, reconciliation: Reconciliation, media: MediaResult
) -> bool:
    """Bring quarantine up to date, after everything else: what comes back from it is stored before it goes."""
    rows, gone = run.quarantined(reconciliation) if run is not None else ([], [])
    if media.quarantine is not None and media.released is not None:
        rows.append(media.quarantine)
        gone.append(media.released)
    if not gone:
        return False
    rows.append(file_rows(lakehouse.spark, ()))
    return lakehouse.merge("quarantine", union(rows), delete_keys=union(gone)).committed


def _message(counts: dict[str, int]) -> str:
    """Such as `12 new files: 30,300 of 30,572 event, …; 272 in quarantine`."""
    kinds = [name.removesuffix(".read") for name in counts if name.endswith(".read") and name != "field.read"]
    stored = ", ".join(f"{counts[f'{kind}.stored']:,} {kind}" for kind in kinds if counts[f"{kind}.stored"])
    num_quarantined = sum(counts[f"{kind}.quarantined"] for kind in kinds)
    files = "1 new file" if counts["file.new"] == 1 else f"{counts['file.new']:,} new files"
    num_returned = sum(count for name, count in counts.items() if name.endswith(".returned"))
    num_waiting = sum(count for name, count in counts.items() if name.endswith(".waiting"))
    waiting = f"; {num_returned:,} came back from it, {num_waiting:,} still wait for their item"
    told = waiting if num_returned or num_waiting else ""
    return f"{files}; stored: {stored or 'nothing'}; {num_quarantined:,} to quarantine{told}"


class _Run:
    """One run over new deliveries: first everything is judged, then everything is written."""

    def __init__(self, lakehouse: Lakehouse, config: LandingConfig, arrivals: Arrivals) -> None:
        self._lakehouse = lakehouse
        self._config = config
        self._rules = Rules.of(config, lakehouse.written_at)
        self.arrivals, self._tables = read_tables(lakehouse, arrivals, self._rules, whole=self._whole_kinds)
        self._deliveries = self.arrivals.deliveries
        self._settled: dict[str, DataFrame] = {}

    @property
    def _whole_kinds(self) -> tuple[str, ...]:
        """Kinds of which a Delta table is read as a whole: absence means something there."""
        return ("item",) if self._config.items.full_snapshot else ()

    def settle(self) -> Reconciliation:
        """Read and judge every record; writes nothing but staging files."""
        side_by_side([partial(self._settle_latest, kind) for kind in _LATEST_KINDS])
        known_items = self._known_items()
        returning = self._num_returning(known_items)
        side_by_side(
            [partial(self._settle_first, kind, known_items, returning.get(kind, (0, 0))) for kind in IMMUTABLE_KINDS]
        )
        return count_outcomes(self._settled, self._deliveries, self.arrivals.unread, self._waiting())

    def _settle_latest(self, kind: str) -> None:
        records = self._records(kind)
        if records is not None:
            tombstones = self._tombstones(kind) if kind in DELETABLE_KINDS else None
            self._stage(kind, settle_latest(records, self._stored(kind), kind, tombstones))

    def _settle_first(self, kind: str, known_items: DataFrame, num_returning: tuple[int, int]) -> None:
        parts, (num_kept, num_raw_only) = [], num_returning
        if (records := self._records(kind)) is not None:
            parts.append(records.withColumn("_retry", F.lit(False)))
        if num_kept + num_raw_only and (rows := self._returning(known_items)) is not None:
            waiting = waiting_records(rows, kind, self._rules, num_raw_only=num_raw_only)
            parts.append(waiting.withColumn("_retry", F.lit(True)))
        if parts:
            self._stage(kind, settle_first(union(parts), self._stored(kind), known_items, kind))

    def write(self, reconciliation: Reconciliation) -> None:
        """Bring the judged records into their tables; quarantine is left to the end of the run."""
        # Deletions are noted before the rows go, so that a run killed between the two still knows of them.
        if reconciliation.num_deleted.total() or self._lakehouse.exists("tombstone"):
            self._write_tombstones()
        tasks = [partial(self._write, kind) for kind in CONTRACTS if kind in self._settled and kind != "user"]
        side_by_side([*tasks, self._write_users])

    def _write(self, kind: str) -> None:
        self._lakehouse.merge(kind, self._new_rows(kind), delete_keys=self._gone(kind))

    def quarantined(self, reconciliation: Reconciliation) -> tuple[list[DataFrame], list[DataFrame]]:
        """Rows that quarantine must hold, and keys of those that it must hold no more."""
        refused = self._settled if reconciliation.has_refused else {}
        rows = [quarantine_rows(settled, kind) for kind, settled in refused.items()]
        unread = [*self._deliveries, *self.arrivals.unread]
        if any(delivery.problem for delivery in unread):
            rows.append(file_rows(self._lakehouse.spark, unread))
        # Of a file that a killed run had read before, quarantine holds exactly what this run refused.
        stale = self._quarantined_before().select("quarantine_id")
        returned = [returned_ids(self._settled[kind], kind) for kind in IMMUTABLE_KINDS if kind in self._settled]
        return rows, [stale, *returned]

    # what is there

    def _stored(self, kind: str) -> DataFrame | None:
        return self._lakehouse.read(kind) if self._lakehouse.exists(kind) else None

    def _tombstones(self, kind: str) -> DataFrame | None:
        stored = self._stored("tombstone")
        return None if stored is None else stored.where(F.col("record_kind") == kind)

    def _records(self, kind: str) -> DataFrame | None:
        splits = [split for d in self._deliveries if d.kind == kind for split in d.splits]
        parts = list(self._tables.get(kind, []))
        if splits:
            parts.append(read_records(self._lakehouse.spark, self.arrivals.landing, kind, splits, self._rules))
        return union(parts) if parts else None

    def _stage(self, kind: str, settled: DataFrame) -> None:
        self._settled[kind] = self._lakehouse.stage(f"ingest_{kind}", settled)

    # items

    def _known_items(self) -> DataFrame:
        """`item_id` of every item that the store will hold after this run."""
        stored = self._lakehouse.read("item").select("item_id")
        if "item" not in self._settled:
            return stored
        winners = self._settled["item"].where((F.col("_status") == STORED) & ~F.col("_deleted")).select("item_id")
        gone = self._gone("item")
        kept = stored if gone is None else stored.join(gone, on="item_id", how="left_anti")
        return kept.unionByName(winners).distinct()

    def _gone(self, kind: str) -> DataFrame | None:
        """Keys that this run removes from a table; None for kinds that are never removed."""
        if kind not in DELETABLE_KINDS:
            return None
        key = CONTRACTS[kind].key[0]
        settled = self._settled[kind]
        gone = settled.where(F.col("_write") & F.col("_deleted")).select(key)
        if kind == "item" and self._config.items.full_snapshot and self._is_catalogue_whole:
            # An item that is only in quarantine was delivered: a typing error must not take it off the shelf.
            present = settled.select(F.coalesce(key, "_record_id").alias(key)).where(F.col(key).isNotNull())
            absent = self._lakehouse.read(kind).select(key).join(present, on=key, how="left_anti")
            gone = gone.unionByName(absent).distinct()
        return gone

    @cached_property
    def _is_catalogue_whole(self) -> bool:
        """Tell whether every item file was read whole: what a broken file lost is not absent from the catalogue."""
        parts = [*self._deliveries, *self.arrivals.unread]
        is_whole = not any(part.problem for part in parts if part.kind == "item")
        lost = self._settled["item"].where(F.col("_reason").isin([str(reason) for reason in LOST_REASONS]))
        is_whole = is_whole and lost.limit(1).count() == 0
        if not is_whole:
            _log.warning("items: an item file was not read whole, so no item is removed for being absent")
        return is_whole

    def _waiting(self) -> DataFrame | None:
        """Quarantined records of earlier files that wait for their item; None when there is no quarantine yet."""
        if not self._lakehouse.exists("quarantine"):
            return None
        waiting = self._lakehouse.read("quarantine").where(F.col("waits_for_item_id").isNotNull())
        return waiting.join(self._file_ids(), on="source_file_id", how="left_anti")

    def _returning(self, known_items: DataFrame) -> DataFrame | None:
        """Those of them whose item is known now; None when there can be none."""
        # Only new items end the waiting, and a killed run reads its item files again.
        if "item" not in self._settled or (waiting := self._waiting()) is None:
            return None
        items = known_items.select(F.col("item_id").alias("waits_for_item_id"))
        return waiting.join(items, on="waits_for_item_id", how="left_semi")

    def _quarantined_before(self) -> DataFrame:
        """Quarantined records of files that this run reads."""
        rows = self._lakehouse.read("quarantine").where(F.col("record_kind") != MEDIA_KIND)
        read_again = rows.join(self._file_ids(), on="source_file_id", how="left_semi")
        # What could not be read before is tried by every run.
        return read_again.unionByName(rows.where(IS_UNREAD))

    def _file_ids(self) -> DataFrame:
        ids = [(delivery.file_id,) for delivery in self._deliveries]
        return self._lakehouse.spark.createDataFrame(ids, "source_file_id string")

    def _num_returning(self, known_items: DataFrame) -> dict[str, tuple[int, int]]:
        """Kind → records that can come back: kept as they were read, and kept as raw bytes only."""
        returning = self._returning(known_items)
        if returning is None:
            return {}
        kept = F.count_if(F.col("parsed").isNotNull())
        rows = returning.groupBy("record_kind").agg(kept.alias("kept"), F.count(F.lit(1)).alias("num")).collect()
        return {row["record_kind"]: (row["kept"], row["num"] - row["kept"]) for row in rows}

    # writing

    def _new_rows(self, kind: str) -> DataFrame:
        rows = self._settled[kind].where(F.col("_write") & ~F.coalesce("_deleted", F.lit(False)))
        return rows.select(*CONTRACTS[kind].input_schema.names)

    def _write_tombstones(self) -> None:
        rows, keys = [], []
        for kind in DELETABLE_KINDS:
            if kind not in self._settled:
                continue
            key = CONTRACTS[kind].key[0]
            won = self._settled[kind].where(F.col("_status") == STORED)
            named = [F.lit(kind).alias("record_kind"), F.col(key).alias("record_id")]
            gone = won.where("_deleted")
            rows.append(gone.select(*named, "updated_at", "source_path", "source_file_id", "source_line"))
            keys.append(won.where("NOT _deleted").select(*named))
        if rows:
            self._lakehouse.merge("tombstone", union(rows), delete_keys=union(keys))

    def _write_users(self) -> None:
        mentioned = [mentions(self._settled[k], *columns) for k, columns in _USER_COLUMNS.items() if k in self._settled]
        rows, gone = [], None
        known = [self._lakehouse.read("user").select("user_id")]
        if "user" in self._settled:
            rows.append(self._new_rows("user"))
            gone = self._gone("user")
            known.append(rows[0].select("user_id"))
        if mentioned:
            tombstones = self._lakehouse.read("tombstone").where(F.col("record_kind") == "user")
            known.append(tombstones.select(F.col("record_id").alias("user_id")))
            rows.append(self._lakehouse.stage("ingest_undeclared", undeclared_users(mentioned, *known)))
        if rows:
            self._lakehouse.merge("user", union(rows), delete_keys=gone)
