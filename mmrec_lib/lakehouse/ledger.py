"""The run ledger: one row a run of a job, and what it tells the next run."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from pyspark.sql import functions as F

from mmrec_lib import __version__
from mmrec_lib.contracts.runs import JOB_RUN
from mmrec_lib.lakehouse.tables import Lakehouse


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

    def _read_last_good(self) -> dict[str, JobRun]:
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
        self._lakehouse.merge("job_run", frame)
        self._pending.clear()
