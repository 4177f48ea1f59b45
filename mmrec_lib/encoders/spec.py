"""What an encoder and an extractor are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

InputKind = Literal["text", "image", "audio"]
EncoderInput = str | bytes | None


@dataclass(frozen=True)
class EncoderSpec:
    """Identity of an encoder or extractor; two with the same id and revision give the same results.

    Attributes:
        id: Name, as in the config.
        revision: Identity of the weights and of everything else that changes results; 16 hexadecimal digits.
        modality: text or image for encoders, transcript for extractors of speech.
        input_kind: What it reads: text (strings), image or audio (original bytes of a file).
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
        errors: Length n; why there is no vector, or None.
    """

    vectors: npt.NDArray[np.float32]
    errors: list[str | None]


@dataclass(frozen=True)
class ExtractResult:
    """Words of a batch, each list of length n.

    Attributes:
        texts: The words; None where there is an error, empty where nothing is said.
        languages: ISO 639-1 codes, None where unknown.
        errors: Why there is no text, or None.
    """

    texts: list[str | None]
    languages: list[str | None]
    errors: list[str | None]


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

    def extract(self, batch: Sequence[EncoderInput]) -> ExtractResult:
        """Words of media, given as original bytes."""
