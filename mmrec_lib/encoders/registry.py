"""From an entry of the config to an encoder; torch is imported only when one is made."""

from __future__ import annotations

import hashlib
import json
from importlib import import_module
from pathlib import Path
from typing import Any

from mmrec_lib.encoders.config import EncoderConfig, ModelsConfig
from mmrec_lib.encoders.directory import directory_revision, local_directory, read_model_config, require_safe
from mmrec_lib.encoders.spec import Encoder, EncoderSpec, Extractor, InputKind
from mmrec_lib.errors import EncoderError

# Raised when the code that applies a kind of model changes its results.
_METHOD_VERSIONS = {"text": 2, "image": 1, "speech": 1}

# Settings that change results and are therefore part of a revision.
_SETTINGS: dict[str, tuple[str, ...]] = {
    "text": ("dtype", "max_tokens", "max_windows", "pooling", "normalise"),
    "image": ("dtype",),
    "speech": ("dtype", "language", "max_seconds"),
}
# By name, because importing them takes seconds that a driver need not spend.
_CLASSES = {
    "text": "mmrec_lib.encoders.text:TextEncoder",
    "image": "mmrec_lib.encoders.image:ImageEncoder",
    "speech": "mmrec_lib.encoders.speech:WhisperExtractor",
}
_INPUTS: dict[str, InputKind] = {"text": "text", "image": "image", "speech": "audio"}
_MODALITIES = {"text": "text", "image": "image", "speech": "transcript"}


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
    directory = local_directory(models.root, config.folder)
    spec = _spec(config, directory)
    if config.kind == "speech":
        raise EncoderError(f"Model `{config.id}`: kind text or image is needed to make vectors, got speech.")
    encoder: Encoder = _class(config)(spec, config, directory, models)
    return encoder


def make_extractor(config: EncoderConfig, models: ModelsConfig) -> Extractor:
    """The extractor of a config entry, not yet loaded.

    Raises:
        EncoderError: When the model's directory is missing, or the entry is no extractor.
    """
    if config.kind != "speech":
        raise EncoderError(f"Model `{config.id}`: kind speech is needed to make texts, got {config.kind}.")
    directory = local_directory(models.root, config.folder)
    extractor: Extractor = _class(config)(_spec(config, directory), config, directory, models)
    return extractor


def _class(config: EncoderConfig) -> Any:
    module, _, name = _CLASSES[config.kind].partition(":")
    return getattr(import_module(module), name)


def _spec(config: EncoderConfig, directory: Path) -> EncoderSpec:
    require_safe(directory)
    identity = {
        "directory": directory_revision(directory),
        "kind": config.kind,
        "method": _METHOD_VERSIONS[config.kind],
        "settings": {name: getattr(config, name) for name in _SETTINGS[config.kind]},
    }
    revision = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
    dim = None if config.kind == "speech" else _dim(directory)
    return EncoderSpec(config.id, revision, _MODALITIES[config.kind], _INPUTS[config.kind], dim)


def _dim(directory: Path) -> int | None:
    """Length of a model's vectors, where its config tells."""
    settings = read_model_config(directory)
    if isinstance(settings.get("hidden_dim"), int) and settings.get("model_type") == "efficientnet":
        return int(settings["hidden_dim"])
    if isinstance(settings.get("hidden_size"), int):
        return int(settings["hidden_size"])
    sizes = settings.get("hidden_sizes")
    return int(sizes[-1]) if isinstance(sizes, list) and sizes and isinstance(sizes[-1], int) else None
