"""Job: the newest ranker and the baselines → metrics."""

from __future__ import annotations

import sys

from mmrec_lib.config import Section
from mmrec_lib.evaluation.config import EvaluationConfig
from mmrec_lib.features.load import Snapshot
from mmrec_lib.features.scorer import scorer_versions
from mmrec_lib.models.ranker.scorer import CandidateScorer
from mmrec_lib.recipes.scorer_config import ScorerConfig
from mmrec_lib.reranking.config import RerankingConfig
from mmrec_lib.runtime.job import Context, Job, Outcome
from mmrec_lib.runtime.main import run_main
from mmrec_lib.scoring.config import ListConfig
from mmrec_lib.scoring.effects import ListEffects, ListSettings
from mmrec_lib.showing.config import ShowingConfig
from mmrec_lib.showing.rules_file import rules_version
from mmrec_lib.training.config import PromotionConfig
from mmrec_lib.training.evaluate import FEEDBACK, READS, MeasureLists, evaluate_candidate, is_evaluated


class Config(Section):
    """Settings of evaluation, of the gate that follows, and of the lists that users get."""

    evaluation: EvaluationConfig
    promotion: PromotionConfig
    scoring: ListConfig
    showing: ShowingConfig
    reranking: RerankingConfig
    scorer: ScorerConfig

    @property
    def lists(self) -> ListSettings:
        """Settings of the lists that users get."""
        return ListSettings(self.scoring, self.showing, self.reranking)


def run(context: Context, config: Config) -> Outcome:
    """Rank the whole catalogue for every user with something to find; register a baseline where no ranker passes."""
    lakehouse, lists = context.lakehouse, config.lists

    def effects(snapshot: Snapshot, scorer: CandidateScorer | None) -> MeasureLists:
        return ListEffects(lakehouse, snapshot, lists, scorer)

    measured, gate = effects if lists.change_lists else None, config.promotion
    return Outcome(*evaluate_candidate(lakehouse, context.registry, config.evaluation, gate, measured, config.scorer))


def external_versions(context: Context, config: Config) -> dict[str, str]:
    """Versions of the candidate, of the rules and of the scorer."""
    versions = {"newest": context.registry.state()["newest"], "rules": rules_version(config.showing)}
    return {**versions, **scorer_versions(config.scorer)}


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
