from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from mmrec_lib.config import load_config
from mmrec_lib.errors import ConfigError, ShowingError
from mmrec_lib.section import Section
from mmrec_lib.showing.build import build_rules
from mmrec_lib.showing.config import Condition, ShowingConfig
from mmrec_lib.showing.item_rules import ItemRules
from mmrec_lib.showing.pins import check_positions, place_pins
from mmrec_lib.showing.rules_file import read_rules_file, rules_version, user_attributes_of
from tests.unit.showing.shop import DAY, control, controls_array, item, items_table, maps, used_segments

ITEMS = items_table(
    [
        item(
            f"i{number}",
            categories=["Hats"] if number < 6 else ["Coats"],
            price=float(number),
            attributes={"brand": "Acme", "stock": str(number), "colour": "red"},
        )
        for number in range(10)
    ]
)
VALUES = {"country": ["DE", "FR"], "age": ["30", "40"]}
SEGMENTS = {
    "de": [{"attribute": "country", "is_in": ["DE"]}],
    "fr": [{"attribute": "country", "is_in": ["FR"]}],
    "young": [{"attribute": "age", "below": 35}],
}


def rule(name: str, kind: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "kind": kind, "items": {"item_ids": ["i1"]}, **fields}


def build(*rules: dict[str, Any], **config: Any) -> ItemRules:
    parsed = ShowingConfig.model_validate({"segments": used_segments(SEGMENTS, rules), "rules": rules, **config})
    return build_rules(ITEMS, parsed, DAY, VALUES)


WRONG_NAMES = [
    ({"categories": ["Hat"]}, "rule `r`: the catalogue has no category 'Hat'; did you mean 'Hats'?"),
    ({"categories": ["Hats", "Zz", "Yy"]}, "no category 'Zz' and 1 more (there are Coats, Hats)"),
    ({"brands": ["acme"]}, "rule `r`: the catalogue has no brand 'acme'; did you mean 'Acme'?"),
    ({"item_ids": ["i1", "gone"]}, "rule `r`: the catalogue has no item 'gone'"),
    ({"attributes": [{"attribute": "stok", "below": 1}]}, "no item has `stok`; did you mean 'stock'?"),
    ({"attributes": [{"attribute": "colour", "below": 1}]}, "numbers are needed to compare the attribute `colour`"),
]


@pytest.mark.parametrize(("items", "sentence"), WRONG_NAMES)
def test_names_that_the_catalogue_does_not_have_are_refused(items: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ShowingError) as caught:
        build(rule("r", "boost", items=items))
    assert sentence in str(caught.value)


def test_rules_of_other_days_are_not_held_against_the_catalogue() -> None:
    gone = {"item_ids": ["gone"]}
    rules = build(
        rule("past", "exclude", items=gone, until_date="2025-06-30"),
        rule("future", "exclude", items=gone, from_date="2025-07-02"),
        rule("last day", "exclude", until_date="2025-07-01"),
    )
    assert [exclusion.rule for exclusion in rules.exclusions] == ["last day"]
    with pytest.raises(ShowingError, match="no item 'gone'"):
        build(rule("first day", "exclude", items=gone, from_date="2025-07-01"))


def test_a_pin_and_an_exclusion_of_one_item_contradict_each_other_where_a_user_may_have_both() -> None:
    with pytest.raises(ShowingError, match=r"`a` and `b`: they contradict each other, one pins item 'i1'"):
        build(rule("a", "pin", position=1), rule("b", "exclude"))
    with pytest.raises(ShowingError, match=r"excludes it for users of the segments `de` and `young`"):
        build(rule("a", "pin", position=1, segment="de"), rule("b", "exclude", segment="young"))
    build(rule("a", "pin", position=1, segment="de"), rule("b", "exclude", segment="fr"))


