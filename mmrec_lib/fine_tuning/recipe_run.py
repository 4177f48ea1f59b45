"""The job train_recipe: labels → a trained recipe, its figures and its predictions."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import torch

import mmrec_lib.recipes
from mmrec_lib.contracts import CONTRACTS
from mmrec_lib.encoders.config import ModelsConfig
from mmrec_lib.encoders.registry import encoder_spec
from mmrec_lib.encoders.runtime.hardware import on_this_machine
from mmrec_lib.encoders.weights.directory import directory_revision, local_directory
from mmrec_lib.errors import RecipeError
from mmrec_lib.features.scorer import snapshot_part
from mmrec_lib.fine_tuning.labelled import READS, Labelled, labelled_tasks, read_labelled
from mmrec_lib.fine_tuning.predict import labelled_predictions, owner_predictions
from mmrec_lib.fine_tuning.unlabelled import owner_of, read_unlabelled
from mmrec_lib.lakehouse.merging import Staged
from mmrec_lib.lakehouse.tables import Lakehouse
from mmrec_lib.location import is_uri
from mmrec_lib.recipes.config import RecipeConfig
from mmrec_lib.recipes.evaluate import MAJORITY, RECIPE, Figure
from mmrec_lib.recipes.examples import Example, ExampleParts, divide_examples
from mmrec_lib.recipes.fit_recipe import Trained, identity_of, train_recipe
from mmrec_lib.recipes.plots import plot_confusion, plot_curves
from mmrec_lib.recipes.recipe import RecipeModel, load_recipe, read_description
from mmrec_lib.recipes.scorer import TRAIN_PART
from mmrec_lib.source_version import source_version
from mmrec_lib.tracking.registry import CANDIDATE, FINGERPRINT_TAG, ActiveRun, Registry, ServedModel

__all__ = ["READS", "WRITES", "run_recipe", "starting_revisions"]

WRITES = ("text_entity", "recipe_prediction", "recipe_metric")
PSEUDO_OWNERS = "pseudo_owners"
"""Key of a recipe's report: owners whose predicted labels it learned from."""
_SHOWN_TASKS = 20


def starting_revisions(config: RecipeConfig, models: ModelsConfig) -> dict[str, str]:
    """Revisions of the models that a recipe starts from, by the name of the setting.

    Raises:
        ConfigError: When a name is unknown, or its model does not fit.
        EncoderError: When a model's directory is missing or unsafe.
    """
    found = {}
    if config.kind != "from_nothing":
        encoder = models.chosen(config.encoder, "recipe.encoder", ("text",))
        found["encoder"] = encoder_spec(encoder, models).revision
    if config.kind == "text_image":
        image = models.chosen(config.image_encoder, "recipe.image_encoder", ("image", "joint"))
        found["image_encoder"] = encoder_spec(image, models).revision
    return found


def run_recipe(
    lakehouse: Lakehouse, registry: Registry, config: RecipeConfig, models: ModelsConfig
) -> tuple[dict[str, int], str]:
    """Train a recipe, or take the one that was trained on the same, and bring its figures and predictions to tables.

    Nothing is written before the labels passed all checks; the model's directory comes first, then the tables. A store
    without labels of the task is left as it is.

    Args:
        lakehouse: Tables.
        registry: MLflow.
        config: The recipe.
        models: Where models lie and how they are run.

    Returns:
        Counts and a message for job_run.

    Raises:
        RecipeError: When the labels are not fit to be learned, or `models.root` cannot be written to.
        NoDataError: When the labels are of pairs and there is no training snapshot.
    """
    if is_uri(models.root):
        raise RecipeError(
            f"Recipe `{config.name}`: a local or mounted folder is needed to write models to, got `{models.root}`. Set "
            "models.root."
        )
    revisions = starting_revisions(config, models)
    tasks = labelled_tasks(lakehouse)
    if config.task not in tasks:
        return {"labels": 0}, (
            f"{config.name}: nothing was trained, because the store has no labels of task `{config.task}`, it has "
            f"{', '.join(sorted(tasks)[:_SHOWN_TASKS]) or 'none at all'} (recipe.task, labels/{config.task}.jsonl)"
        )
    labelled = read_labelled(lakehouse, config, models, tasks[config.task])
    parts = divide_examples(labelled.examples, config)
    assert mmrec_lib.recipes.__file__ is not None
    code = source_version(Path(mmrec_lib.recipes.__file__).parent.rglob("*.py"))
    train_part = snapshot_part(lakehouse) if config.train_part_only else None
    unlabelled = read_unlabelled(lakehouse, config, models, labelled)
    identity = identity_of(parts, config, {**revisions, **(train_part or {})}, code, unlabelled)
    directory = Path(models.root, config.directory)
    known = read_description(directory)
    is_new = known is None or known["identity"] != identity
    if is_new:
        more = {} if train_part is None else {TRAIN_PART: train_part}
        model, report = _train(registry, parts, config, models, identity, more, unlabelled)
    else:
        assert known is not None
        model, report = load_recipe(directory), known["report"]
        _register_again(registry, config, identity, directory)
    if (checkpoints := _checkpoints(config, models)).exists():
        shutil.rmtree(checkpoints)
    revision = directory_revision(directory)
    metrics = lakehouse.from_arrow(metric_rows(report, config, revision), CONTRACTS["recipe_metric"])
    _replace(lakehouse, "recipe_metric", metrics, config.name)
    pseudo_owners = [(kind, owner) for kind, owner in report[PSEUDO_OWNERS]]
    num_predicted = _predict(lakehouse, labelled, model, config, models, revision, pseudo_owners)
    counts = {
        "labels": labelled.num_labels,
        "unknown_owners": labelled.num_unknown,
        "contradicting": parts.num_contradicting,
        **({"held_out_pairs": labelled.num_held_out} if config.train_part_only else {}),
        **{name: len(parts.part(name)) for name in ("train", "valid", "test")},
        "epochs": len(report["curves"]["train_loss"]),
        **({} if config.pseudo_labels is None else {"pseudo_labels": len(pseudo_owners)}),
        "predictions": num_predicted,
    }
    return counts, _message(report, config, counts, is_new)


