"""From an entry of the config to an encoder; torch is imported only when one is made."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mmrec_lib.encoders.audio.families import STATISTICS_DIM, sound_dim
from mmrec_lib.encoders.config import MOTION_DIM, EncoderConfig, EncoderKind, ModelsConfig
from mmrec_lib.encoders.runtime.hardware import on_this_machine
from mmrec_lib.encoders.spec import Encoder, EncoderSpec, Extractor, InputKind
from mmrec_lib.encoders.text.sentence_layout import sentence_layout
from mmrec_lib.encoders.weights.directory import directory_revision, local_directory, read_model_config, require_safe
from mmrec_lib.errors import ConfigError, EncoderError

if TYPE_CHECKING:
    from mmrec_lib.encoders.text.sentiment import SentimentClassifier


@dataclass(frozen=True)
class Kind:
    """How models of a kind are made.

    Attributes:
        made_by: `module:class` or `module:function`, imported only when a model is made: importing takes seconds that a
            driver need not spend. It takes (spec, config, directory, models).
        makes: vectors (an `Encoder`), words (an `Extractor`) or sentiments (a `SentimentClassifier`).
        modality: What its vectors or words are, see `EncoderSpec.modality`.
        input_kind: What it reads.
        method: Raised when the code that applies the model changes its results.
        settings: Fields of `EncoderConfig` that change results and are therefore part of a revision.
        unseen: Further fields that it reads and that change no results, or have an identity of their own.
        needs_directory: Whether it reads a model directory; the class gets None for it otherwise.
        package: Distribution whose weights it uses instead; its version is part of a revision.
        dim: Length of its vectors, or how the `config.json` of a directory tells it; None for what models of text and
            images say of themselves.
    """

    made_by: str
    makes: Literal["vectors", "words", "sentiments"]
    modality: str
    input_kind: InputKind
    method: int
    settings: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()
    needs_directory: bool = True
    package: str | None = None
    dim: int | Callable[[Mapping[str, Any]], int | None] | None = None


KINDS: dict[EncoderKind, Kind] = {
    "text": Kind(
        made_by="mmrec_lib.encoders.text.transformer:TextEncoder",
        makes="vectors",
        modality="text",
        input_kind="text",
        method=3,
        settings=("dtype", "max_tokens", "max_windows", "pooling", "normalise", "prompt"),
        unseen=("batch_tokens",),
    ),
    "image": Kind(
        made_by="mmrec_lib.encoders.image.encoder:ImageEncoder",
        makes="vectors",
        modality="image",
        input_kind="image",
        method=2,
        settings=("dtype",),
        unseen=("batch_images",),
    ),
    "speech": Kind(
        made_by="mmrec_lib.encoders.audio.speech:WhisperExtractor",
        makes="words",
        modality="transcript",
        input_kind="audio",
        method=2,
        settings=("dtype", "language", "max_seconds", "speech_padding_seconds", "time_stamps"),
    ),
    "sound": Kind(
        made_by="mmrec_lib.encoders.audio.encoder:SoundEncoder",
        makes="vectors",
        modality="audio",
        input_kind="audio",
        method=1,
        settings=("dtype", "max_seconds", "heard_seconds"),
        dim=sound_dim,
    ),
    "sound_statistics": Kind(
        made_by="mmrec_lib.encoders.audio.statistics:SoundStatistics",
        makes="vectors",
        modality="audio",
        input_kind="audio",
        method=1,
        settings=("max_seconds", "heard_seconds"),
        needs_directory=False,
        dim=STATISTICS_DIM,
    ),
    "tags": Kind(
        made_by="mmrec_lib.encoders.audio.tags:SoundTagger",
        makes="words",
        modality="tags",
        input_kind="audio",
        method=1,
        settings=("dtype", "max_seconds", "heard_seconds", "min_tag_confidence", "max_tags"),
    ),
    "video": Kind(
        made_by="mmrec_lib.encoders.video.encoder:VideoEncoder",
        makes="vectors",
        modality="video",
        input_kind="video",
        method=1,
        settings=("dtype", "num_frames", "num_scenes", "motion"),
        unseen=("batch_images",),
    ),
    "labels": Kind(
        made_by="mmrec_lib.encoders.image.labels:LabelExtractor",
        makes="words",
        modality="labels",
        input_kind="image",
        method=1,
        settings=("dtype", "language", "max_labels", "min_probability"),
        unseen=("batch_images",),
    ),
    "joint": Kind(
        made_by="mmrec_lib.encoders.image.joint:make_joint",
        makes="vectors",
        modality="joint",
        input_kind="text_or_image",
        method=2,
        settings=("dtype", "max_tokens", "max_windows", "pooling"),
        unseen=("batch_tokens", "batch_images", "text_directory"),
    ),
    "ocr": Kind(
        made_by="mmrec_lib.encoders.image.ocr:OcrExtractor",
        makes="words",
        modality="ocr",
        input_kind="image",
        method=2,
        settings=("min_confidence",),
        needs_directory=False,
        package="rapidocr",
    ),
    "words": Kind(
        made_by="mmrec_lib.encoders.text.word_model:WordModelEncoder",
        makes="vectors",
        modality="text",
        input_kind="text",
        method=1,
        settings=("normalise",),
    ),
    "sentiment": Kind(
        made_by="mmrec_lib.encoders.text.sentiment:SentimentClassifier",
        makes="sentiments",
        modality="sentiment",
        input_kind="text",
        method=2,
        settings=("max_tokens", "max_windows", "batch_tokens", "labels"),
    ),
}


def encoder_spec(config: EncoderConfig, models: ModelsConfig) -> EncoderSpec:
    """Identity of a configured model, read from its directory without loading it.

    Raises:
        ConfigError: When the entry has settings that models of its kind do not read.
        EncoderError: When the model's directory is missing or unsafe to load.
    """
    _require_read(config)
    return _spec(config, models, _directory(config, models))


def make_encoder(config: EncoderConfig, models: ModelsConfig) -> Encoder:
    """The encoder of a config entry, not yet loaded.

    Raises:
        EncoderError: When the model's directory is missing, or the entry is no encoder.
        ConfigError: When the entry has settings that models of its kind do not read.
    """
    encoder: Encoder = _make(config, models, "vectors")
    return encoder


def make_extractor(config: EncoderConfig, models: ModelsConfig) -> Extractor:
    """The extractor of a config entry, not yet loaded.

    Raises:
        EncoderError: When the model's directory is missing, or the entry is no extractor.
        ConfigError: When the entry has settings that models of its kind do not read.
    """
    extractor: Extractor = _make(config, models, "words")
    return extractor


def make_classifier(config: EncoderConfig, models: ModelsConfig) -> SentimentClassifier:
    """The sentiment classifier of a config entry, not yet loaded.

    Raises:
        EncoderError: When the model's directory is missing, or the entry is no sentiment classifier.
        ConfigError: When the entry has settings that models of its kind do not read.
    """
    classifier: SentimentClassifier = _make(config, models, "sentiments")
    return classifier


def _make(config: EncoderConfig, models: ModelsConfig, makes: str) -> Any:
    if KINDS[config.kind].makes != makes:
        kinds = ", ".join(name for name, kind in KINDS.items() if kind.makes == makes)
        raise EncoderError(f"Model `{config.id}`: a kind that makes {makes} is needed ({kinds}), got {config.kind}.")
    _require_read(config)
    models = on_this_machine(models)
    directory = _directory(config, models)
    module, _, name = KINDS[config.kind].made_by.partition(":")
    return getattr(import_module(module), name)(_spec(config, models, directory), config, directory, models)


def _directory(config: EncoderConfig, models: ModelsConfig) -> Path | None:
    return local_directory(models.root, config.folder) if KINDS[config.kind].needs_directory else None


def _spec(config: EncoderConfig, models: ModelsConfig, directory: Path | None) -> EncoderSpec:
    kind = KINDS[config.kind]
    identity: dict[str, Any] = {
        "kind": config.kind,
        "method": kind.method,
        "settings": {name: getattr(config, name) for name in kind.settings},
    }
    makes_vectors_with = directory
    if directory is not None:
        require_safe(directory)
        identity["directory"] = directory_revision(directory)
    if config.text_directory is not None:
        makes_vectors_with = local_directory(models.root, config.text_directory)
        require_safe(makes_vectors_with)
        identity["text_directory"] = directory_revision(makes_vectors_with)
    if kind.package is not None:
        identity["package"] = f"{kind.package} {version(kind.package)}"
    revision = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
    dim = None if kind.makes == "words" else _vector_dim(config, makes_vectors_with)
    if dim is not None and config.kind == "video" and config.motion:
        dim += MOTION_DIM
    return EncoderSpec(config.id, revision, kind.modality, kind.input_kind, dim)


def _require_read(config: EncoderConfig) -> None:
    """Refuse settings that models of a kind do not read, so that nobody believes that they do something."""
    kind = KINDS[config.kind]
    read = {*kind.settings, *kind.unseen, *(("directory",) if kind.needs_directory else ())}
    unread = [
        name
        for name, field in EncoderConfig.model_fields.items()
        if name not in {"id", "kind", *read} and getattr(config, name) != field.get_default(call_default_factory=True)
    ]
    if unread:
        raise ConfigError(
            f"Model `{config.id}`: settings that models of kind {config.kind} read are needed "
            f"({', '.join(sorted(read))}), got {', '.join(unread)}."
        )


def _vector_dim(config: EncoderConfig, directory: Path | None) -> int | None:
    kind = KINDS[config.kind]
    if isinstance(kind.dim, int) or directory is None:
        return kind.dim if isinstance(kind.dim, int) else None
    if kind.dim is None:
        return sentence_layout(config, directory).dim if config.kind == "text" else _dim(directory)
    return kind.dim(read_model_config(directory))


def _dim(directory: Path) -> int | None:
    """Length of a model's vectors, where its config tells."""
    settings = read_model_config(directory)
    if settings.get("model_type") in ("clip", "siglip"):
        size = settings.get("projection_dim") or settings.get("vision_config", {}).get("hidden_size")
        return size if isinstance(size, int) else None
    if isinstance(settings.get("hidden_dim"), int) and settings.get("model_type") == "efficientnet":
        return int(settings["hidden_dim"])
    if isinstance(settings.get("hidden_size"), int):
        return int(settings["hidden_size"])
    sizes = settings.get("hidden_sizes")
    return int(sizes[-1]) if isinstance(sizes, list) and sizes and isinstance(sizes[-1], int) else None
