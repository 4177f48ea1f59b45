"""Deliveries that have arrived in a landing folder since the last ingest, and places that cannot be read."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from pyspark.sql import functions as F

from mmrec_lib.errors import LandingError
from mmrec_lib.ingest.landing import MEDIA_FOLDERS, Delivery, FileProblem, FoundFile, KnownFile, LandingFolder
from mmrec_lib.ingest.landing.delivery import Scan
from mmrec_lib.ingest.landing.folder import kind_of_found
from mmrec_lib.ingest.landing.names import kind_of
from mmrec_lib.ingest.landing.plan import changed, unread
from mmrec_lib.lakehouse.tables import Lakehouse
from mmrec_lib.lakehouse.touch import refresh_audit

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Arrivals:
    """Deliveries that an ingest finds.

    Attributes:
        landing: The landing folder.
        scan: What is in it.
        deliveries: New deliveries, read and hashed.
        unread: Places that cannot be read now; each ingest tries them again.
        touched: Deliveries that are known, with the file as it is now: only its modification time has changed.
        known_paths: Paths that were delivered before.
        number: Number of this ingest; later ones have larger numbers, whatever the clock says.
    """

    landing: LandingFolder
    scan: Scan
    deliveries: list[Delivery]
    unread: list[Delivery]
    touched: list[tuple[KnownFile, FoundFile]]
    known_paths: frozenset[str]
    number: int

    @property
    def num_ignored(self) -> int:
        """Files that are neither records nor media."""
        return sum(kind_of_found(file) is None and not _is_media(file) for file in self.scan.files)

    def without(self, file_ids: Collection[str]) -> Arrivals:
        """The same without deliveries that changed while they were read; those are left to the next ingest."""
        kept = [delivery for delivery in self.deliveries if delivery.file_id not in file_ids]
        gone = [unread(d.file, d.kind, changed(d.file.path)) for d in self.deliveries if d.file_id in file_ids]
        return replace(self, deliveries=kept, unread=[*self.unread, *gone])


def landing_of(lakehouse: Lakehouse) -> LandingFolder:
    """The landing folder that a store is made from.

    Raises:
        LandingError: When the configuration names none, or it is not there.
    """
    if lakehouse.store.data is None:
        raise LandingError("DATA: a landing folder is needed, but store.data names none. Give DATA=<landing folder>.")
    return LandingFolder(lakehouse.store.data)


def landing_state(lakehouse: Lakehouse) -> dict[str, str]:
    """A hash of what is in the landing folder: while it stays the same, nothing new has arrived.

    Paths, sizes, modification times, whether record files may be read, and places that cannot be read count.

    Raises:
        LandingError: When there is no landing folder.
    """
    landing = landing_of(lakehouse)
    scan = landing.scan()
    digest = hashlib.sha256()
    for file in scan.files:
        digest.update(f"{file.path}\x1f{file.bytes_len}\x1f{file.modified_us}\x1f{file.table_version}\n".encode())
        if file.table_version is None and kind_of_found(file) is not None and not landing.is_readable(file.path):
            digest.update(b"not readable\n")
    for problem in scan.problems:
        digest.update(f"{problem.path}\x1f{problem.detail}\n".encode())
    return {"landing": digest.hexdigest()}


def find_arrivals(lakehouse: Lakehouse, split_bytes: int) -> Arrivals:
    """Look into the landing folder.

    Raises:
        LandingError: When there is no landing folder.
    """
    landing = landing_of(lakehouse)
    scan = landing.scan()
    known = _known_files(lakehouse)
    plan = landing.plan(scan.files, known, split_bytes)
    refused = [
        unread(
            FoundFile(problem.path, 0, 0),
            kind_of(problem.path) or "file",
            FileProblem(problem.reason, problem.detail, b"", is_lost=False),
        )
        for problem in scan.problems
    ]
    unread_files = [delivery for delivery in plan.deliveries if not delivery.is_read]
    return Arrivals(
        landing,
        scan,
        [delivery for delivery in plan.deliveries if delivery.is_read],
        [*refused, *unread_files],
        plan.touched,
        frozenset(file.path for file in known),
        1 + max((file.number or 0 for file in known), default=0),
    )


def remember_touched(lakehouse: Lakehouse, touched: Iterable[tuple[KnownFile, FoundFile]]) -> None:
    """Note new modification times of known files, so that they are not hashed again by every later ingest."""
    times = {known.file_id: EPOCH + timedelta(microseconds=file.modified_us) for known, file in touched}
    if not times:
        return
    spark = lakehouse.spark
    rows = spark.createDataFrame(list(times.items()), "file_id string, modified_at timestamp")
    stored = lakehouse.read("landing_file").select("file_id", "record_kind")
    refresh_audit(lakehouse, "landing_file", stored.join(rows, on="file_id", how="inner"), "modified_at")


def _known_files(lakehouse: Lakehouse) -> list[KnownFile]:
    if not lakehouse.exists("landing_file"):
        return []
    rows = lakehouse.read("landing_file").select(
        "path",
        "bytes_len",
        F.unix_micros("modified_at"),
        "file_id",
        "sha256",
        F.unix_micros("written_at"),
        "ingest_number",
        "table_version",
        "table_id",
    )
    return [KnownFile(*row) for row in rows.distinct().collect()]


def _is_media(file: FoundFile) -> bool:
    return file.path.split("/", 1)[0] in MEDIA_FOLDERS
