"""Facts of a pair: what is true of both, told only where it may be."""

from __future__ import annotations

import dataclasses

import pytest

from mmrec_lib.generation.facts import (
    Fact,
    FactRules,
    ItemFacts,
    SharedPath,
    UserFacts,
    description_facts,
    number,
    pair_facts,
)
from mmrec_lib.generation.names import NameRules
from mmrec_lib.generation.templates import FactKind

ALIEN = ItemFacts("i1", "Alien", ("Horror",))
ITEM = ItemFacts(
    "i2", "Dune", ("Drama", "Space"), "Acme", 25.0, aspects=[("fit", 4), ("zip", 1)], rating=4.46, num_ratings=7
)
USER = UserFacts(5, [("Space", 0.5), ("Drama", 0.3)], [("Acme", 0.4)], (20.0, 40.5), "Drama and Space")
RULES = FactRules()


def told(facts: list[Fact]) -> dict[FactKind, dict[str, str]]:
    return {fact.kind: dict(fact.values) for fact in facts}


def test_all_that_is_known_of_a_pair_in_the_order_of_the_kinds() -> None:
    facts = pair_facts(USER, ITEM, [ALIEN], SharedPath(ALIEN, "Ann Lee"), "en", RULES)
    assert told(facts) == {
        FactKind.PATH: {"title": "Alien", "node": "Ann Lee"},
        FactKind.HISTORY: {"title": "Alien"},
        FactKind.BRAND: {"brand": "Acme"},
        FactKind.CATEGORY: {"category": "Space"},
        FactKind.SEGMENT: {"segment": "Drama and Space"},
        FactKind.PRICE_USUAL: {"price": "25", "low": "20", "high": "40.50"},
        FactKind.ASPECT: {"num": "4", "aspect": "fit"},
        FactKind.RATING: {"rating": "4.5", "num": "7"},
    }
    order = list(FactKind)
    assert [order.index(fact.kind) for fact in facts] == sorted(order.index(fact.kind) for fact in facts)


def test_somebody_new_is_told_of_the_item_alone() -> None:
    facts = told(pair_facts(UserFacts(), ITEM, [], None, "de", RULES))
    assert list(facts) == [FactKind.ASPECT, FactKind.RATING, FactKind.ITEM_CATEGORY]
    assert facts[FactKind.RATING]["rating"] == "4,5"
    assert pair_facts(UserFacts(), ItemFacts("i3"), [], None, "en", RULES) == []


def test_with_a_short_history_nothing_is_often_chosen() -> None:
    facts = told(pair_facts(dataclasses.replace(USER, num_items=2), ITEM, [], None, "en", RULES))
    assert FactKind.CATEGORY not in facts and FactKind.PRICE_USUAL not in facts and FactKind.BRAND not in facts


def test_what_is_rarely_chosen_or_of_another_segment_is_no_reason() -> None:
    user = dataclasses.replace(USER, categories=[("Space", 0.1)], brands=[("Acme", 0.1)], segment="Hats")
    facts = told(pair_facts(user, ITEM, [], None, "en", RULES))
    assert not {FactKind.CATEGORY, FactKind.BRAND, FactKind.SEGMENT} & set(facts)


@pytest.mark.parametrize(
    ("price", "kind"), [(20.0, FactKind.PRICE_USUAL), (19.5, FactKind.PRICE_BELOW), (41.0, None), (None, None)]
)
def test_a_price_is_told_only_where_it_is_usual_or_below(price: float | None, kind: FactKind | None) -> None:
    facts = told(pair_facts(USER, dataclasses.replace(ITEM, price=price), [], None, "en", RULES))
    assert {FactKind.PRICE_USUAL, FactKind.PRICE_BELOW} & set(facts) == ({kind} if kind else set())


def test_nobody_is_told_to_have_turned_to_a_silent_category() -> None:
    rules = FactRules(silent_categories=frozenset({"Horror", "Space"}))
    facts = told(pair_facts(USER, ITEM, [ALIEN, ITEM], SharedPath(ALIEN, "Ann Lee"), "en", rules))
    assert not {FactKind.PATH, FactKind.HISTORY, FactKind.SEGMENT, FactKind.BRAND} & set(facts)
    assert facts[FactKind.CATEGORY] == {"category": "Drama"}
    other = told(pair_facts(USER, ITEM, [ALIEN, ItemFacts("i9", "Heidi")], None, "en", rules))
    assert other[FactKind.HISTORY] == {"title": "Heidi"}


