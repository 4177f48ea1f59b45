"""Job: bronze and silver → a training snapshot and user profiles."""

from __future__ import annotations

import sys

from mmrec_lib.config import Section
from mmrec_lib.features.assemble import FEEDBACK, READS, WRITES, assemble, entity_versions
from mmrec_lib.features.config import FeaturesConfig
from mmrec_lib.ingest.config import EventTypeConfig
from mmrec_lib.models.config import TrainingConfig
from mmrec_lib.recipes.scorer_config import ScorerConfig
from mmrec_lib.runtime.job import Context, Job, Outcome
from mmrec_lib.runtime.main import run_main


class Config(Section):
    """Weights of events, ends of the parts, and the texts that a scorer reads."""

    features: FeaturesConfig
    events: dict[str, EventTypeConfig]
    training: TrainingConfig
    scorer: ScorerConfig


def run(context: Context, config: Config) -> Outcome:
    """Write interactions with their parts, item features and user profiles."""
    counts, warning = assemble(
        context.lakehouse,
        config.features,
        config.events,
        context.as_of,
        refit_on_valid=config.training.refit_on_valid,
        heads=config.training.heads,
        scorer=config.scorer,
        context=() if config.training.second_stage is None else config.training.second_stage.context,
    )
    made = f"{counts['interactions']} interactions of {counts['users']} users on {counts['items']} items"
    return Outcome(counts, f"{made}; {warning}" if warning else made)


def external_versions(context: Context, config: Config) -> dict[str, str]:
    """Version of the entities that stand in for attributes."""
    return entity_versions(context.lakehouse, config.features)


JOB = Job(
    name="assemble_snapshot",
    summary="weighs events, splits them in time, collects item features",
    config=Config,
    reads=READS,
    writes=WRITES,
    run=run,
    external_versions=external_versions,
    feedback=FEEDBACK,
    is_dated=True,
)

if __name__ == "__main__":
    sys.exit(run_main(JOB))
