"""Job: reviews → sentiment, pseudo-ratings, aspects and topics."""

from __future__ import annotations

import sys

from mmrec_lib.config import Section
from mmrec_lib.embedding.config import EmbeddingConfig
from mmrec_lib.encoders.config import ModelsConfig
from mmrec_lib.opinions.config import OpinionConfig
from mmrec_lib.reviews.extract_opinions import OPINION_READS, OPINION_WRITES, extract_opinions, sentiment_revision
from mmrec_lib.runtime.job import Context, Job, Outcome
from mmrec_lib.runtime.main import run_main


class Config(Section):
    """Settings of opinions, the model that classifies reviews, and how much a worker holds at once."""

    models: ModelsConfig
    embedding: EmbeddingConfig
    opinion: OpinionConfig


def run(context: Context, config: Config) -> Outcome:
    """Analyse new reviews; fit the models again when enough reviews are new or gone."""
    counts, metrics = extract_opinions(context.lakehouse, config.models, config.embedding, config.opinion)
    context.log_metrics(JOB.name, metrics if counts["fitted"] else {})
    worth = "no model of ratings"
    if "accuracy" in metrics:
        worth = f"held out: accuracy {metrics['accuracy']:.3f}, MAE {metrics['mae']:.3f}"
    return Outcome(counts, f"{counts['analysed']} reviews analysed, {counts['errors']} errors, {worth}")


def external_versions(context: Context, config: Config) -> dict[str, str]:
    """Revision of the model that tells sentiments, where there is one."""
    return sentiment_revision(config.models, config.opinion)


JOB = Job(
    name="extract_opinions",
    summary="reads what reviews think",
    config=Config,
    reads=OPINION_READS,
    writes=OPINION_WRITES,
    run=run,
    external_versions=external_versions,
)

if __name__ == "__main__":
    sys.exit(run_main(JOB))
