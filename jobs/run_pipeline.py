"""The whole pipeline in one Spark session: runs the job graph of resources/ that Databricks runs as tasks."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmrec_lib.reporting.files import PAGE, SUMMARY
from mmrec_lib.reporting.summary import replace_seconds
from mmrec_lib.runtime.graph import Task, load_graph, load_jobs, run_graph
from mmrec_lib.runtime.main import Command, conf_root_of, open_context, run_program, summary_of

NAME = "run_pipeline"
# `make models` prepares models once for all stores; on a cluster it is the first task of the graph.
LEFT_OUT = ("prepare_models",)


def local_tasks(tasks: Sequence[Task]) -> list[Task]:
    """The tasks of the graph that the local runner runs."""
    return [task for task in tasks if task.key not in LEFT_OUT]


def main(argv: Sequence[str] | None = None) -> int:
    """Run all jobs in order; returns the exit status."""
    root = conf_root_of(main).parent

    def work(command: Command) -> dict[str, Any]:
        tasks = local_tasks(load_graph(root / "resources" / "pipeline.job.yml"))
        jobs = load_jobs(tasks, root / "resources")
        with open_context(command) as context:
            runs = run_graph(tasks, jobs, context, command.settings, force=command.force, dry_run=command.dry_run)
            if command.dry_run:
                return {"job": NAME, "status": "dry_run"}
            published = Path(command.settings.store.publish_root)
            replace_seconds(published / SUMMARY, {run.job: run.run_seconds for run in runs})
            for line in ("", f"Report:  {published / PAGE}", f"Tables:  {context.lakehouse.tables_root}"):
                context.progress.line(line)
        return {"job": NAME, "status": "succeeded", "jobs": [summary_of(run) for run in runs]}

    return run_program(NAME, "runs the whole pipeline", argv, root / "conf", work, lambda command: command.settings)


if __name__ == "__main__":
    sys.exit(main())
