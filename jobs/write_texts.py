"""Job: lists, profiles and facts of items → words for people."""

from __future__ import annotations

import sys

from mmrec_lib.config import Section
from mmrec_lib.embedding.config import EmbeddingConfig
from mmrec_lib.encoders.config import ModelsConfig
from mmrec_lib.features.config import FeaturesConfig
from mmrec_lib.generation.config import GenerationConfig
from mmrec_lib.generation.reasons import NoTextReason
from mmrec_lib.runtime.job import Context, Job, Outcome
from mmrec_lib.runtime.main import run_main
from mmrec_lib.writing.run import READS, WRITES, WritingSettings, write_texts


class Config(Section):
    """Texts, the attribute that is a brand, and the models that texts may be worded and chosen with."""

    generation: GenerationConfig
    features: FeaturesConfig
    models: ModelsConfig
    embedding: EmbeddingConfig

    @property
    def settings(self) -> WritingSettings:
        """The sections together."""
        return WritingSettings(self.generation, self.features.brand_attribute, self.models, self.embedding)


def run(context: Context, config: Config) -> Outcome:
    """Write texts for users whose list, profile or items changed, and descriptions of items that have none."""
    counts = write_texts(context.lakehouse, config.settings)
    if not counts:
        return Outcome(counts, "no texts asked for (generation.num_ranks is 0)")
    without = ", ".join(f"{counts[reason]} {reason}" for reason in NoTextReason)
    return Outcome(
        counts,
        f"{counts['texts']} texts for {counts['written']} of {counts['users']} users, {counts['model']} of them by a "
        f"model; without: {without}; {counts['descriptions']} descriptions",
    )


def external_versions(context: Context, config: Config) -> dict[str, str]:
    """Revisions of the models that are used."""
    return config.settings.revisions()


JOB = Job(
    name="write_texts",
    summary="writes why each of the first items is in a list, in words, and descriptions of items without one",
    config=Config,
    reads=READS,
    writes=WRITES,
    run=run,
    external_versions=external_versions,
)

if __name__ == "__main__":
    sys.exit(run_main(JOB))
