"""Images → words: the labels that a classifier is sure of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mmrec_lib.encoders.config import ModelsConfig
from mmrec_lib.encoders.image.config import ImageNetworkConfig, LabelsConfig
from mmrec_lib.encoders.image.encoder import ImageEncoder
from mmrec_lib.encoders.image.networks import load_classifier
from mmrec_lib.encoders.spec import EncoderInput, EncoderSpec, ExtractedText, Span
from mmrec_lib.encoders.weights.directory import read_model_config
from mmrec_lib.errors import EncoderError

# What transformers calls labels that have no names.
_NAMELESS = "LABEL_"


@dataclass(frozen=True)
class Probabilities:
    """Probability of each label for each image.

    Attributes:
        of_labels: `[n, num_labels] float32`; zeros where there is an error.
        errors: Length n; why there are none, or None.
    """

    of_labels: npt.NDArray[np.float32]
    errors: list[str | None]


class ImageClassifier:
    """The probabilities of a classifier's labels; images are read as `ImageEncoder` does.

    Args:
        spec: Identity of what it is a part of.
        config: Entry of the config.
        directory: Model directory of a classifier whose `config.json` names its labels in `id2label`.
        models: How models are run.

    Raises:
        EncoderError: When the labels have no names.
    """

    def __init__(self, spec: EncoderSpec, config: ImageNetworkConfig, directory: Path, models: ModelsConfig) -> None:
        settings = read_model_config(directory)
        self._names = _names(settings.get("id2label"), spec.id, directory)
        self._is_exclusive = settings.get("problem_type") != "multi_label_classification"
        self._logits = ImageEncoder(
            replace(spec, dim=len(self._names)), config, directory, models, load_network=load_classifier
        )

    @property
    def names(self) -> list[str]:
        """Names of the labels, in the order of the classes."""
        return self._names

    def load(self, device: str) -> None:
        """Loads the weights.

        Raises:
            EncoderError: When the directory holds no classifier of as many labels.
        """
        self._logits.load(device)

    def classify(self, batch: Sequence[EncoderInput]) -> Probabilities:
        """Probabilities of all labels; what cannot be decoded is a row with an error.

        They sum to 1 in each row, unless the model says that its labels do not exclude each other.
        """
        encoded = self._logits.encode(batch)
        logits = encoded.vectors.astype(np.float64)
        if self._is_exclusive:
            found = np.exp(logits - logits.max(axis=1, keepdims=True, initial=-np.inf))
            found /= found.sum(axis=1, keepdims=True)
        else:
            found = 1 / (1 + np.exp(-logits.clip(-80, 80)))
        found[[error is not None for error in encoded.errors]] = 0.0
        return Probabilities(found.astype(np.float32), encoded.errors)


class LabelExtractor:
    """The names of the labels of an image, given as the bytes of its file; see the `Extractor` protocol.

    Labels come in the order of their probabilities, at most `max_labels` of at least `min_probability`, each as a span.
    The confidence is the probability that one of them is right. An image without such a label has an empty text.
    """

    def __init__(self, spec: EncoderSpec, config: LabelsConfig, directory: Path, models: ModelsConfig) -> None:
        self._spec, self._config = spec, config
        self._classifier = ImageClassifier(spec, config, directory, models)

    @property
    def spec(self) -> EncoderSpec:
        """Identity."""
        return self._spec

    def load(self, device: str = "cpu") -> None:
        """Loads the weights.

        Raises:
            EncoderError: When the directory holds no classifier of images, or one whose labels have no names.
        """
        self._classifier.load(device)

    def extract(self, batch: Sequence[EncoderInput]) -> list[ExtractedText]:
        """Labels of images, joined by commas; what cannot be decoded is a row with an error."""
        found = self._classifier.classify(batch)
        return [
            self._words(row) if error is None else ExtractedText(None, error=error)
            for row, error in zip(found.of_labels, found.errors, strict=True)
        ]

    def _words(self, probabilities: npt.NDArray[np.float32]) -> ExtractedText:
        by_name: dict[str, float] = {}
        for index in np.argsort(-probabilities, kind="stable").tolist():
            probability = float(probabilities[index])
            # Two classes may have one name, as ImageNet's two kinds of sunglasses.
            name = self._classifier.names[index]
            if name in by_name:
                by_name[name] += probability
            elif probability >= self._config.min_probability and len(by_name) < self._config.max_labels:
                by_name[name] = probability
        spans = tuple(Span(name, min(probability, 1.0)) for name, probability in by_name.items())
        confidence = min(sum(by_name.values()), 1.0) if spans else None
        return ExtractedText(", ".join(by_name), self._config.language, confidence, spans)


def _names(id2label: object, encoder_id: str, directory: Path) -> list[str]:
    needed = f"Image classifier `{encoder_id}`: `{directory}/config.json` must name its labels in id2label"
    if not isinstance(id2label, dict) or not id2label:
        raise EncoderError(f"{needed}, got none.")
    try:
        names = [str(id2label[str(index)]).strip() for index in range(len(id2label))]
    except KeyError as error:
        raise EncoderError(f"{needed} for each class from 0 on, got no class {error}.") from None
    if not all(names) or names[0].startswith(_NAMELESS):
        raise EncoderError(f"{needed}, got names such as {names[0]!r}.")
    return names
