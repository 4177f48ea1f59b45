"""A trained recipe: from its network to predictions, and from a model directory to both."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel

from mmrec_lib.encoders.weights.directory import require_safe
from mmrec_lib.encoders.weights.loading import load_tokenizer, quiet_loading
from mmrec_lib.errors import EncoderError, RecipeError
from mmrec_lib.files import write_text_atomic
from mmrec_lib.recipes.config import RecipeConfig
from mmrec_lib.recipes.examples import Example, TextSpan, are_levels
from mmrec_lib.recipes.iob import spans_of, tag_names, tags_of
from mmrec_lib.recipes.networks import EncoderNetwork, Prepared
from mmrec_lib.recipes.small_network import SmallNetwork
from mmrec_lib.recipes.train import IGNORED, Encoded, predict

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
    def image_size(self) -> int:
        """Numbers of an image as it reads them; 0 where it reads none."""
        if self.config.kind == "from_nothing" and self.config.uses_images:
            return 3 * self.config.image_px**2
        return self._image_dim

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
        network: Any = small_network(config, vocabulary, len(labels))
    else:
        with quiet_loading():
            encoder = AutoModel.from_config(AutoConfig.from_pretrained(directory, local_files_only=True))
        network = encoder_network(encoder, load_tokenizer(directory), config, labels, image_dim)
    return RecipeModel(network, config, labels, vocabulary, image_dim)


def small_network(config: RecipeConfig, vocabulary: Sequence[str], num_classes: int) -> SmallNetwork:
    """The network from nothing of a recipe, with random weights."""
    px = config.image_px if config.uses_images else 0
    return SmallNetwork(vocabulary, num_classes, max_words=config.max_tokens, image_px=px)


def encoder_network(
    encoder: Any, tokenizer: Any, config: RecipeConfig, labels: Sequence[str], image_dim: int
) -> EncoderNetwork:
    """The head of a recipe on a text encoder, with random weights."""
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