def test_a_pinned_item_that_runs_out_of_stock_stops_nothing_and_is_not_pinned() -> None:
    out_of_stock = {"item_ids": ["i1"], "attributes": [{"attribute": "stock", "below": 2}]}
    rules = build(rule("a", "pin", position=1), rule("b", "exclude", items=out_of_stock))
    indices, scores = np.array([[4, 5]], np.int32), np.array([[2, 1]], np.float32)
    placed = place_pins(indices, scores, rules.of_users(maps([{}])), rules, 2)
    assert placed.indices.tolist() == [[4, 5]] and not placed.is_pinned.any()


def test_pins_that_overlap_are_refused_where_a_user_may_have_both() -> None:
    other = {"item_ids": ["i2"]}
    with pytest.raises(ShowingError, match=r"items 'i1' and 'i2' are pinned at position 3"):
        build(rule("a", "pin", position=3), rule("b", "pin", position=3, items=other, segment="de"))
    with pytest.raises(ShowingError, match=r"item 'i1' is pinned at 3 and 4"):
        build(rule("a", "pin", position=3), rule("b", "pin", position=4))
    with pytest.raises(ShowingError, match=r"items 'i3' and 'i1' are pinned at position 2"):
        build(rule("two", "pin", position=1, items={"item_ids": ["i2", "i3"]}), rule("b", "pin", position=2))
    rules = build(rule("a", "pin", position=3, segment="de"), rule("b", "pin", position=3, items=other, segment="fr"))
    assert [(pin.position, pin.item) for pin in rules.pins] == [(3, 1), (3, 2)]


def test_a_rule_pins_few_items_in_the_order_that_it_names() -> None:
    rules = build(rule("a", "pin", position=2, items={"item_ids": ["i7", "i3", "i9"], "categories": ["Coats"]}))
    assert [(pin.position, pin.item) for pin in rules.pins] == [(2, 7), (3, 9)]
    assert [pin.item for pin in build(rule("a", "pin", position=1, items={"price_at_least": 8})).pins] == [8, 9]
    with pytest.raises(ShowingError, match="1 to 20 items may be pinned by one rule, but it selects 0"):
        build(rule("a", "pin", position=1, items={"price_at_least": 99}))


def test_a_rule_that_removes_too_much_is_refused_with_its_counts() -> None:
    with pytest.raises(ShowingError) as caught:
        build(rule("hats out", "exclude", items={"categories": ["Hats"]}))
    assert "rule `hats out`: at most 50% of the available items may be removed" in str(caught.value)
    assert "it removes 6 of 10" in str(caught.value)
    with pytest.raises(ShowingError, match="removes 6 of 10"):
        build(rule("hats out", "exclude", items={"categories": ["Hats"]}, segment="de"))
    parts = [
        rule("cheap", "exclude", items={"price_below": 4}),
        rule("dear", "exclude", items={"categories": ["Coats"]}),
    ]
    with pytest.raises(ShowingError, match=r"rules `cheap`, `dear` together: .* it removes 8 of 10"):
        build(*parts)
    assert build(*parts, max_removed_share=0.8).is_listed.sum() == 2


def test_ratings_that_cannot_be_read_hide_their_items_until_they_are_too_many() -> None:
    with pytest.raises(ShowingError, match=r"neither numbers nor among showing.age_ratings: .* it removes 10 of 10"):
        build(age_rating_attribute="colour")
    assert build(age_rating_attribute="colour", age_ratings={"red": 35}).tests.age_limits == (35.0,)


def test_more_groups_than_configured_are_refused() -> None:
    parts = [rule("a", "exclude", segment="de"), rule("b", "exclude", items={"item_ids": ["i2"]}, segment="young")]
    assert len(build(*parts).allowed) == 3  # type: ignore[arg-type]
    with pytest.raises(ShowingError, match=r"at most 2 with different catalogues .* 2 segments with exclusions"):
        build(*parts, max_groups=2)


def test_attributes_that_no_user_has_are_refused() -> None:
    config = ShowingConfig.model_validate(
        {"segments": {"de": SEGMENTS["de"]}, "rules": [rule("a", "boost", segment="de")]}
    )
    with pytest.raises(ShowingError, match=r"segment `de`: .* no user has `country`"):
        build_rules(ITEMS, config, DAY, {"age": ["30"]})
    with pytest.raises(ShowingError, match="no user has `land`"):
        build_rules(ITEMS.append_column("x", ITEMS["price"]), ShowingConfig(market_attribute="land"), DAY, {})


