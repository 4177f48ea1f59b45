"""Job: the champion over all users and items → top-k tables."""

from __future__ import annotations

import sys

from mmrec_lib.config import Section
from mmrec_lib.features.scorer import scorer_versions
from mmrec_lib.recipes.scorer_config import ScorerConfig
from mmrec_lib.reranking.config import RerankingConfig
from mmrec_lib.runtime.job import Context, Job, Outcome
from mmrec_lib.runtime.main import run_main
from mmrec_lib.scoring.config import ScoringConfig
from mmrec_lib.scoring.score import READS, WRITES, ScoringSettings, score_all
from mmrec_lib.showing.config import ShowingConfig
from mmrec_lib.showing.rules_file import rules_version


class Config(Section):
    """Settings of the published lists."""

    scoring: ScoringConfig
    showing: ShowingConfig
    reranking: RerankingConfig
    scorer: ScorerConfig


def run(context: Context, config: Config) -> Outcome:
    """Bring the exact top-k lists of all known users to the champion's, by scoring those whom a change concerns."""
    settings = ScoringSettings(config.scoring, config.showing, config.reranking, config.scorer)
    result = score_all(context.lakehouse, context.registry, settings)
    counts, reason = result.counts, result.reason
    told = f"scored {counts['users.scored']} again" if reason is None else f"scored everyone ({reason})"
    told += "".join(f"; the worth of {name} does not count: {why}" for name, why in result.uncounted.items())
    return Outcome(counts, f"lists for {counts['users']} users over {counts['items']} items, {told}")


def external_versions(context: Context, config: Config) -> dict[str, str]:
    """Versions of the champion, of the rules and of the scorer."""
    versions = {"champion": context.registry.state()["champion"], "rules": rules_version(config.showing)}
    return {**versions, **scorer_versions(config.scorer)}


JOB = Job(
    name="score_topk",
    summary="writes exact top-k lists and neighbours",
    config=Config,
    reads=READS,
    writes=WRITES,
    run=run,
    external_versions=external_versions,
)

if __name__ == "__main__":
    sys.exit(run_main(JOB))
