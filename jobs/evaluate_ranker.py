"""Job: the newest ranker and the baselines → metrics."""

from __future__ import annotations

import sys

from mmrec_lib.config import Section
from mmrec_lib.evaluation.config import EvaluationConfig
from mmrec_lib.runtime.job import Context, Job, Outcome
from mmrec_lib.runtime.main import run_main
from mmrec_lib.training.config import PromotionConfig
from mmrec_lib.training.evaluate import FEEDBACK, READS, evaluate_candidate, is_evaluated


class Config(Section):
    """Settings of evaluation, and of the gate that follows."""

    evaluation: EvaluationConfig
    promotion: PromotionConfig


def run(context: Context, config: Config) -> Outcome:
    """Rank the whole catalogue for every user with something to find; register a baseline where no ranker passes."""
    return Outcome(*evaluate_candidate(context.lakehouse, context.registry, config.evaluation, config.promotion))


def external_versions(context: Context, config: Config) -> dict[str, str]:
    """Version of the candidate."""
    return {"newest": context.registry.state()["newest"]}


def is_complete(context: Context, config: Config) -> bool:
    """Tell if the newest version carries its metrics and plots."""
    return is_evaluated(context.registry)


JOB = Job(
    name="evaluate_ranker",
    summary="evaluates ranker and baselines on the full catalogue",
    config=Config,
    reads=READS,
    writes=("model_metric", "registry:baseline"),
    run=run,
    external_versions=external_versions,
    is_complete=is_complete,
    feedback=FEEDBACK,
)

if __name__ == "__main__":
    sys.exit(run_main(JOB))