@pytest.mark.parametrize(
    ("segment", "own", "item", "is_told"),
    [
        ("Books", ["Books"], "Books", True),
        ("Books and Hats", ["Hats", "Books"], "Hats", True),
        ("Books and Hats", ["Books"], "Books", False),
        ("Books and Health and Beauty", ["Books", "Health and Beauty"], "Books", False),
        ("Rock and Roll", ["Rock and Roll", "Rock"], "Rock", False),
        ("Rock and Roll", ["Rock and Roll", "Rock"], "Rock and Roll", True),
        ("Rock and Roll", ["Rock and Roll", "Rock", "Roll"], "Rock", False),
        (f"{'x' * 39}… and Books", ["x" * 50, "Books"], "x" * 50, True),
    ],
)
def test_a_segment_is_told_where_it_is_named_after_categories_of_both(
    segment: str, own: list[str], item: str, is_told: bool
) -> None:
    user = UserFacts(5, [(name, 0.1) for name in own], segment=segment)
    rules = FactRules(silent_categories=frozenset({"health and beauty "}))
    facts = told(pair_facts(user, ItemFacts("i", categories=(item,)), [], None, "en", rules))
    assert (FactKind.SEGMENT in facts) == is_told


def test_silence_holds_in_any_case_and_for_brands_of_silent_items() -> None:
    rules = FactRules(silent_categories=frozenset({" hORROR", "ｓｐａｃｅ"}))
    facts = told(pair_facts(USER, ITEM, [ALIEN], SharedPath(ITEM, "Drama"), "en", rules))
    assert not {FactKind.PATH, FactKind.HISTORY, FactKind.SEGMENT, FactKind.BRAND} & set(facts)
    heidi = ItemFacts("i9", "Heidi", brand="Acme", is_brand_silent=True)
    assert FactKind.BRAND not in told(pair_facts(USER, heidi, [], None, "en", rules))
    assert FactKind.PATH not in told(pair_facts(USER, ITEM, [], SharedPath(heidi, "ACME"), "en", RULES))
    assert FactKind.PATH not in told(pair_facts(USER, ITEM, [], SharedPath(heidi, "Horror"), "en", rules))
    assert FactKind.PATH in told(pair_facts(USER, ITEM, [], SharedPath(heidi, "Ann Lee"), "en", rules))


def test_a_description_tells_of_the_item_and_its_images() -> None:
    item = ItemFacts("i4", "x", ("Shirts",), "Acme", 10.0, labels="jersey, T-shirt", words="SALE")
    assert told(description_facts(item, RULES)) == {
        FactKind.ITEM_CATEGORY: {"category": "Shirts"},
        FactKind.ITEM_BRAND: {"brand": "Acme"},
        FactKind.SHOWN: {"labels": "jersey, T-shirt"},
        FactKind.WRITTEN_ON: {"words": "SALE"},
    }


@pytest.mark.parametrize(
    ("name", "clean"),
    [
        ("Alien", "Alien"),
        ("<b>Alien</b> &amp; son", "Alien & son"),
        ("A\u202eli\x07en\n\tII", "Ali en II".replace("Ali en", "Alien")),
        ("Say “free”\ue000 «now»", "Say ’free’ ’now"),
        ("x" * 100, "x" * 59 + "…"),
        ("go to https://evil.example", None),
        ("write me@evil.example", None),
        ("evil.com sale", None),
        ("bit.ly/3xYz", None),
        ("evil.xyz", None),
        ("t.me/abc", None),
        ("sale at shop.co.uk now", None),
        ("Example.DE", None),
        ("paypa1.app", None),
        ("пример.рф", None),
        ("ⓔⓥⓘⓛ.ⓧⓨⓩ", None),
        ("evil\u200d.xyz", None),
        ("Alien vol. 2, by St. Vincent", "Alien vol. 2, by St. Vincent"),
        ("Game 2.0 of the U.S.A.", "Game 2.0 of the U.S.A."),
        ("Wait…what", "Wait…what"),
        ("call 5551234", None),
        ("call +49 (151) 234-56", None),
        ("call 555 / 12.34", None),
        ("The war 1914-1918", None),
        ("Sizes 36, 38, 40", "Sizes 36, 38, 40"),
        ("1984 and 2001", "1984 and 2001"),
        ("a damned shirt", None),
        ("DAMNED", None),
        ("condamned", "condamned"),
        ("!!!", None),
        ("t", None),
        ("本", "本"),
        ("", None),
        (None, None),
    ],
)
def test_names_are_cleaned_cut_or_left_out(name: str | None, clean: str | None) -> None:
    assert NameRules(60, ("damned", "")).clean(name) == clean


def test_numbers_are_written_as_the_language_does() -> None:
    assert [number(1234.5, code) for code in ("en", "de", "ja")] == ["1234.50", "1234,50", "1234.50"]
    assert number(25.0, "fr") == "25"
    assert number(4.0, "fr", 1) == "4,0"
