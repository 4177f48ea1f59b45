"""Run jobs of the pipeline on Spark Connect: their names, then flags as of any job. Started by test_connect.py."""

from __future__ import annotations

import sys

from jobs.run_pipeline import load_jobs
from mmrec_lib.runtime.graph import load_graph, run_graph
from mmrec_lib.runtime.main import make_parser, open_context, parse_command
from tests.conftest import PROJECT

if __name__ == "__main__":
    first_flag = next(place for place, word in enumerate(sys.argv) if word.startswith("--"))
    names, flags = sys.argv[1:first_flag], sys.argv[first_flag:]
    command = parse_command(make_parser("connect_core", "jobs on Spark Connect"), flags, PROJECT / "conf")
    tasks = [task for task in load_graph(PROJECT / "resources" / "pipeline.job.yml") if task.key in names]
    assert len(tasks) == len(names), names
    with open_context(command) as context:
        assert "connect" in type(context.lakehouse.spark).__module__
        run_graph(tasks, load_jobs(tasks, PROJECT / "resources"), context, command.settings, force=False)
