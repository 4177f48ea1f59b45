"""Job: sound → transcripts."""

from __future__ import annotations

import sys

from mmrec_lib.config import Section
from mmrec_lib.embedding.config import EmbeddingConfig
from mmrec_lib.embedding.run import EXTRACT_READS, extract_texts, model_revisions
from mmrec_lib.encoders.config import ModelsConfig
from mmrec_lib.runtime.job import Context, Job, Outcome
from mmrec_lib.runtime.main import run_main


class Config(Section):
    """Which models transcribe what."""

    models: ModelsConfig
    embedding: EmbeddingConfig


def run(context: Context, config: Config) -> Outcome:
    """Transcribe new sound; take ready-made transcripts as they are."""
    counts = extract_texts(context.lakehouse, config.models, config.embedding)
    return Outcome(
        counts, f"{counts['transcribed']} transcribed, {counts['provided']} ready-made, {counts['errors']} errors"
    )


def outside(context: Context, config: Config) -> dict[str, str]:
    """Revision of the speech model."""
    return model_revisions(config.models, {"speech": config.embedding.speech_encoder})


JOB = Job(
    name="extract_text",
    summary="turns speech into text",
    config=Config,
    reads=EXTRACT_READS,
    writes=("media_text",),
    run=run,
    outside=outside,
)

if __name__ == "__main__":
    sys.exit(run_main(JOB))
