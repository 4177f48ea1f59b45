"""Job: landing files → bronze."""

from __future__ import annotations

import sys

from mmrec_lib.ingest.config import LandingConfig
from mmrec_lib.ingest.run import WRITES, ingest, landing_state
from mmrec_lib.runtime.job import Context, Job, Outcome
from mmrec_lib.runtime.main import run_main


def run(context: Context, config: LandingConfig) -> Outcome:
    """Ingest what is new or changed in the landing folder."""
    summary = ingest(context.lakehouse, config)
    return Outcome(summary.counts, summary.message)


def outside(context: Context, config: LandingConfig) -> dict[str, str]:
    """State of the landing folder."""
    return landing_state(context.lakehouse)


JOB = Job(
    name="ingest_landing",
    summary="reads new and changed landing files and media",
    config=LandingConfig,
    reads=(),
    writes=WRITES,
    run=run,
    outside=outside,
)

if __name__ == "__main__":
    sys.exit(run_main(JOB))