def test_too_many_soft_controls_are_refused() -> None:
    soft = {"category": ["Hats", "Coats", "Gone"], "brand": ["Acme"]}
    config = ShowingConfig(max_control_dimensions=3)
    rules = build_rules(ITEMS, config, DAY, {}, soft_controls=soft)
    assert rules.item_boosts.shape == (10, 3)
    limits = rules.of_users(maps([{}]), controls_array([[control("less", "category", "Gone")]]))
    assert limits.user_boosts.tolist() == [[0, 0, 0]], "what the catalogue no longer has changes nothing"
    with pytest.raises(ShowingError, match=r"boost and lessen 3 different .* at most 2"):
        build_rules(ITEMS, ShowingConfig(max_control_dimensions=2), DAY, {}, soft_controls=soft)


def test_a_missing_column_is_named() -> None:
    config = ShowingConfig.model_validate({"rules": [rule("a", "boost", items={"categories": ["Hats"]})]})
    with pytest.raises(ShowingError, match="the column `categories` is needed by the rules"):
        build_rules(ITEMS.select(["item_id", "available"]), config, DAY, {})
    with pytest.raises(ShowingError, match="each item_id once is needed"):
        build_rules(ITEMS.take([0, 0]), ShowingConfig(), DAY, {})


WRONG_CONFIGS = [
    ({"attribute": "a"}, "one of is_in, not_in, at_least, below and missing is needed"),
    ({"attribute": "a", "at_least": 2, "below": 2}, "at_least must be less than below"),
    ({"attribute": "a", "missing": True, "below": 2}, "stands alone"),
    ({"attribute": "a", "bellow": 2}, "Extra inputs are not permitted"),
    ({"attribute": "a", "below": float("nan")}, "finite number"),
]


