"""Job: the store's own texts → a model of their words."""

from __future__ import annotations

import sys

from mmrec_lib.config import Section
from mmrec_lib.embedding.config import DOCUMENT
from mmrec_lib.embedding.fit_word_model import fit_word_model, store_texts
from mmrec_lib.embedding.word_model_config import WordModelConfig
from mmrec_lib.encoders.config import ModelsConfig
from mmrec_lib.encoders.weights.directory import directory_revision
from mmrec_lib.runtime.job import Context, Job, Outcome
from mmrec_lib.runtime.main import run_main

FEEDBACK = ("owner_text",)


class Config(Section):
    """Settings of the words model, and the folder of models."""

    models: ModelsConfig
    words: WordModelConfig


def run(context: Context, config: Config) -> Outcome:
    """Fit the model anew and put it in the place of the old one; a changed one has another revision."""
    tables = context.lakehouse
    found = store_texts(tables, config.words.fields)
    directory = fit_word_model(found, config.models.root, config.words, tables.stage)
    return Outcome({"texts": found.count()}, f"{directory}, revision {directory_revision(directory)}")


def external_versions(context: Context, config: Config) -> dict[str, str]:
    """Folder of the model: another folder has none yet. And version of owner_text where documents are read."""
    reads_documents = DOCUMENT in config.words.fields
    versions = context.lakehouse.data_versions(FEEDBACK) if reads_documents else {}
    return {"root": config.models.root} | {name: str(version) for name, version in versions.items()}


JOB = Job(
    name="fit_word_model",
    summary="fits a model of words on the store's own texts",
    config=Config,
    reads=("item", "review"),
    writes=("file:words",),
    run=run,
    external_versions=external_versions,
    feedback=FEEDBACK,
)

if __name__ == "__main__":
    sys.exit(run_main(JOB))
