"""The command line that every job shares."""

from __future__ import annotations

import argparse
import contextlib
import inspect
import json
import signal
import sys
import threading
import traceback
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from types import FrameType
from typing import Any

from omegaconf import OmegaConf

from mmrec_lib.config import Section, load_config
from mmrec_lib.errors import MmrecError
from mmrec_lib.ingest.landing import LandingFolder
from mmrec_lib.lakehouse.actions import end_actions
from mmrec_lib.lakehouse.java import check_java
from mmrec_lib.lakehouse.ledger import JobRun, Ledger
from mmrec_lib.lakehouse.session import build_session
from mmrec_lib.lakehouse.store import check_store, create_card, has_lock, locked
from mmrec_lib.lakehouse.tables import Lakehouse
from mmrec_lib.runtime.explain import Terminated, explain
from mmrec_lib.runtime.job import ConfigT, Context, Job, plan_job, run_job
from mmrec_lib.runtime.logs import LOG_LEVELS, configure_logging
from mmrec_lib.runtime.progress import Progress
from mmrec_lib.runtime.settings import Settings
from mmrec_lib.runtime.size import is_small_store
from mmrec_lib.safe_text import for_people, mask_config
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
        log_level: Messages from this level on are shown; see `LOG_LEVELS`.
        graph: Job graph to run, where the program runs one.
    """

    settings: Settings
    as_of: date | None
    force: bool
    dry_run: bool
    print_config: bool
    log_level: str = "info"
    graph: str | None = None


def make_parser(name: str, summary: str, graphs: Sequence[str] = ()) -> argparse.ArgumentParser:
    """Parser of the flags that all jobs share, and of `--graph` where there are graphs to choose from."""
    parser = argparse.ArgumentParser(prog=name, description=summary)
    parser.set_defaults(graph=None)
    if graphs:
        parser.add_argument(
            "--graph", choices=graphs, default=graphs[0], help=f"job graph of resources/ (default: {graphs[0]})"
        )
    add_config_flags(parser)
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
    parser.add_argument(
        "--log-level",
        choices=LOG_LEVELS,
        default="info",
        help="messages from this level on are shown; debug adds Java's and the trace of a failure (default: info)",
    )
    return parser


def add_config_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that name and change the configuration: `--conf`, `--env` and `--set`."""
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


def overrides_of(flags: argparse.Namespace) -> list[str]:
    """The pairs `key=value` of all `--set`, in their order."""
    return [override for group in flags.overrides for override in group]


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
    settings = load_config(Settings, conf_root, flags.env, flags.conf, overrides_of(flags))
    return Command(settings, flags.as_of, flags.force, flags.dry_run, flags.print_config, flags.log_level, flags.graph)


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
    now, is_debug = datetime.now(UTC), command.log_level == "debug"
    run_id = f"{now:%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:8]}"
    is_small = is_small_store(store)
    if command.dry_run:
        spark = build_session(command.settings.spark, is_debug=is_debug, is_small=is_small)
        yield _context(command, Lakehouse(spark, store, run_id, now), run_id, now)
        return
    if command.settings.spark.master or command.settings.spark.remote:
        check_java()
    with locked(store):
        create_card(store)
        spark = build_session(command.settings.spark, is_debug=is_debug, is_small=is_small)
        lakehouse = Lakehouse(spark, store, run_id, now)
        lakehouse.remove_stale_staging(holds_lock=has_lock(store))
        context = _context(command, lakehouse, run_id, now)
        try:
            yield context
            context.ledger.flush()
        except (KeyboardInterrupt, Terminated):
            # What other threads have Spark do must not go on when the lock is gone.
            with contextlib.suppress(Exception):
                spark.interruptAll()
            end_actions(spark.interruptAll)
            raise
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

    def work(command: Command) -> dict[str, Any]:
        config = job_config(job, command.settings)
        with open_context(command) as context:
            if command.dry_run:
                plan = plan_job(job, context, config, force=command.force)
                return {"job": job.name, "would_run": plan.due, "reason": plan.reason}
            with context.progress.working(job.name):
                return summary_of(run_job(job, context, config, force=command.force))

    def shown(command: Command) -> Section:
        config: Section = job_config(job, command.settings)
        return config

    return run_program(job.name, job.summary, argv, conf_root_of(job.run), work, shown)


def run_program(
    name: str,
    summary: str,
    argv: Sequence[str] | None,
    conf_root: Path,
    work: Callable[[Command], dict[str, Any]],
    shown: Callable[[Command], Section],
    graphs: Sequence[str] = (),
) -> int:
    """Run a program of this project: whatever happens, the last line of its output is JSON.

    Args:
        name: The program, in messages.
        summary: One sentence for --help.
        argv: Command line; None takes the process's own.
        conf_root: The conf folder.
        work: What the program does; returns what it prints.
        shown: The configuration that --print-config prints.
        graphs: Job graphs that --graph chooses from, the default first; none takes no such flag.

    Returns:
        0 when it succeeded, 1 when it failed; the failure is one sentence for a person and JSON for a program.

    Raises:
        SystemExit: With status 2 for a wrong command line, after the JSON.
    """
    configure_logging()
    command: Command | None = None
    try:
        with ending_on_signals():
            command = parse_command(make_parser(name, summary, graphs), argv, conf_root)
            configure_logging(command.log_level)
            if command.print_config:
                print_config(shown(command))
                return 0
            answer = work(command)
    except SystemExit as end:
        if end.code not in (0, None):
            message = "the command line is wrong; standard error says where."
            _print_json({"job": name, "status": "failed", "error": "UsageError", "message": message})
        raise
    except BaseException as error:
        if command is not None and command.log_level == "debug":
            trace = "".join(traceback.format_exception(error))
            print(for_people(trace, keep_lines=True), file=sys.stderr)
        return fail(name, explain(error, command.settings.store if command is not None else None))
    _print_json(answer)
    return 0


@contextmanager
def ending_on_signals() -> Iterator[None]:
    """Inside the block SIGTERM and SIGHUP raise `Terminated`, once, so that the run cleans up and tells its end."""
    before: dict[int, Any] = {}

    def end(number: int, frame: FrameType | None) -> None:
        for other in before:
            signal.signal(other, signal.SIG_IGN)
        raise Terminated(signal.Signals(number).name)

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGHUP):
            # A handler of somebody else, or nohup's wish to ignore it, stays.
            if signal.getsignal(number) is signal.SIG_DFL:
                before[number] = signal.signal(number, end)
    try:
        yield
    finally:
        for caught, handler in before.items():
            signal.signal(caught, handler)


def fail(name: str, error: MmrecError) -> int:
    """Tell a person and a machine what went wrong; returns the exit status."""
    with contextlib.suppress(OSError):
        print(f"{name}: {error}", file=sys.stderr, flush=True)
    _print_json({"job": name, "status": "failed", "error": type(error).__name__, "message": str(error)})
    return 1


def _print_json(answer: Mapping[str, Any]) -> None:
    # Where standard output is closed, or a file on a full disk, the exit status has to do.
    with contextlib.suppress(OSError):
        print(json.dumps(answer), flush=True)


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
    """Print a configuration as YAML, secrets masked."""
    print(OmegaConf.to_yaml(OmegaConf.create(mask_config(config.model_dump(mode="json")))), end="")
