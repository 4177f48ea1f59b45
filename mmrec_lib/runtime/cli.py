"""The console command `mmrec`: the pipeline, one of its jobs, or why a job would run.

The wheel holds the library only; jobs, configuration and the job graph are files of a project. The command finds them
in the project that it is called in, in `--project`, or in the environment variable MMREC_PROJECT.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mmrec_lib
from mmrec_lib.errors import ConfigError, MmrecError
from mmrec_lib.runtime.graph import load_graph, load_module
from mmrec_lib.runtime.job import Job
from mmrec_lib.runtime.main import fail, run_main
from mmrec_lib.runtime.search_server import serve
from mmrec_lib.safe_text import for_people

GRAPH = Path("resources") / "pipeline.job.yml"
_PROJECT_VARIABLE = "MMREC_PROJECT"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status.

    `mmrec run` is `python jobs/run_pipeline.py`, `mmrec job NAME` is `python jobs/NAME.py`, each with the flags of
    jobs; `mmrec explain NAME` says why a job would run now and runs nothing; `mmrec jobs` lists them; `mmrec search`
    opens a page that searches a finished store.

    Raises:
        SystemExit: With status 2 for a wrong command line.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    command, flags = _parser().parse_known_args(arguments)
    try:
        folder = find_project(command.project)
        if command.command == "jobs":
            return _list_jobs(folder)
        if command.command == "run":
            return int(load_module(folder / "jobs" / "run_pipeline.py").main(flags))
        if command.command == "search":
            return serve(flags, folder / "conf")
        job = find_job(folder, command.name)
    except MmrecError as error:
        return fail("mmrec", error)
    return run_main(job, [*flags, "--dry-run"] if command.command == "explain" else flags)


def find_project(given: str | None, start: Path | None = None) -> Path:
    """The folder with `jobs/` and `resources/pipeline.job.yml`.

    Args:
        given: Folder on the command line; None looks at MMREC_PROJECT, then in `start` and the folders above it.
        start: Where to look first; None is the current folder.

    Raises:
        ConfigError: When there is no such folder.
    """
    named = given or os.environ.get(_PROJECT_VARIABLE)
    here = (start or Path.cwd()).resolve()
    candidates = [Path(named).expanduser().resolve()] if named else [here, *here.parents]
    for folder in candidates:
        if (folder / GRAPH).is_file() and (folder / "jobs").is_dir():
            return folder
    looked = f"{named} is none" if named else f"neither {here} nor a folder above it is one"
    raise ConfigError(
        f"mmrec: a project with jobs/ and {GRAPH} is needed, but {for_people(looked)}. Call mmrec inside one, or name "
        f"it by --project or {_PROJECT_VARIABLE}."
    )


def find_job(folder: Path, name: str) -> Job[Any]:
    """The job of a name, from the project's `jobs` folder.

    Raises:
        ConfigError: When there is no such job.
    """
    known = job_names(folder)
    if name not in known:
        raise ConfigError(f"mmrec: the name of a job is needed ({', '.join(known)}), got {for_people(name)!r}.")
    job: Job[Any] = load_module(folder / "jobs" / f"{name}.py").JOB
    return job


def job_names(folder: Path) -> list[str]:
    """Names of a project's jobs: those of the pipeline in its order, then the others."""
    in_order = [task.key for task in load_graph(folder / GRAPH)]
    files = sorted(path.stem for path in (folder / "jobs").glob("[!_]*.py") if path.stem != "run_pipeline")
    return [*in_order, *(name for name in files if name not in in_order)]


def _list_jobs(folder: Path) -> int:
    lines = [f"{name:<20} {find_job(folder, name).summary}" for name in job_names(folder)]
    with contextlib.suppress(BrokenPipeError):  # who read the first lines only, such as head, has what they wanted
        print("\n".join(lines), flush=True)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="mmrec", description="Multimodal recommendation pipelines on Spark.")
    parser.add_argument("--version", action="version", version=f"mmrec {mmrec_lib.__version__}")
    parser.add_argument("--project", default=None, metavar="FOLDER", help="folder with jobs/, conf/ and resources/")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser(
        "run", help="run the whole pipeline; takes the flags of jobs, see mmrec run --help", add_help=False
    )
    for name, text in (("job", "run one job"), ("explain", "say why a job would run now; write nothing")):
        chosen = commands.add_parser(name, help=f"{text}; takes the flags of jobs", add_help=False)
        chosen.add_argument("name", metavar="NAME", help="name of the job, see mmrec jobs")
    commands.add_parser("jobs", help="list the jobs")
    commands.add_parser(
        "search", help="open a page that searches a finished store; see mmrec search --help", add_help=False
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
