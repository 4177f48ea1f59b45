"""Job: OPTIMIZE, VACUUM and retention."""

from __future__ import annotations

import sys

from mmrec_lib.config import Section
from mmrec_lib.contracts import CONTRACTS
from mmrec_lib.lakehouse.config import MaintenanceConfig
from mmrec_lib.lakehouse.maintain import maintain_all
from mmrec_lib.runtime.job import Context, Job, Outcome
from mmrec_lib.runtime.main import run_main


class Config(Section):
    """Settings of maintenance."""

    maintenance: MaintenanceConfig


def run(context: Context, config: Config) -> Outcome:
    """Keep every table as its contract says."""
    counts = maintain_all(context.lakehouse, config.maintenance, context.now)
    return Outcome(counts, f"{sum(counts.values())} rows expired or files compacted")


def external_versions(context: Context, config: Config) -> dict[str, str]:
    """Maintenance is due once a day."""
    return {"day": f"{context.now:%Y-%m-%d}"}


JOB = Job(
    name="maintain_tables",
    summary="compacts files, removes old versions and expired rows",
    config=Config,
    reads=(),
    writes=(),
    run=run,
    external_versions=external_versions,
    maintains=tuple(CONTRACTS),
)

if __name__ == "__main__":
    sys.exit(run_main(JOB))
