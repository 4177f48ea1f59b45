"""Check of a text against the facts that it was made from: each sentence tells one fact, and nothing else.

A name or number of a fact is a claim, and so is each word and each sign that is not punctuation. A sentence is grounded
where its claims are those of one template of one fact, in their order: words that claim nothing (articles, "it", "you")
may be added or left out, and the punctuation of the fact's own templates may be. So words and numbers cannot change
places, and neither emoji nor a sign beside a number passes. No template negates, hence no text does. Names count in
quotation marks only, which they cannot hold themselves, so that whatever a title says is one name and no sentence.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cache

from mmrec_lib.generation.facts import Fact
from mmrec_lib.generation.templates import LANGUAGES, NUMBER_SLOTS, FactKind

_SLOT = re.compile(r"\{(\w+)\}")
_FIRST_MARK, _LAST_MARK = 0xE000, 0xF8FF
_MARKS = f"{chr(_FIRST_MARK)}-{chr(_LAST_MARK)}"
_SPACED = re.compile(rf"[{_MARKS}]|[^\W_]+(?:['’][^\W_]+)*|\S")
# Of a language without spaces a word is what stands between names, numbers and punctuation.
_UNSPACED = re.compile(rf"[{_MARKS}]|[「」、，,（）()]|[^\s{_MARKS}「」、，,（）()]+")
_NO_FACT, _CUT = "a sentence without a fact", "a sentence cut short"


@dataclass(frozen=True)
class Grounding:
    """Claims of a text and those of them that facts hold.

    Attributes:
        num_claims: Names, numbers, words and signs that claim something; a sentence without a fact, or with a part of
            its template only, is one more.
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
    for sentence in re.split(_stop(language), marked):
        tokens = _tokens(sentence, language)
        if not tokens:
            continue
        place, claims, wrong = _best_fact(tokens, facts, marks, language)
        # That no fact is told, or not all of its template, is one claim more.
        num_claims += len(claims) + (wrong[-1:] in ([_NO_FACT], [_CUT]))
        if place is not None and place not in told:
            told.append(place)
        ungrounded += [value_of.get(token, token) for token in wrong]
    return Grounding(num_claims, tuple(ungrounded), tuple(told))


def _best_fact(
    tokens: Sequence[str], facts: Sequence[Fact], marks: dict[str, str], language: str
) -> tuple[int | None, list[str], list[str]]:
    """Place of the fact that holds most of a sentence, the sentence's claims, and those that the fact does not hold."""
    best: tuple[int | None, list[str], list[str]] | None = None
    for place, fact in enumerate(facts):
        if not any(marks[value] in tokens for value in fact.values.values()):
            continue
        forms, punctuation = _forms(language, fact.kind)
        claims = [token for token in _claims(tokens, language) if token not in punctuation]
        slots = {f"{{{slot}}}": marks[value] for slot, value in fact.values.items()}
        expected = [[slots.get(token, token) for token in form] for form in forms]
        if claims in expected:
            return place, claims, []
        wrong = min((_not_held(claims, form) for form in expected), key=len)
        if best is None or len(wrong) < len(best[2]):
            best = place, claims, wrong
    return best or (None, _claims(tokens, language), [_NO_FACT])


def _not_held(claims: Sequence[str], form: Sequence[str]) -> list[str]:
    """Claims that stand in another order than those of a template, or are none of it."""
    blocks = SequenceMatcher(None, claims, form, autojunk=False).get_matching_blocks()
    held = {block.a + step for block in blocks for step in range(block.size)}
    return [token for place, token in enumerate(claims) if place not in held] or [_CUT]


@cache
def _forms(language: str, kind: FactKind) -> tuple[tuple[tuple[str, ...], ...], frozenset[str]]:
    """Claims of each template of a kind, slots as `{slot}`, and the punctuation of all of them."""
    forms, punctuation = list[tuple[str, ...]](), set[str]()
    for template in LANGUAGES[language].sentences[kind]:
        mark_of = {slot: chr(_FIRST_MARK + place) for place, slot in enumerate(_SLOT.findall(template))}
        slot_of = {mark: f"{{{slot}}}" for slot, mark in mark_of.items()}
        tokens = _tokens(re.sub(_stop(language), "", template.format_map(mark_of)), language)
        punctuation |= {token for token in tokens if token not in slot_of and not any(map(str.isalnum, token))}
        forms.append(
            tuple(slot_of.get(token, token) for token in _claims(tokens, language) if token not in punctuation)
        )
    return tuple(forms), frozenset(punctuation)


def _claims(tokens: Sequence[str], language: str) -> list[str]:
    return [token for token in tokens if token not in LANGUAGES[language].neutral]


def _stop(language: str) -> str:
    """Pattern of the end of a sentence; no template asks or exclaims."""
    return r"[.\n]+" if LANGUAGES[language].is_spaced else r"[。\n]+"


def _tokens(sentence: str, language: str) -> list[str]:
    """Words in lower case, marks, and each other sign."""
    if LANGUAGES[language].is_spaced:
        return [token.casefold() for token in _SPACED.findall(sentence)]
    return _UNSPACED.findall(sentence)


def _marked(text: str, marks: dict[str, str], numbers: frozenset[str], *, is_spaced: bool) -> str:
    """The text with a mark in place of each number of a fact, and of each name that stands in quotation marks."""
    names = [value for value in marks if value not in numbers]
    if names:
        found = "|".join(map(re.escape, names))
        text = re.sub(rf"(?<=[“„«「])(\s?)({found})(?=\s?[”“»」])", lambda match: match[1] + marks[match[2]], text)
    if numbers:
        # A number is not part of a longer one.
        edge = r"\w" if is_spaced else r"\d"
        found = "|".join(re.escape(value) for value in marks if value in numbers)
        text = re.sub(rf"(?<![{edge}.,])(?:{found})(?![{edge}]|[.,]\d)", lambda match: marks[match[0]], text)
    return text
