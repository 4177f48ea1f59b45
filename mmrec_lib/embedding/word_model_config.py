"""Configuration of a word model that is fitted on the store's own texts."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mmrec_lib.section import Section


class WordModelConfig(Section):
    """A words model and its fit.

    Attributes:
        name: Name of its directory under `models.root`; an encoder of kind `method` with this name (or
            `directory`) uses it.
        method: tfidf (weighted words, reduced by truncated singular value decomposition) or word2vec.
        fields: Texts that it is fitted on; `document` is read from owner_text, so extract_text must have run.
        dim: Length of the vectors; less where there are fewer words or texts.
        vocabulary_size: Most words that are known, the most frequent ones.
        min_texts: Texts that a word must be in.
        max_share: Words in a larger share of the texts say nothing and are left out.
        max_characters: What comes after them in a text does not count.
        epochs: Times that word2vec reads the texts.
        window: Words before and after one that word2vec predicts.
        seed: Start of the random numbers; the same texts and seed give the same model.
        num_partitions: Tasks that the fit is cut into; None: two for each core of the cluster. word2vec trains in one,
            because its result depends on them.
    """

    name: str = Field(default="store-words", min_length=1)
    method: Literal["tfidf", "word2vec"] = "tfidf"
    fields: tuple[Literal["title", "description", "review", "document"], ...] = Field(
        default=("title", "description", "review"), min_length=1
    )
    dim: int = Field(default=128, ge=2, le=1024)
    vocabulary_size: int = Field(default=20_000, ge=2)
    min_texts: int = Field(default=2, ge=1)
    max_share: float = Field(default=0.5, gt=0, le=1)
    max_characters: int = Field(default=5_000, ge=1)
    epochs: int = Field(default=30, ge=1)
    window: int = Field(default=5, ge=1)
    seed: int = 0
    num_partitions: int | None = Field(default=None, ge=1)
