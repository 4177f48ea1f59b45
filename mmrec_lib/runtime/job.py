"""Jobs and how one is run: skipped when nothing changed, recorded however it ends."""

from __future__ import annotations

import hashlib
import inspect
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Generic, TypeVar

from mmrec_lib.contracts import CONTRACTS
from mmrec_lib.errors import StoreError
from mmrec_lib.lakehouse.job_tables import JobTables
from mmrec_lib.lakehouse.ledger import JobRun, Ledger, LostTable
from mmrec_lib.lakehouse.session import build_session
from mmrec_lib.lakehouse.tables import Lakehouse
from mmrec_lib.runtime.explain import explain
from mmrec_lib.runtime.progress import Progress
from mmrec_lib.section import Section
from mmrec_lib.source_version import source_version
from mmrec_lib.tracking.registry import Registry

ConfigT = TypeVar("ConfigT", bound=Section)
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Context:
    """Tables, models, clock and ledger that a run gives its jobs.

    Attributes:
        run_id: Identifies the run in tables and messages.
        now: Start of the run (UTC); the only clock that jobs see.
        as_of: The date given on the command line, or None: then it follows from the events.
        lakehouse: Tables; a job gets those that it declares, see `JobTables`.
        ledger: Earlier runs.
        registry: Models.
        progress: What a person sees.
    """

    run_id: str
    now: datetime
    as_of: date | None
    lakehouse: Lakehouse
    ledger: Ledger
    registry: Registry
    progress: Progress

    def log_metrics(self, job: str, metrics: Mapping[str, float]) -> None:
        """Write what a job measured into a run of MLflow; no metrics make no run."""
        if metrics:
            with self.registry.run(job, {"run_id": self.run_id}) as run:
                run.log_metrics(metrics)


@dataclass(frozen=True)
class Outcome:
    """Report of a job: counts for job_run and a sentence for a person."""

    counts: dict[str, int] = field(default_factory=dict)
    message: str | None = None


def no_external_versions(context: Context, config: Any) -> Mapping[str, str]:
    """For jobs that read tables only."""
    return {}


def always_complete(context: Context, config: Any) -> bool:
    """For jobs that write tables only; those are compared by version."""
    return True


def written_whole(context: Context, config: Any, lost: Sequence[LostTable]) -> None:
    """For jobs that write their tables whole from what they read, whatever was there before."""


@dataclass(frozen=True)
class Job(Generic[ConfigT]):
    """A job: reads tables, writes tables, can be run again alone.

    Attributes:
        name: As its file in jobs/ and its task in resources/.
        summary: One sentence for --help.
        config: The sections it reads; only these make it run again when they change.
        reads: Tables (or `registry:<what>`) that it reads from others.
        writes: Tables (or `registry:<what>`, `file:<what>`) that it writes; it may read them too.
        run: The work.
        feedback: Tables (or `registry:<what>`) that it reads as a later job of the graph, or a later run, left them.
            They may be missing or older, and a change of them alone does not make it run again.
        maintains: Tables that it may compact and relieve of expired rows, which does not count as a change of rows.
        external_versions: Versions of what it reads besides tables, such as landing files or model directories.
        is_complete: Whether what it writes besides tables is still there.
        before_remaking: Called before the work when tables that it wrote are gone or older than it left them, so that
            it makes them whole again; raises when it cannot.
        is_dated: Whether the as-of date of the command line matters to it; others follow what it wrote.
    """

    name: str
    summary: str
    config: type[ConfigT]
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    run: Callable[[Context, ConfigT], Outcome]
    external_versions: Callable[[Context, ConfigT], Mapping[str, str]] = no_external_versions
    is_complete: Callable[[Context, ConfigT], bool] = always_complete
    before_remaking: Callable[[Context, ConfigT, Sequence[LostTable]], None] = written_whole
    is_dated: bool = False
    feedback: tuple[str, ...] = ()
    maintains: tuple[str, ...] = ()

    @property
    def tables_read(self) -> tuple[str, ...]:
        """The tables among what it reads."""
        return tuple(name for name in self.reads if name in CONTRACTS)

    @property
    def tables_written(self) -> tuple[str, ...]:
        """The tables among what it writes."""
        return tuple(name for name in self.writes if name in CONTRACTS)

    def view(self, context: Context) -> Context:
        """The same run with the tables that this job declares, and no others."""
        reads = [*self.tables_read, *(name for name in self.feedback if name in CONTRACTS)]
        tables = JobTables(
            context.lakehouse, self.name, reads=reads, writes=self.tables_written, maintains=self.maintains
        )
        return replace(context, lakehouse=tables)


def job_source_version(job: Job[Any]) -> str:
    """Version of the code that decides what a job writes: its file, session and tables, and what these need.

    The runtime is left out: it starts jobs, whatever they write.
    """
    files = [Path(inspect.getfile(part)) for part in (job.run, build_session, JobTables)]
    return source_version(files, without="mmrec_lib.runtime")


