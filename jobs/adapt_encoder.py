"""Job: behaviour and texts → a text encoder adapted to the store."""

from __future__ import annotations

import sys

from mmrec_lib.config import Section
from mmrec_lib.encoders.config import ModelsConfig
from mmrec_lib.encoders.registry import encoder_spec
from mmrec_lib.fine_tuning.adaptation import READS, WRITES, adapt_encoder, is_release_there
from mmrec_lib.ingest.config import EventTypeConfig
from mmrec_lib.recipes.adapt_config import AdaptationConfig
from mmrec_lib.runtime.job import Context, Job, Outcome
from mmrec_lib.runtime.main import run_main


class Config(Section):
    """The adaptation, the folder of models, and what events weigh."""

    adaptation: AdaptationConfig
    models: ModelsConfig
    events: dict[str, EventTypeConfig]


def run(context: Context, config: Config) -> Outcome:
    """Adapt the encoder; it is released where it finds more of held-out behaviour."""
    weights = {name: one.weight for name, one in config.events.items()}
    return Outcome(*adapt_encoder(context.lakehouse, context.registry, config.adaptation, config.models, weights))


def external_versions(context: Context, config: Config) -> dict[str, str]:
    """Revision of the encoder that is adapted."""
    encoder = config.models.chosen(config.adaptation.encoder, "adaptation.encoder", ("text",))
    return {"encoder": encoder_spec(encoder, config.models).revision}


def is_complete(context: Context, config: Config) -> bool:
    """Tell if the encoder that was released last is there."""
    return is_release_there(context.lakehouse, config.adaptation, config.models)


JOB = Job(
    name="adapt_encoder",
    summary="adapts a text encoder to what the store's people do",
    config=Config,
    reads=READS,
    writes=(*WRITES, "file:encoder"),
    run=run,
    external_versions=external_versions,
    is_complete=is_complete,
)

if __name__ == "__main__":
    sys.exit(run_main(JOB))
