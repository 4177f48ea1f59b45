"""What is embedded, with which models, and in which portions."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mmrec_lib.config import Section

TextField = Literal["title", "description", "transcript", "review"]
ImageField = Literal["images"]


class EmbeddingConfig(Section):
    """What becomes a vector of an item.

    Attributes:
        text_encoder: Name of the text model under `models.encoders`; None encodes no text.
        image_encoder: Name of the image model; None encodes no pictures.
        speech_encoder: Name of the model that transcribes sound; None transcribes nothing.
        text_fields: Texts of an item, each encoded and pooled apart: its title, its description, what is said in its
            sound (transcript), and its reviews, spoken ones included.
        image_fields: Pictures of an item.
        provided: What a ready-made vector does: `replace` (its item is not encoded in that modality) or `both`.
        num_partitions: Tasks that encoding is cut into; at least the number of cores of the cluster.
        batch_bytes: Most bytes of input that a worker holds at once.
        batch_rows: Most rows that a worker holds at once; texts are sorted by length within them.
    """

    text_encoder: str | None = "all-minilm-l6-v2"
    image_encoder: str | None = "efficientnet-lite0"
    speech_encoder: str | None = "whisper-tiny-en"
    text_fields: tuple[TextField, ...] = ("title", "description", "transcript", "review")
    image_fields: tuple[ImageField, ...] = ("images",)
    provided: Literal["replace", "both"] = "replace"
    num_partitions: int = Field(default=4, ge=1)
    batch_bytes: int = Field(default=32 * 2**20, ge=1)
    batch_rows: int = Field(default=4096, ge=1)
