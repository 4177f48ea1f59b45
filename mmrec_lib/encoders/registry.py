"""From an entry of the config to an encoder; torch is imported only when one is made."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmrec_lib.encoders.config import ModelsConfig
from mmrec_lib.encoders.encoder_config import Changes, EncoderConfig
from mmrec_lib.encoders.kinds import KINDS
from mmrec_lib.encoders.runtime.hardware import on_this_machine
from mmrec_lib.encoders.spec import Encoder, EncoderSpec, Extractor
from mmrec_lib.encoders.weights.directory import directory_revision, local_directory, require_safe
from mmrec_lib.errors import EncoderError

if TYPE_CHECKING:
    from mmrec_lib.encoders.text.sentiment import SentimentClassifier


def encoder_spec(config: EncoderConfig, models: ModelsConfig) -> EncoderSpec:
    """Identity of a configured model, read from its directory without loading it.

    Raises:
        EncoderError: When the model's directory is missing or unsafe to load.
    """
    return _spec(config, _directories(config, models))


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
    extractor: Extractor = _make(config, models, "text")
    return extractor


def make_classifier(config: EncoderConfig, models: ModelsConfig) -> SentimentClassifier:
    """The sentiment classifier of a config entry, not yet loaded.

    Raises:
        EncoderError: When the model's directory is missing, or the entry is no sentiment classifier.
    """
    classifier: SentimentClassifier = _make(config, models, "sentiments")
    return classifier


def _make(config: EncoderConfig, models: ModelsConfig, makes: str) -> Any:
    kind = KINDS[config.kind]
    if kind.makes != makes:
        kinds = ", ".join(name for name, kind in KINDS.items() if kind.makes == makes)
        raise EncoderError(f"Encoder `{config.id}`: a kind that makes {makes} is needed ({kinds}), got {config.kind}.")
    models = on_this_machine(models)
    directories = _directories(config, models)
    module, _, name = kind.factory.partition(":")
    factory = getattr(import_module(module), name)
    return factory(_spec(config, directories), config, directories.get("directory"), models)


def _directories(config: EncoderConfig, models: ModelsConfig) -> dict[str, Path]:
    return {field: local_directory(models.root, folder) for field, folder in config.directories().items()}


def _spec(config: EncoderConfig, directories: Mapping[str, Path]) -> EncoderSpec:
    kind = KINDS[config.kind]
    identity: dict[str, Any] = {
        "kind": config.kind,
        "method": kind.method,
        "settings": {name: getattr(config, name) for name in config.fields_that_change(Changes.RESULTS)},
    }
    for field, directory in directories.items():
        require_safe(directory)
        identity[field] = directory_revision(directory)
    if kind.package is not None:
        identity["package"] = f"{kind.package} {version(kind.package)}"
    revision = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
    dim = None if kind.dim is None else kind.dim(config, directories)
    return EncoderSpec(config.id, revision, kind.modality, kind.input_kind, dim)
