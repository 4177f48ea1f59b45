"""Studies: many settings tried together, by the tree-structured Parzen estimator of Optuna.

Sources: J. Bergstra et al. 2011, Algorithms for Hyper-Parameter Optimization (TPE); T. Akiba et al. 2019, Optuna: A
Next-generation Hyperparameter Optimization Framework; S. Watanabe et al. 2023, PED-ANOVA: Efficiently Quantifying
Hyperparameter Importance in Arbitrary Subspaces.

What a study finds best is best on the users that it looked at. It is taken only where users that it has not seen gain.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmrec_lib.errors import ModelError
from mmrec_lib.models.data import Doubles
from mmrec_lib.models.tuning.judged_parts import interval_of
from mmrec_lib.models.tuning.validation import CUT_OFF

Value = float | int | str | None
# PED-ANOVA compares the best trials with all.
_MIN_TRIALS_FOR_IMPORTANCE = 10
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Range:
    """Numbers between two ends, evenly on a logarithmic scale.

    Attributes:
        low: Above 0.
        high: Not below `low`.
        is_whole: True for whole numbers.
    """

    low: float
    high: float
    is_whole: bool = False


Space = Mapping[str, Range | tuple[Value, ...]]
"""Values of each setting: a range, or those that there are."""


def space_of(grid: tuple[float, ...], start: float) -> Range | tuple[Value, ...]:
    """Values that a study tries of a setting that a coordinate search steps through, the first value among them.

    Args:
        grid: Ordered values.
        start: Need not be among them.

    Returns:
        The range that they span; the values themselves where one of them is 0.
    """
    values = sorted({*grid, start})
    if values[0] <= 0 or len(values) == 1:
        return tuple(values)
    return Range(values[0], values[-1], all(isinstance(value, int) for value in values))


@dataclass(frozen=True)
class Trial:
    """Settings that were tried.

    Attributes:
        values: Value of each setting.
        ndcg: nDCG@10 of the users that the study looks at.
        seconds: Seconds of the clock.
    """

    values: Mapping[str, Value]
    ndcg: float
    seconds: float


@dataclass(frozen=True)
class Study:
    """Trials of a stage, and whether the best of it is taken.

    Attributes:
        stage: `first_stage` or `second_stage`.
        trials: In their order; the first has the settings that were there before.
        importances: Share of each setting in what makes a trial one of the best; empty after few trials.
        ended_by_clock: True where time ended it, not the number of trials.
        is_taken: True where the interval of the gain lies above 0.
        gain: Mean difference of nDCG@10 between the best trial and the first, over users that it has not seen.
        low: Lower end of its 95 % interval.
        high: Upper end of it.
        num_users: These users.
        reason: Why nothing was tried; empty where something was.
    """

    stage: str
    trials: tuple[Trial, ...] = ()
    importances: Mapping[str, float] | None = None
    ended_by_clock: bool = False
    is_taken: bool = False
    gain: float = 0.0
    low: float = 0.0
    high: float = 0.0
    num_users: int = 0
    reason: str = ""

    @property
    def best(self) -> Trial:
        """The best trial, the earliest among equal ones."""
        return max(self.trials, key=lambda trial: trial.ndcg)

    def __str__(self) -> str:
        """A sentence for people."""
        name = self.stage.replace("_", " ")
        if self.reason:
            return f"no study of the {name}: {self.reason}"
        ended = " before time ended it" if self.ended_by_clock else ""
        tried = f"study of the {name}: {len(self.trials)} settings tried{ended}"
        if self.best is self.trials[0]:
            return f"{tried}, none better than those that each was chosen by itself"
        taken = "the best is taken" if self.is_taken else "the best is not taken"
        return (
            f"{tried}, {taken}: nDCG@{CUT_OFF} {self.gain:+.4f} ({self.low:+.4f} to {self.high:+.4f}) over "
            f"{self.num_users} users that it has not seen"
        )


@dataclass
class Clock:
    """Time that trials may take, shared by the studies of a training."""

    seconds: float

    def is_over(self) -> bool:
        """True when it is used up."""
        return self.seconds <= 0


def run_study(
    stage: str,
    space: Space,
    start: Mapping[str, Value],
    evaluate: Callable[[Mapping[str, Value]], float],
    gains: Callable[[Mapping[str, Value]], Doubles],
    *,
    max_trials: int,
    clock: Clock,
    seed: int,
) -> Study:
    """Try settings, and judge the best by users that the study has not seen.

    Args:
        stage: Name of what is searched.
        space: Values of each setting.
        start: Values that are there already, within the space; tried first.
        evaluate: The objective, higher is better.
        gains: [n] of each user that `evaluate` does not look at, by how much values are better than `start`.
        max_trials: Trials, at most.
        clock: Time left, of which the study takes what it needs. The first trial is made in any case.
        seed: Of the sampler and the bootstrap.

    Raises:
        ModelError: When Optuna is not installed.
    """
    optuna = load_optuna()
    trials: list[Trial] = []
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed, multivariate=True))
    study.enqueue_trial(dict(start))
    ended_by_clock = False
    for number in range(max_trials):
        if number and clock.is_over():
            ended_by_clock = True
            break
        begun = time.monotonic()
        asked = study.ask()
        values = {name: _suggested(asked, name, choices) for name, choices in space.items()}
        ndcg = evaluate(values)
        study.tell(asked, ndcg)
        trials.append(Trial(values, ndcg, time.monotonic() - begun))
        clock.seconds -= trials[-1].seconds
        _log.debug("study of the %s: %s: %.5f", stage, values, ndcg)
    found = Study(stage, tuple(trials), _importances(optuna, study), ended_by_clock)
    if found.best is not trials[0]:
        by_user = gains(found.best.values)
        low, high = interval_of(by_user, seed)
        found = Study(
            stage,
            found.trials,
            found.importances,
            ended_by_clock,
            is_taken=low > 0,
            gain=float(by_user.mean()),
            low=low,
            high=high,
            num_users=len(by_user),
        )
    _log.info("%s", found)
    return found


def _suggested(trial: Any, name: str, choices: Range | tuple[Value, ...]) -> Value:
    if not isinstance(choices, Range):
        chosen: Value = trial.suggest_categorical(name, choices)
        return chosen
    if choices.is_whole:
        return int(trial.suggest_int(name, int(choices.low), int(choices.high), log=True))
    return float(trial.suggest_float(name, choices.low, choices.high, log=True))


def _importances(optuna: Any, study: Any) -> Mapping[str, float]:
    """Share of each setting that was varied, the largest first."""
    values = {trial.value for trial in study.trials if trial.value is not None}
    if len(study.trials) < _MIN_TRIALS_FOR_IMPORTANCE or len(values) < 2:
        return {}
    evaluator = optuna.importance.PedAnovaImportanceEvaluator()
    found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {name: float(share) for name, share in found.items() if np.isfinite(share)}


def load_optuna() -> Any:
    """The package Optuna.

    Raises:
        ModelError: When it is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise ModelError(
            "training.study: a study needs Optuna, which is not installed. Install `mmrec[tuning]`, or set "
            "training.study to null."
        ) from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna
