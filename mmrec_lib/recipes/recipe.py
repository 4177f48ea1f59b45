"""A recipe from its examples to a trained model with its figures, and from a model directory to predictions."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel

from mmrec_lib.encoders.weights.directory import read_model_config, require_safe
from mmrec_lib.encoders.weights.loading import load_model, load_tokenizer, quiet_loading
from mmrec_lib.errors import EncoderError, RecipeError
from mmrec_lib.files import write_text_atomic
from mmrec_lib.recipes.config import RecipeConfig
from mmrec_lib.recipes.evaluate import (
    MAJORITY,
    RECIPE,
    SHUFFLED_IMAGES,
    Figure,
    class_figures,
    majority,
    mean_level_error,
    span_figures,
    value_of,
)
from mmrec_lib.recipes.examples import Example, ExampleParts, TextSpan, are_levels
from mmrec_lib.recipes.iob import spans_of, tag_names, tags_of
from mmrec_lib.recipes.networks import EncoderNetwork, Prepared, train_last_layers
from mmrec_lib.recipes.small_network import SmallNetwork, learn_vocabulary
from mmrec_lib.recipes.train import IGNORED, Curves, Encoded, Trainer, predict

DESCRIPTION = "recipe.json"
_WEIGHTS = "model.safetensors"
FORMAT = 1


@dataclass(frozen=True)
class Prediction:
    """Judgement of one example.

    Attributes:
        label: Most probable class; None of a tagger.
        confidence: Its probability; None of a tagger.
        expected: Of rating levels the mean over their probabilities; else None.
        spans: Of a tagger the parts with their confidence.
    """

    label: str | None = None
    confidence: float | None = None
    expected: float | None = None
    spans: tuple[tuple[TextSpan, float], ...] = ()


@dataclass(frozen=True)
class Trained:
    """A recipe that was trained.

    Attributes:
        model: The model.
        figures: Figures by part.
        num_examples: Examples measured by part.
        curves: Course of the training.
    """

    model: RecipeModel
    figures: dict[str, list[Figure]]
    num_examples: dict[str, int]
    curves: Curves

    def value(self, metric: str, model: str = RECIPE, part: str = "test") -> float:
        """An overall figure."""
        return value_of(self.figures[part], metric, model)


class RecipeModel:
    """A trained network with the labels that it knows."""

    def __init__(
        self,
        network: Any,
        config: RecipeConfig,
        labels: Sequence[str],
        vocabulary: Sequence[str] = (),
        image_dim: int = 0,
    ) -> None:
        """Bind a network to its labels."""
        self.network, self.config, self.labels = network, config, tuple(labels)
        self._vocabulary, self._image_dim = tuple(vocabulary), image_dim

    @property
    def is_tagger(self) -> bool:
        """True when it finds parts of texts."""
        return self.config.kind == "tagger"

    @property
    def has_levels(self) -> bool:
        """True when its classes are rating levels, whole numbers in order."""
        return self.config.kind == "pair" and are_levels(self.labels)

    @property
    def outputs(self) -> list[str]:
        """Meaning of each output of the network."""
        return tag_names(self.labels) if self.is_tagger else list(self.labels)

    def predict(self, examples: Sequence[Example], device: str = "cpu") -> list[Prediction]:
        """Judge examples; the result of one does not depend on the others but for the last bits."""
        rows = self.network.prepare(examples)
        return self.judged(rows, predict(self.network, rows, self.config.batch_size, device))

    def judged(self, rows: Sequence[Prepared], chances: Sequence[npt.NDArray[np.float64]]) -> list[Prediction]:
        """Predictions of probabilities."""
        names = self.outputs
        if self.is_tagger:
            return [self._parts(row, one, names) for row, one in zip(rows, chances, strict=True)]
        levels = np.array([float(label) for label in names]) if self.has_levels else None
        return [
            Prediction(
                names[int(one.argmax())], float(one.max()), None if levels is None else float((one * levels).sum())
            )
            for one in chances
        ]

    def _parts(self, row: Prepared, chances: npt.NDArray[np.float64], names: Sequence[str]) -> Prediction:
        real = [place for place, (start, end) in enumerate(row.offsets) if end > start]
        best = chances[real].argmax(axis=1) if real else np.zeros(0, int)
        tags = [names[one] for one in best]
        return Prediction(
            spans=tuple(spans_of(tags, [row.offsets[n] for n in real], chances[real].max(axis=1, initial=0)))
        )

    def encoded(self, examples: Sequence[Example]) -> Encoded:
        """Labelled examples with their targets."""
        rows, numbers = self.network.prepare(examples), {name: n for n, name in enumerate(self.outputs)}
        if not self.is_tagger:
            return Encoded(rows, [numbers[str(one.label)] for one in examples])
        targets = []
        for row, one in zip(rows, examples, strict=True):
            tags = tags_of([span for span in one.spans if span.label in self.labels], row.offsets)
            targets.append(
                [numbers[tag] if end > start else IGNORED for tag, (start, end) in zip(tags, row.offsets, strict=True)]
            )
        return Encoded(rows, targets)

    # directories

    def save(self, directory: Path, identity: str, report: dict[str, Any]) -> None:
        """Write a model directory: safetensors, JSON and the tokenizer; it counts once `recipe.json` is there.

        Mounted volumes take whole files only, so it is made on this machine's disk and copied file by file.
        """
        description = {
            "format": FORMAT,
            "identity": identity,
            "config": self.config.model_dump(mode="json"),
            "labels": self.labels,
            "vocabulary": self._vocabulary,
            "image_dim": self._image_dim,
            "report": report,
        }
        with tempfile.TemporaryDirectory(prefix="mmrec-recipe-") as scratch:
            made = Path(scratch)
            if self.config.kind == "from_nothing":
                (made / "config.json").write_text('{"model_type": "mmrec_from_nothing"}\n', encoding="utf-8")
            else:
                self.network.encoder.config.save_pretrained(made)
                self.network.tokenizer.save_pretrained(made)
            weights = {
                name: weight.detach().cpu().clone().contiguous() for name, weight in self.network.state_dict().items()
            }
            save_file(weights, made / _WEIGHTS)
            directory.mkdir(parents=True, exist_ok=True)
            for old in [directory / DESCRIPTION, *directory.iterdir()]:
                old.unlink(missing_ok=True)
            for file in sorted(made.iterdir()):
                shutil.copyfile(file, directory / file.name)
        text = json.dumps(description, ensure_ascii=False, indent=1) + "\n"
        write_text_atomic(directory / DESCRIPTION, text)


def read_description(directory: Path) -> dict[str, Any] | None:
    """Content of `recipe.json` of a directory; None where there is none that is whole."""
    try:
        found = json.loads((directory / DESCRIPTION).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and found.get("format") == FORMAT else None


def is_saved(root: str, config: RecipeConfig) -> bool:
    """Tell if a trained recipe lies under `models.root`."""
    return read_description(Path(root, config.directory)) is not None


def load_recipe(directory: Path) -> RecipeModel:
    """The trained recipe of a directory.

    Raises:
        RecipeError: When there is none, its weights are damaged, or it could run code.
    """
    try:
        require_safe(directory)
        description = read_description(directory)
        if description is None:
            raise EncoderError(f"`{DESCRIPTION}` of a trained recipe is needed, got none")
        config = RecipeConfig.model_validate(description["config"])
        model = _built(config, description, directory)
        model.network.load_state_dict(load_file(directory / _WEIGHTS))
    except (EncoderError, SafetensorError, OSError, ValueError, KeyError, RuntimeError) as error:
        raise RecipeError(f"Recipe directory `{directory}`: {error}. Run train_recipe again.") from None
    model.network.eval()
    return model


def _built(config: RecipeConfig, description: dict[str, Any], directory: Path) -> RecipeModel:
    """A model with random weights, of the form that a directory tells."""
    labels, vocabulary, image_dim = description["labels"], description["vocabulary"], int(description["image_dim"])
    if config.kind == "from_nothing":
        network: Any = _small(config, vocabulary, len(labels))
    else:
        with quiet_loading():
            encoder = AutoModel.from_config(AutoConfig.from_pretrained(directory, local_files_only=True))
        network = _network(encoder, load_tokenizer(directory), config, labels, image_dim)
    return RecipeModel(network, config, labels, vocabulary, image_dim)


def _small(config: RecipeConfig, vocabulary: Sequence[str], num_classes: int) -> SmallNetwork:
    px = config.image_px if config.uses_images else 0
    return SmallNetwork(vocabulary, num_classes, max_words=config.max_tokens, image_px=px)


def _network(
    encoder: Any, tokenizer: Any, config: RecipeConfig, labels: Sequence[str], image_dim: int
) -> EncoderNetwork:
    is_tagger = config.kind == "tagger"
    num_outputs = len(tag_names(labels)) if is_tagger else len(labels)
    limit = getattr(encoder.config, "max_position_embeddings", None) or config.max_tokens
    return EncoderNetwork(
        encoder,
        tokenizer,
        num_outputs,
        max_tokens=min(config.max_tokens, int(limit)),
        per_token=is_tagger,
        is_pair=config.kind == "pair",
        image_dim=image_dim,
    )


def make_model(parts: ExampleParts, config: RecipeConfig, encoder_directory: Path | None) -> RecipeModel:
    """A model that is not trained yet.

    Raises:
        RecipeError: When the encoder's directory is unsafe or holds no text model.
    """
    torch.manual_seed(config.seed)
    if config.kind == "from_nothing":
        vocabulary = learn_vocabulary((one.text for one in parts.train), config.vocabulary_size)
        return RecipeModel(_small(config, vocabulary, len(parts.labels)), config, parts.labels, vocabulary)
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
    network = _network(encoder, tokenizer, config, parts.labels, image_dim)
    return RecipeModel(network, config, parts.labels, image_dim=image_dim)


def train_recipe(
    parts: ExampleParts,
    config: RecipeConfig,
    encoder_directory: Path | None,
    *,
    checkpoints: Path,
    identity: str,
    device: str = "cpu",
) -> Trained:
    """Train a recipe and measure it; a run that was killed goes on from its last epoch.

    The model that comes back is on the processor.

    Args:
        parts: Examples.
        config: The recipe.
        encoder_directory: Model that training starts from; None for from_nothing.
        checkpoints: Folder of the checkpoints of this recipe.
        identity: See `identity_of`.
        device: What is computed on.
    """
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


def identity_of(parts: ExampleParts, config: RecipeConfig, revisions: dict[str, str], code: str) -> str:
    """Hash of everything that decides a trained recipe: examples, settings, models that it starts from, and code."""
    digest = hashlib.sha256(json.dumps([config.model_dump(mode="json"), revisions, code], sort_keys=True).encode())
    for name in ("train", "valid", "test"):
        for one in parts.part(name):
            told = [name, *one.content, one.label, [list(asdict(span).values()) for span in one.spans]]
            digest.update(json.dumps(told).encode())
    return digest.hexdigest()[:16]


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