def _known(versions: Mapping[str, int | None]) -> dict[str, int]:
    return {name: version for name, version in versions.items() if version is not None}


@dataclass(frozen=True)
class Plan:
    """Decision whether a job has something to do, and the reason."""

    fingerprint: str
    input_versions: dict[str, int]
    due: bool
    reason: str


def plan_job(job: Job[ConfigT], context: Context, config: ConfigT, *, force: bool) -> Plan:
    """Compare what a job would read with what its last good run read, and its outputs with what that run left."""
    inputs = _known(context.lakehouse.data_versions(job.tables_read))
    parts = {
        "job": job.name,
        "inputs": inputs,
        "outside": dict(job.external_versions(job.view(context), config)),
        "config": config.model_dump(mode="json"),
        "as_of": str(context.as_of) if job.is_dated else None,
        "library": job_source_version(job),
    }
    fingerprint = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    last = context.ledger.last_good(job.name)
    if force:
        return Plan(fingerprint, inputs, True, "forced")
    if last is None:
        return Plan(fingerprint, inputs, True, "never ran")
    if last.fingerprint != fingerprint:
        changed = [name for name, version in inputs.items() if last.input_versions.get(name) != version]
        return Plan(fingerprint, inputs, True, f"changed: {', '.join(changed) or 'files, config or library'}")
    same_tables = _known(context.lakehouse.data_versions(job.tables_written)) == last.output_versions
    if not same_tables or not job.is_complete(job.view(context), config):
        return Plan(fingerprint, inputs, True, "what it writes is not as its last good run left it")
    return Plan(fingerprint, inputs, False, "nothing new")


def run_job(job: Job[ConfigT], context: Context, config: ConfigT, *, force: bool) -> JobRun:
    """Run a job if there is something to do, and record how it ended.

    Raises:
        StoreError: When a table that it reads is gone or older than its writer left it.
        MmrecError: What the job raised, explained, after the failure was recorded.
    """
    started_at, start = datetime.now(UTC), time.perf_counter()
    plan: Plan | None = None
    try:
        plan = plan_job(job, context, config, force=force)
        if not plan.due:
            reason, inputs = plan.reason, plan.input_versions
            run = JobRun(job.name, "skipped", started_at, 0.0, plan.fingerprint, inputs, message=reason)
            context.ledger.record(run)
            return run
        _require_tables(job, context)
        lost = context.ledger.lost(job.tables_written)
        if lost:
            _log.warning("made anew: %s; what only they knew of earlier runs is lost", _listed(lost))
            job.before_remaking(job.view(context), config, lost)
        outcome = job.run(job.view(context), config)
    except Exception as error:
        explained = explain(error, context.lakehouse.store)
        message = f"{type(explained).__name__}: {explained}"[:4000]
        seconds = time.perf_counter() - start
        fingerprint, inputs = (plan.fingerprint, plan.input_versions) if plan is not None else (None, {})
        failed = JobRun(job.name, "failed", started_at, seconds, fingerprint, inputs, message=message)
        _record_failure(context, failed)
        if explained is error:
            raise
        raise explained from error
    run = JobRun(
        job=job.name,
        status="succeeded",
        started_at=started_at,
        run_seconds=time.perf_counter() - start,
        fingerprint=plan.fingerprint,
        input_versions=plan.input_versions,
        output_versions=_known(context.lakehouse.data_versions(job.tables_written)),
        counts=outcome.counts,
        message=_message(outcome, lost),
    )
    context.ledger.record(run)
    return run


def _require_tables(job: Job[Any], context: Context) -> None:
    """Raise when a table that a job reads from others was there once and is not now."""
    lost = context.ledger.lost(set(job.tables_read) - set(job.tables_written))
    if lost:
        writers = sorted({table.job for table in lost if table.job}) or ["the whole pipeline"]
        raise StoreError(
            f"tables that {job.name} reads are not as they were left: {_listed(lost)}. Restore them from a backup, or "
            f"run {', '.join(writers)} again, which makes anew what can be made."
        )


def _record_failure(context: Context, failed: JobRun) -> None:
    """Write a failure to job_run; where that fails too, such as on a full disk, the first failure is the one told."""
    try:
        context.ledger.record(failed)
    except Exception as error:
        _log.warning("the failure of %s could not be written to job_run: %s", failed.job, explain(error))


def _message(outcome: Outcome, lost: Sequence[LostTable]) -> str | None:
    parts = [outcome.message, f"made anew: {_listed(lost)}" if lost else None]
    return "; ".join(part for part in parts if part) or None


def _listed(lost: Sequence[LostTable]) -> str:
    return ", ".join(str(table) for table in lost)
