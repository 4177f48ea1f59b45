"""Job: labels → a trained recipe, its figures and its predictions."""

from __future__ import annotations

import sys

from mmrec_lib.config import Section
from mmrec_lib.encoders.config import ModelsConfig
from mmrec_lib.fine_tuning.recipe_run import READS, WRITES, run_recipe, starting_revisions
from mmrec_lib.recipes.config import RecipeConfig
from mmrec_lib.recipes.recipe import is_saved
from mmrec_lib.runtime.job import Context, Job, Outcome
from mmrec_lib.runtime.main import run_main


class Config(Section):
    """The recipe and the folder of models."""

    recipe: RecipeConfig
    models: ModelsConfig


def run(context: Context, config: Config) -> Outcome:
    """Train the configured recipe, or judge again with the one that was trained on the same."""
    return Outcome(*run_recipe(context.lakehouse, context.registry, config.recipe, config.models))


def external_versions(context: Context, config: Config) -> dict[str, str]:
    """Revisions of the models that training starts from."""
    return starting_revisions(config.recipe, config.models)


def is_complete(context: Context, config: Config) -> bool:
    """Tell if the trained recipe is there."""
    return is_saved(config.models.root, config.recipe)


JOB = Job(
    name="train_recipe",
    summary="trains a recipe on labels, measures it and predicts with it",
    config=Config,
    reads=READS,
    writes=(*WRITES, "file:recipe"),
    run=run,
    external_versions=external_versions,
    is_complete=is_complete,
)

if __name__ == "__main__":
    sys.exit(run_main(JOB))
