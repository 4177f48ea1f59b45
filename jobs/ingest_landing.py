"""Job: landing files → bronze."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from mmrec_lib.contracts.runs import DATA_QUALITY_RESULT
from mmrec_lib.ingest.config import LandingConfig
from mmrec_lib.ingest.resolve.reread import read_all_again
from mmrec_lib.ingest.run import WRITES, ingest, landing_state
from mmrec_lib.lakehouse.ledger import LostTable
from mmrec_lib.runtime.job import Context, Job, Outcome
from mmrec_lib.runtime.main import run_main


def run(context: Context, config: LandingConfig) -> Outcome:
    """Ingest what is new or changed in the landing folder."""
    summary = ingest(context.lakehouse, config)
    run_id = f"{context.run_id}-ingest_landing"
    rows = [(run_id, c.record_kind, c.check_name, c.value, c.threshold, c.passed) for c in summary.checks]
    if rows:
        checks = context.lakehouse.spark.createDataFrame(rows, DATA_QUALITY_RESULT.input_schema)
        context.lakehouse.append("data_quality_result", checks)
    return Outcome(summary.counts, summary.message)


def external_versions(context: Context, config: LandingConfig) -> dict[str, str]:
    """State of the landing folder."""
    return landing_state(context.lakehouse)


def before_remaking(context: Context, config: LandingConfig, lost: Sequence[LostTable]) -> None:
    """Read all landing files again."""
    read_all_again(context.lakehouse, lost)


JOB = Job(
    name="ingest_landing",
    summary="reads new and changed landing files and media",
    config=LandingConfig,
    reads=("landing:files",),
    writes=(*WRITES, "data_quality_result"),
    run=run,
    external_versions=external_versions,
    before_remaking=before_remaking,
)

if __name__ == "__main__":
    sys.exit(run_main(JOB))
