"""Job: the current lists → files for key-value stores."""

from __future__ import annotations

import sys

from mmrec_lib.config import Section
from mmrec_lib.publishing.exports import READS, ExportConfig, export_lists, is_exported
from mmrec_lib.runtime.job import Context, Job, Outcome
from mmrec_lib.runtime.main import run_main


class Config(Section):
    """Settings of exports."""

    export: ExportConfig


def run(context: Context, config: Config) -> Outcome:
    """Write what the last scoring published, one row a key."""
    counts = export_lists(context.lakehouse, config.export)
    return Outcome(counts, ", ".join(f"{number} lists of {name}" for name, number in counts.items()))


def is_complete(context: Context, config: Config) -> bool:
    """Tell if the newest exports are there and whole."""
    return is_exported(context.lakehouse, config.export)


JOB = Job(
    name="export_lists",
    summary="writes the current lists as files for key-value stores",
    config=Config,
    reads=READS,
    writes=("file:export",),
    run=run,
    is_complete=is_complete,
)

if __name__ == "__main__":
    sys.exit(run_main(JOB))
