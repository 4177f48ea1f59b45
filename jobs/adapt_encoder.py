"""Job: behaviour and contents of items → a text, image or joint encoder adapted to the store."""

from __future__ import annotations

import sys

from mmrec_lib.config import Section
from mmrec_lib.encoders.config import ModelsConfig
from mmrec_lib.encoders.registry import encoder_spec
from mmrec_lib.fine_tuning.adaptation import READS, WRITES, adapt_encoder, adapted_encoder, are_releases_there
from mmrec_lib.ingest.config import EventTypeConfig
from mmrec_lib.models.config import TrainingConfig
from mmrec_lib.recipes.adapt_config import AdaptationConfig
from mmrec_lib.runtime.job import Context, Job, Outcome
from mmrec_lib.runtime.main import run_main


class Config(Section):
    """The adaptation, the folder of models, what events weigh, and the ranker that the gate asks."""

    adaptation: AdaptationConfig
    models: ModelsConfig
    events: dict[str, EventTypeConfig]
    training: TrainingConfig


def run(context: Context, config: Config) -> Outcome:
    """Adapt the encoder; it is released where it finds more of held-out behaviour and the ranker loses nothing."""
    weights = {name: one.weight for name, one in config.events.items()}
    found = adapt_encoder(
        context.lakehouse, context.registry, config.adaptation, config.models, weights, config.training
    )
    return Outcome(*found)


def external_versions(context: Context, config: Config) -> dict[str, str]:
    """Revision of the encoder that is adapted."""
    encoder, _ = adapted_encoder(config.adaptation, config.models)
    return {"encoder": encoder_spec(encoder, config.models).revision}


def is_complete(context: Context, config: Config) -> bool:
    """Tell if the encoders that were released last are there."""
    return are_releases_there(context.lakehouse, config.adaptation, config.models)


JOB = Job(
    name="adapt_encoder",
    summary="adapts an encoder to the store's texts, images or both and what its people do",
    config=Config,
    reads=READS,
    writes=(*WRITES, "file:encoder"),
    run=run,
    external_versions=external_versions,
    is_complete=is_complete,
)

if __name__ == "__main__":
    sys.exit(run_main(JOB))
