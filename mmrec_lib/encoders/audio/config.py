"""Configs of the encoders and extractors of sound; imports no network."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from mmrec_lib.encoders.encoder_config import Changes, DirectoryConfig, Dtype, EncoderConfig


class SpeechConfig(DirectoryConfig):
    """A Whisper: speech becomes text.

    Attributes:
        dtype: float32, bfloat16, float16, or auto: the fastest that the hardware has.
        language: ISO 639-1 code of the speech; None lets a multilingual model detect it.
        max_seconds: Longer sound becomes an error row.
        speech_padding_seconds: Silence that is appended to short sound; the model was trained with windows of 30.
        time_stamps: Whether the text is divided into segments with their times, where the model knows times.
    """

    kind: Literal["speech"] = "speech"
    dtype: Annotated[Dtype, Changes.RESULTS] = "auto"
    language: Annotated[str | None, Changes.RESULTS] = None
    max_seconds: Annotated[float, Changes.RESULTS] = Field(default=3600.0, gt=0)
    speech_padding_seconds: Annotated[float, Changes.RESULTS] = Field(default=5.0, ge=1.0)
    time_stamps: Annotated[bool, Changes.RESULTS] = True


class SoundConfig(DirectoryConfig):
    """A model of sound: YAMNet, AST, CLAP or the encoder of a Whisper.

    Attributes:
        dtype: float32, bfloat16, float16, or auto: the fastest that the hardware has.
        max_seconds: Longer sound becomes an error row.
        heard_seconds: Of longer sound, windows of this total length are encoded, spread evenly.
    """

    kind: Literal["sound"] = "sound"
    dtype: Annotated[Dtype, Changes.RESULTS] = "auto"
    max_seconds: Annotated[float, Changes.RESULTS] = Field(default=3600.0, gt=0)
    heard_seconds: Annotated[float, Changes.RESULTS] = Field(default=600.0, gt=0)


class SoundStatisticsConfig(EncoderConfig):
    """Statistics of spectra and cepstra, without a model.

    Attributes:
        max_seconds: Longer sound becomes an error row.
        heard_seconds: Of longer sound, windows of this total length are measured, spread evenly.
    """

    kind: Literal["sound_statistics"] = "sound_statistics"
    max_seconds: Annotated[float, Changes.RESULTS] = Field(default=3600.0, gt=0)
    heard_seconds: Annotated[float, Changes.RESULTS] = Field(default=600.0, gt=0)


class TagsConfig(DirectoryConfig):
    """A tagger of sound: names of what is heard become text.

    Attributes:
        dtype: float32, bfloat16, float16, or auto: the fastest that the hardware has.
        max_seconds: Longer sound becomes an error row.
        heard_seconds: Of longer sound, windows of this total length are tagged, spread evenly.
        min_tag_confidence: Less probable tags are left out.
        max_tags: Tags of a sound, at most.
    """

    kind: Literal["tags"] = "tags"
    dtype: Annotated[Dtype, Changes.RESULTS] = "auto"
    max_seconds: Annotated[float, Changes.RESULTS] = Field(default=3600.0, gt=0)
    heard_seconds: Annotated[float, Changes.RESULTS] = Field(default=600.0, gt=0)
    min_tag_confidence: Annotated[float, Changes.RESULTS] = Field(default=0.3, gt=0, le=1)
    max_tags: Annotated[int, Changes.RESULTS] = Field(default=5, ge=1)
