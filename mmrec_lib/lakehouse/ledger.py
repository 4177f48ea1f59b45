"""The run ledger: one row a run of a job, and what it tells the next run."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from pyspark.sql import functions as F

from mmrec_lib import __version__
from mmrec_lib.contracts.runs import JOB_RUN
from mmrec_lib.lakehouse.store import note_tables, noted_tables
from mmrec_lib.lakehouse.tables import Lakehouse

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class JobRun:
    """One run of a job; fields as in the table job_run."""

    job: str
    status: str
    started_at: datetime
    run_seconds: float
    fingerprint: str | None = None
    input_versions: dict[str, int] = field(default_factory=dict)
    output_versions: dict[str, int] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    message: str | None = None


@dataclass(frozen=True)
class LostTable:
    """A table that is not there, or older than a run left it.

    Attributes:
        name: Table.
        version: Version that it has now; None when it is gone.
        recorded: Version that its last writer left; None when only store.json knows of the table.
        job: That writer.
    """

    name: str
    version: int | None
    recorded: int | None = None
    job: str | None = None

    def __str__(self) -> str:
        """Such as `item (gone; ingest_landing left version 12)`."""
        now = "gone" if self.version is None else f"only version {self.version}"
        left = f"{self.job} left version {self.recorded}" if self.job else "an earlier run wrote it"
        return f"{self.name} ({now}; {left})"


class Ledger:
    """Reads and writes job_run. Skipped runs are kept back and written with the next row that matters."""

    def __init__(self, lakehouse: Lakehouse) -> None:
        """Bind to a store; reads job_run on first use."""
        self._lakehouse = lakehouse
        self._pending: list[JobRun] = []
        self._last_good: dict[str, JobRun] | None = None

    def last_good(self, job: str) -> JobRun | None:
        """The latest succeeded run of a job, or None."""
        if self._last_good is None:
            self._last_good = self._read_last_good()
        return self._last_good.get(job)

    def lost(self, names: Iterable[str]) -> list[LostTable]:
        """Those of some tables that are gone, or older than the last good run of their writer left them.

        A table that does not exist reads as empty: whoever reads one must know that it never had rows.
        """
        if self._last_good is None:
            self._last_good = self._read_last_good()
        recorded: dict[str, tuple[int | None, str | None]] = dict.fromkeys(
            noted_tables(self._lakehouse.store), (None, None)
        )
        # Times out of a table are naive and local, those of this run are aware.
        for run in sorted(self._last_good.values(), key=lambda run: run.started_at.astimezone(UTC)):
            recorded |= {name: (version, run.job) for name, version in run.output_versions.items()}
        lost = []
        for name in sorted(set(names) & recorded.keys()):
            version, (left, job) = self._lakehouse.data_version(name), recorded[name]
            if version is None or (left is not None and version < left):
                lost.append(LostTable(name, version, left, job))
        return lost

    def _read_last_good(self) -> dict[str, JobRun]:
        if not self._lakehouse.exists("job_run") and "job_run" in noted_tables(self._lakehouse.store):
            _log.warning("table job_run is gone: what ran before is not known, so every job runs again")
        runs = self._lakehouse.read("job_run").where(F.col("status") == "succeeded")
        names = [
            "job",
            "status",
            "started_at",
            "run_seconds",
            "fingerprint",
            "input_versions",
            "output_versions",
            "counts",
            "message",
        ]
        latest = runs.groupBy("job").agg(F.max_by(F.struct(*names), F.col("started_at")).alias("run"))
        return {row["job"]: JobRun(**row["run"].asDict()) for row in latest.collect()}

    def record(self, run: JobRun) -> None:
        """Note a run. Succeeded and failed runs are written at once, skipped ones later (see `flush`)."""
        self._pending.append(run)
        if run.status == "succeeded":
            self.last_good(run.job)
            assert self._last_good is not None
            self._last_good[run.job] = run
        if run.status != "skipped":
            self.flush()

    def flush(self) -> None:
        """Write what was noted and not yet written."""
        if not self._pending:
            return
        run_id = self._lakehouse.run_id
        rows = [
            (
                f"{run_id}-{run.job}",
                run.job,
                run.status,
                run.started_at,
                float(run.run_seconds),
                run.fingerprint,
                run.input_versions,
                run.output_versions,
                run.counts,
                run.message,
                __version__,
            )
            for run in self._pending
        ]
        frame = self._lakehouse.spark.createDataFrame(rows, JOB_RUN.input_schema)
        self._lakehouse.append("job_run", frame)
        # What is written must not be written again, whatever goes wrong from here on.
        written, self._pending = self._pending, []
        note_tables(self._lakehouse.store, ["job_run", *(n for run in written for n in run.output_versions)])
