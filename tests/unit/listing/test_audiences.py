"""Audiences and their lists from planted counts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date

import numpy as np
import pyarrow as pa
import pytest

from mmrec_lib.errors import ConfigError
from mmrec_lib.listing.audience_lists import AudienceCounts, audience_lists, popular, rising
from mmrec_lib.listing.audiences import (
    ALL,
    AudienceItems,
    audience_key,
    audience_paths,
    checked_attributes,
    parent_of,
)
from mmrec_lib.listing.config import PopularLikeYouConfig, TrendingConfig
from mmrec_lib.listing.selection import Entries
from mmrec_lib.showing.build import build_rules
from mmrec_lib.showing.config import ShowingConfig
from tests.unit.showing.shop import item, items_table, maps

IDS = ["a", "b", "c", "d"]
ROWS = pa.schema([("audience", pa.string()), ("item_id", pa.string()), ("num", pa.int64()), ("num_before", pa.int64())])
DE, DE_OLD = "country=de", "country=de/age=60"


def counts_of(rows: Mapping[tuple[str, str | None], tuple[int, int]], ids: list[str] = IDS) -> AudienceCounts:
    flat = [(audience, item, *numbers) for (audience, item), numbers in rows.items()]
    table = pa.Table.from_pylist([dict(zip(ROWS.names, row, strict=True)) for row in flat], schema=ROWS)
    return AudienceCounts.of(table, pa.array(ids))


def shop(records: list[dict[str, object]] | None = None, **config: object) -> AudienceItems:
    values = {"country": ["DE", "FR"]} if config else {}
    table = items_table(records or [item(name) for name in IDS])
    return AudienceItems(build_rules(table, ShowingConfig(**config), date(2025, 7, 1), values), {})  # type: ignore[arg-type]


def lists_of(entries: Iterable[Entries], counts: AudienceCounts, items: AudienceItems, k: int = 3) -> dict[str, object]:
    rows = audience_lists("t", entries, counts.audiences, items, k).to_pylist()
    return {row["owner"]: row["item_ids"] for row in rows}


# audiences


def test_users_are_in_all_audiences_down_to_the_first_unknown_group() -> None:
    groups = {
        "country": np.array(["de", None, "de", "fr"], dtype=np.object_),
        "age": np.array(["60", "30", None, "60"], dtype=np.object_),
    }
    assert audience_paths(groups, 4).to_pylist() == [
        [ALL, DE, DE_OLD],
        [ALL],
        [ALL, DE],
        [ALL, "country=fr", "country=fr/age=60"],
    ]
    assert audience_paths({}, 2).to_pylist() == [[ALL], [ALL]]
    assert audience_paths(groups | {"country": groups["country"][:0], "age": groups["age"][:0]}, 0).to_pylist() == []


def test_values_cannot_be_taken_for_levels() -> None:
    key = audience_key([("region", "uk/ireland"), ("100%", "a=b")])
    assert key == "region=uk%2Fireland/100%25=a=b"
    assert parent_of(key) == "region=uk%2Fireland"


def test_attributes_that_nobody_has_are_refused_where_they_are_named() -> None:
    assert checked_attributes(PopularLikeYouConfig(), {"country": 3, "gender": 0, "age": 8}) == ("country", "age")
    with pytest.raises(ConfigError, match=r"no user has `contry`"):
        checked_attributes(PopularLikeYouConfig(attributes=("contry",)), {"contry": 0})


def test_too_many_audiences_are_refused() -> None:
    config = PopularLikeYouConfig(attributes=("postcode", "age"), max_audiences=500)
    with pytest.raises(ConfigError, match=r"at most 500 .*90 of postcode, 9 of age.* make 901"):
        checked_attributes(config, {"postcode": 90, "age": 9})


# popular among people like you


def test_small_audiences_follow_the_larger_one_and_large_ones_their_own() -> None:
    """All like a; the young like b more; the old are few, and one of them took d."""
    rows = {
        (ALL, None): (1000, 0),
        (ALL, "a"): (500, 0),
        (ALL, "b"): (300, 0),
        (ALL, "d"): (1, 0),
        ("age=20", None): (400, 0),
        ("age=20", "b"): (300, 0),
        ("age=60", None): (3, 0),
        ("age=60", "d"): (3, 0),
    }
    counts = counts_of(rows)
    config = PopularLikeYouConfig(min_users=3, prior=50)
    assert lists_of(popular(counts, config), counts, shop()) == {
        ALL: ["a", "b", "d"],
        "age=20": ["b", "a", "d"],
        "age=60": ["a", "b", "d"],
    }
    few = PopularLikeYouConfig(min_users=4, prior=50)
    assert set(lists_of(popular(counts, few), counts, shop())) == {ALL, "age=20"}


def test_shares_are_drawn_towards_the_next_larger_audience() -> None:
    rows = {(ALL, None): (100, 0), (ALL, "a"): (50, 0)}
    rows |= {(DE, None): (10, 0), (DE, "a"): (10, 0), (DE_OLD, None): (10, 0), (DE_OLD, "b"): (10, 0)}
    counts = counts_of(rows)
    entries = {
        counts.audiences[int(e.owners[0])]: e for e in popular(counts, PopularLikeYouConfig(min_users=1, prior=10))
    }
    assert entries[DE].scores.tolist() == [0.75], "(10 + 10 · 0.5) / 20"
    assert entries[DE_OLD].scores.tolist() == [0.375, 0.5], "(0 + 10 · 0.75) / 20 and (10 + 0) / 20"
    assert entries[DE_OLD].supports.tolist() == [0, 10]


# trending


def trend(rows: Mapping[tuple[str, str | None], tuple[int, int]], **config: object) -> dict[str, object]:
    counts = counts_of(rows)
    return lists_of(rising(counts, TrendingConfig(**config)), counts, shop())  # type: ignore[arg-type]


def test_what_grows_against_the_whole_is_trending() -> None:
    """Everything is taken as often as in the four weeks before, c four times as often, and d is new."""
    rows = {(ALL, "a"): (100, 400), (ALL, "b"): (30, 120), (ALL, "c"): (40, 40), (ALL, "d"): (20, 0)}
    assert trend(rows) == {ALL: ["d", "c"]}
    tenfold = {key: (num, 10 * before) for key, (num, before) in rows.items()}
    assert trend(tenfold)[ALL] == ["d", "c"], "growth of the whole store is no trend"


def test_few_cases_must_grow_more() -> None:
    """c grew from nearly nothing, b from much: a few users of c are no trend above many of b."""
    rows = {(ALL, "a"): (1000, 4000), (ALL, "b"): (300, 400), (ALL, "c"): (5, 0)}
    assert trend(rows) == {ALL: ["b", "c"]}
    assert trend(rows, min_support=6) == {ALL: ["b"]}


def test_each_market_has_its_own_trend_and_small_ones_borrow_what_is_usual() -> None:
    """a is usual everywhere: ten in a market that had none before are no trend; b grows in this market alone."""
    rows = {(ALL, "a"): (1000, 4000), (ALL, "b"): (1000, 4000), (DE, "a"): (10, 0), (DE, "b"): (60, 0)}
    assert trend(rows) == {DE: ["b"]}


def test_without_events_nothing_is_trending() -> None:
    assert trend({}) == {}


# what may be shown


def test_an_audience_gets_what_each_of_its_users_may_get() -> None:
    records = [item("a", available=False), item("b", markets=["FR"]), item("c", markets=["DE", "FR"]), item("d")]
    rules = shop(records, market_attribute="country").rules
    codes = rules.of_users(maps([{"country": "DE"}, {"country": "FR"}, {}])).group_of_user.tolist()
    items = AudienceItems(rules, {DE: [codes[0]], "country=fr": [codes[1]], ALL: codes})
    allowed = {key: [name for name, may in zip(IDS, items.allowed(key), strict=True) if may] for key in items.groups}
    assert allowed == {DE: ["c", "d"], "country=fr": ["b", "c", "d"], ALL: ["d"]}


def test_what_may_not_be_shown_is_decided_before_selection() -> None:
    rows = {(ALL, None): (10, 0)} | {(ALL, name): (9 - n, 0) for n, name in enumerate(IDS)}
    counts = counts_of(rows)
    entries = popular(counts, PopularLikeYouConfig())
    records = [item("a", available=False), item("b"), item("c"), item("d")]
    assert lists_of(entries, counts, shop(records), k=2) == {ALL: ["b", "c"]}


def test_rules_for_users_tell_the_same_groups() -> None:
    records = [item("a", markets=["FR"]), item("b"), item("c"), item("d")]
    rules = shop(records, market_attribute="country", default_market="FR").rules
    users = maps([{"country": "DE"}, {"country": "FR"}, {}, None])
    assert rules.for_users().of_users(users).group_of_user.tolist() == rules.of_users(users).group_of_user.tolist()
    assert rules.for_users().num_items == 0
