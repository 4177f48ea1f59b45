"""From an entry of the config to an encoder; torch is imported only when one is made."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mmrec_lib.encoders.config import EncoderConfig, EncoderKind, ModelsConfig
from mmrec_lib.encoders.directory import directory_revision, local_directory, read_model_config, require_safe
from mmrec_lib.encoders.spec import Encoder, EncoderSpec, Extractor, InputKind
from mmrec_lib.errors import EncoderError

if TYPE_CHECKING:
    from mmrec_lib.encoders.sentiment import SentimentClassifier


@dataclass(frozen=True)
class Kind:
    """How models of a kind are made.

    Attributes:
        made_by: `module:class`, imported only when a model is made: importing takes seconds that a driver need not
            spend. The class takes (spec, config, directory, models).
        makes: vectors (an `Encoder`), words (an `Extractor`) or sentiments (a `SentimentClassifier`).
        modality: What its vectors or words are, see `EncoderSpec.modality`.
        input_kind: What it reads.
        method: Raised when the code that applies the model changes its results.
        settings: Fields of `EncoderConfig` that change results and are therefore part of a revision.
    """

    made_by: str
    makes: Literal["vectors", "words", "sentiments"]
    modality: str
    input_kind: InputKind
    method: int
    settings: tuple[str, ...] = ()


KINDS: dict[EncoderKind, Kind] = {
    "text": Kind(
        made_by="mmrec_lib.encoders.text:TextEncoder",
        makes="vectors",
        modality="text",
        input_kind="text",
        method=2,
        settings=("dtype", "max_tokens", "max_windows", "pooling", "normalise"),
    ),
    "image": Kind(
        made_by="mmrec_lib.encoders.image:ImageEncoder",
        makes="vectors",
        modality="image",
        input_kind="image",
        method=1,
        settings=("dtype",),
    ),
    "speech": Kind(
        made_by="mmrec_lib.encoders.speech:WhisperExtractor",
        makes="words",
        modality="transcript",
        input_kind="audio",
        method=1,
        settings=("dtype", "language", "max_seconds"),
    ),
    "sentiment": Kind(
        made_by="mmrec_lib.encoders.sentiment:SentimentClassifier",
        makes="sentiments",
        modality="sentiment",
        input_kind="text",
        method=1,
        settings=("max_tokens", "max_windows", "batch_tokens", "labels"),
    ),
}


def encoder_spec(config: EncoderConfig, models: ModelsConfig) -> EncoderSpec:
    """Identity of a configured model, read from its directory without loading it.

    Raises:
        EncoderError: When the model's directory is missing or unsafe to load.
    """
    return _spec(config, local_directory(models.root, config.folder))


def make_encoder(config: EncoderConfig, models: ModelsConfig) -> Encoder:
    """The encoder of a config entry, not yet loaded.

    Raises:
        EncoderError: When the model's directory is missing, or the entry is no encoder.
    """
    encoder: Encoder = _make(config, models, "vectors")
    return encoder


def make_extractor(config: EncoderConfig, models: ModelsConfig) -> Extractor:
    """The extractor of a config entry, not yet loaded.

    Raises:
        EncoderError: When the model's directory is missing, or the entry is no extractor.
    """
    extractor: Extractor = _make(config, models, "words")
    return extractor


def make_classifier(config: EncoderConfig, models: ModelsConfig) -> SentimentClassifier:
    """The sentiment classifier of a config entry, not yet loaded.

    Raises:
        EncoderError: When the model's directory is missing, or the entry is no sentiment classifier.
    """
    classifier: SentimentClassifier = _make(config, models, "sentiments")
    return classifier


def _make(config: EncoderConfig, models: ModelsConfig, makes: str) -> Any:
    if KINDS[config.kind].makes != makes:
        kinds = ", ".join(name for name, kind in KINDS.items() if kind.makes == makes)
        raise EncoderError(f"Model `{config.id}`: a kind that makes {makes} is needed ({kinds}), got {config.kind}.")
    directory = local_directory(models.root, config.folder)
    module, _, name = KINDS[config.kind].made_by.partition(":")
    return getattr(import_module(module), name)(_spec(config, directory), config, directory, models)


def _spec(config: EncoderConfig, directory: Path) -> EncoderSpec:
    require_safe(directory)
    kind = KINDS[config.kind]
    identity = {
        "directory": directory_revision(directory),
        "kind": config.kind,
        "method": kind.method,
        "settings": {name: getattr(config, name) for name in kind.settings},
    }
    revision = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
    dim = _dim(directory) if kind.makes == "vectors" else None
    return EncoderSpec(config.id, revision, kind.modality, kind.input_kind, dim)


def _dim(directory: Path) -> int | None:
    """Length of a model's vectors, where its config tells."""
    settings = read_model_config(directory)
    if isinstance(settings.get("hidden_dim"), int) and settings.get("model_type") == "efficientnet":
        return int(settings["hidden_dim"])
    if isinstance(settings.get("hidden_size"), int):
        return int(settings["hidden_size"])
    sizes = settings.get("hidden_sizes")
    return int(sizes[-1]) if isinstance(sizes, list) and sizes and isinstance(sizes[-1], int) else None
