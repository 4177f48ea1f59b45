"""Job: training snapshot → a joint space of the modalities, and contents that contradict each other."""

from __future__ import annotations

import sys

from mmrec_lib.config import Section
from mmrec_lib.models.alignment.config import AlignmentConfig
from mmrec_lib.runtime.job import Context, Job, Outcome
from mmrec_lib.runtime.main import run_main
from mmrec_lib.training.alignment import READS, WRITES, align_modalities


class Config(Section):
    """Settings of the joint space and of findings."""

    alignment: AlignmentConfig


def run(context: Context, config: Config) -> Outcome:
    """Learn the joint space, measure it, and look for contradictions; nothing where nothing is asked for."""
    return Outcome(*align_modalities(context.lakehouse, config.alignment))


JOB = Job(
    name="align_modalities",
    summary="brings the modalities of items into one space and finds contents that contradict each other",
    config=Config,
    reads=READS,
    writes=WRITES,
    run=run,
)

if __name__ == "__main__":
    sys.exit(run_main(JOB))
