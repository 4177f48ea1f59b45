"""A text is published only where its facts hold all that it says."""

from __future__ import annotations

import itertools

import pytest

from mmrec_lib.generation.facts import Fact
from mmrec_lib.generation.grounding import check_grounding
from mmrec_lib.generation.templates import LANGUAGES, NUMBER_SLOTS, FactKind, language_of

VALUES = {
    "title": "Alien 3. The end!",
    "node": "Ann Lee",
    "brand": "You",
    "category": "reviews praise",
    "segment": "Dresses and Hats",
    "aspect": "fit",
    "labels": "suit, tie",
    "words": "SALE",
    "price": "25.95",
    "low": "20",
    "high": "40.50",
    "num": "12",
    "rating": "4.5",
}
SLOTS = {
    FactKind.PATH: ("title", "node"),
    FactKind.HISTORY: ("title",),
    FactKind.BRAND: ("brand",),
    FactKind.CATEGORY: ("category",),
    FactKind.SEGMENT: ("segment",),
    FactKind.PRICE_USUAL: ("price", "low", "high"),
    FactKind.PRICE_BELOW: ("price", "low"),
    FactKind.ASPECT: ("num", "aspect"),
    FactKind.RATING: ("rating", "num"),
    FactKind.ITEM_CATEGORY: ("category",),
    FactKind.ITEM_BRAND: ("brand",),
    FactKind.SHOWN: ("labels",),
    FactKind.WRITTEN_ON: ("words",),
}


def fact(kind: FactKind) -> Fact:
    return Fact(kind, {slot: VALUES[slot] for slot in SLOTS[kind]})


ALL = [fact(kind) for kind in FactKind]


@pytest.mark.parametrize("language", sorted(LANGUAGES))
def test_every_wording_of_every_language_is_grounded_in_its_fact_and_in_no_other(language: str) -> None:
    own = LANGUAGES[language]
    assert set(own.sentences) == set(FactKind)
    for place, kind in enumerate(FactKind):
        for wording in own.sentences[kind]:
            text = wording.format_map(dict(ALL[place].values))
            found = check_grounding(text, ALL, language)
            assert (found.score, found.ungrounded) == (1.0, ()), text
            assert check_grounding(text, [], language).score < 1
            changed = {slot: "77" if slot in NUMBER_SLOTS else "Zorro" for slot in SLOTS[kind]}
            for slot in SLOTS[kind]:
                wrong = wording.format_map({**ALL[place].values, slot: changed[slot]})
                assert check_grounding(wrong, ALL, language).score < 1, wrong


@pytest.mark.parametrize("language", sorted(LANGUAGES))
def test_two_sentences_tell_two_facts(language: str) -> None:
    own = LANGUAGES[language]
    for first, second in itertools.permutations((FactKind.HISTORY, FactKind.RATING, FactKind.PRICE_USUAL), 2):
        sentences = [own.sentences[kind][0].format_map(dict(fact(kind).values)) for kind in (first, second)]
        facts = [fact(first), fact(second)]
        found = check_grounding(own.gap.join(sentences), facts, language)
        assert (found.score, found.told) == (1.0, (0, 1))
        assert check_grounding(own.gap.join(sentences), facts[:1], language).score < 1


@pytest.mark.parametrize(
    "text",
    [
        "You turned to “Alien 3. The end!”, and this goes with it, free of charge.",
        "You never turned to “Alien 3. The end!”.",
        "Because you turned to “Ann Lee”.",
        "Because you turned to Alien 3.",
        "You often choose “You” and “fit”.",
        "4.5 reviews praise “fit”.",
        "Rated 12 on average in 4.5 reviews.",
        "Its price of 20 lies in your usual range of 25.95 to 40.50.",
        "12 reviews rate your usual range.",
        "“Alien 3. The end!”.",
        "It is for you.",
        "Because you turned to “Alien 3. The end!”. Buy now",
        "Because you turned to “Alien 3. The end!”. \ue000",
        "Weil Sie sich mit „Alien 3. The end!“ befasst haben.",
        "",
    ],
)
def test_a_text_that_says_more_or_other_than_its_facts_is_not_grounded(text: str) -> None:
    assert check_grounding(text, ALL, "en").score < 1