@pytest.mark.parametrize(("fields", "sentence"), WRONG_CONFIGS)
def test_a_condition_that_says_nothing_or_too_much_is_refused(fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        Condition.model_validate(fields)


WRONG_FILES = [
    ("rules: [{name: a, kind: pin, items: {item_ids: [i1]}}]", r"field `rules\.0\.pin\.position`: Field required"),
    ("rules: [{name: a, kind: hide, items: {item_ids: [i1]}}]", "field `rules.0`: .*'exclude', 'boost', 'bury', 'pin'"),
    ("rules: [{name: a, kind: boost, items: {}}]", "which would be the whole catalogue"),
    (
        "rules: [{name: a, kind: boost, items: {prize_below: 3}}]",
        r"field `rules\.0\.boost\.items\.prize_below` is unknown",
    ),
    ("rules: [{name: a, kind: boost, items: {price_below: 3}, from_date: 2025-02-30}]", "from_date"),
    (
        "rules: [{name: a, kind: boost, items: {price_below: 3}, from_date: 2025-02-02, until_date: 2025-02-01}]",
        "from_date must not be after until_date",
    ),
    ("rules: [{name: a, kind: boost, amount: 0, items: {price_below: 3}}]", "greater than 0"),
    (
        "rules: [{name: a, kind: exclude, items: {price_below: 3}}, {name: a, kind: exclude, items: {price_below: 4}}]",
        "`a` stands twice",
    ),
    ("segments: {old: []}", "segment `old`: at least one condition is needed"),
    ("rool: 3", "field `rool` is unknown"),
    ("- 3", "valid dictionary"),
    ("rules: [", "is not valid YAML"),
]


@pytest.mark.parametrize(("text", "sentence"), WRONG_FILES)
def test_a_wrong_rules_file_is_refused_with_its_name(text: str, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(text)
    with pytest.raises(ShowingError, match=sentence) as caught:
        read_rules_file(str(path))
    assert str(path) in str(caught.value)


def test_rules_of_the_file_join_those_of_the_configuration(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(
        "segments: {old: [{attribute: age, at_least: 35}]}\n"
        "rules: [{name: f, kind: exclude, segment: old, items: {item_ids: [i3]}}]\n"
    )
    rules = build(rule("c", "exclude", segment="de"), rules_file=str(path))
    assert [(e.rule, e.segment) for e in rules.exclusions] == [("c", "de"), ("f", "old")]
    config = ShowingConfig(rules_file=str(path), market_attribute="country")
    assert user_attributes_of(config, DAY) == ("age", "country")
    before = rules_version(config)
    path.write_text(path.read_text().replace("35", "36"))
    assert rules_version(config) != before
    assert rules_version(ShowingConfig()) == "" and user_attributes_of(ShowingConfig(), DAY) == ()
    with pytest.raises(ShowingError, match="rules: each name once is needed, but `f` stands twice"):
        build(rule("f", "exclude"), rules_file=str(path))
    with pytest.raises(ShowingError, match="segment `old`: each name once is needed"):
        build(rules_file=str(path), segments={"old": SEGMENTS["de"]})


def test_a_segment_that_no_rule_names_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text("rules: [{name: f, kind: exclude, segment: old, items: {item_ids: [i3]}}]\n")
    build(rules_file=str(path), segments={"old": SEGMENTS["de"]})
    with pytest.raises(ShowingError, match="segment `fr`: a rule that names it is needed, got none"):
        build(rules_file=str(path), segments={"old": SEGMENTS["de"], "fr": SEGMENTS["fr"]})


def test_pins_beyond_the_end_of_lists_are_refused() -> None:
    pins = build(rule("a", "pin", position=4, items={"item_ids": ["i1", "i2"]})).pins
    check_positions(pins, 5)
    with pytest.raises(ShowingError, match=r"rule `a`: positions of 1 to 4 \(scoring.k\) are needed, .* pinned at 5"):
        check_positions(pins, 4)


def test_an_undeclared_segment_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ShowingError, match=r"a declared segment is needed, got `dee`. Declared are: de\."):
        build(rule("a", "boost", segment="dee"), rule("b", "boost", segment="de"))
    for read in (read_rules_file, lambda path: rules_version(ShowingConfig(rules_file=path))):
        with pytest.raises(ShowingError, match="No such file"):
            read(str(tmp_path / "none.yaml"))


class Root(Section):
    """A configuration with the section."""

    showing: ShowingConfig = ShowingConfig()


WRONG_SETTINGS = [
    (
        "segments: {s: [{attribute: age, atleast: 3}]}",
        r"`showing\.segments\.s\.0\.atleast` is unknown; .* `at_least`\?",
    ),
    (
        "rules: [{name: a, kind: boost, items: {price_bellow: 3}}]",
        r"`showing\.rules\.0\.boost\.items\.price_bellow` is unknown; did you mean `price_below`\?",
    ),
    ("rules: [{name: a, kind: pin, positon: 1, items: {item_ids: [a]}}]", r"positon` is unknown; .* `position`\?"),
    ("market: country", r"`showing\.market` is unknown"),
    ("default_market: DE", r"showing\.default_market has an effect only where showing\.market_attribute"),
    ("default_age: 12", r"showing\.default_age: ages have an effect only where showing\.age_rating_attribute"),
    ("age_ratings: {PG: 12}, age_attribute: years", r"showing\.age_ratings and showing\.age_attribute: ages have"),
]


@pytest.mark.parametrize(("text", "sentence"), WRONG_SETTINGS)
def test_keys_that_are_wrong_or_without_effect_are_named(text: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "env" / "local").mkdir(parents=True)
    (tmp_path / "base" / "showing.yaml").write_text(f"showing: {{{text}}}")
    with pytest.raises(ConfigError, match=sentence):
        load_config(Root, tmp_path, "local")


def test_a_rule_without_segment_attributes_needs_no_values_of_users() -> None:
    config = ShowingConfig.model_validate({"rules": [rule("a", "boost")]})
    assert user_attributes_of(config, date(2025, 7, 1)) == ()
    assert build_rules(ITEMS, config, DAY, {}).item_boosts[:, 0].tolist() == [0, 1, 0, 0, 0, 0, 0, 0, 0, 0]
