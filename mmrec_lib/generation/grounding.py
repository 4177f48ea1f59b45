"""Check of a text against the facts that it was made from: each sentence tells one fact, and nothing else.

A name or number of a fact is a claim, and so is each other word. A word is grounded where a template of the fact that
its sentence tells has it, or where it claims nothing (articles, "it", "you"). A name or number is grounded where the
word before it and the word after it are those that a template has at its place, words that claim nothing aside: so
numbers cannot change places, and praise cannot be made of a price. No template negates, hence no text does. Names count
in quotation marks only, which they cannot hold themselves, so that whatever a title says is one name and no sentence.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from mmrec_lib.generation.facts import Fact
from mmrec_lib.generation.templates import LANGUAGES, NUMBER_SLOTS, FactKind

_SLOT = re.compile(r"\{(\w+)\}")
_SENTENCE = re.compile(r"[.!?。！？\n]+")
_FIRST_MARK, _LAST_MARK = 0xE000, 0xF8FF
_MARKS = f"{chr(_FIRST_MARK)}-{chr(_LAST_MARK)}"
_SPACED = re.compile(rf"[{_MARKS}]|[^\W_]+(?:['’][^\W_]+)*")
# Of a language without spaces a word is what stands between names, numbers and quotation marks.
_UNSPACED = re.compile(rf"[{_MARKS}]|[^\s{_MARKS}「」、，,（）()]+")
_EDGE = ""


@dataclass(frozen=True)
class Grounding:
    """Claims of a text and those of them that facts hold.

    Attributes:
        num_claims: Names, numbers and words that claim something; a sentence without a fact is one more.
        ungrounded: The claims that no fact holds.
        told: Places of the facts that are told.
    """

    num_claims: int
    ungrounded: tuple[str, ...]
    told: tuple[int, ...] = ()

    @property
    def score(self) -> float:
        """Share of the claims that facts hold; 0 where nothing is claimed."""
        return 1 - len(self.ungrounded) / self.num_claims if self.num_claims else 0.0


def check_grounding(text: str, facts: Sequence[Fact], language: str) -> Grounding:
    """Check a text against facts.

    Args:
        text: A text in the language.
        facts: Facts that it may tell, at most 6,000 values.
        language: One of `LANGUAGES`.
    """
    if re.search(f"[{_MARKS}]", text):
        return Grounding(1, ("characters of private use",))
    values = sorted({value for fact in facts for value in fact.values.values()}, key=lambda value: (-len(value), value))
    marks = {value: chr(_FIRST_MARK + place) for place, value in enumerate(values)}
    numbers = frozenset(fact.values[slot] for fact in facts for slot in NUMBER_SLOTS if slot in fact.values)
    marked = _marked(text, marks, numbers, is_spaced=LANGUAGES[language].is_spaced)
    value_of = {mark: value for value, mark in marks.items()}
    num_claims, ungrounded, told = 0, list[str](), list[int]()
    for sentence in _SENTENCE.split(marked):
        words = _words(sentence, language)
        if not words:
            continue
        fact, wrong = _best_fact(words, facts, value_of, language)
        num_claims += sum(word not in LANGUAGES[language].neutral for word in words)
        if fact is None:
            num_claims += 1
            ungrounded.append("a sentence without a fact")
        elif fact not in told:
            told.append(fact)
        ungrounded += wrong
    return Grounding(num_claims, tuple(ungrounded), tuple(told))


def _best_fact(
    words: Sequence[str], facts: Sequence[Fact], value_of: dict[str, str], language: str
) -> tuple[int | None, list[str]]:
    """The fact that holds most of a sentence, and the words that it does not hold."""
    best: tuple[int | None, list[str]] | None = None
    for place, fact in enumerate(facts):
        if not any(value_of.get(word) in fact.values.values() for word in words):
            continue
        wrong = list(_not_held(words, fact, value_of, language))
        if best is None or len(wrong) < len(best[1]):
            best = place, wrong
    return best or (None, [])


def _not_held(words: Sequence[str], fact: Fact, value_of: dict[str, str], language: str) -> Iterator[str]:
    known, places = _grammar(language, fact.kind)
    for before, word, after in _with_sides(words, language):
        if word not in value_of:
            if word not in known:
                yield word
            continue
        value = value_of[word]
        slots = [slot for slot, own in fact.values.items() if own == value]
        sides = [_EDGE if side == _EDGE else "…" if side in value_of else side for side in (before, after)]
        if not any((slot, *sides) in places for slot in slots):
            yield value


@cache
def _grammar(language: str, kind: FactKind) -> tuple[frozenset[str], frozenset[tuple[str, str, str]]]:
    """Words of the templates of a kind, and of each slot the words before and after it."""
    known, places = set[str](), set[tuple[str, str, str]]()
    for sentence in LANGUAGES[language].sentences[kind]:
        template = sentence
        slots = _SLOT.findall(template)
        slot_of = {chr(_FIRST_MARK + place): slot for place, slot in enumerate(slots)}
        for mark, slot in slot_of.items():
            template = template.replace(f"{{{slot}}}", mark)
        words = _words(_SENTENCE.sub("", template), language)
        known |= {word for word in words if word not in slot_of}
        for before, word, after in _with_sides(words, language):
            if word in slot_of:
                sides = ["…" if side in slot_of else side for side in (before, after)]
                places.add((slot_of[word], sides[0], sides[1]))
    return frozenset(known), frozenset(places)


def _with_sides(words: Sequence[str], language: str) -> Iterator[tuple[str, str, str]]:
    """Words that claim something, each between the ones before and after it."""
    claiming = [word for word in words if word not in LANGUAGES[language].neutral]
    edged = [_EDGE, *claiming, _EDGE]
    yield from zip(edged, claiming, edged[2:], strict=False)


def _words(sentence: str, language: str) -> list[str]:
    if LANGUAGES[language].is_spaced:
        return [word.casefold() for word in _SPACED.findall(sentence)]
    return [part for word in _UNSPACED.findall(sentence) if (part := word.strip("。 "))]


def _marked(text: str, marks: dict[str, str], numbers: frozenset[str], *, is_spaced: bool) -> str:
    """The text with a mark in place of each number of a fact, and of each name that stands in quotation marks."""
    names = [value for value in marks if value not in numbers]
    if names:
        found = "|".join(map(re.escape, names))
        text = re.sub(rf"(?<=[“„«「])(\s?)({found})(?=\s?[”“»」])", lambda match: match[1] + marks[match[2]], text)
    if numbers:
        # A number is not part of a longer one.
        edge = r"\w" if is_spaced else "0-9"
        found = "|".join(re.escape(value) for value in marks if value in numbers)
        text = re.sub(rf"(?<![{edge}])(?:{found})(?![{edge}])", lambda match: marks[match[0]], text)
    return text
