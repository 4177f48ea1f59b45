"""Run the core of the jobs on Spark Connect: landing files to a training snapshot. Started by test_connect.py."""

from __future__ import annotations

import sys

from jobs.run_pipeline import load_jobs
from mmrec_lib.runtime.graph import load_graph, run_graph
from mmrec_lib.runtime.main import make_parser, open_context, parse_command
from tests.conftest import PROJECT

CORE = ("ingest_landing", "extract_text", "embed_content", "assemble_snapshot")

if __name__ == "__main__":
    command = parse_command(make_parser("connect_core", "core of the jobs"), sys.argv[1:], PROJECT / "conf")
    tasks = [task for task in load_graph(PROJECT / "resources" / "pipeline.job.yml") if task.key in CORE]
    with open_context(command) as context:
        assert "connect" in type(context.lakehouse.spark).__module__
        run_graph(tasks, load_jobs(tasks, PROJECT / "resources"), context, command.settings, force=False)
