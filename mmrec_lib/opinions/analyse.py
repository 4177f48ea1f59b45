"""Reviews → opinions: one result or reason a review, whatever it holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from mmrec_lib.opinions.aspects import mentions
from mmrec_lib.opinions.config import OpinionConfig
from mmrec_lib.opinions.lexicon import NEUTRAL_BELOW, is_english, lexicon_scores
from mmrec_lib.opinions.model import OpinionModel
from mmrec_lib.opinions.ratings import SENTIMENTS, Judgement

NO_WORDS = "no_words: the review has neither words nor a transcript"
NO_KNOWN_WORDS = "no_known_words: none of its words is one that the model knows"
_ENGLISH_ONLY = "and the general lexicon that stands in knows English only"


@dataclass(frozen=True)
class AspectOpinion:
    """Opinion of a review on one aspect.

    Attributes:
        aspect: The aspect.
        sentiment: One of `SENTIMENTS`; None where nothing that is known is said about it.
        polarity: From -1 (negative) to 1 (positive); None likewise.
        clause: Where it says so.
    """

    aspect: str
    sentiment: str | None
    polarity: float | None
    clause: str


@dataclass(frozen=True)
class TopicShare:
    """A topic of a review.

    Attributes:
        topic: Number of the topic, from 0.
        name: Its top words.
        share: Its share of the review, 0 to 1.
    """

    topic: int
    name: str
    share: float


@dataclass(frozen=True)
class Opinion:
    """Opinion of a review.

    Attributes:
        sentiment: One of `SENTIMENTS`; None with an error.
        probabilities: How likely each sentiment is; None with an error, and where only the lexicon judged, which gives
            no probabilities.
        rating: Pseudo-rating on the store's scale; None where the model gives none.
        rating_std: Standard deviation of the pseudo-rating as the model sees it.
        aspects: What it speaks of.
        topics: What it is about, largest share first.
        error: Why there is no sentiment.
    """

    sentiment: str | None = None
    probabilities: tuple[float, float, float] | None = None
    rating: float | None = None
    rating_std: float | None = None
    aspects: tuple[AspectOpinion, ...] = ()
    topics: tuple[TopicShare, ...] = ()
    error: str | None = None


class Judge(Protocol):
    """Classifier of sentiments of texts: the store's own model of ratings, or a sequence classifier."""

    def judge(self, texts: Sequence[str], config: OpinionConfig) -> Judgement:
        """Sentiments and pseudo-ratings; the result of a text does not depend on the others."""


def analyse(
    texts: Sequence[str | None], model: OpinionModel, config: OpinionConfig, classifier: Judge | None = None
) -> list[Opinion]:
    """Opinion of each review.

    Args:
        texts: Words of reviews; None, empty ones and those without a known word become errors.
        model: Fitted on the store's reviews.
        config: How reviews are read.
        classifier: Tells sentiments in place of the store's model of ratings, which then still gives the pseudo-rating
            if the classifier has none.
    """
    read = [(text or "")[: config.max_characters] for text in texts]
    rows = [row for row, text in enumerate(read) if text.strip("\0 \t\r\n")]
    said = [mentions(read[row], frozenset(model.aspects)) for row in rows]
    parts = [mention.rest for found in said for mention in found]
    judged = _judge([read[row] for row in rows], model, config, classifier)
    judged_parts = _judge(parts, model, config, classifier)
    topics = model.topics.topics([read[row] for row in rows]) if model.topics else [[] for _ in rows]
    names = model.topics.names if model.topics else []
    opinions = [Opinion(error=NO_WORDS) for _ in texts]
    next_part = 0
    for row, one, found, shares in zip(rows, judged, said, topics, strict=True):
        of_parts = judged_parts[next_part : next_part + len(found)]
        next_part += len(found)
        opinions[row] = Opinion(
            one.sentiment,
            one.probabilities,
            one.rating,
            one.rating_std,
            tuple(
                AspectOpinion(m.aspect, p.sentiment, p.polarity, m.clause) for m, p in zip(found, of_parts, strict=True)
            ),
            tuple(TopicShare(topic, names[topic], share) for topic, share in shares),
            one.error,
        )
    return opinions


@dataclass(frozen=True)
class _Judged:
    sentiment: str | None = None
    probabilities: tuple[float, float, float] | None = None
    polarity: float | None = None
    rating: float | None = None
    rating_std: float | None = None
    error: str | None = None


def _judge(texts: Sequence[str], model: OpinionModel, config: OpinionConfig, classifier: Judge | None) -> list[_Judged]:
    if not texts:
        return []
    of_store = model.ratings.judge(texts, config) if model.ratings is not None else None
    if classifier is not None:
        found = classifier.judge(texts, config)
        if of_store is not None:
            use_store = np.isnan(found.ratings) & of_store.is_known
            found = Judgement(
                found.probabilities,
                np.where(use_store, of_store.ratings, found.ratings),
                np.where(use_store, of_store.stds, found.stds),
                found.is_known,
            )
        return _rows(found)
    return _rows(of_store) if of_store is not None else _by_lexicon(texts, str(model.no_ratings))


def _rows(found: Judgement) -> list[_Judged]:
    rows = []
    for row, is_known in enumerate(found.is_known):
        if not is_known:
            rows.append(_Judged(error=NO_KNOWN_WORDS))
            continue
        negative, neutral, positive = (float(value) for value in found.probabilities[row])
        rows.append(
            _Judged(
                SENTIMENTS[int(found.probabilities[row].argmax())],
                (negative, neutral, positive),
                positive - negative,
                _number(found.ratings[row]),
                _number(found.stds[row]),
            )
        )
    return rows


def _by_lexicon(texts: Sequence[str], no_ratings: str) -> list[_Judged]:
    """Verdict of the general lexicon, where there is nothing to learn from: no probabilities and no rating."""
    rows = []
    for text, score in zip(texts, lexicon_scores(texts), strict=True):
        if score == 0.0:
            rows.append(_Judged(error=NO_KNOWN_WORDS))
        elif not is_english(text):
            rows.append(_Judged(error=f"{no_ratings}, {_ENGLISH_ONLY}"))
        else:
            sentiment = SENTIMENTS[int(score > -NEUTRAL_BELOW) + int(score >= NEUTRAL_BELOW)]
            rows.append(_Judged(sentiment, polarity=float(score)))
    return rows


def _number(value: np.float64 | npt.NDArray[np.float64]) -> float | None:
    return None if np.isnan(value) else float(value)
