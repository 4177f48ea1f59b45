"""A recipe from its examples to a trained model with its figures."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from transformers import AutoModel

from mmrec_lib.encoders.weights.directory import read_model_config, require_safe
from mmrec_lib.encoders.weights.loading import load_model, load_tokenizer
from mmrec_lib.errors import EncoderError, RecipeError
from mmrec_lib.recipes.config import RecipeConfig
from mmrec_lib.recipes.evaluate import (
    LABELS_ALONE,
    MAJORITY,
    PSEUDO_LABELS,
    RECIPE,
    SHUFFLED_IMAGES,
    Figure,
    class_figures,
    majority,
    mean_level_error,
    span_figures,
    value_of,
)
from mmrec_lib.recipes.examples import Example, ExampleParts, are_levels
from mmrec_lib.recipes.networks import EncoderNetwork, train_last_layers
from mmrec_lib.recipes.pseudo_labels import pseudo_labelled
from mmrec_lib.recipes.recipe import Prediction, RecipeModel, encoder_network, small_network
from mmrec_lib.recipes.small_network import learn_vocabulary
from mmrec_lib.recipes.train import Curves, Trainer


@dataclass(frozen=True)
class Trained:
    """A recipe that was trained.

    Attributes:
        model: The model.
        figures: Figures by part.
        num_examples: Examples measured by part.
        curves: Course of the training.
        pseudo_labels: Unlabelled examples whose predicted labels the model learned from; none in valid or test.
    """

    model: RecipeModel
    figures: dict[str, list[Figure]]
    num_examples: dict[str, int]
    curves: Curves
    pseudo_labels: tuple[Example, ...] = ()

    def value(self, metric: str, model: str = RECIPE, part: str = "test") -> float:
        """An overall figure."""
        return value_of(self.figures[part], metric, model)


def make_model(parts: ExampleParts, config: RecipeConfig, encoder_directory: Path | None) -> RecipeModel:
    """A model that is not trained yet.

    Raises:
        RecipeError: When the encoder's directory is unsafe or holds no text model.
    """
    torch.manual_seed(config.seed)
    if config.kind == "from_nothing":
        vocabulary = learn_vocabulary((one.text for one in parts.train), config.vocabulary_size)
        return RecipeModel(small_network(config, vocabulary, len(parts.labels)), config, parts.labels, vocabulary)
    assert encoder_directory is not None
    image_dim = 0
    if config.kind == "text_image":
        image_dim = next((len(one.image) for one in parts.train if one.image is not None), 0)
        if not image_dim:
            raise RecipeError(f"Recipe `{config.name}`: examples with an image are needed in train, got none.")
    try:
        require_safe(encoder_directory)
        read_model_config(encoder_directory)
        encoder = load_model(AutoModel, encoder_directory, torch.float32, unused=("pooler.",))
        tokenizer = load_tokenizer(encoder_directory)
    except (EncoderError, OSError, ValueError, KeyError) as error:
        raise RecipeError(
            f"Recipe `{config.name}`: encoder `{config.encoder}` must be a text model in transformers format, got: "
            f"{error}"
        ) from None
    train_last_layers(encoder, config.trained_layers)
    network = encoder_network(encoder, tokenizer, config, parts.labels, image_dim)
    return RecipeModel(network, config, parts.labels, image_dim=image_dim)


def train_recipe(
    parts: ExampleParts,
    config: RecipeConfig,
    encoder_directory: Path | None,
    *,
    checkpoints: Path,
    identity: str,
    device: str = "cpu",
    unlabelled: Sequence[Example] = (),
) -> Trained:
    """Train a recipe and measure it; a run that was killed goes on from its last epoch.

    With `recipe.pseudo_labels` a second round learns from the labels of train and from what the first is sure of among
    the unlabelled examples; it stands where its score on valid is higher. The model that comes back is on the
    processor.

    Args:
        parts: Examples.
        config: The recipe.
        encoder_directory: Model that training starts from; None for from_nothing.
        checkpoints: Folder of the checkpoints of this recipe.
        identity: See `identity_of`.
        device: What is computed on.
        unlabelled: Contents without a label, for pseudo-labels.
    """
    first = _round(parts, config, encoder_directory, checkpoints=checkpoints, identity=identity, device=device)
    if config.pseudo_labels is None:
        return first
    sure = pseudo_labelled(first.model, unlabelled, parts, config.pseudo_labels, device)
    first.model.network.to("cpu")
    if not sure:
        return replace(first, figures=_beside(first, first, first))
    second = _round(
        replace(parts, train=(*parts.train, *sure)),
        config,
        encoder_directory,
        checkpoints=checkpoints / PSEUDO_LABELS,
        identity=identity,
        device=device,
    )
    is_better = _best_score(second) > _best_score(first)
    figures = _beside(second if is_better else first, first, second)
    counts = [Figure(PSEUDO_LABELS, "support", float(n), label) for label, n in _label_counts(sure).items()]
    chosen = second if is_better else first
    return replace(chosen, figures={**figures, "train": counts}, pseudo_labels=sure if is_better else ())


def _round(
    parts: ExampleParts,
    config: RecipeConfig,
    encoder_directory: Path | None,
    *,
    checkpoints: Path,
    identity: str,
    device: str,
) -> Trained:
    model = make_model(parts, config, encoder_directory)
    encoded = {name: model.encoded(_known(parts.part(name), parts)) for name in ("train", "valid", "test")}
    if isinstance(model.network, EncoderNetwork):
        model.network.learn_scale(encoded["train"].rows)
    trainer = Trainer(
        model.network,
        config,
        folder=checkpoints,
        identity=identity,
        is_ordinal=model.has_levels,
        device=device,
    )
    valid = _known(parts.valid, parts)

    def score(chances: list[npt.NDArray[np.float64]]) -> float:
        figures = _figures(RECIPE, model, valid, model.judged(encoded["valid"].rows, chances))
        return -value_of(figures, "mae") if model.has_levels else value_of(figures, "macro_f1")

    curves = trainer.fit(encoded["train"], encoded["valid"], score)
    figures, counts = {}, {}
    usual = _usual(parts)
    for name in ("valid", "test"):
        examples = parts.part(name)
        figures[name] = _figures(RECIPE, model, examples, model.predict(examples, device))
        figures[name] += _figures(MAJORITY, model, examples, [usual] * len(examples))
        if config.needs_images:
            others = model.predict(_shuffled(examples, config.seed), device)
            figures[name] += _figures(SHUFFLED_IMAGES, model, examples, others)
        counts[name] = len(examples)
    counts["train"] = len(encoded["train"].rows)
    model.network.to("cpu")
    return Trained(model, figures, counts, curves)


def identity_of(
    parts: ExampleParts,
    config: RecipeConfig,
    revisions: dict[str, str],
    code: str,
    unlabelled: Sequence[Example] = (),
) -> str:
    """Hash of everything that decides a trained recipe: examples, settings, models that it starts from, and code."""
    digest = hashlib.sha256(json.dumps([config.model_dump(mode="json"), revisions, code], sort_keys=True).encode())
    for name in ("train", "valid", "test"):
        for one in parts.part(name):
            told = [name, *one.content, one.label, [list(asdict(span).values()) for span in one.spans]]
            digest.update(json.dumps(told).encode())
    for one in unlabelled:
        digest.update(json.dumps(["unlabelled", one.id, *one.content]).encode())
    return digest.hexdigest()[:16]


def _beside(chosen: Trained, first: Trained, second: Trained) -> dict[str, list[Figure]]:
    """Figures of the model that stands, and those of both rounds beside them."""
    return {
        part: [
            *chosen.figures[part],
            *(replace(one, model=LABELS_ALONE) for one in first.figures[part] if one.model == RECIPE),
            *(replace(one, model=PSEUDO_LABELS) for one in second.figures[part] if one.model == RECIPE),
        ]
        for part in chosen.figures
    }


def _best_score(trained: Trained) -> float:
    return round(trained.curves.valid_score[trained.curves.best_epoch - 1], 6)


def _label_counts(examples: Sequence[Example]) -> dict[str, int]:
    """Examples of each label, of a tagger spans."""
    labels = [label for one in examples for label in ([one.label] if one.label else [span.label for span in one.spans])]
    return {label: labels.count(label) for label in sorted(set(labels))}


def _known(examples: Sequence[Example], parts: ExampleParts) -> list[Example]:
    """Examples whose class is in train, which alone have a loss; of a tagger all of them."""
    return [one for one in examples if one.label is None or one.label in parts.labels]


def _usual(parts: ExampleParts) -> Prediction:
    """Prediction of the baseline: the most frequent class of train; of tags that is O, so no part."""
    if parts.train[0].label is None:
        return Prediction()
    usual = str(majority(one.label for one in parts.train))
    return Prediction(usual, expected=float(usual) if are_levels([usual]) else None)


def _figures(name: str, model: RecipeModel, examples: Sequence[Example], found: Sequence[Prediction]) -> list[Figure]:
    if model.is_tagger:
        spans = [[span for span, _ in one.spans] for one in found]
        return span_figures(name, [one.spans for one in examples], spans, model.labels)
    right = [str(one.label) for one in examples]
    figures = class_figures(name, right, [str(one.label) for one in found], model.labels)
    if model.has_levels:
        figures.append(mean_level_error(name, right, [float(one.expected or 0.0) for one in found]))
    return figures


def _shuffled(examples: Sequence[Example], seed: int) -> list[Example]:
    """The examples with the images of others."""
    order = np.random.default_rng(seed).permutation(len(examples))
    return [
        Example(one.id, one.text, one.other, examples[other].image, examples[other].image_id, one.label)
        for one, other in zip(examples, order, strict=True)
    ]
