"""The kinds of encoders: an open union of configs, told apart by `kind`.

A new kind is a config class beside a class that reads it, and one entry here (or a call of `register`). Nothing of a
network is imported until one is made.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, SerializeAsAny

from mmrec_lib.encoders.audio.config import SoundConfig, SoundStatisticsConfig, SpeechConfig, TagsConfig
from mmrec_lib.encoders.audio.families import STATISTICS_DIM, sound_dim
from mmrec_lib.encoders.encoder_config import EncoderConfig
from mmrec_lib.encoders.image.config import ImageConfig, JointConfig, LabelsConfig, OcrConfig
from mmrec_lib.encoders.spec import InputKind
from mmrec_lib.encoders.text.config import SentimentConfig, TextConfig, TfidfConfig, Word2VecConfig
from mmrec_lib.encoders.text.sentence_layout import sentence_layout
from mmrec_lib.encoders.video.config import MOTION_DIM, VideoConfig
from mmrec_lib.encoders.weights.directory import hidden_dim, read_model_config
from mmrec_lib.errors import ConfigError

# Length of the vectors of a config, given its model directories by the fields that name them.
Dim = Callable[[Any, Mapping[str, Path]], int | None]

DEFAULT_KIND = "text"

# Former names of kinds, and what to write now.
RENAMED_KINDS = {
    "words": "`tfidf` or `word2vec`, as the directory was fitted (`words.method` of fit_word_model, `method` in its "
    "config.json)"
}


@dataclass(frozen=True)
class Kind:
    """Construction and identity of the encoders of a kind.

    Attributes:
        config: Config class; the default of its `kind` is the kind's name.
        factory: `module:class` or `module:function`, imported only when an encoder is made: importing takes seconds
            that a driver need not spend. It takes (spec, config, directory, models); directory is None for a config
            without one.
        makes: vectors (an `Encoder`), text (an `Extractor`) or sentiments (a `SentimentClassifier`).
        modality: See `EncoderSpec.modality`.
        input_kind: See `EncoderSpec.input_kind`.
        method: Raised when the code that applies the model changes its results.
        package: Distribution whose weights it uses in place of a directory; its version is a part of a revision.
        dim: Length of its vectors; None where only the loaded model tells.
    """

    config: type[EncoderConfig]
    factory: str
    makes: Literal["vectors", "text", "sentiments"]
    modality: str
    input_kind: InputKind
    method: int
    package: str | None = None
    dim: Dim | None = None

    @property
    def name(self) -> str:
        """Value of `kind` in a config."""
        return self.config.kind_name()


KINDS: dict[str, Kind] = {}


def register(kind: Kind) -> None:
    """Add a kind of encoders; configs may name it from then on, in the processes that import the calling module.

    Raises:
        ConfigError: When another kind has its name.
    """
    if KINDS.setdefault(kind.name, kind) != kind:
        raise ConfigError(f"Kind `{kind.name}`: a name that no other kind has is needed; {KINDS[kind.name].factory}.")


def read_encoder_config(values: object) -> object:
    """An entry of `models.encoders` as the config of its kind; anything but a mapping stays as it is.

    Raises:
        ConfigError: When the kind is unknown or was renamed, or a key is none of the kind's.
        ValidationError: When a value is impossible.
    """
    if not isinstance(values, Mapping):
        return values
    name = values.get("kind", DEFAULT_KIND)
    kind = KINDS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise ConfigError(f"Encoder `{values.get('id', '')}`: {_unknown_kind(name)}")
    return kind.config.model_validate(dict(values))


def encoder_config(**values: Any) -> EncoderConfig:
    """The config of one encoder, such as `encoder_config(id="mine", kind="image", directory="vit")`.

    Raises:
        ConfigError: As `read_encoder_config`.
        ValidationError: When a value is impossible.
    """
    config = read_encoder_config(values)
    assert isinstance(config, EncoderConfig)
    return config


AnyEncoderConfig = Annotated[SerializeAsAny[EncoderConfig], BeforeValidator(read_encoder_config)]


def _unknown_kind(name: object) -> str:
    if name in RENAMED_KINDS:
        return f"kind `{name}` was renamed, write {RENAMED_KINDS[str(name)]}."
    close = difflib.get_close_matches(str(name), KINDS, n=1)
    hint = f" Did you mean `{close[0]}`?" if close else ""
    return f"a kind of {', '.join(sorted(KINDS))} is needed, got `{name}`.{hint}"


def _hidden_dim(_: EncoderConfig, directories: Mapping[str, Path]) -> int | None:
    return hidden_dim(directories["directory"])


def _joint_dim(_: EncoderConfig, directories: Mapping[str, Path]) -> int | None:
    return hidden_dim(directories.get("text_directory", directories["directory"]))


def _text_dim(config: TextConfig, directories: Mapping[str, Path]) -> int | None:
    return sentence_layout(config, directories["directory"]).dim


def _sound_dim(_: EncoderConfig, directories: Mapping[str, Path]) -> int | None:
    return sound_dim(read_model_config(directories["directory"]))


def _statistics_dim(_: EncoderConfig, __: Mapping[str, Path]) -> int:
    return STATISTICS_DIM


def _video_dim(config: VideoConfig, directories: Mapping[str, Path]) -> int | None:
    dim = hidden_dim(directories["directory"])
    return dim + MOTION_DIM if dim is not None and config.motion else dim


for _kind in (
    Kind(
        config=TextConfig,
        factory="mmrec_lib.encoders.text.transformer:TextEncoder",
        makes="vectors",
        modality="text",
        input_kind="text",
        method=3,
        dim=_text_dim,
    ),
    Kind(
        config=TfidfConfig,
        factory="mmrec_lib.encoders.text.word_model:WordModelEncoder",
        makes="vectors",
        modality="text",
        input_kind="text",
        method=1,
        dim=_hidden_dim,
    ),
    Kind(
        config=Word2VecConfig,
        factory="mmrec_lib.encoders.text.word_model:WordModelEncoder",
        makes="vectors",
        modality="text",
        input_kind="text",
        method=1,
        dim=_hidden_dim,
    ),
    Kind(
        config=SentimentConfig,
        factory="mmrec_lib.encoders.text.sentiment:SentimentClassifier",
        makes="sentiments",
        modality="sentiment",
        input_kind="text",
        method=2,
    ),
    Kind(
        config=ImageConfig,
        factory="mmrec_lib.encoders.image.encoder:ImageEncoder",
        makes="vectors",
        modality="image",
        input_kind="image",
        method=2,
        dim=_hidden_dim,
    ),
    Kind(
        config=LabelsConfig,
        factory="mmrec_lib.encoders.image.labels:LabelExtractor",
        makes="text",
        modality="labels",
        input_kind="image",
        method=1,
    ),
    Kind(
        config=JointConfig,
        factory="mmrec_lib.encoders.image.joint:make_joint",
        makes="vectors",
        modality="joint",
        input_kind="text_or_image",
        method=2,
        dim=_joint_dim,
    ),
    Kind(
        config=OcrConfig,
        factory="mmrec_lib.encoders.image.ocr:OcrExtractor",
        makes="text",
        modality="ocr",
        input_kind="image",
        method=2,
        package="rapidocr",
    ),
    Kind(
        config=SpeechConfig,
        factory="mmrec_lib.encoders.audio.speech:WhisperExtractor",
        makes="text",
        modality="transcript",
        input_kind="audio",
        method=2,
    ),
    Kind(
        config=SoundConfig,
        factory="mmrec_lib.encoders.audio.encoder:SoundEncoder",
        makes="vectors",
        modality="audio",
        input_kind="audio",
        method=1,
        dim=_sound_dim,
    ),
    Kind(
        config=SoundStatisticsConfig,
        factory="mmrec_lib.encoders.audio.statistics:SoundStatistics",
        makes="vectors",
        modality="audio",
        input_kind="audio",
        method=1,
        dim=_statistics_dim,
    ),
    Kind(
        config=TagsConfig,
        factory="mmrec_lib.encoders.audio.tags:SoundTagger",
        makes="text",
        modality="tags",
        input_kind="audio",
        method=1,
    ),
    Kind(
        config=VideoConfig,
        factory="mmrec_lib.encoders.video.encoder:VideoEncoder",
        makes="vectors",
        modality="video",
        input_kind="video",
        method=1,
        dim=_video_dim,
    ),
):
    register(_kind)
