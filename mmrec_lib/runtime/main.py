"""The command line that every job shares."""

from __future__ import annotations

import argparse
import inspect
import json
import logging
import sys
import uuid
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from mmrec_lib.config import Section, load_config
from mmrec_lib.errors import MmrecError
from mmrec_lib.lakehouse.java import check_java
from mmrec_lib.lakehouse.landing import LandingFolder
from mmrec_lib.lakehouse.ledger import JobRun, Ledger
from mmrec_lib.lakehouse.session import build_session
from mmrec_lib.lakehouse.store import check_store, create_card, locked
from mmrec_lib.lakehouse.tables import Lakehouse
from mmrec_lib.runtime.job import ConfigT, Context, Job, plan_job, run_job
from mmrec_lib.runtime.progress import Progress
from mmrec_lib.runtime.settings import Settings
from mmrec_lib.tracking.registry import Registry


@dataclass(frozen=True)
class Command:
    """A parsed command line.

    Attributes:
        settings: The whole configuration.
        as_of: Events before this UTC date count; None lets it follow from the events.
        force: Run although nothing changed.
        dry_run: Say what would run, write nothing.
        print_config: Print the configuration and stop.
    """

    settings: Settings
    as_of: date | None
    force: bool
    dry_run: bool
    print_config: bool


def make_parser(name: str, summary: str) -> argparse.ArgumentParser:
    """Parser of the flags that all jobs share."""
    parser = argparse.ArgumentParser(prog=name, description=summary)
    parser.add_argument(
        "--conf", action="append", default=[], metavar="FILE", help="further YAML configuration; repeatable"
    )
    parser.add_argument("--env", default="local", help="environment: a folder in conf/env (default: local)")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="overrides",
        nargs="+",
        help="override configuration keys, such as training.seed=1; repeatable",
    )
    parser.add_argument(
        "--as-of",
        type=_date,
        default=None,
        metavar="YYYY-MM-DD",
        help="events before this UTC date count (default: the day after the latest event)",
    )
    parser.add_argument("--force", action="store_true", help="run although nothing changed")
    parser.add_argument("--dry-run", action="store_true", help="say what would run; write nothing")
    parser.add_argument("--print-config", action="store_true", help="print the configuration and stop")
    return parser


def _date(text: str) -> date | None:
    if text in ("", "latest"):  # schedulers cannot leave a parameter out
        return None
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no date of the form YYYY-MM-DD") from error


def parse_command(parser: argparse.ArgumentParser, argv: Sequence[str] | None, conf_root: Path) -> Command:
    """Parse flags and load the configuration they name.

    Raises:
        SystemExit: With status 2 for a wrong command line.
        ConfigError: When the configuration is wrong.
    """
    flags = parser.parse_args(argv)
    overrides = [override for group in flags.overrides for override in group]
    settings = load_config(Settings, conf_root, flags.env, flags.conf, overrides)
    return Command(settings, flags.as_of, flags.force, flags.dry_run, flags.print_config)


def conf_root_of(function: Callable[..., Any]) -> Path:
    """The conf folder beside the jobs folder that a job's function was written in."""
    return Path(inspect.getfile(function)).resolve().parent.parent / "conf"


@contextmanager
def open_context(command: Command) -> Iterator[Context]:
    """Session, locked store, ledger and registry for one run; cleans up after itself.

    Raises:
        MmrecError: When DATA, OUT, Java or a lock stands in the way; nothing has been written then.
    """
    store = command.settings.store
    card = check_store(store)
    if store.data is not None and card is None:
        LandingFolder(store.data).require_sources()
    now = datetime.now(UTC)
    run_id = f"{now:%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:8]}"
    if command.dry_run:
        spark = build_session(command.settings.spark)
        yield _context(command, Lakehouse(spark, store, run_id, now), run_id, now)
        return
    if command.settings.spark.master or command.settings.spark.remote:
        check_java()
    with locked(store):
        create_card(store)
        spark = build_session(command.settings.spark)
        lakehouse = Lakehouse(spark, store, run_id, now)
        if store.out:
            lakehouse.remove_stale_staging()
        context = _context(command, lakehouse, run_id, now)
        try:
            yield context
            context.ledger.flush()
        finally:
            lakehouse.remove_staging()


def _context(command: Command, lakehouse: Lakehouse, run_id: str, now: datetime) -> Context:
    registry = Registry(command.settings.tracking, command.settings.store, read_only=command.dry_run)
    return Context(run_id, now, command.as_of, lakehouse, Ledger(lakehouse), registry, Progress())


def job_config(job: Job[ConfigT], settings: Settings) -> ConfigT:
    """The sections of the configuration that a job asks for."""
    sections = {name: getattr(settings, name) for name in job.config.model_fields}
    return job.config.model_validate(sections)


def run_main(job: Job[Any], argv: Sequence[str] | None = None) -> int:
    """Run one job as a program: flags in, exit status out, a JSON summary as the last line.

    Returns:
        0 when the job succeeded or had nothing to do, 1 when it failed.
    """
    configure_logging()
    try:
        command = parse_command(make_parser(job.name, job.summary), argv, conf_root_of(job.run))
        if command.print_config:
            print_config(job_config(job, command.settings))
            return 0
        config = job_config(job, command.settings)
        with open_context(command) as context:
            if command.dry_run:
                plan = plan_job(job, context, config, force=command.force)
                print(json.dumps({"job": job.name, "would_run": plan.due, "reason": plan.reason}))
                return 0
            with context.progress.working(job.name):
                run = run_job(job, context, config, force=command.force)
        print(json.dumps(summary_of(run)))
        return 0
    except MmrecError as error:
        return fail(job.name, error)


def fail(name: str, error: MmrecError) -> int:
    """Tell a person and a machine what went wrong; returns the exit status."""
    print(f"{name}: {error}", file=sys.stderr)
    print(json.dumps({"job": name, "status": "failed", "error": type(error).__name__, "message": str(error)}))
    return 1


def summary_of(run: JobRun) -> dict[str, Any]:
    """A run as the JSON that a job prints."""
    return {
        "job": run.job,
        "status": run.status,
        "seconds": round(run.run_seconds, 1),
        "counts": run.counts,
        "message": run.message,
    }


def print_config(config: Section) -> None:
    """Print a configuration as YAML."""
    print(OmegaConf.to_yaml(OmegaConf.create(config.model_dump(mode="json"))), end="")


def configure_logging() -> None:
    """Entry points only: warnings of other libraries stay out of the way, ours are shown."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("mmrec").setLevel(logging.INFO)
    for noisy in ("py4j", "alembic", "mlflow", "pyspark"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"(mlflow|pyspark)\b.*")
