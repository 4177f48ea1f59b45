"""Configs of the encoders and classifiers of text; imports no network."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from mmrec_lib.encoders.encoder_config import Changes, DirectoryConfig, Dtype

Pooling = Literal["mean", "cls", "last"]


class TextConfig(DirectoryConfig):
    """A transformer, with or without the layout of sentence-transformers.

    Attributes:
        dtype: float32, bfloat16, float16, int8 (on a CPU), or auto: the fastest that the hardware has, unless vectors
            of a calibration sample lose by it (see `runtime.precision`).
        batch_tokens: Tokens that the model sees at once; None takes 256 on a CPU, 16,384 on a GPU.
        max_tokens: Longer texts are read in windows of this many tokens, and their vectors pooled.
        max_windows: Windows that are read of one text; the rest of it is not read.
        pooling: How token vectors become one: their mean, the first token's (cls) or the last one's (last, for
            decoder-only models). None: as a sentence-transformers directory says, else the mean.
        normalise: Whether vectors get length 1. None: as a sentence-transformers directory says, else yes.
        prompt: Put before every text, such as "query: " for E5. None: the directory's default prompt, if any.
    """

    kind: Literal["text"] = "text"
    dtype: Annotated[Dtype, Changes.RESULTS] = "auto"
    batch_tokens: Annotated[int | None, Changes.SPEED] = Field(default=None, ge=1)
    max_tokens: Annotated[int, Changes.RESULTS] = Field(default=256, ge=4)
    max_windows: Annotated[int, Changes.RESULTS] = Field(default=8, ge=1)
    pooling: Annotated[Pooling | None, Changes.RESULTS] = None
    normalise: Annotated[bool | None, Changes.RESULTS] = None
    prompt: Annotated[str | None, Changes.RESULTS] = None


class WordModelConfig(DirectoryConfig):
    """A word model that was fitted on the store's own texts; its kind is the method of the fit.

    Attributes:
        normalise: Whether vectors get length 1.
    """

    normalise: Annotated[bool, Changes.RESULTS] = True


class TfidfConfig(WordModelConfig):
    """TF-IDF, reduced by truncated singular value decomposition."""

    kind: Literal["tfidf"] = "tfidf"


class Word2VecConfig(WordModelConfig):
    """The weighted mean of word2vec vectors."""

    kind: Literal["word2vec"] = "word2vec"


class SentimentConfig(DirectoryConfig):
    """A sequence classifier of sentiments or stars.

    Attributes:
        batch_tokens: Tokens that the model sees at once; None takes 256 on a CPU, 16,384 on a GPU. Probabilities may
            differ in their last bits between sizes.
        max_tokens: Longer texts are read in windows of this many tokens.
        max_windows: Windows that are read of one text; the rest of it is not read.
        labels: Meaning of the classes (negative, neutral, positive, or stars from 1 to 5) where their names do not
            tell, such as `LABEL_0: negative`.
    """

    kind: Literal["sentiment"] = "sentiment"
    batch_tokens: Annotated[int | None, Changes.RESULTS] = Field(default=None, ge=1)
    max_tokens: Annotated[int, Changes.RESULTS] = Field(default=256, ge=4)
    max_windows: Annotated[int, Changes.RESULTS] = Field(default=8, ge=1)
    labels: Annotated[dict[str, str], Changes.RESULTS] = Field(default_factory=dict)