def _train(
    registry: Registry,
    parts: ExampleParts,
    config: RecipeConfig,
    models: ModelsConfig,
    identity: str,
    more: Mapping[str, Any],
    unlabelled: Sequence[Example],
) -> tuple[RecipeModel, dict[str, Any]]:
    local = on_this_machine(models, cores=torch.get_num_threads())
    start = None
    if config.kind != "from_nothing":
        encoder = models.chosen(config.encoder, "recipe.encoder", ("text",))
        start = local_directory(models.root, encoder.directories()["directory"])
    threads = torch.get_num_threads()
    torch.set_num_threads(max(local.threads, 1))
    try:
        trained = train_recipe(
            parts,
            config,
            start,
            checkpoints=_checkpoints(config, models),
            identity=identity,
            device=local.device,
            unlabelled=unlabelled,
        )
    finally:
        torch.set_num_threads(threads)
    report = {**_report(trained), **more}
    # Logged before the directory is marked as made: a run that is killed between both is made and logged again.
    with tempfile.TemporaryDirectory(prefix="mmrec-recipe-") as scratch:
        trained.model.save(Path(scratch), identity, report)
        _log(registry, trained, report, config, identity, Path(scratch))
    trained.model.save(Path(models.root, config.directory), identity, report)
    return trained.model, report


def _checkpoints(config: RecipeConfig, models: ModelsConfig) -> Path:
    return Path(models.root, f".{config.directory}-checkpoints")


def _report(trained: Trained) -> dict[str, Any]:
    figures = {part: [asdict(figure) for figure in found] for part, found in trained.figures.items()}
    return {
        "curves": asdict(trained.curves),
        "figures": figures,
        "num_examples": trained.num_examples,
        PSEUDO_OWNERS: [list(owner_of(one)) for one in trained.pseudo_labels],
    }


def _log(
    registry: Registry,
    trained: Trained,
    report: dict[str, Any],
    config: RecipeConfig,
    identity: str,
    directory: Path,
) -> None:
    """A run of MLflow with settings, curves by epoch, figures and plots, and the model as a version of its registry.

    The registered model is `mmrec-recipe-<name>`, in the catalogue and schema of the ranker where that has them. The
    same training is registered once; the newest one is the candidate.
    """
    own = registry.of_model(f"mmrec-{config.directory}")
    tags = {"recipe": config.name, "identity": identity}
    with own.run(f"recipe {config.name}", tags) as run:
        run.log_params({"recipe": config.model_dump(mode="json")})
        for name in ("train_loss", "valid_loss", "valid_score"):
            run.log_series(name, report["curves"][name])
        overall = {
            f"{part}/{figure.model}/{figure.metric}": figure.value
            for part, figures in trained.figures.items()
            for figure in figures
            if not figure.label
        }
        run.log_metrics(overall)
        with tempfile.TemporaryDirectory() as scratch:
            plot_curves(trained.curves, config.name, Path(scratch, "curves.png"))
            plot_confusion(trained.figures["test"], config.name, Path(scratch, "confusion.png"))
            run.log_folder(Path(scratch), "plots")
        _register(own, run, config, tags, directory)


def _register(own: Registry, run: ActiveRun, config: RecipeConfig, tags: Mapping[str, str], directory: Path) -> None:
    """Make the candidate of a recipe's registry the training of this identity, which is registered once."""
    model = own.by_fingerprint(tags["identity"])
    if model is None:
        from mmrec_lib.recipes.recipe_pyfunc import signature

        example = pd.DataFrame({"text": ["a red shoe"], **({"other": ["a coat"]} if config.kind == "pair" else {})})
        served = ServedModel(
            "model", "mmrec_lib.recipes.recipe_pyfunc", "ServedRecipe", directory, signature(), example
        )
        model = own.register_model(run, served, {**tags, FINGERPRINT_TAG: tags["identity"]})
    own.set_alias(CANDIDATE, model.version)


def _register_again(registry: Registry, config: RecipeConfig, identity: str, directory: Path) -> None:
    """Register a model that was trained before where MLflow does not have it, as after its loss."""
    own = registry.of_model(f"mmrec-{config.directory}")
    if own.by_fingerprint(identity) is None:
        tags = {"recipe": config.name, "identity": identity}
        with own.run(f"recipe {config.name}", tags) as run:
            _register(own, run, config, tags, directory)


def metric_rows(report: Mapping[str, Any], config: RecipeConfig, revision: str) -> pa.Table:
    """Rows of `recipe_metric` of a trained recipe: its figures, and its curves by epoch."""
    rows = [
        (part, figure["model"], figure["metric"], figure["label"], figure["predicted"], 0, figure["value"])
        for part, figures in report["figures"].items()
        for figure in figures
    ]
    curves = (("train", "loss", "train_loss"), ("valid", "loss", "valid_loss"), ("valid", "score", "valid_score"))
    rows += [
        (part, RECIPE, metric, "", "", epoch, value)
        for part, metric, name in curves
        for epoch, value in enumerate(report["curves"][name], 1)
    ]
    columns = list(zip(*rows, strict=True))
    numbers = [report["num_examples"][part] for part in columns[0]]
    return pa.table(
        {
            "recipe": pa.array([config.name] * len(rows)),
            **dict(zip(("part", "model", "metric", "label", "predicted"), map(pa.array, columns[:5]), strict=True)),
            "epoch": pa.array(columns[5], pa.int32()),
            "value": pa.array(columns[6], pa.float64()),
            "num_examples": pa.array(numbers, pa.int64()),
            "revision": pa.array([revision] * len(rows)),
        }
    )


def _predict(
    lakehouse: Lakehouse,
    labelled: Labelled,
    model: RecipeModel,
    config: RecipeConfig,
    models: ModelsConfig,
    revision: str,
    pseudo_owners: Sequence[tuple[str, str]],
) -> int:
    """Judge all owners of the labelled kinds; where labels bring texts of their own, or are of pairs, these alone."""
    table = "text_entity" if model.is_tagger else "recipe_prediction"
    if model.is_tagger or not (labelled.bring_texts or config.kind == "pair"):
        made = owner_predictions(lakehouse, config, models, labelled.owner_kinds, revision, pseudo_owners)
        rows = lakehouse.stage(table, made)
    else:
        device = on_this_machine(models, cores=torch.get_num_threads()).device
        model.network.to(device)
        found = model.predict(labelled.examples, device)
        arrow = labelled_predictions(found, labelled.owners, config, revision)
        rows = lakehouse.from_arrow(arrow, CONTRACTS[table])
    _replace(lakehouse, table, rows, config.name)
    return rows.count()


def _replace(lakehouse: Lakehouse, table: str, rows: Any, recipe: str) -> None:
    """Make a table hold these rows of a recipe and leave those of others."""
    stored = lakehouse.read(table)
    lakehouse.merge(table, Staged(rows), delete_keys=stored.where(stored["recipe"] == recipe))


def _message(report: Mapping[str, Any], config: RecipeConfig, counts: Mapping[str, int], is_new: bool) -> str:
    figures = [Figure(**figure) for figure in report["figures"]["test"]]
    names = (
        ("macro_f1", "mae")
        if config.kind == "pair"
        else ("f1",)
        if config.kind == "tagger"
        else ("accuracy", "macro_f1")
    )
    told = []
    for metric in names:
        of = {f.model: f.value for f in figures if f.metric == metric and not f.label}
        if RECIPE in of:
            others = ", ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in of.items() if name != RECIPE)
            told.append(f"{metric} {of[RECIPE]:.3f} ({others or MAJORITY})")
    left = []
    if counts["unknown_owners"]:
        left.append(f"{counts['unknown_owners']} labels of owners without such a content do not count")
    if counts.get("held_out_pairs"):
        left.append(f"{counts['held_out_pairs']} labels of pairs of valid or test do not count (train_part_only)")
    if counts["labels"] > config.max_examples:
        left.append(f"of {counts['labels']} labels a sample of {config.max_examples} is read (recipe.max_examples)")
    if config.pseudo_labels is not None:
        left.append(_pseudo_message(report, counts["pseudo_labels"]))
    if counts["contradicting"]:
        left.append(f"{counts['contradicting']} labels contradict others and do not count")
    start = f"{config.name}: {'trained on' if is_new else 'was trained before on the same'} {counts['train']} examples"
    return "; ".join([f"{start}, test {', '.join(told)}", *left, f"{counts['predictions']} predictions"])


def _pseudo_message(report: Mapping[str, Any], num_used: int) -> str:
    """Outcome of the second round, for a person."""
    num_sure = sum(figure["value"] for figure in report["figures"].get("train", ()))
    if num_used:
        return f"{num_used} pseudo-labels joined train in a second round (recipe.pseudo_labels)"
    if num_sure:
        return f"a second round with {num_sure:.0f} pseudo-labels was no better on validation and does not stand"
    return "no owner without a label was judged surely enough to be a pseudo-label (recipe.pseudo_labels)"