def test_a_model_may_add_words_that_claim_nothing() -> None:
    found = check_grounding("And here it is, because you also turned to “Alien 3. The end!”.", ALL, "en")
    assert found.score == 1
    assert found.told == (list(FactKind).index(FactKind.HISTORY),)


JEANS = Fact(FactKind.CATEGORY, {"category": "Jeans"})
RATED = Fact(FactKind.RATING, {"rating": "4.5", "num": "5"})
BELOW = Fact(FactKind.PRICE_BELOW, {"price": "5", "low": "9"})


@pytest.mark.parametrize(
    "text",
    [
        "ⓕⓡⓔⓔ ⓣⓞⓓⓐⓨ 🅵🆁🅴🅴 You often choose “Jeans”.",
        "🚫❌ You often choose “Jeans” ¬.",
        "🚫❌. You often choose “Jeans”.",
        "You often choose “Jeans”!",
        "You often choose “Jeans”?",
        "You often cho\u0338ose “Jeans”.",
        "You often choose _ “Jeans”.",
        "Choose often “Jeans”.",
        "Often “Jeans”.",
        "“Jeans” you often choose.",
        *(f"Rated {sign}4.5 on average in 5 reviews." for sign in ("-", "−", "+", "<", ">", "~", "≈", "1,", ".")),
        *(f"Rated 4.5{sign} on average in 5 reviews." for sign in ("%", " %", "+", "²", ".5")),
        "Rated >4.5% on average in 5+ reviews.",
        "Rated 4.5 on average in 5 reviews: 5 reviews.",
        "Its price of 5 lies below less than which costs your range usual.",
        "Its price of 9 lies below your usual range, which begins at 5.",
        "Its price of 5 lies below your usual range.",
    ],
)
def test_neither_signs_nor_another_order_of_words_are_grounded(text: str) -> None:
    assert check_grounding(text, [JEANS, RATED, BELOW], "en").score < 1


@pytest.mark.parametrize(
    ("text", "language"),
    [("-5件のレビューで「Jeans」が好評です。", "ja"), ("Im Mittel mit -4,5 bewertet, in 5 Bewertungen.", "de")],
)
def test_a_sign_beside_a_number_is_no_part_of_it_in_any_language(text: str, language: str) -> None:
    praise = Fact(FactKind.ASPECT, {"num": "5", "aspect": "Jeans"})
    facts = [praise, Fact(FactKind.RATING, {"rating": "4,5", "num": "5"})]
    assert check_grounding(text, facts, language).score < 1
    assert check_grounding(text.replace("-", ""), facts, language).score == 1


def test_equal_numbers_of_a_fact_are_told_as_any_other() -> None:
    same = Fact(FactKind.RATING, {"rating": "5", "num": "5"})
    assert check_grounding("Rated 5 on average in 5 reviews.", [RATED, same], "en").score == 1


def test_the_score_is_the_share_of_grounded_claims() -> None:
    # Claims: because, turned, to, the title, gratis.
    found = check_grounding("Because you turned to “Alien 3. The end!” gratis.", ALL, "en")
    assert found.ungrounded[-1] == "gratis"
    assert 0 < found.score < 1


@pytest.mark.parametrize(
    ("given", "language"),
    [("de", "de"), ("fr-CA", "fr"), ("ES_mx", "es"), (" ja ", "ja"), ("xx", "en"), (None, "en"), ("", "en")],
)
def test_a_user_s_language_is_read_from_a_tag(given: str | None, language: str) -> None:
    assert language_of(given, "en") == language
