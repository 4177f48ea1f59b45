"""The job graph: one file that Databricks schedules and the local runner runs."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

from mmrec_lib.errors import ConfigError
from mmrec_lib.lakehouse.ledger import JobRun
from mmrec_lib.runtime.explain import explain
from mmrec_lib.runtime.job import Context, Job, plan_job, run_job
from mmrec_lib.runtime.main import job_config
from mmrec_lib.runtime.settings import Settings


@dataclass(frozen=True)
class Task:
    """One task of a job graph.

    Attributes:
        key: Task key; the name of the job.
        python_file: Path as the resource file gives it.
        parameters: Command line of the job.
        depends_on: Keys of the tasks that must have succeeded.
    """

    key: str
    python_file: str
    parameters: tuple[str, ...]
    depends_on: tuple[str, ...]


def load_graph(path: Path) -> list[Task]:
    """Tasks of a `resources/<name>.job.yml`, in an order that respects their dependencies.

    Raises:
        ConfigError: When the file has not exactly one job, a dependency is unknown, or the tasks form a circle.
    """
    jobs: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))["resources"]["jobs"]
    if len(jobs) != 1:
        raise ConfigError(f"{path}: a job file holds one job, this one holds {sorted(jobs)}.")
    tasks = {
        task["task_key"]: Task(
            key=task["task_key"],
            python_file=task["spark_python_task"]["python_file"],
            parameters=tuple(task["spark_python_task"].get("parameters", ())),
            depends_on=tuple(dependency["task_key"] for dependency in task.get("depends_on", ())),
        )
        for task in next(iter(jobs.values()))["tasks"]
    }
    ordered: list[Task] = []
    done: set[str] = set()
    while len(ordered) < len(tasks):
        ready = [t for t in tasks.values() if t.key not in done and set(t.depends_on) <= done]
        if not ready:
            waiting = sorted(set(tasks) - done)
            raise ConfigError(f"{path}: the tasks {waiting} wait for unknown tasks or for each other.")
        ordered += ready
        done |= {t.key for t in ready}
    return ordered


def load_module(path: Path) -> ModuleType:
    """The module of a file, under a name of its own: jobs are files of a project, not of the library.

    Raises:
        ConfigError: When there is no such file.
    """
    if not path.is_file():
        raise ConfigError(
            f"job file {path}: there is none. The project is not whole, or its job graph names a wrong file."
        )
    spec = importlib.util.spec_from_file_location(f"mmrec_job_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where Pydantic and pickle look for a module's names
    spec.loader.exec_module(module)
    return module


def load_jobs(tasks: Sequence[Task], resources: Path) -> dict[str, Job[Any]]:
    """The job of each task, from the file that the task names, relative to the folder of the job graph."""
    return {task.key: load_module(resources / task.python_file).JOB for task in tasks}


def run_graph(
    tasks: Sequence[Task],
    jobs: Mapping[str, Job[Any]],
    context: Context,
    settings: Settings,
    *,
    force: bool,
    dry_run: bool = False,
) -> list[JobRun]:
    """Run the tasks one after the other in this process's session; stops at the first failure.

    Args:
        tasks: In order.
        jobs: The job of each task key, handed in by the entry point.
        context: Shared by all of them.
        settings: Whole configuration.
        force: Run jobs although nothing changed.
        dry_run: Only say which jobs would run as things stand now.

    Raises:
        MmrecError: The failure of a job, with its name.
    """
    runs = []
    for number, task in enumerate(tasks, start=1):
        job = jobs[task.key]
        label = f"[{number}/{len(tasks)}] {job.name:<18}"
        if dry_run:
            plan = plan_job(job, context, job_config(job, settings), force=force)
            context.progress.line(f"{label} {'would run' if plan.due else 'skipped'}: {plan.reason}")
            continue
        with context.progress.working(f"{label} {job.summary}"):
            try:
                run = run_job(job, context, job_config(job, settings), force=force)
            except Exception as error:
                context.progress.line(f"{label} failed")
                explained = explain(error, context.lakehouse.store)
                raise type(explained)(f"{job.name}: {explained}") from error
        took = "   nothing new" if run.status == "skipped" else f"{run.run_seconds:7.1f} s  {run.message or ''}"
        context.progress.line(f"{label} {took}")
        runs.append(run)
    return runs
