"""The encoders of a store: where they lie, how they are run, and one config each."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Literal

from pydantic import Field, field_validator

from mmrec_lib.encoders.encoder_config import EncoderConfig
from mmrec_lib.encoders.kinds import DEFAULT_KIND, AnyEncoderConfig
from mmrec_lib.errors import ConfigError
from mmrec_lib.section import Section

__all__ = ["PACKAGED", "EncoderConfig", "ModelsConfig"]

PACKAGED: dict[str, dict[str, str]] = {
    "all-minilm-l6-v2": {"kind": "text"},
    "efficientnet-lite0": {"kind": "image"},
    "whisper-tiny-en": {"kind": "speech"},
    "video-frames": {"kind": "video", "directory": "efficientnet-lite0"},
    "efficientnet-lite0-labels": {"kind": "labels", "directory": "efficientnet-lite0", "language": "en"},
    # In float32: the most probable names change with less, and with them what words find.
    "conse-imagenet": {
        "kind": "joint",
        "directory": "efficientnet-lite0",
        "text_directory": "all-minilm-l6-v2",
        "dtype": "float32",
    },
    "rapidocr": {"kind": "ocr"},
    "whisper-base": {"kind": "speech"},
    "yamnet": {"kind": "sound"},
    "yamnet-tags": {"kind": "tags", "directory": "yamnet"},
    "sound-statistics": {"kind": "sound_statistics"},
}


class ModelsConfig(Section):
    """The models of a store.

    Attributes:
        root: Folder or URI of model directories that every worker can read.
        device: What workers compute on: cpu, cuda, cuda:<number>, or auto: the GPU that Spark gave to the task, else
            any GPU, else the processor.
        threads: Threads that a worker process computes with; 0 takes the cores of a Spark task (spark.task.cpus).
        backend: What computes networks of texts and images; auto is OpenVINO on a processor, torch on a GPU.
        decode_threads: Threads that decode images ahead of the model in a worker process.
        encoders: Models by name. The packaged ones are always there; what is given changes or adds.
    """

    root: str = "models"
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$")
    threads: int = Field(default=0, ge=0)
    backend: Literal["auto", "openvino", "torch"] = "auto"
    decode_threads: int = Field(default=2, ge=1)
    encoders: dict[str, AnyEncoderConfig] = Field(default_factory=dict, validate_default=True)

    @field_validator("encoders", mode="before")
    @classmethod
    def _with_packaged(cls, given: object) -> object:
        """Entries of the packaged encoders, changed and joined by the given ones, each with its name as `id`."""
        if not isinstance(given, Mapping):
            return given
        return {name: _entry(str(name), given.get(name, {})) for name in {**PACKAGED, **given}}

    def encoder(self, name: str, kind: str) -> EncoderConfig:
        """The model of a name and kind.

        Raises:
            ConfigError: When there is none of that name, or it is of another kind.
        """
        return self.chosen(name, f"Encoder `{name}`", (kind,))

    def chosen(self, name: str, where: str, kinds: Collection[str]) -> EncoderConfig:
        """The model that a setting names.

        Args:
            name: Name under `models.encoders`.
            where: The setting, for the message.
            kinds: Kinds that the setting takes.

        Raises:
            ConfigError: When there is none of that name, or it is of another kind.
        """
        config = self.encoders.get(name)
        if config is None or config.kind not in kinds:
            fitting = sorted(n for n, c in self.encoders.items() if c.kind in kinds)
            raise ConfigError(
                f"{where}: a model of models.encoders of kind {' or '.join(sorted(kinds))} is needed "
                f"({', '.join(fitting) or 'there is none'}), got `{name}`, "
                f"{'an unknown name' if config is None else f'one of kind {config.kind}'}."
            )
        return config


def _entry(name: str, given: object) -> object:
    if isinstance(given, EncoderConfig):
        return given.with_id(name)
    values = {} if given is None else given
    return (
        {"kind": DEFAULT_KIND, **PACKAGED.get(name, {}), **values, "id": name}
        if isinstance(values, Mapping)
        else values
    )
