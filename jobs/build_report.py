"""Job: tables and metrics → report.html and summary.json."""

from __future__ import annotations

import sys
from pathlib import Path

from mmrec_lib.config import Section
from mmrec_lib.publishing.collect import FEEDBACK, READS, collect_report, last_ingest
from mmrec_lib.reporting.config import ReportConfig
from mmrec_lib.reporting.files import PAGE, SUMMARY, are_whole
from mmrec_lib.reporting.report import render_report
from mmrec_lib.reporting.summary import build_summary, write_json_atomic
from mmrec_lib.runtime.graph import load_graph
from mmrec_lib.runtime.job import Context, Job, Outcome
from mmrec_lib.runtime.main import conf_root_of, run_main


class Config(Section):
    """Settings of the report."""

    report: ReportConfig


def run(context: Context, config: Config) -> Outcome:
    """Write the page for people and the summary for programs."""
    graph = conf_root_of(run).parent / "resources" / "pipeline.job.yml"
    jobs = [task.key for task in load_graph(graph)]
    data = collect_report(context.lakehouse, context.registry, context.ledger, jobs, config.report)
    folder = Path(context.lakehouse.store.publish_root)
    folder.mkdir(parents=True, exist_ok=True)
    size = render_report(data, folder / PAGE)
    summary = build_summary(
        tables=data.tables,
        quarantine={reason.reason: reason.rows for reason in data.quarantine},
        metrics=data.metrics,
        seconds=data.seconds,
        model=data.model,
        versions=data.versions,
    )
    write_json_atomic(folder / SUMMARY, summary)
    return Outcome({"report_bytes": size}, f"report of {size / 1e6:.1f} MB")


def external_versions(context: Context, config: Config) -> dict[str, str]:
    """Version of the champion, and the counts of the last ingest."""
    return {"champion": context.registry.state()["champion"], "ingest": last_ingest(context.ledger)}


def is_complete(context: Context, config: Config) -> bool:
    """Tell if the files are there and whole."""
    return are_whole(Path(context.lakehouse.store.publish_root))


JOB = Job(
    name="build_report",
    summary="draws the report and writes the summary",
    config=Config,
    reads=READS,
    writes=("file:report",),
    run=run,
    external_versions=external_versions,
    is_complete=is_complete,
    feedback=FEEDBACK,
)

if __name__ == "__main__":
    sys.exit(run_main(JOB))
