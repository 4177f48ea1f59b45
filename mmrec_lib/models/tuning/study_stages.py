"""Studies of the first and the second stage: from settings that were each chosen by itself to better ones together.

The first stage is tried on one half of the validation users and judged by the other. The second stage is tried on the
windows that it learns from, each ordered by a network of the others, and judged by the validation part.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

import numpy as np

from mmrec_lib.models.config import RankerSettings, TrainingConfig
from mmrec_lib.models.data import Doubles, FitData, Floats, Interactions
from mmrec_lib.models.ranker.first_stage import content_features, fit_first_stage
from mmrec_lib.models.second_stage_settings import FusionForm, FusionLevel, Loss, SecondStageSettings
from mmrec_lib.models.sources.popularity import half_life_candidates
from mmrec_lib.models.sources.registry import possible_sources, source_type
from mmrec_lib.models.study_settings import StudySettings
from mmrec_lib.models.tuning.choose import GROUP_WEIGHTS, WARM_POPULARITY, WEIGHT_EXPONENTS
from mmrec_lib.models.tuning.choose_second_stage import reason_against
from mmrec_lib.models.tuning.judged_parts import (
    MIN_USERS,
    first_stage_ndcg,
    gain_of,
    network_of,
    networks_of_others,
    parts_of,
)
from mmrec_lib.models.tuning.study import Clock, Range, Space, Study, Value, run_study, space_of
from mmrec_lib.models.tuning.validation import ValidationUsers

FIRST_STAGE, SECOND_STAGE = "first_stage", "second_stage"
_FUSION, _CONTENT, _POPULARITY = "fusion", "content", "popularity"
_FUSION_WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
_CONTENT_WEIGHTS = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)
_SECOND_STAGE: Space = {
    "form": get_args(FusionForm),
    "level": get_args(FusionLevel),
    "loss": get_args(Loss),
    "attention_dim": Range(8, 32, is_whole=True),
    "hidden_dim": Range(16, 128, is_whole=True),
    "num_negatives": Range(8, 128, is_whole=True),
    "hard_negatives": (0.0, 0.25, 0.5, 0.75, 0.9),
    "epochs": Range(4, 30, is_whole=True),
    "learning_rate": Range(5e-4, 2e-2),
    "weight_decay": Range(1e-3, 0.5),
    "dropout": (0.0, 0.1, 0.3, 0.5),
    "modality_dropout": (0.0, 0.1, 0.3, 0.5),
    "content_noise": (0.0, 0.3),
}


def study_stages(
    train: FitData, valid: Interactions, config: TrainingConfig, chosen: RankerSettings, study: StudySettings
) -> tuple[RankerSettings, SecondStageSettings | None, tuple[Study, ...]]:
    """Study the first stage, then the second one above what the first became.

    Args:
        train: The training part.
        valid: [U, I] the validation part.
        config: Bounds of the search; settings that the second stage begins with.
        chosen: Settings of the first stage, each chosen by itself.
        study: How much is tried.

    Returns:
        Settings of the first stage and of the second, changed where users that a study had not seen gain, and what was
        tried.

    Raises:
        ModelError: When Optuna is not installed.
    """
    clock = Clock(60 * study.max_minutes)
    first, of_first = study_first_stage(train, valid, config, chosen, study.max_trials, clock)
    second, of_second = study_second_stage(train, valid, config, first, study.max_trials, clock)
    return first, second, (of_first, of_second)


def study_first_stage(
    train: FitData,
    valid: Interactions,
    config: TrainingConfig,
    chosen: RankerSettings,
    max_trials: int,
    clock: Clock,
) -> tuple[RankerSettings, Study]:
    """Settings of sources, of their fusion, of contents and of popularity, tried together on half of the users."""
    users = ValidationUsers.of(train, valid, config)
    order = np.random.default_rng(config.seed).permutation(len(users))
    tried, judging = (users.rows(np.sort(half)) for half in np.array_split(order, 2))
    if len(judging) < MIN_USERS:
        reason = f"validation has {len(users)} users, {2 * MIN_USERS} are needed"
        return chosen, Study(FIRST_STAGE, reason=reason)
    space, start = _first_stage_space(train, config, chosen)
    begun = fit_first_stage(train, chosen)

    def by_user(values: Mapping[str, Value], of: ValidationUsers) -> Doubles:
        fitted = fit_first_stage(train, _with_values(chosen, values), begun)
        scores: Floats = fitted.score(of.histories)
        return of.ndcg_by_user(scores)

    study = run_study(
        FIRST_STAGE,
        space,
        start,
        lambda values: float(by_user(values, tried).mean()),
        lambda values: by_user(values, judging) - by_user(start, judging),
        max_trials=max_trials,
        clock=clock,
        seed=config.seed,
    )
    return (_with_values(chosen, study.best.values) if study.is_taken else chosen), study


def study_second_stage(
    train: FitData,
    valid: Interactions,
    config: TrainingConfig,
    first_stage: RankerSettings,
    max_trials: int,
    clock: Clock,
) -> tuple[SecondStageSettings | None, Study]:
    """Settings of the network and of its training, tried on held-out windows; its inputs stay as configured."""
    configured = config.second_stage
    if reason := reason_against(train, config):
        return configured, Study(SECOND_STAGE, reason=reason)
    assert configured is not None
    parts = parts_of(train, valid, configured.model_copy(update={"context": ()}), first_stage)
    if parts is None or len(parts.judged.users) < MIN_USERS:
        return configured, Study(SECOND_STAGE, reason="too few users turned to candidates")
    before = float(np.concatenate([first_stage_ndcg(part) for part in parts.windows]).mean())

    def settings_of(values: Mapping[str, Value]) -> RankerSettings:
        # Trials are many, and would take the place of other trainings' checkpoints.
        update = {"second_stage": parts.second_stage.model_copy(update={**values, "checkpoint": None})}
        return parts.settings.model_copy(update=update)

    def evaluate(values: Mapping[str, Value]) -> float:
        networks = networks_of_others(parts.windows, settings_of(values))
        gains = [gain_of(part, network) for part, network in zip(parts.windows, networks, strict=True)]
        return before + float(np.concatenate(gains).mean())

    def of_judged(values: Mapping[str, Value]) -> Doubles:
        return gain_of(parts.judged, network_of(parts.windows, settings_of(values)))

    start = {name: getattr(configured, name) for name in _SECOND_STAGE}
    space = {name: _with_start(choices, start[name]) for name, choices in _SECOND_STAGE.items()}
    if configured.context:
        # Weights over shares alone see no context.
        space["level"] = tuple(level for level in get_args(FusionLevel) if level != "decision")
    study = run_study(
        SECOND_STAGE,
        space,
        start,
        evaluate,
        lambda values: of_judged(values) - of_judged(start),
        max_trials=max_trials,
        clock=clock,
        seed=config.seed,
    )
    return (configured.model_copy(update=dict(study.best.values)) if study.is_taken else configured), study


def _with_start(choices: Range | tuple[Value, ...], start: Any) -> Range | tuple[Value, ...]:
    """Choices that hold the value that is there."""
    if isinstance(choices, Range):
        return Range(min(choices.low, start), max(choices.high, start), choices.is_whole) if start > 0 else (start,)
    return choices if start in choices else (*choices, start)


def _first_stage_space(
    train: FitData, config: TrainingConfig, chosen: RankerSettings
) -> tuple[Space, dict[str, Value]]:
    """Values of each setting of the first stage, and those that are there."""
    num_items = int((train.interactions.item_counts() > 0).sum())
    start: dict[str, Value] = {}
    space: dict[str, Range | tuple[Value, ...]] = {}

    def add(name: str, grid: tuple[float, ...], value: float) -> None:
        start[name], space[name] = value, space_of(grid, value)

    for name in possible_sources(config.sources, num_items, config.max_dense_items):
        source = source_type(name)
        add(f"{_FUSION}.{name}", _FUSION_WEIGHTS, chosen.fusion.get(name, 0.0))
        for setting, grid in source.grids.items():
            add(f"{name}.{setting}", grid, getattr(chosen.of(source), setting))
    for block in content_features(train, chosen).rows:
        add(f"{_CONTENT}.{block}", _CONTENT_WEIGHTS, chosen.content_weights.get(block, 1.0))
    if len(set(train.interactions.weights.data)) > 1:
        add("weight_exponent", WEIGHT_EXPONENTS, chosen.weight_exponent)
    add("dim", config.dims, chosen.dim)
    popularity = chosen.popularity
    add(f"{_POPULARITY}.warm_weight", WARM_POPULARITY, popularity.warm_weight)
    half_lives = half_life_candidates(train)
    start[f"{_POPULARITY}.half_life_days"] = popularity.half_life_days
    space[f"{_POPULARITY}.half_life_days"] = _with_start(tuple(half_lives), popularity.half_life_days)
    if train.user_attributes and config.max_groups:
        add(f"{_POPULARITY}.group_weight", GROUP_WEIGHTS, popularity.group_weight)
    return {name: choices for name, choices in space.items() if choices != (start[name],)}, {
        name: value for name, value in start.items() if space[name] != (value,)
    }


def _with_values(chosen: RankerSettings, values: Mapping[str, Value]) -> RankerSettings:
    """The settings with the values of a trial."""
    by_room: dict[str, dict[str, Any]] = {}
    update: dict[str, Any] = {}
    for name, value in values.items():
        room, dot, setting = name.partition(".")
        if dot:
            by_room.setdefault(room, {})[setting] = value
        else:
            update[name] = value
    weights = {**chosen.fusion, **by_room.pop(_FUSION, {})}
    update["fusion"] = {name: weight for name, weight in weights.items() if weight}
    update["content_weights"] = {**chosen.content_weights, **by_room.pop(_CONTENT, {})}
    update["popularity"] = chosen.popularity.model_copy(update=by_room.pop(_POPULARITY, {}))
    sources = {name: chosen.sources[name].model_copy(update=changed) for name, changed in by_room.items()}
    return chosen.with_sources(sources).model_copy(update=update)
