import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from mmrec_lib.errors import ShowingError
from mmrec_lib.showing.build import build_rules
from mmrec_lib.showing.config import ShowingConfig
from mmrec_lib.showing.controls import user_blocks
from mmrec_lib.showing.item_rules import ItemRules
from mmrec_lib.showing.labels import positions
from mmrec_lib.showing.reasons import KeptOut, why_kept_out
from tests.unit.showing.shop import (
    DAY,
    control,
    controls_array,
    item,
    items_table,
    maps,
    plain_boost,
    plain_reasons,
    random_config,
    random_controls,
    random_items,
    random_users,
    values_of,
)

SOFT = {"category": ["Coats", "Shoes"], "brand": ["Bolt", "Nobody"]}


@pytest.mark.parametrize("seed", range(100))
def test_who_may_get_which_item_with_which_boost_is_as_read_one_by_one(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    records, users = random_items(rng, 14), random_users(rng, 25)
    controls = [random_controls(rng) for _ in users]
    config = ShowingConfig.model_validate(random_config(rng))
    built = build_rules(items_table(records), config, DAY, values_of(users), soft_controls=SOFT)
    built.save(tmp_path / "rules")
    for rules in (built, ItemRules.load(tmp_path / "rules")):
        limits = rules.of_users(maps(users), controls_array(controls))
        boosts = limits.user_boosts @ rules.item_boosts.T
        blocked = np.zeros((len(users), len(records)), bool) if limits.blocked is None else limits.blocked.toarray() > 0
        for place, user in enumerate(users):
            group = limits.group_of_user[place]
            may = rules.is_listed & ~blocked[place]
            if group >= 0:
                assert rules.allowed is not None
                may = may & rules.allowed[group]
            for position, record in enumerate(records):
                expected = plain_reasons(config, record, user or {}, controls[place] or [])
                assert may[position] == (not expected), (user, record)
                boost = plain_boost(config, record, user or {}, controls[place] or [])
                assert boosts[place, position] == pytest.approx(boost, abs=1e-5)
                if place % 5 == position % 5 == 0:
                    told = why_kept_out(rules, user or {}, controls[place] or [], [record["item_id"]])
                    assert {(row.reason, row.rule) for row in told} == expected


def test_without_a_configuration_all_available_items_are_for_everybody_at_no_cost() -> None:
    table = items_table([item("a"), item("b", available=False, markets=["DE"])]).select(["item_id", "available"])
    rules = build_rules(table, ShowingConfig(), DAY, {})
    assert rules.is_listed.tolist() == [True, False]
    assert rules.allowed is None and rules.pins == () and rules.item_boosts.shape == (2, 0)
    limits = rules.of_users(maps([{"country": "FR"}, None]))
    assert limits.group_of_user.tolist() == [-1, -1]
    assert limits.blocked is None and limits.user_boosts.shape == (2, 0)


def test_an_item_is_shown_in_its_markets_only() -> None:
    table = items_table(
        [item("de", markets=["DE"]), item("both", markets=["DE", "FR"]), item("all"), item("no", markets=[])]
    )
    users = [{"country": "DE"}, {"country": "FR"}, {"country": "XX"}, {}]
    rules = build_rules(table, ShowingConfig(market_attribute="country"), DAY, values_of(users))
    groups = rules.of_users(maps(users)).group_of_user
    assert rules.allowed is not None
    assert rules.allowed[groups].tolist() == [
        [True, True, True, False],
        [False, True, True, False],
        [False, False, True, False],
        [False, False, True, False],
    ]
    assert groups[2] == groups[3], "users with the same catalogue are one group"


def test_users_who_may_get_everything_are_in_no_group() -> None:
    table = items_table([item("a", markets=["DE", "FR"]), item("b")])
    users = [{"country": "DE"}, {"country": "FR"}]
    rules = build_rules(table, ShowingConfig(market_attribute="country"), DAY, values_of(users))
    assert rules.of_users(maps(users)).group_of_user.tolist() == [-1, -1]


def test_slices_of_arrow_arrays_and_chunks_are_read_as_what_they_show() -> None:
    table = items_table([item("a"), item("b", markets=["DE"], attributes={"brand": "Acme"})])
    users = [{"country": "XX"}, None, {"country": "DE", "age": "3"}]
    controls = [None, [control("block", "item", "a")], [control("mute", "brand", "Acme")]]
    config = ShowingConfig(market_attribute="country")
    rules = build_rules(table, config, DAY, values_of(users), soft_controls={})
    whole = rules.of_users(maps(users), controls_array(controls))
    assert whole.blocked is not None
    assert whole.blocked.toarray().tolist() == [[0, 0], [1, 0], [0, 1]]
    tail = rules.of_users(maps(users).slice(1), controls_array(controls).slice(1))
    assert tail.blocked is not None
    assert tail.blocked.toarray().tolist() == [[1, 0], [0, 1]]
    assert tail.group_of_user.tolist() == whole.group_of_user[1:].tolist()
    chunks = pa.chunked_array([maps(users[:1]), maps(users[1:])])
    assert rules.of_users(chunks).group_of_user.tolist() == whole.group_of_user.tolist()


def test_reasons_name_seen_and_unknown_items() -> None:
    rules = build_rules(items_table([item("a"), item("b")]), ShowingConfig(), DAY, {})
    assert why_kept_out(rules, {}, [], ["a", "b", "x"], seen_item_ids=["b"]) == [
        KeptOut("b", "seen", "events"),
        KeptOut("x", "unknown_item", "items"),
    ]


def test_users_whose_attributes_the_rules_were_not_built_with_are_refused() -> None:
    table = items_table([item("a", markets=["DE"]), item("b", markets=["FR"])])
    rules = build_rules(table, ShowingConfig(market_attribute="country"), DAY, {"country": ["DE"]})
    with pytest.raises(ShowingError, match="1 have attributes \\(country\\) that were not among the values"):
        rules.of_users(maps([{"country": "DE"}, {"country": "FR"}]))


def test_controls_that_the_rules_were_not_built_with_are_refused() -> None:
    table = items_table([item("a", categories=["Hats"], attributes={"x": "1"})])
    without = build_rules(table, ShowingConfig(), DAY, {})
    controls = controls_array([[control("less", "category", "Hats")]])
    with pytest.raises(ShowingError, match="the rules were built without\\. Build them with"):
        without.of_users(maps([{}]), controls)
    with pytest.raises(ShowingError, match="the rules were built without"):
        why_kept_out(without, {}, [control("mute", "category", "Hats")], ["a"])
    blocks_only = build_rules(table, ShowingConfig(), DAY, {}, soft_controls={})
    with pytest.raises(ShowingError, match="built without the category 'Hats', which a user boosts or lessens"):
        blocks_only.of_users(maps([{}]), controls)
    nobody = controls_array([None, []])
    assert without.of_users(maps([{}, {}]), nobody).blocked is None


@pytest.mark.parametrize("seed", range(20))
def test_users_are_cut_so_that_blocked_items_stay_within_a_bound(seed: int) -> None:
    rng = random.Random(seed)
    records, controls = random_items(rng, 14), [random_controls(rng) for _ in range(30)]
    rules = build_rules(items_table(records), ShowingConfig(), DAY, {}, soft_controls=SOFT)
    array, bound = controls_array(controls), rng.randint(1, 20)
    blocks = user_blocks(array, rules.controls, 30, bound)
    assert [start for start, _ in blocks] == [0, *(end for _, end in blocks[:-1])] and blocks[-1][1] == 30
    for start, end in blocks:
        limits = rules.of_users(maps([None] * (end - start)), array.slice(start, end - start))
        num_blocked = 0 if limits.blocked is None else limits.blocked.nnz
        assert num_blocked <= bound or end - start == 1
    assert user_blocks(array, rules.controls, 30, 10_000) == [(0, 30)]
    assert user_blocks(None, rules.controls, 30, 1) == [(0, 30)] and user_blocks(None, None, 0, 1) == []


def test_a_folder_without_rules_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ShowingError, match=r"there is no showing\.json"):
        ItemRules.load(tmp_path)


def test_few_texts_are_found_among_many_names_as_many_are() -> None:
    names = pa.array([f"n{number:02}" for number in range(50)])
    texts = pa.array(["n07", None, "gone", "n00", "n07", "n49"])
    expected = [7, -1, -1, 0, 7, 49]
    assert positions(texts, names).tolist() == expected
    assert positions(pa.concat_arrays([texts] * 9), names).tolist() == expected * 9
    assert positions(texts.slice(0, 0), names).tolist() == positions(pa.array([None]), names).tolist()[1:] == []
    assert positions(pa.array(["a"]), names.slice(0, 0)).tolist() == [-1]
