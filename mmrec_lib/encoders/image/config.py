"""Configs of the encoders and extractors of images; imports no network."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from mmrec_lib.encoders.encoder_config import Changes, DirectoryConfig, Dtype, EncoderConfig
from mmrec_lib.encoders.text.config import Pooling


class ImageNetworkConfig(DirectoryConfig):
    """A network that sees images: the common part of the kinds that run one.

    Attributes:
        dtype: float32, bfloat16, float16, int8 (on a CPU), or auto: the fastest that the hardware has, unless vectors
            of a calibration sample lose by it (see `runtime.precision`).
        batch_images: Images that the model sees at once; None takes 4 on a CPU, 64 on a GPU.
    """

    dtype: Annotated[Dtype, Changes.RESULTS] = "auto"
    batch_images: Annotated[int | None, Changes.SPEED] = Field(default=None, ge=1)


class ImageConfig(ImageNetworkConfig):
    """Any vision model: the vector of an image."""

    kind: Literal["image"] = "image"


class LabelsConfig(ImageNetworkConfig):
    """A classifier of images, whose labels become text.

    Attributes:
        language: ISO 639-1 code of the names of the labels.
        max_labels: Labels of an image, at most.
        min_probability: Less probable labels are left out.
    """

    kind: Literal["labels"] = "labels"
    language: Annotated[str | None, Changes.RESULTS] = None
    max_labels: Annotated[int, Changes.RESULTS] = Field(default=5, ge=1)
    min_probability: Annotated[float, Changes.RESULTS] = Field(default=0.1, ge=0, le=1)


class JointConfig(ImageNetworkConfig):
    """Texts and images in one space: a CLIP or SigLIP directory, or ConSE.

    Attributes:
        text_directory: Text model of the space that ConSE makes of it and of the classifier in `directory`; None for a
            CLIP or SigLIP.
        batch_tokens: Tokens that the text model sees at once; None takes 256 on a CPU, 16,384 on a GPU.
        max_tokens: Longer texts are read in windows of this many tokens, and their vectors pooled (ConSE only).
        max_windows: Windows that are read of one text; the rest of it is not read (ConSE only).
        pooling: How token vectors become one, see `TextConfig` (ConSE only).
    """

    kind: Literal["joint"] = "joint"
    text_directory: Annotated[str | None, Changes.WEIGHTS] = None
    batch_tokens: Annotated[int | None, Changes.SPEED] = Field(default=None, ge=1)
    max_tokens: Annotated[int, Changes.RESULTS] = Field(default=256, ge=4)
    max_windows: Annotated[int, Changes.RESULTS] = Field(default=8, ge=1)
    pooling: Annotated[Pooling | None, Changes.RESULTS] = None


class OcrConfig(EncoderConfig):
    """Text in images.

    Attributes:
        min_confidence: Lines of text with a lower confidence are left out.
    """

    kind: Literal["ocr"] = "ocr"
    min_confidence: Annotated[float, Changes.RESULTS] = Field(default=0.5, ge=0, le=1)
