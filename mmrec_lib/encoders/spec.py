"""Protocols of encoders and extractors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

InputKind = Literal["text", "image", "audio", "video", "text_or_image"]
EncoderInput = str | bytes | None


@dataclass(frozen=True)
class EncoderSpec:
    """Identity of an encoder or extractor; two with the same id and revision give the same results.

    Attributes:
        id: Name, as in the config.
        revision: Identity of the weights and of everything else that changes results; 16 hexadecimal digits.
        modality: text, image, audio, video or joint for encoders; transcript, ocr, labels or tags for extractors.
        input_kind: What it reads: text (strings), image, audio or video (original bytes of a file), or text_or_image
            (either, also mixed in one batch, into one space).
        dim: Length of its vectors; None where the model directory does not tell, and for extractors.
    """

    id: str
    revision: str
    modality: str
    input_kind: InputKind
    dim: int | None


@dataclass(frozen=True)
class EncodeResult:
    """Vectors of a batch.

    Attributes:
        vectors: `[n, dim] float32`; zeros where there is an error.
        errors: Length n; why there is no vector (see `mmrec_lib.encoders.errors`), or None.
    """

    vectors: npt.NDArray[np.float32]
    errors: list[str | None]


@dataclass(frozen=True)
class Span:
    """A part of what was found in a medium: a sentence, a line, a label.

    Attributes:
        text: Its words.
        confidence: From 0 to 1, how sure the model is; None where it does not tell.
        start_seconds: Where it begins in sound or video; None for images.
        end_seconds: Where it ends; None for images.
    """

    text: str
    confidence: float | None = None
    start_seconds: float | None = None
    end_seconds: float | None = None


@dataclass(frozen=True)
class ExtractedText:
    """Text extracted from one medium.

    Attributes:
        text: All words in their order; empty where there are none, None with an error.
        language: ISO 639-1 code, None where unknown.
        confidence: From 0 to 1, over all words; None where the model does not tell.
        spans: The parts that the text is made of, in their order.
        error: Why there is no text (see `mmrec_lib.encoders.errors`), or None.
    """

    text: str | None
    language: str | None = None
    confidence: float | None = None
    spans: tuple[Span, ...] = field(default=())
    error: str | None = None


class Encoder(Protocol):
    """Turns texts or media into vectors.

    A vector is a function of its input alone: whatever else is in the batch, the same input gives the same bits on the
    same machine. An input that cannot be encoded is a row with an error, never an exception.
    """

    @property
    def spec(self) -> EncoderSpec:
        """Identity."""

    def load(self, device: str = "cpu") -> None:
        """Loads the weights; raises EncoderError when the directory is not what the config says."""

    def encode(self, batch: Sequence[EncoderInput]) -> EncodeResult:
        """Vectors of texts (`str`) or media (`bytes`): `[n, dim] float32`."""


class Extractor(Protocol):
    """Turns media into words; otherwise like an encoder."""

    @property
    def spec(self) -> EncoderSpec:
        """Identity."""

    def load(self, device: str = "cpu") -> None:
        """Loads the weights; raises EncoderError when the directory is not what the config says."""

    def extract(self, batch: Sequence[EncoderInput]) -> list[ExtractedText]:
        """Words of media, given as original bytes; one result a medium."""
