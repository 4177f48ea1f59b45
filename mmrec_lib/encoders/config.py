"""Which models there are, where they lie and how they are run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, field_validator

from mmrec_lib.config import Section
from mmrec_lib.errors import ConfigError

EncoderKind = Literal["text", "image", "speech", "sentiment"]


class EncoderConfig(Section):
    """One model.

    Attributes:
        id: Name; set from the key under `models.encoders`.
        kind: text (BERT-like), image (a vision model with pooled output), speech (Whisper) or sentiment (a sequence
            classifier).
        directory: Folder in transformers format, relative to `models.root` or absolute; None means the name.
        dtype: float32, bfloat16, or auto: bfloat16 for text where the processor computes it natively, else float32.
        batch_tokens: Tokens a text model sees at once. 256 suits a processor core, 16,384 a GPU.
        batch_images: Pictures an image model sees at once. 1 suits a processor core (8 in bfloat16), 64 a GPU.
        max_tokens: Longer texts are read in windows of so many tokens, and their vectors pooled.
        max_windows: Windows that are read of one text; what is behind them is not.
        pooling: How token vectors become one: their mean, or the first token's (cls).
        normalise: Whether text vectors get length 1.
        language: ISO 639-1 code of the speech; None lets a multilingual model find out.
        max_seconds: Longer sound becomes an error row.
        labels: What the classes of a sentiment model mean (negative, neutral, positive, or stars from 1 to 5) where
            their names do not tell, such as `LABEL_0: negative`.
    """

    id: str = ""
    kind: EncoderKind = "text"
    directory: str | None = None
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    batch_tokens: int = Field(default=256, ge=1)
    batch_images: int = Field(default=1, ge=1)
    max_tokens: int = Field(default=256, ge=4)
    max_windows: int = Field(default=8, ge=1)
    pooling: Literal["mean", "cls"] = "mean"
    normalise: bool = True
    language: str | None = None
    max_seconds: float = Field(default=3600.0, gt=0)
    labels: dict[str, str] = Field(default_factory=dict)

    @property
    def folder(self) -> str:
        """Folder of the model, relative to `models.root` or absolute."""
        return self.directory or self.id


PACKAGED: dict[str, dict[str, str]] = {
    "all-minilm-l6-v2": {"kind": "text"},
    "efficientnet-lite0": {"kind": "image"},
    "whisper-tiny-en": {"kind": "speech"},
}


class ModelsConfig(Section):
    """The models of a store.

    Attributes:
        root: Folder or URI of model directories that every worker can read.
        device: cpu or cuda (of the workers).
        threads: Threads that a worker process computes with; one is best when every core runs a worker.
        decode_threads: Threads that decode pictures ahead of the model in a worker process.
        encoders: Models by name. The packaged ones are always there; what is given changes or adds.
    """

    root: str = "models"
    device: str = "cpu"
    threads: int = Field(default=1, ge=1)
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
        """The model of a name.

        Raises:
            ConfigError: When there is none of that name, or it is of another kind.
        """
        config = self.encoders.get(name)
        of_kind = sorted(n for n, c in self.encoders.items() if c.kind == kind)
        if config is None or config.kind != kind:
            raise ConfigError(
                f"Encoder `{name}`: a {kind} model of models.encoders is needed ({', '.join(of_kind)}), got "
                f"{'an unknown name' if config is None else f'one of kind {config.kind}'}."
            )
        return config
