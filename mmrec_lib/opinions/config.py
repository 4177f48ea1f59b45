"""Configuration of opinions."""

from __future__ import annotations

from pydantic import Field

from mmrec_lib.section import Section


class OpinionConfig(Section):
    """Settings of opinions.

    Attributes:
        sentiment_encoder: Name of a model of kind sentiment under `models.encoders`; None takes the model that is
            fitted on the store's own reviews and ratings.
        negative_max: Ratings up to this are negative.
        positive_min: Ratings from this on are positive; those between are neutral.
        min_rated_reviews: With fewer rated reviews no model of ratings is fitted.
        min_class_reviews: Likewise when a sentiment has fewer rated reviews.
        max_fit_reviews: Reviews that a fit looks at, at most; a fixed sample of more.
        refit_share: The models are fitted again when more than this share of their reviews is new or gone.
        max_characters: What is behind so many characters of a review is not read.
        min_aspect_share: A phrase is an aspect when at least this share of the reviews speaks of it.
        max_aspects: Aspects of a store, at most; the most frequent ones are kept.
        topic_counts: Numbers of topics to choose from.
        seed: Seed of the topics.
    """

    sentiment_encoder: str | None = None
    negative_max: float = 2.0
    positive_min: float = 4.0
    min_rated_reviews: int = Field(default=50, ge=20)
    min_class_reviews: int = Field(default=5, ge=3)
    max_fit_reviews: int = Field(default=20_000, ge=20)
    refit_share: float = Field(default=0.1, ge=0.0)
    max_characters: int = Field(default=20_000, ge=100)
    min_aspect_share: float = Field(default=0.005, gt=0.0, le=1.0)
    max_aspects: int = Field(default=100, ge=0)
    topic_counts: tuple[int, ...] = (4, 8, 12, 20)
    seed: int = 0
