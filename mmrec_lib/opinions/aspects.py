"""Aspects of reviews: frequent nouns and noun phrases, and where a review speaks of them.

Hu and Liu (2004), Mining and summarizing customer reviews: the features of a product are the nouns that many reviews
share, and an opinion on one is that of the clause it stands in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from mmrec_lib.opinions.config import OpinionConfig
from mmrec_lib.opinions.nouns import Use, names_a_thing
from mmrec_lib.text.clauses import clauses, tokens, without_elision

# Of the occurrences of a word of a phrase so many stand in the phrase.
_PHRASE_SHARE = 0.5
_MIN_REVIEWS = 3


@dataclass(frozen=True)
class Mention:
    """A place where a review speaks of an aspect.

    Attributes:
        aspect: Its name, lower case.
        clause: The clause, as it was written.
        rest: The clause without the aspect's own words: what is said about it.
    """

    aspect: str
    clause: str
    rest: str


def find_aspects(
    texts: Sequence[str], uses: Mapping[str, Use], common: frozenset[str], config: OpinionConfig
) -> list[str]:
    """The aspects of a store, most frequent first: nouns and pairs of words that end in one, lower case.

    Args:
        texts: Reviews.
        uses: See `nouns.word_uses`.
        common: See `nouns.common_words`.
        config: How frequent an aspect must be, and how many there may be.
    """
    enough = max(_MIN_REVIEWS, config.min_aspect_share * len(texts))
    nouns = {word: use.num_reviews for word, use in uses.items() if use.is_noun}
    words, pairs, pair_reviews = Counter[str](), Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for text in texts:
        here = set[tuple[str, str]]()
        for clause in clauses(text):
            found = [without_elision(token)[0] for token in tokens(clause)]
            words.update(found)
            for pair in pairwise(found):
                if pair[1] in nouns and names_a_thing(pair[0]) and pair[0] not in common:
                    pairs[pair] += 1
                    here.add(pair)
        pair_reviews.update(here)
    phrases = {
        pair: count
        for pair, count in pair_reviews.items()
        if count >= enough and pairs[pair] >= _PHRASE_SHARE * min(words[pair[0]], words[pair[1]])
    }
    in_phrases = Counter[str]()
    for pair in phrases:
        in_phrases.update({word: pairs[pair] for word in pair})
    # A word that hardly stands alone is a part of its phrase.
    named = {
        word: count
        for word, count in nouns.items()
        if count >= enough and in_phrases[word] < _PHRASE_SHARE * words[word]
    }
    named |= {" ".join(pair): count for pair, count in phrases.items()}
    return sorted(named, key=lambda name: (-named[name], name))[: config.max_aspects]


def mentions(text: str, aspects: frozenset[str]) -> list[Mention]:
    """Where a review speaks of aspects, clause by clause; a word inside a longer aspect does not count by itself."""
    found: list[Mention] = []
    for clause in clauses(text):
        parts = tokens(clause)
        bare = [without_elision(token)[0] for token in parts]
        taken: set[int] = set()
        for length in (2, 1):
            for place in range(len(bare) - length + 1):
                span = range(place, place + length)
                name = " ".join(bare[place : place + length])
                if name not in aspects or taken.intersection(span):
                    continue
                taken.update(span)
                rest = " ".join(token.written for i, token in enumerate(parts) if i not in span)
                found.append(Mention(name, clause, rest))
    return found
