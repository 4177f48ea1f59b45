"""Job: texts and media → vectors."""

from __future__ import annotations

import sys

from mmrec_lib.config import Section
from mmrec_lib.embedding.config import EmbeddingConfig
from mmrec_lib.embedding.run import EMBED_READS, EMBED_WRITES, embed_contents, encoding_revisions
from mmrec_lib.encoders.config import ModelsConfig
from mmrec_lib.runtime.job import Context, Job, Outcome
from mmrec_lib.runtime.main import run_main


class Config(Section):
    """Models, and what each encodes."""

    models: ModelsConfig
    embedding: EmbeddingConfig


def run(context: Context, config: Config) -> Outcome:
    """Encode new content, pool it by item, release the encoders."""
    counts, metrics = embed_contents(context.lakehouse, config.models, config.embedding, context.progress.line)
    context.log_metrics(JOB.name, metrics)
    return Outcome(counts, f"{counts['encoded']} contents encoded, {counts['errors']} errors")


def external_versions(context: Context, config: Config) -> dict[str, str]:
    """Revisions of the models."""
    return encoding_revisions(config.models, config.embedding)


def is_complete(context: Context, config: Config) -> bool:
    """Tell if no medium of the last good run is to be tried again."""
    last = context.ledger.last_good(JOB.name)
    return last is None or not last.counts.get("to_retry")


JOB = Job(
    name="embed_content",
    summary="turns texts and media into vectors",
    config=Config,
    reads=EMBED_READS,
    writes=EMBED_WRITES,
    run=run,
    external_versions=external_versions,
    is_complete=is_complete,
)

if __name__ == "__main__":
    sys.exit(run_main(JOB))
