"""Outcomes that the declared event types can tell."""

from __future__ import annotations

import pytest

from mmrec_lib.features.outcomes import possible_outcomes
from mmrec_lib.ingest.config import DEFAULT_EVENT_TYPES, EventTypeConfig
from mmrec_lib.models.heads_settings import HeadsSettings


def names_of(
    present: set[str],
    types: dict[str, EventTypeConfig] = DEFAULT_EVENT_TYPES,
    *,
    has_shares: bool = True,
    **settings: object,
) -> list[str]:
    heads = HeadsSettings.model_validate(settings)
    return [outcome.name for outcome in possible_outcomes(types, present, heads, has_shares=has_shares)]


def test_types_of_one_act_are_one_outcome_and_what_has_no_weight_is_none() -> None:
    assert names_of({"search", "hover", "purchase"}) == ["purchase", "purchase:share"]
    assert names_of({"review", "comment", "rating"}) == ["rating", "rating:value", "rating>=4"]
    assert names_of({"comment"}, has_shares=False) == ["rating"]


def test_outcomes_can_be_chosen() -> None:
    assert names_of({"view", "rating"}, outcomes=["rating>=4"]) == ["rating>=4"]
    assert names_of({"view"}, outcomes=["sale"]) == []


@pytest.mark.parametrize(("low", "high", "expected"), [(0.0, 10.0, ["score>=7.5"]), (None, 10.0, []), (1.0, None, [])])
def test_a_high_value_needs_a_scale(low: float | None, high: float | None, expected: list[str]) -> None:
    types = {"score": EventTypeConfig(needs_value=True, value_min=low, value_max=high)}
    assert names_of({"score"}, types) == ["score", "score:value", *expected]


def test_types_of_other_scales_have_neither_a_value_nor_a_level_in_common() -> None:
    types = {
        "mark": EventTypeConfig(act="rating"),
        "stars": EventTypeConfig(needs_value=True, value_min=1, value_max=5, act="rating"),
        "points": EventTypeConfig(needs_value=True, value_min=0, value_max=100, act="rating"),
    }
    assert names_of({"stars", "points"}, types) == ["rating"]
    assert names_of({"stars", "mark"}, types) == ["rating", "rating:value", "rating>=4"]
