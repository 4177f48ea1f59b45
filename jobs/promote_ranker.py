"""Job: the gate between candidate and champion."""

from __future__ import annotations

import sys

from mmrec_lib.config import Section
from mmrec_lib.runtime.job import Context, Job, Outcome
from mmrec_lib.runtime.main import run_main
from mmrec_lib.training.config import PromotionConfig
from mmrec_lib.training.promote import READS, is_decided, promote


class Config(Section):
    """Settings of the gate."""

    promotion: PromotionConfig


def run(context: Context, config: Config) -> Outcome:
    """Move the alias champion, or say why not."""
    return Outcome(*promote(context.lakehouse, context.registry, config.promotion))


def external_versions(context: Context, config: Config) -> dict[str, str]:
    """Version of the candidate; a person who moves the alias by hand is not overruled."""
    return {"newest": context.registry.state()["newest"]}


def is_complete(context: Context, config: Config) -> bool:
    """Tell if the newest version carries a decision and the champion's files are there."""
    return is_decided(context.registry)


JOB = Job(
    name="promote_ranker",
    summary="lets the candidate become champion unless it is worse",
    config=Config,
    reads=READS,
    writes=("registry:champion",),
    run=run,
    external_versions=external_versions,
    is_complete=is_complete,
)

if __name__ == "__main__":
    sys.exit(run_main(JOB))
