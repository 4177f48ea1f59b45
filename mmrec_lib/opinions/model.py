"""All that is fitted on the reviews of a store, as one thing that is saved and sent to workers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from mmrec_lib.errors import ModelError
from mmrec_lib.opinions.aspects import find_aspects
from mmrec_lib.opinions.config import OpinionConfig
from mmrec_lib.opinions.nouns import common_words, word_uses
from mmrec_lib.opinions.ratings import TEST, TRAIN, VALID, RatingModel, fit_ratings
from mmrec_lib.opinions.topics import TopicModel, fit_topics
from mmrec_lib.text.tfidf import Vocabulary

UNRATED = "unrated"
# Raised when the code that fits or applies the model changes its results.
METHOD = 1


@dataclass(frozen=True)
class Review:
    """A review that a fit looks at.

    Attributes:
        text: Its words in normal form, not empty.
        language: ISO 639-1 code; "" where it is not known.
        rating: Stars; None without.
    """

    text: str
    language: str
    rating: float | None


@dataclass(frozen=True)
class OpinionModel:
    """Knowledge of how a store's users speak.

    Attributes:
        aspects: What they speak of, most frequent first.
        ratings: How their words go with ratings; None where there are too few.
        no_ratings: Why there is no model of ratings; None with one.
        topics: What reviews are about; None where there are too few.
        metrics: What was measured on held-out reviews, see `RatingFit`, and the coherence of topics.
    """

    aspects: tuple[str, ...]
    ratings: RatingModel | None
    no_ratings: str | None
    topics: TopicModel | None
    metrics: dict[str, float] = field(default_factory=dict)

    def to_saved(self) -> tuple[str, bytes]:
        """The model as JSON and as safetensors."""
        document = {
            "aspects": self.aspects,
            "no_ratings": self.no_ratings,
            "metrics": self.metrics,
            "rating_idf": self.ratings.vocabulary.idf if self.ratings else None,
            "topic_idf": self.topics.vocabulary.idf if self.topics else None,
        }
        arrays = {
            **(self.ratings.arrays() if self.ratings else {}),
            **(self.topics.arrays() if self.topics else {}),
        }
        contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        return json.dumps(document, ensure_ascii=False), save(contiguous)

    @classmethod
    def of_saved(cls, document: str, arrays: bytes) -> OpinionModel:
        """The model that `to_saved` wrote.

        Raises:
            ModelError: When it is damaged.
        """
        try:
            values, weights = json.loads(document), load(arrays)
            rating_idf, topic_idf = values["rating_idf"], values["topic_idf"]
            return cls(
                tuple(values["aspects"]),
                RatingModel.of_arrays(Vocabulary(rating_idf), weights) if rating_idf is not None else None,
                values["no_ratings"],
                TopicModel.of_arrays(Vocabulary(topic_idf), weights) if topic_idf is not None else None,
                values["metrics"],
            )
        except (ValueError, KeyError, SafetensorError) as error:
            raise ModelError(
                f"opinion model: a JSON document with its safetensors is needed, got {type(error).__name__}: {error}; "
                "remove its row from opinion_model, and the next run fits it again"
            ) from None


def part_of(review: Review) -> str:
    """Part of the fit (train, valid or test) of a review, by its words: equal ones are never in two."""
    if review.rating is None:
        return UNRATED
    place = int(hashlib.sha256(review.text.encode()).hexdigest()[:8], 16) % 10
    return TRAIN if place < 6 else VALID if place < 8 else TEST


def settings_id(config: OpinionConfig) -> str:
    """Identity of how models are fitted, whatever the reviews; 16 hexadecimal digits."""
    settings = config.model_dump(mode="json", exclude={"sentiment_encoder", "refit_share"})
    return hashlib.sha256(json.dumps([METHOD, settings], sort_keys=True).encode()).hexdigest()[:16]


def fit_revision(reviews: Sequence[Review], config: OpinionConfig) -> str:
    """Identity of a fit: of its reviews in whatever order, its settings and its method; 16 hexadecimal digits."""
    rows = sorted(json.dumps([review.text, review.language, review.rating]) for review in reviews)
    return hashlib.sha256(json.dumps([settings_id(config), rows]).encode()).hexdigest()[:16]


def fit_opinions(reviews: Sequence[Review], config: OpinionConfig) -> OpinionModel:
    """Fit everything on the reviews of a store; the result does not depend on their order.

    Args:
        reviews: Those with words, rated or not.
        config: How they are read.
    """
    ordered = sorted(reviews, key=lambda review: (review.text, review.language, review.rating or 0.0))
    texts = [review.text[: config.max_characters] for review in ordered]
    common = common_words(texts, [review.language for review in ordered])
    uses = word_uses(texts, common)
    topics, coherence = fit_topics(texts, uses, config.topic_counts, config.seed)
    rated = [(text, review) for text, review in zip(texts, ordered, strict=True) if review.rating is not None]
    fit = fit_ratings(
        [text for text, _ in rated],
        np.array([review.rating for _, review in rated], np.float64),
        [part_of(review) for _, review in rated],
        config,
    )
    aspects = tuple(find_aspects(texts, uses, common, config))
    return OpinionModel(aspects, fit.model, fit.reason, topics, {**fit.metrics, **coherence})
