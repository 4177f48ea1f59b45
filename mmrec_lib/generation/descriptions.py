"""Descriptions of items that the store does not describe, of their facts alone."""

from __future__ import annotations

from mmrec_lib.generation.candidates import Bounds, Candidate, ChosenText, sentence_of
from mmrec_lib.generation.facts import Fact, FactRules, ItemFacts, description_facts
from mmrec_lib.generation.templates import LANGUAGES


def describe(item: ItemFacts, bounds: Bounds, rules: FactRules) -> ChosenText | None:
    """A text with a sentence for each fact of an item, in their order; what would be out of bounds is left out.

    Args:
        item: The item.
        bounds: Bounds of the text.
        rules: Bounds of facts.

    Returns:
        None where nothing is known of the item that a text may tell.
    """
    gap = LANGUAGES[bounds.language].gap
    text, told = "", list[Fact]()
    for fact in description_facts(item, rules):
        sentence = sentence_of(fact, bounds.language, item.item_id)
        longer = Candidate(f"{text}{gap}{sentence}" if text else sentence, (*told, fact))
        if bounds.grounding(longer) == 1:
            text, told = longer.text, [*told, fact]
    return ChosenText(Candidate(text, tuple(told)), 1.0, None) if told else None
