"""Studies: settings tried together, and taken only where users that a study has not seen gain."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pytest

from mmrec_lib.models.config import RankerSettings, TrainingConfig
from mmrec_lib.models.second_stage_settings import SecondStageSettings
from mmrec_lib.models.sources.ials import IalsSettings
from mmrec_lib.models.study_settings import StudySettings
from mmrec_lib.models.tuning.study import Clock, Range, Study, Value, run_study, space_of
from mmrec_lib.models.tuning.study_stages import study_first_stage, study_second_stage, study_stages
from tests.unit.models.checkerboard import Checkerboard
from tests.unit.models.circle import Circle, circle

pytest.importorskip("optuna")
SPACE = {"rate": Range(1e-4, 1.0), "size": Range(4, 64, is_whole=True), "form": ("a", "b", None), "off": (0.0, 1.0)}
START: dict[str, Value] = {"rate": 1.0, "size": 4, "form": "b", "off": 1.0}
SMALL = SecondStageSettings(windows="time", num_candidates=12, epochs=50, attention_dim=4, hidden_dim=8, num_windows=2)


def quality(values: Mapping[str, Value]) -> float:
    rate, size = values["rate"], values["size"]
    assert isinstance(rate, float) and isinstance(size, int)
    found = 1 - 0.1 * abs(math.log10(rate) + 2) - 0.01 * abs(math.log2(size) - 4)
    return found - 0.1 * (values["form"] != "a") - 0.05 * (values["off"] == 1.0)


def run(gain: float = 0.01, max_trials: int = 60, seconds: float = 600.0, seed: int = 0) -> Study:
    rng = np.random.default_rng(5)
    clock = Clock(seconds)
    return run_study(
        "first_stage",
        SPACE,
        START,
        quality,
        lambda _: gain + 0.001 * rng.standard_normal(50),
        max_trials=max_trials,
        clock=clock,
        seed=seed,
    )


def test_it_begins_with_what_is_there_and_finds_what_is_better() -> None:
    study = run()
    assert dict(study.trials[0].values) == START
    assert len(study.trials) == 60
    best = study.best.values
    assert best["form"] == "a" and best["off"] == 0.0
    assert isinstance(best["rate"], float) and 1e-3 < best["rate"] < 1e-1
    assert study.importances and sum(study.importances.values()) == pytest.approx(1)
    assert next(iter(study.importances)) in {"rate", "form"}
    assert study.is_taken and study.low > 0
    assert str(study).startswith("study of the first stage: 60 settings tried, the best is taken: nDCG@10 +0.0")


def test_the_same_seed_tries_the_same_and_another_one_others() -> None:
    first, again, other = run(max_trials=15), run(max_trials=15), run(max_trials=15, seed=1)
    assert [dict(trial.values) for trial in first.trials] == [dict(trial.values) for trial in again.trials]
    assert [dict(trial.values) for trial in first.trials] != [dict(trial.values) for trial in other.trials]


@pytest.mark.parametrize("gain", [0.0, -0.02])
def test_the_best_is_left_where_others_do_not_gain(gain: float) -> None:
    study = run(gain, max_trials=12)
    assert study.best is not study.trials[0]
    assert not study.is_taken
    assert "the best is not taken" in str(study)


def test_time_ends_it_after_the_first_trial_at_the_earliest() -> None:
    study = run(seconds=-1.0)
    assert len(study.trials) == 1 and study.ended_by_clock and not study.is_taken
    assert str(study).startswith("study of the first stage: 1 settings tried before time ended it, none better")
    assert not run(max_trials=2).ended_by_clock


@pytest.mark.parametrize(
    ("grid", "start", "expected"),
    [
        ((0.1, 1.0), 0.3, Range(0.1, 1.0)),
        ((0.1, 1.0), 4.0, Range(0.1, 4.0)),
        ((16, 32, 64), 32, Range(16, 64, True)),
        ((0.0, 0.5), 0.25, (0.0, 0.25, 0.5)),
        ((64,), 64, (64,)),
    ],
)
def test_a_space_spans_the_grid_and_what_is_there(grid: tuple[float, ...], start: float, expected: object) -> None:
    assert space_of(grid, start) == expected


@pytest.fixture(scope="module")
def store() -> Circle:
    return circle()


def poor(fusion: Mapping[str, float]) -> RankerSettings:
    """Settings that nobody would choose."""
    poorest = RankerSettings(fusion=dict(fusion), dim=2, use_content=False)
    return poorest.with_sources({"ials": IalsSettings(rank=1, unobserved=1.0, regulariser=50.0)})


def test_the_first_stage_gets_better_where_it_was_poor(board: Checkerboard) -> None:
    config = TrainingConfig(sources=("ials", "graph_filter"), dims=(2, 8))
    before = poor({"ials": 1.0})
    after, study = study_first_stage(board.train, board.rest, config, before, 25, Clock(600.0))
    assert study.is_taken and study.low > 0
    assert after != before
    assert set(after.fusion) <= {"ials", "graph_filter"}
    assert study.best.ndcg > study.trials[0].ndcg
    assert "max_users" not in "".join(study.best.values)


def test_few_users_are_no_study(board: Checkerboard) -> None:
    few = board.rest.where(np.arange(board.rest.weights.nnz) < 5)
    settings, study = study_first_stage(board.train, few, TrainingConfig(), poor({"ials": 1.0}), 5, Clock(600.0))
    assert settings == poor({"ials": 1.0})
    assert "40 are needed" in str(study)


@pytest.mark.slow
def test_the_second_stage_gets_better_where_it_hardly_learned(store: Circle) -> None:
    slow = SMALL.model_copy(update={"epochs": 1, "learning_rate": 1e-5})
    settings = RankerSettings(fusion={"ials": 1.0}, dim=8, use_content=False)
    second, study = study_second_stage(
        store.train, store.rest, TrainingConfig(second_stage=slow), settings, 12, Clock(600.0)
    )
    assert study.is_taken and study.gain > 0.02
    assert second is not None and second.epochs > 1
    assert second.windows == "time" and second.num_candidates == 12, "inputs stay as configured"


def test_both_stages_share_the_time(store: Circle) -> None:
    config = TrainingConfig(sources=("ials",), second_stage=SMALL, study=StudySettings(max_trials=2, max_minutes=1e-9))
    settings = RankerSettings(fusion={"ials": 1.0}, dim=8, use_content=False)
    assert config.study is not None
    first, second, studies = study_stages(store.train, store.rest, config, settings, config.study)
    assert [study.stage for study in studies] == ["first_stage", "second_stage"]
    assert [len(study.trials) for study in studies] == [1, 1]
    assert (first, second) == (settings, SMALL), "nothing but what was there was tried"
    without = study_second_stage(store.train, store.rest, TrainingConfig(second_stage=None), settings, 2, Clock(600.0))
    assert without[0] is None and "training.second_stage is null" in str(without[1])
    empty = store.rest.where(np.zeros(store.rest.weights.nnz, dtype=np.bool_))
    nobody = study_first_stage(store.train, empty, config, settings, 2, Clock(600.0))
    assert nobody[1].reason
