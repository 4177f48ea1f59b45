"""The gate: what is worse by more than chance is refused, ties pass, and a refusal names what would change it."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from mmrec_lib.evaluation.rows import MetricRow
from mmrec_lib.training.config import PromotionConfig
from mmrec_lib.training.gate import Decision, GateValue, best_baseline, decide_first, decide_next, gate_values

CONFIG = PromotionConfig()


def values(own: float, **baselines: tuple[float, float]) -> dict[str, GateValue]:
    found = {name: GateValue(value, high, 50) for name, (value, high) in baselines.items()}
    return {"ranker": GateValue(own, None, 50), **found}


def test_a_first_ranker_that_beats_all_passes() -> None:
    decision = decide_first(values(0.3, popularity=(0.1, 0.25), ease=(0.2, 0.12)), CONFIG)
    assert decision.passed and "beats all baselines" in decision.reason


def test_a_tie_within_the_interval_passes_and_is_named() -> None:
    decision = decide_first(values(0.10, popularity=(0.11, 0.002), ease=(0.05, 0.08)), CONFIG)
    assert decision.passed and "popularity (0.1100" in decision.reason and "ease" not in decision.reason


def test_a_difference_beyond_chance_is_refused_with_the_setting_that_lets_it_pass() -> None:
    decision = decide_first(values(0.10, popularity=(0.15, -0.01), ease=(0.11, 0.01)), CONFIG)
    assert not decision.passed
    assert "popularity (0.1500" in decision.reason and 'SET="promotion.first_must_beat=[]"' in decision.reason
    assert decide_first(
        values(0.10, popularity=(0.15, -0.01)), CONFIG.model_copy(update={"first_must_beat": ()})
    ).passed


def test_baselines_that_are_not_named_do_not_refuse() -> None:
    assert decide_first(values(0.10, ranker_no_content=(0.2, -0.05)), CONFIG).passed


def test_five_users_prove_nothing_and_nobody_even_less() -> None:
    few = {"ranker": GateValue(0.1, None, 5), "popularity": GateValue(0.9, -0.5, 5)}
    assert decide_first(few, CONFIG).passed
    assert decide_first({}, CONFIG).passed


def test_the_best_baseline_is_the_one_with_the_highest_value() -> None:
    assert best_baseline(values(0.9, popularity=(0.1, 0.9), item_knn=(0.3, 0.7), ease=(0.3, 0.7))) == "ease"
    assert best_baseline({"ranker": GateValue(0.5)}) is None


def next_decision(own: float, reference: float, high: float | None, margin: float = 0.005) -> Decision:
    config = CONFIG.model_copy(update={"margin": margin})
    return decide_next(GateValue(own, None, 50), GateValue(reference, high, 50), "3", config)


@pytest.mark.parametrize(
    ("own", "high", "passed"),
    [
        (0.25, 0.1, True),  # better
        (0.2, 0.0, True),  # equal
        (0.2, -0.001, True),  # equal, whatever the interval says
        (0.1951, -0.001, True),  # worse, within the margin of 0.005
        (0.1949, -0.001, False),  # worse by more, and not by chance
        (0.1949, 0.0, True),  # the interval ends at zero: chance
        (0.0, None, True),  # nothing is known of the interval
        (0.0, -0.1, False),
    ],
)
def test_a_next_candidate_by_its_difference(own: float, high: float | None, passed: bool) -> None:
    assert next_decision(own, 0.2, high).passed == passed


def test_with_no_margin_an_equal_candidate_passes_and_any_worse_one_is_refused() -> None:
    assert next_decision(0.2, 0.2, -0.1, margin=0.0).passed
    assert not next_decision(0.2 - 1e-9, 0.2, -1e-9, margin=0.0).passed


@given(st.floats(0, 1), st.floats(0, 1))
def test_the_margin_that_a_refusal_names_lets_the_candidate_pass(own: float, reference: float) -> None:
    refused = next_decision(own, reference, -1e-6, margin=0.0)
    assert refused.passed == (own >= reference)
    if not refused.passed:
        found = re.search(r'SET="promotion\.margin=([\d.]+)" lets it pass', refused.reason)
        assert found is not None
        assert next_decision(own, reference, -1e-6, margin=float(found[1])).passed


def test_without_validation_users_the_reason_says_so() -> None:
    first, following = decide_first({}, CONFIG), decide_next(None, GateValue(0.9, -0.5, 50), "3", CONFIG)
    assert first.reason == "promoted: the first version, and there is no validation part to evaluate it on"
    assert following == decide_next(GateValue(0.1), None, "3", CONFIG)
    assert following.reason == "promoted: there is no validation part to compare on"
    assert gate_values([], CONFIG) == {}


@pytest.mark.parametrize(("num_users", "passed"), [(5, True), (6, False)])
def test_a_loss_for_every_user_counts_from_six_users_on(num_users: int, passed: bool) -> None:
    worse = {"ranker": GateValue(0.1, None, num_users), "ease": GateValue(0.9, -0.5, num_users)}
    assert decide_first(worse, CONFIG).passed == passed
    assert decide_next(worse["ranker"], worse["ease"], "3", CONFIG).passed == passed


def test_a_first_ranker_that_equals_a_baseline_is_a_tie() -> None:
    decision = decide_first(values(0.1, popularity=(0.1, 0.0)), CONFIG)
    assert decision.passed and "popularity (0.1000" in decision.reason and "by chance at most" in decision.reason


def test_a_next_candidate_is_refused_only_beyond_margin_and_chance() -> None:
    def decided(own: float, high: float) -> tuple[bool, str]:
        decision = decide_next(GateValue(own, None, 50), GateValue(0.2, high, 50), "3", CONFIG)
        return decision.passed, decision.reason

    assert decided(0.196, -0.001)[0]  # within the margin
    assert decided(0.15, 0.01)[0]  # beyond it, but no more than chance
    passed, reason = decided(0.15, -0.01)
    assert not passed and 'SET="promotion.margin=0.05' in reason and "champion 3" in reason
    assert decide_next(None, None, "3", CONFIG).passed


def test_gate_values_take_the_configured_metric_of_all_users() -> None:
    rows = [
        MetricRow("ranker", "all", "ndcg", 10, 0.1, num_users=7),
        MetricRow("ease", "all", "ndcg", 10, 0.2, diff_high=-0.05, num_users=7),
        MetricRow("ease", "warm", "ndcg", 10, 0.9, diff_high=0.5, num_users=7),
        MetricRow("ease", "all", "ndcg", 20, 0.9, diff_high=0.5, num_users=7),
    ]
    found = gate_values(rows, CONFIG)
    assert found == {"ranker": GateValue(0.1, None, 7), "ease": GateValue(0.2, -0.05, 7)}
    assert found["ease"].is_beyond


def test_a_baseline_that_there_is_none_of_is_no_setting() -> None:
    with pytest.raises(ValidationError, match="popularity"):
        PromotionConfig.model_validate({"first_must_beat": ["popularty"]})
