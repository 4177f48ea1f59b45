"""Nouns among the words of a store, found without a tagger: by where they stand.

A noun ends a run of content words behind an article or possessive (`the small battery is`), or is capitalised inside a
clause (German). What is no content word is found by its frequency, so that no list of stop words is needed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from mmrec_lib.text.clauses import (
    NEGATORS,
    Token,
    clauses,
    document_counts,
    is_determiner,
    is_wordlike,
    tokens,
    without_elision,
)

# A word of so many reviews of a language mostly says how something is said, not what is spoken of. It can still be what
# everybody speaks of, and must then stand as a noun more often.
_COMMON_SHARE = 0.15
_NOUN_SHARE, _COMMON_NOUN_SHARE = 0.3, 0.6
# Adjectives between an article and its noun, at most.
_REACH = 2
_MIN_REVIEWS = 3
# A language of fewer reviews says nothing about frequencies.
_FEW_REVIEWS = 30


@dataclass(frozen=True)
class Use:
    """Usage of a word.

    Attributes:
        num_reviews: Reviews that have it.
        share: Share of its occurrences that stand where nouns stand.
        is_noun: Whether that makes it a noun.
    """

    num_reviews: int
    share: float
    is_noun: bool


def names_a_thing(word: str) -> bool:
    """True when a word could be a noun or adjective: letters, no article, no negator."""
    return is_wordlike(word) and word not in NEGATORS and not is_determiner(word)


def common_words(texts: Sequence[str], languages: Sequence[str]) -> frozenset[str]:
    """Words in a large share of all reviews, or of those of a language.

    Args:
        texts: Reviews.
        languages: Language of each; "" where it is not known.
    """
    documents = [[without_elision(t)[0] for clause in clauses(text) for t in tokens(clause)] for text in texts]
    by_language: dict[str, list[list[str]]] = {}
    for document, language in zip(documents, languages, strict=True):
        by_language.setdefault(language, []).append(document)
    common: set[str] = set()
    for members in (documents, *by_language.values()):
        if len(members) >= _FEW_REVIEWS:
            limit = _COMMON_SHARE * len(members)
            common |= {word for word, count in document_counts(members).items() if count > limit}
    return frozenset(common)


def word_uses(texts: Sequence[str], common: frozenset[str]) -> dict[str, Use]:
    """Usage of the words of a store, in the order of the alphabet; without rare words, articles and negators.

    Args:
        texts: Reviews.
        common: See `common_words`.
    """
    seen, as_noun, reviews = Counter[str](), Counter[str](), Counter[str]()
    for text in texts:
        here = set[str]()
        for clause in clauses(text):
            found = tokens(clause)
            bare = [without_elision(token) for token in found]
            for place, (word, _) in enumerate(bare):
                if names_a_thing(word):
                    seen[word] += 1
                    as_noun[word] += _stands_as_noun(found, bare, place, common)
                    here.add(word)
        reviews.update(here)
    shares = {word: as_noun[word] / seen[word] for word in sorted(seen) if reviews[word] >= _MIN_REVIEWS}
    return {
        word: Use(reviews[word], share, share >= (_COMMON_NOUN_SHARE if word in common else _NOUN_SHARE))
        for word, share in shares.items()
    }


def _stands_as_noun(
    found: Sequence[Token], bare: Sequence[tuple[str, bool]], place: int, common: frozenset[str]
) -> bool:
    def is_content(index: int) -> bool:
        return names_a_thing(bare[index][0]) and bare[index][0] not in common

    if place + 1 < len(bare) and is_content(place + 1):
        return False
    if place and found[place].written[0].isupper() and not found[place].written.isupper():
        return True
    reach = 0 if bare[place][0] in common else _REACH
    for start in range(place, max(place - reach, 0) - 1, -1):
        _, has_article = bare[start]
        if has_article or (start and is_determiner(bare[start - 1][0])):
            return True
        if start == 0 or not is_content(start - 1):
            return False
    return False
