"""Facts → candidates by templates, and the choice among candidates.

Shape letters: d dimensions of a text encoder.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmrec_lib.generation.facts import Fact
from mmrec_lib.generation.grounding import check_grounding
from mmrec_lib.generation.names import NameRules
from mmrec_lib.generation.templates import LANGUAGES, FactKind
from mmrec_lib.safe_text import page_text

TEMPLATE = "template"
"""Source of texts that no model wrote."""
OF_ITEM = (FactKind.ASPECT, FactKind.RATING, FactKind.PRICE_USUAL, FactKind.PRICE_BELOW)
"""Kinds that a second sentence tells."""
_ORDER = {kind: place for place, kind in enumerate(FactKind)}

Vector = NDArray[np.float32]


@dataclass(frozen=True)
class Candidate:
    """A text that was made of facts.

    Attributes:
        text: The text.
        facts: Facts that it tells, in their order.
        source: `template`, or the model that wrote it.
    """

    text: str
    facts: tuple[Fact, ...]
    source: str = TEMPLATE


@dataclass(frozen=True)
class Bounds:
    """Bounds of texts.

    Attributes:
        language: One of `LANGUAGES`.
        max_characters: Longest text.
        names: Words that no text may hold.
    """

    language: str
    max_characters: int
    names: NameRules

    def grounding(self, candidate: Candidate) -> float:
        """Share of its claims that its facts hold; 0 for a text that is out of bounds."""
        text = candidate.text
        if not text or len(text) > self.max_characters or page_text(text) != text or not self.names.is_allowed(text):
            return 0.0
        return check_grounding(text, candidate.facts, self.language).score


@dataclass(frozen=True)
class ChosenText:
    """The text of an item.

    Attributes:
        candidate: Text and facts.
        grounding: Share of its claims that the facts hold: 1.
        score: By vectors; None without.
    """

    candidate: Candidate
    grounding: float
    score: float | None


@dataclass(frozen=True)
class Choice:
    """The vectors by which texts are chosen.

    Attributes:
        vector_of: Vector of length 1 [d] of what a fact is about; None where there is none.
        profile: Vector of length 1 [d] of the user's history; None without.
        item: Vector of length 1 [d] of the item; None without.
        alpha: Weight of the nearness to the history, between 0 and 1.
    """

    vector_of: Callable[[Fact], Vector | None]
    profile: Vector | None
    item: Vector | None
    alpha: float

    def score(self, facts: Sequence[Fact]) -> float | None:
        """α·cos(text, profile) + (1−α)·cos(text, item); None where the text, or both others, have no vector.

        The vector of a text is the sum of those of its facts: how a template is worded tells nothing of an item. Where
        one of profile and item is missing, the other counts alone.
        """
        vectors = [vector for vector in map(self.vector_of, facts) if vector is not None]
        weighted = [
            (weight, other)
            for weight, other in ((self.alpha, self.profile), (1 - self.alpha, self.item))
            if other is not None
        ]
        total = sum(weight for weight, _ in weighted)
        if not vectors or not total:
            return None
        text = np.sum(vectors, axis=0)
        length = float(np.linalg.norm(text))
        return sum(weight * float(text @ other) for weight, other in weighted) / (total * length) if length else None


def template_candidates(facts: Sequence[Fact], language: str, seed: str) -> list[Candidate]:
    """Texts of one fact, and of one fact and one of the item.

    Args:
        facts: Facts of the pair.
        language: One of `LANGUAGES`.
        seed: Decides among wordings, so that a list does not say everything in the same words.
    """
    told = [(fact, sentence_of(fact, language, seed)) for fact in facts]
    gap = LANGUAGES[language].gap
    pairs = [
        Candidate(f"{sentence}{gap}{more}", (fact, other))
        for fact, sentence in told
        if fact.kind not in OF_ITEM
        for other, more in told
        if other.kind in OF_ITEM
    ]
    return pairs + [Candidate(sentence, (fact,)) for fact, sentence in told]


def choose(
    candidates: Sequence[Candidate], told: Counter[tuple[str, ...]], bounds: Bounds, choice: Choice | None = None
) -> ChosenText | None:
    """The text of an item: the first in order that is in bounds and whose facts hold all that it claims.

    Facts that the items before it in the list tell come last, so that not each text tells the same; then vectors
    decide, then the order of the kinds, and of equal ones the text that tells more.

    Args:
        candidates: Of the item.
        told: How often the items before told what; this text is added.
        bounds: Bounds of texts.
        choice: Vectors; None goes by the order alone.
    """
    scored = [(candidate, None if choice is None else choice.score(candidate.facts)) for candidate in candidates]
    for candidate, score in sorted(scored, key=lambda one: _place(one[0], one[1], told)):
        grounding = bounds.grounding(candidate)
        if grounding == 1:
            told.update(_key(fact) for fact in candidate.facts)
            return ChosenText(candidate, grounding, score)
    return None


def _place(candidate: Candidate, score: float | None, told: Counter[tuple[str, ...]]) -> tuple[float, ...]:
    first, *others = candidate.facts
    return (
        told[_key(first)],
        -(score or 0.0),
        _ORDER[first.kind],
        -len(candidate.facts),
        *(told[_key(fact)] for fact in others),
    )


def _key(fact: Fact) -> tuple[str, ...]:
    return (fact.kind, *fact.values.values())


def sentence_of(fact: Fact, language: str, seed: str) -> str:
    """The fact in one of the wordings of a language, the same one for the same seed."""
    wordings = LANGUAGES[language].sentences[fact.kind]
    place = zlib.crc32(f"{seed} {fact.kind}".encode()) % len(wordings)
    return wordings[place].format_map(dict(fact.values))
