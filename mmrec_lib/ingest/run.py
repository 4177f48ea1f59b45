"""Ingest: the new deliveries of a landing folder → bronze, exactly once per key, nothing lost."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from mmrec_lib.contracts import CONTRACTS
from mmrec_lib.errors import LandingError
from mmrec_lib.ingest.actions import side_by_side, union
from mmrec_lib.ingest.books import Books, QualityCheck, keep_books, landing_file_rows, require_quality
from mmrec_lib.ingest.config import LandingConfig
from mmrec_lib.ingest.frames import DELETABLE_KINDS, IMMUTABLE_KINDS, read_records, reread_quarantined
from mmrec_lib.ingest.media import MEDIA_KIND, MediaResult, ingest_media
from mmrec_lib.ingest.quarantine import file_rows, quarantine_rows, returned_ids
from mmrec_lib.ingest.settle_first import STORED, settle_first
from mmrec_lib.ingest.settle_latest import settle_latest
from mmrec_lib.ingest.users import mentions, undeclared_users
from mmrec_lib.ingest.values import Rules
from mmrec_lib.lakehouse.landing import MEDIA_FOLDERS, Delivery, FoundFile, KnownFile, LandingFolder, kind_of
from mmrec_lib.lakehouse.tables import Lakehouse

WRITES = (
    "landing_file",
    "quarantine",
    "tombstone",
    "event",
    "review",
    "item",
    "user",
    "user_edge",
    "graph_edge",
    "provided_text",
    "provided_vector",
    "media_asset",
    "media_link",
)
"""Tables that `ingest` writes; besides landing files it reads only these."""

_LATEST_KINDS = ("item", "user", "user_edge", "graph_edge", "provided_text", "provided_vector")
_USER_COLUMNS = {"event": ("user_id",), "review": ("user_id",), "user_edge": ("user_id", "friend_id")}
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class IngestSummary:
    """What an ingest did.

    Attributes:
        counts: For `job_run`: `<kind>.read`, `.stored`, `.superseded`, `.duplicates`, `.quarantined` of this run's new
            files, which balance; `<kind>.returned` for records that came back from quarantine; the same for `media`;
            `file.new` and `file.ignored`.
        checks: For `data_quality_result`.
        is_changed: Whether any table was written.
        message: One sentence for a person.
    """

    counts: dict[str, int]
    checks: tuple[QualityCheck, ...]
    is_changed: bool
    message: str


def landing_of(lakehouse: Lakehouse) -> LandingFolder:
    """The landing folder that a store is made from.

    Raises:
        LandingError: When the configuration names none, or it is not there.
    """
    if lakehouse.store.data is None:
        raise LandingError("DATA: a landing folder is needed, but store.data names none. Give DATA=<landing folder>.")
    return LandingFolder(lakehouse.store.data)


def landing_state(lakehouse: Lakehouse) -> dict[str, str]:
    """A hash of paths, sizes and modification times: while it stays the same, nothing new has arrived.

    Raises:
        LandingError: When there is no landing folder.
    """
    digest = hashlib.sha256()
    for file in landing_of(lakehouse).files():
        digest.update(f"{file.path}\x1f{file.bytes_len}\x1f{file.modified_us}\n".encode())
    return {"landing": digest.hexdigest()}


def ingest(lakehouse: Lakehouse, config: LandingConfig) -> IngestSummary:
    """Bring what is new in a landing folder into bronze.

    Everything is read and judged before the first table is written, and the files' books are written last: a run that
    is killed reads its files again and ends with the same tables and the same books.

    Args:
        lakehouse: The store, which names its landing folder.
        config: Bounds, event types, limits.

    Raises:
        LandingError: When there is no landing folder, or it holds no known source.
        DataQualityError: When too many records are bad; nothing is written then.
    """
    landing = landing_of(lakehouse)
    files = landing.files()
    deliveries = landing.deliveries(files, _known_files(lakehouse), config.ingest.split_bytes)
    num_ignored = sum(kind_of(file.path) is None and not _is_media(file) for file in files)
    _log.info("landing: %d files, %d new deliveries, %d ignored", len(files), len(deliveries), num_ignored)
    counts = {"file.new": len(deliveries), "file.ignored": num_ignored}
    is_changed, books, run = False, Books(), None
    if deliveries:
        run = _Run(lakehouse, landing, config, deliveries)
        books = run.settle()
        require_quality(books, config.ingest)
        run.write(books)
        is_changed = True
    media = ingest_media(lakehouse, landing, files, config.media)
    is_changed |= media.is_changed | _write_quarantine(lakehouse, run, media)
    if deliveries:
        lakehouse.merge("landing_file", landing_file_rows(lakehouse.spark, deliveries, books))
    counts |= books.counts() | media.counts
    return IngestSummary(counts, books.checks(config.ingest), is_changed, _message(counts))


def _write_quarantine(lakehouse: Lakehouse, run: _Run | None, media: MediaResult) -> bool:
    """Bring quarantine up to date, after everything else: what comes back from it is stored before it goes."""
    rows, gone = run.quarantined() if run is not None else ([], [])
    if media.quarantine is not None and media.released is not None:
        rows.append(media.quarantine)
        gone.append(media.released)
    if not rows:
        return False
    return lakehouse.merge("quarantine", union(rows), delete_keys=union(gone)).committed


def _message(counts: dict[str, int]) -> str:
    """Such as `12 new files: 30,300 of 30,572 event, …; 272 in quarantine`."""
    kinds = [name.removesuffix(".read") for name in counts if name.endswith(".read")]
    stored = ", ".join(f"{counts[f'{kind}.stored']:,} {kind}" for kind in kinds if counts[f"{kind}.stored"])
    num_quarantined = sum(counts[f"{kind}.quarantined"] for kind in kinds)
    files = "1 new file" if counts["file.new"] == 1 else f"{counts['file.new']:,} new files"
    return f"{files}; stored: {stored or 'nothing'}; {num_quarantined:,} to quarantine"


def _known_files(lakehouse: Lakehouse) -> list[KnownFile]:
    if not lakehouse.exists("landing_file"):
        return []
    rows = lakehouse.read("landing_file").select(
        "path", "bytes_len", F.unix_micros("modified_at"), "file_id", "sha256", F.unix_micros("written_at")
    )
    return [KnownFile(*row) for row in rows.distinct().collect()]


def _is_media(file: FoundFile) -> bool:
    return file.path.split("/", 1)[0] in MEDIA_FOLDERS


class _Run:
    """One run over new deliveries: first everything is judged, then everything is written."""

    def __init__(
        self, lakehouse: Lakehouse, landing: LandingFolder, config: LandingConfig, deliveries: Sequence[Delivery]
    ) -> None:
        self._lakehouse = lakehouse
        self._landing = landing
        self._config = config
        self._deliveries = deliveries
        self._rules = Rules.of(config, lakehouse.written_at)
        self._settled: dict[str, DataFrame] = {}

    def settle(self) -> Books:
        """Read and judge every record; writes nothing but staging files."""
        side_by_side([partial(self._settle_latest, kind) for kind in _LATEST_KINDS])
        known_items = self._known_items()
        num_waiting = self._num_waiting(known_items)
        side_by_side(
            [partial(self._settle_first, kind, known_items, num_waiting.get(kind, 0)) for kind in IMMUTABLE_KINDS]
        )
        return keep_books(self._settled, self._deliveries)

    def _settle_latest(self, kind: str) -> None:
        records = self._records(kind)
        if records is not None:
            tombstones = self._tombstones(kind) if kind in DELETABLE_KINDS else None
            self._stage(kind, settle_latest(records, self._stored(kind), kind, tombstones))

    def _settle_first(self, kind: str, known_items: DataFrame, num_waiting: int) -> None:
        parts = []
        if (records := self._records(kind)) is not None:
            parts.append(records.withColumn("_retry", F.lit(False)))
        if num_waiting:
            waiting = reread_quarantined(self._waiting(known_items), kind, self._rules)
            parts.append(waiting.withColumn("_retry", F.lit(True)))
        if parts:
            self._stage(kind, settle_first(union(parts), self._stored(kind), known_items, kind))

    def write(self, books: Books) -> None:
        """Bring the judged records into their tables; quarantine is left to the end of the run."""
        # Deletions are noted before the rows go, so that a run killed between the two still knows of them.
        if books.num_deleted.total() or self._lakehouse.exists("tombstone"):
            self._write_tombstones()
        tasks = [partial(self._write, kind) for kind in CONTRACTS if kind in self._settled and kind != "user"]
        side_by_side([*tasks, self._write_users])

    def _write(self, kind: str) -> None:
        self._lakehouse.merge(kind, self._new_rows(kind), delete_keys=self._gone(kind))

    def quarantined(self) -> tuple[list[DataFrame], list[DataFrame]]:
        """Rows that quarantine must hold, and keys of those that it must hold no more."""
        rows = [quarantine_rows(settled, kind) for kind, settled in self._settled.items()]
        if any(delivery.problem for delivery in self._deliveries):
            rows.append(file_rows(self._lakehouse.spark, self._deliveries))
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
        if not splits:
            return None
        return read_records(self._lakehouse.spark, self._landing, kind, splits, self._rules)

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
        if kind == "item" and self._config.items.full_snapshot:
            # An item that is only in quarantine was delivered: a typing error must not take it off the shelf.
            present = settled.select(F.coalesce(key, "_record_id").alias(key)).where(F.col(key).isNotNull())
            absent = self._lakehouse.read(kind).select(key).join(present, on=key, how="left_anti")
            gone = gone.unionByName(absent).distinct()
        return gone

    def _waiting(self, known_items: DataFrame) -> DataFrame:
        """Quarantined records of earlier files whose item is known now."""
        waiting = self._lakehouse.read("quarantine").where(F.col("waits_for_item_id").isNotNull())
        items = known_items.select(F.col("item_id").alias("waits_for_item_id"))
        waiting = waiting.join(items, on="waits_for_item_id", how="left_semi")
        return waiting.join(self._file_ids(), on="source_file_id", how="left_anti")

    def _quarantined_before(self) -> DataFrame:
        """Quarantined records of files that this run reads."""
        rows = self._lakehouse.read("quarantine").where(F.col("record_kind") != MEDIA_KIND)
        return rows.join(self._file_ids(), on="source_file_id", how="left_semi")

    def _file_ids(self) -> DataFrame:
        ids = [(delivery.file_id,) for delivery in self._deliveries]
        return self._lakehouse.spark.createDataFrame(ids, "source_file_id string")

    def _num_waiting(self, known_items: DataFrame) -> dict[str, int]:
        # Only new items end the waiting, and a killed run reads its item files again.
        if "item" not in self._settled or not self._lakehouse.exists("quarantine"):
            return {}
        rows = self._waiting(known_items).groupBy("record_kind").count().collect()
        return {row["record_kind"]: row["count"] for row in rows}

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
