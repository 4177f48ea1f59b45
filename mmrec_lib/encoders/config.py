"""Which models there are, where they lie and how they are run."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal

from pydantic import Field, field_validator

from mmrec_lib.config import Section
from mmrec_lib.errors import ConfigError

EncoderKind = Literal[
    "image",
    "joint",
    "labels",
    "ocr",
    "sentiment",
    "sound",
    "sound_statistics",
    "speech",
    "tags",
    "text",
    "video",
    "words",
]
Pooling = Literal["mean", "cls", "last"]


class EncoderConfig(Section):
    """One model.

    Attributes:
        id: Name; set from the key under `models.encoders`.
        kind: What it is for; see the README's table of kinds.
        directory: Folder in transformers format, relative to `models.root` or absolute; None means the name.
        dtype: float32, bfloat16, float16, int8 (texts and images on a processor), or auto: the fastest that the
            hardware has, unless vectors of a calibration sample lose by it (see `precision`).
        batch_tokens: Tokens a text model sees at once; None takes 256 on a processor, 16,384 on a GPU.
        batch_images: Images an image model sees at once; None takes 4 on a processor, 64 on a GPU.
        max_tokens: Longer texts are read in windows of so many tokens, and their vectors pooled.
        max_windows: Windows that are read of one text; what is behind them is not.
        pooling: How token vectors become one: their mean, the first token's (cls) or the last one's (last, for
            decoder-only models). None: as a sentence-transformers directory says, else the mean.
        normalise: Whether text vectors get length 1. None: as a sentence-transformers directory says, else yes.
        prompt: What stands before every text, such as "query: " for E5. None: the directory's default prompt, if any.
        language: ISO 639-1 code of the speech, or of the labels' names; None lets a multilingual model find out.
        max_seconds: Longer sound becomes an error row.
        num_frames: Frames that a model of images sees of a video, evenly spread; models of video know their number.
        num_scenes: Most frames that it also sees because a scene begins with them.
        motion: Whether two figures of motion are put behind the vector of a video.
        text_directory: Text model of a joint space that ConSE makes of it and of the classifier in `directory`.
        max_labels: Labels of an image, at most.
        min_probability: Labels that are less probable are left out.
        min_confidence: Lines of text in images that the model is less sure of are left out.
        speech_padding_seconds: Silence that a speech model hears behind short sound; 30 is what it was trained with.
        time_stamps: Whether speech is written in parts with their times, where the model knows times.
        heard_seconds: Of longer sound, windows that last so long together are encoded or tagged, spread evenly.
        min_tag_confidence: Probability from which on a sound is named.
        max_tags: Names that a sound gets at most.
        labels: What the classes of a sentiment model mean (negative, neutral, positive, or stars from 1 to 5) where
            their names do not tell, such as `LABEL_0: negative`.
    """

    id: str = ""
    kind: EncoderKind = "text"
    directory: str | None = None
    dtype: Literal["auto", "float32", "bfloat16", "float16", "int8"] = "auto"
    batch_tokens: int | None = Field(default=None, ge=1)
    batch_images: int | None = Field(default=None, ge=1)
    max_tokens: int = Field(default=256, ge=4)
    max_windows: int = Field(default=8, ge=1)
    pooling: Pooling | None = None
    normalise: bool | None = None
    prompt: str | None = None
    language: str | None = None
    max_seconds: float = Field(default=3600.0, gt=0)
    num_frames: int = Field(default=8, ge=1, le=64)
    num_scenes: int = Field(default=8, ge=0, le=64)
    motion: bool = False
    text_directory: str | None = None
    max_labels: int = Field(default=5, ge=1)
    min_probability: float = Field(default=0.1, ge=0, le=1)
    min_confidence: float = Field(default=0.5, ge=0, le=1)
    speech_padding_seconds: float = Field(default=5.0, ge=1.0)
    time_stamps: bool = True
    heard_seconds: float = Field(default=600.0, gt=0)
    min_tag_confidence: float = Field(default=0.3, gt=0, le=1)
    max_tags: int = Field(default=5, ge=1)
    labels: dict[str, str] = Field(default_factory=dict)

    @property
    def folder(self) -> str:
        """Folder of the model, relative to `models.root` or absolute."""
        return self.directory or self.id


MOTION_DIM = 2
"""Figures of motion in a vector, see `EncoderConfig.motion`."""

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
    encoders: dict[str, EncoderConfig] = Field(default_factory=dict, validate_default=True)

    @field_validator("encoders", mode="before")
    @classmethod
    def _with_packaged(cls, given: object) -> object:
        if not isinstance(given, Mapping):
            return given
        merged: dict[str, Any] = {}
        for name in (*PACKAGED, *(name for name in given if name not in PACKAGED)):
            entry = given.get(name) or {}
            values = entry.model_dump() if isinstance(entry, EncoderConfig) else entry
            merged[name] = {**PACKAGED.get(name, {}), **values, "id": name} if isinstance(values, Mapping) else entry
        return merged

    def encoder(self, name: str, kind: EncoderKind) -> EncoderConfig:
        """The model of a name and kind.

        Raises:
            ConfigError: When there is none of that name, or it is of another kind.
        """
        return self.chosen(name, f"Encoder `{name}`", (kind,))

    def chosen(self, name: str, where: str, kinds: Collection[EncoderKind]) -> EncoderConfig:
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
