"""Job: media → words."""

from __future__ import annotations

import sys

from mmrec_lib.config import Section
from mmrec_lib.embedding.config import EmbeddingConfig
from mmrec_lib.embedding.run import EXTRACT_FEEDBACK, EXTRACT_READS, EXTRACT_WRITES, extract_texts, extraction_revisions
from mmrec_lib.encoders.config import ModelsConfig
from mmrec_lib.runtime.job import Context, Job, Outcome
from mmrec_lib.runtime.main import run_main


class Config(Section):
    """Models, and the media that each reads words out of."""

    models: ModelsConfig
    embedding: EmbeddingConfig


def run(context: Context, config: Config) -> Outcome:
    """Read words out of new media; take precomputed ones as they are; bring all texts of items and reviews together."""
    counts, metrics = extract_texts(context.lakehouse, config.models, config.embedding, context.progress.line)
    context.log_metrics(JOB.name, metrics)
    return Outcome(
        counts, f"{counts['extracted']} media read, {counts['provided']} precomputed, {counts['errors']} errors"
    )


def external_versions(context: Context, config: Config) -> dict[str, str]:
    """Revisions of the models."""
    return extraction_revisions(config.models, config.embedding)


def is_complete(context: Context, config: Config) -> bool:
    """Tell if no medium of the last good run is to be tried again."""
    last = context.ledger.last_good(JOB.name)
    return last is None or not last.counts.get("to_retry")


JOB = Job(
    name="extract_text",
    summary="turns speech, images and sound into text",
    config=Config,
    reads=EXTRACT_READS,
    writes=EXTRACT_WRITES,
    run=run,
    external_versions=external_versions,
    is_complete=is_complete,
    feedback=EXTRACT_FEEDBACK,
)

if __name__ == "__main__":
    sys.exit(run_main(JOB))
