"""Job: training snapshot → a registered ranker."""

from __future__ import annotations

import sys

from mmrec_lib.config import Section
from mmrec_lib.features.scorer import scorer_versions
from mmrec_lib.models.config import TrainingConfig
from mmrec_lib.recipes.scorer_config import ScorerConfig
from mmrec_lib.runtime.job import Context, Job, Outcome
from mmrec_lib.runtime.main import run_main
from mmrec_lib.training.train import READS, is_registered, train


class Config(Section):
    """Settings of training and of the scorer that may get a weight."""

    training: TrainingConfig
    scorer: ScorerConfig


def run(context: Context, config: Config) -> Outcome:
    """Choose settings on validation, fit, log and register."""
    return Outcome(*train(context.lakehouse, context.registry, config.training, config.scorer))


def external_versions(context: Context, config: Config) -> dict[str, str]:
    """Revision of the scorer."""
    return scorer_versions(config.scorer)


def is_complete(context: Context, config: Config) -> bool:
    """Tell if the version that the last good run spoke of is there with its files."""
    last = context.ledger.last_good(JOB.name)
    return is_registered(context.registry, None if last is None else last.counts)


JOB = Job(
    name="train_ranker",
    summary="chooses settings on validation and fits the fusion ranker",
    config=Config,
    reads=READS,
    writes=("registry:candidate",),
    run=run,
    external_versions=external_versions,
    is_complete=is_complete,
)

if __name__ == "__main__":
    sys.exit(run_main(JOB))
