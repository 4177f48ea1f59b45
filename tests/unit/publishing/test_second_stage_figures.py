"""The decision on the second stage is read back from the parameters of a run as it was written."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from mmrec_lib.models.tuning.choose_second_stage import SecondStageDecision
from mmrec_lib.publishing.collect import second_stage_figures
from mmrec_lib.reporting.data import SecondStageFigures

# MLflow warns about type hints of its own modules when they are first imported.
pytestmark = pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning")


def logged(decision: SecondStageDecision) -> dict[str, object]:
    values = {**asdict(decision), "decision": str(decision)}
    return {f"second_stage.{name}": str(value) for name, value in values.items()}


def test_a_judged_decision_has_its_figures() -> None:
    decision = SecondStageDecision(True, 0.03, 0.01, 0.05, 0.02, 162)
    assert second_stage_figures(logged(decision)) == SecondStageFigures(str(decision), 0.03, 0.01, 0.05, 0.02, 162)


def test_one_that_was_not_judged_has_its_reason_alone() -> None:
    decision = SecondStageDecision(False, reason="training.second_stage is null")
    assert second_stage_figures(logged(decision)) == SecondStageFigures(
        "no second stage: training.second_stage is null"
    )


def test_runs_of_baselines_and_of_earlier_versions_tell_of_none() -> None:
    assert second_stage_figures({"second_stage.gain": "0.1"}) is None
