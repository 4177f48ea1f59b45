"""Users of an Arrow batch → audiences and groups of the showing rules, and event types that lists count."""

from __future__ import annotations

from datetime import date

import pyarrow as pa
import pytest
from pydantic import ValidationError

from mmrec_lib.errors import ConfigError
from mmrec_lib.ingest.config import DEFAULT_EVENT_TYPES, EventTypeConfig
from mmrec_lib.list_types.audiences import Placement
from mmrec_lib.list_types.events import counted_types
from mmrec_lib.listing.config import ContinueWithConfig, ListsConfig, PopularLikeYouConfig, TrendingConfig
from mmrec_lib.showing.build import build_rules
from mmrec_lib.showing.config import ShowingConfig
from tests.unit.showing.shop import item, items_table, maps


def placement(attributes: tuple[str, ...], **showing: str) -> Placement:
    """Two items, of which one is sold in FR and US, the other in DE; nobody is in US."""
    table = items_table([item("a", markets=["FR", "US"]), item("b", markets=["DE"])])
    values = {"country": ["DE", "FR", "PL"]} if showing else {}
    rules = build_rules(table, ShowingConfig(**showing), date(2025, 7, 1), values)  # type: ignore[arg-type]
    return Placement(attributes, rules.for_users())


def users() -> pa.RecordBatch:
    attributes = maps([{"country": "DE", "age": "34"}, {"country": "PL"}, None, {"country": "FR", "age": "?"}])
    return pa.RecordBatch.from_arrays([pa.array(list("wxyz")), attributes], names=["user_id", "attributes"])


def test_users_are_placed_by_market_and_by_groups_of_their_attributes() -> None:
    rows = placement(("country", "age"), market_attribute="country").place(users()).to_pylist()
    assert [row["popular_like_you"][-1] for row in rows] == [
        "country=de/age=30",
        "country=pl",
        "all",
        "country=fr/age=?",
    ]
    assert [row["trending"] for row in rows] == [
        ["all", "country=DE"],
        ["all"],
        ["all"],
        ["all", "country=FR"],
    ], "no item names the market PL"
    groups = [row["showing_group"] for row in rows]
    assert groups[1] == groups[2] and len(set(groups)) == 3


def test_users_without_a_market_are_in_the_default_one() -> None:
    rows = placement((), market_attribute="country", default_market="FR").place(users()).to_pylist()
    assert rows[2]["trending"] == ["all", "country=FR"]


def test_without_markets_all_users_are_one_audience_with_one_catalogue() -> None:
    rows = placement(()).place(users()).to_pylist()
    assert {tuple(row["trending"]) for row in rows} == {("all",)}
    assert {row["showing_group"] for row in rows} == {-1}
    assert placement(()).place(users().slice(0, 0)).num_rows == 0


def test_a_visitor_is_asked_for_where_a_market_has_users() -> None:
    placed = placement((), market_attribute="country")
    groups = {row["trending"][-1]: row["showing_group"] for row in placed.place(users()).to_pylist()}
    assert placed.visitors(["all", "country=DE"]) == {key: [groups[key]] for key in ("all", "country=DE")}


def test_types_count_that_weigh_more_than_nothing() -> None:
    declared = {"watch": EventTypeConfig(weight=2), "search": EventTypeConfig(weight=0)}
    assert counted_types(ListsConfig(), declared) == {
        "bought_together": ["purchase"],
        "continue_with": ["watch"],
        "trending": ["watch"],
    }
    assert counted_types(ListsConfig(bought_together=None, trending=None), declared) == {"continue_with": ["watch"]}


def test_a_misspelled_event_type_is_refused() -> None:
    config = ListsConfig(continue_with=ContinueWithConfig(event_types=("purchse",)))
    with pytest.raises(
        ConfigError, match=r"lists\.continue_with\.event_types: .* got 'purchse'. Declared are .*purchase"
    ):
        counted_types(config, DEFAULT_EVENT_TYPES)


@pytest.mark.parametrize(
    "wrong",
    [
        {"trendy": {}},
        {"k": 0},
        {"trending": {"window_days": 0}},
        {"trending": {"event_types": []}},
        {"bought_together": {"substitute_similarity": 1.5}},
        {"popular_like_you": {"attributes": ["age", "age"]}},
        {"bought_together": None, "continue_with": None, "trending": None, "popular_like_you": None},
    ],
)
def test_settings_that_cannot_be_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ListsConfig.model_validate(wrong)


def test_a_type_that_is_null_is_not_made() -> None:
    assert ListsConfig(trending=None).types == ("bought_together", "continue_with", "popular_like_you")
    assert (
        ListsConfig(trending=TrendingConfig(), popular_like_you=PopularLikeYouConfig()).types[-1] == "popular_like_you"
    )
