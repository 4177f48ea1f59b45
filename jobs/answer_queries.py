"""Job: queries → items and support answers."""

from __future__ import annotations

import sys

from mmrec_lib.answering.run import READS, WRITES, AnsweringSettings, answer_queries, search_revisions
from mmrec_lib.config import Section
from mmrec_lib.embedding.config import EmbeddingConfig
from mmrec_lib.encoders.config import ModelsConfig
from mmrec_lib.runtime.job import Context, Job, Outcome
from mmrec_lib.runtime.main import run_main
from mmrec_lib.search.config import SearchConfig
from mmrec_lib.showing.config import ShowingConfig
from mmrec_lib.showing.rules_file import rules_version


class Config(Section):
    """Search, rules, and the encoders that are searched with."""

    search: SearchConfig
    showing: ShowingConfig
    models: ModelsConfig
    embedding: EmbeddingConfig

    @property
    def settings(self) -> AnsweringSettings:
        """The sections together."""
        return AnsweringSettings(self.search, self.showing, self.models, self.embedding)


def run(context: Context, config: Config) -> Outcome:
    """Answer queries that are new or changed, and all of them where the catalogue changed."""
    counts = answer_queries(context.lakehouse, config.settings)
    if not counts["queries"]:
        return Outcome(counts, "nobody asked")
    return Outcome(
        counts, f"{counts['answered']} of {counts['queries']} queries answered, {counts['empty']} of them empty"
    )


def external_versions(context: Context, config: Config) -> dict[str, str]:
    """Revisions of the encoders, and the version of the rules."""
    return {"rules": rules_version(config.showing), **search_revisions(context.lakehouse, config.settings)}


JOB = Job(
    name="answer_queries",
    summary="answers queries by words, image or voice: items and support answers",
    config=Config,
    reads=READS,
    writes=WRITES,
    run=run,
    external_versions=external_versions,
)

if __name__ == "__main__":
    sys.exit(run_main(JOB))
