"""Deciding on the second stage: it is kept where it beats the first stage's order on events that neither had seen.

Judged are the windows that it learns from, each by a network of the other windows, and the validation part by a network
of all windows (cross-fitting). Settings of the first stage were chosen on the validation part, which favours its order
there; the windows keep that from deciding alone.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mmrec_lib.evaluation.metrics import hit_metrics
from mmrec_lib.evaluation.significance import mean_intervals, weighted_mean_values
from mmrec_lib.models.config import RankerSettings, TrainingConfig
from mmrec_lib.models.data import Bools, Doubles, FitData, Interactions, Ints
from mmrec_lib.models.ranker.first_stage import fit_first_stage
from mmrec_lib.models.ranker.requests import PER_REQUEST
from mmrec_lib.models.ranker.second_stage import WindowExamples, examples_of, fit_on_windows, window_examples
from mmrec_lib.models.second_stage.model import Network, SecondStage, standing
from mmrec_lib.models.second_stage_settings import SecondStageSettings
from mmrec_lib.models.tuning.validation import CUT_OFF

_log = logging.getLogger(__name__)
_NUM_BOOTSTRAP = 1_000
# Fewer users and windows say nothing.
_MIN_USERS, _MIN_WINDOWS = 20, 2
FIRST_STAGE, SECOND_STAGE = "first stage", "second stage without it"


@dataclass(frozen=True)
class SecondStageDecision:
    """Gain of the second stage over the first stage's order, and whether it is kept.

    Attributes:
        is_kept: True where the interval of the gain lies above 0 and the validation part does not speak against it.
        gain: Mean difference of nDCG@10 over the users of each window and of the validation part.
        low: Lower end of its 95 % interval, by a bootstrap over users.
        high: Upper end of it.
        valid_gain: Mean difference on the validation part alone.
        num_users: Users of all windows and the validation part, each once.
        reason: Why it was not judged; empty where it was.
        context: Decision on the context of requests; None where none was tried.
    """

    is_kept: bool
    gain: float = 0.0
    low: float = 0.0
    high: float = 0.0
    valid_gain: float = 0.0
    num_users: int = 0
    reason: str = ""
    context: ContextDecision | None = None

    def __str__(self) -> str:
        """A sentence for people."""
        if self.reason:
            return f"no second stage: {self.reason}"
        is_beaten = self.context is not None and self.context.is_kept and self.context.beside == FIRST_STAGE
        kept = "not kept, the first stage's order stands"
        if self.is_kept:
            kept = "not kept without context" if is_beaten else "kept"
        told = (
            f"second stage {kept}: nDCG@{CUT_OFF} {self.gain:+.4f} ({self.low:+.4f} to {self.high:+.4f}) over "
            f"{self.num_users} users of held-out windows and validation, {self.valid_gain:+.4f} on validation alone"
        )
        return told if self.context is None else f"{told}; {self.context}"


@dataclass(frozen=True)
class ContextDecision:
    """Gain of an order that knows the context of requests over the order without it, and whether it is kept.

    Attributes:
        kinds: Parts of the context, separated by commas.
        is_kept: True where the interval of the gain lies above 0, and neither validation nor the lists that are made
            without a request speak against it.
        beside: The order without it: that of the second stage where it is kept without context, else the first's.
        gain: Mean difference of nDCG@10 over the users' requests, or over their lists where all parts of the context
            are known before a request.
        low: Lower end of its 95 % interval.
        high: Upper end of it.
        lists_gain: Mean difference over the lists that are made without a request.
        num_users: Users whose requests or lists were looked at.
        reason: Why it was not judged; empty where it was.
    """

    kinds: str
    is_kept: bool
    beside: str = FIRST_STAGE
    gain: float = 0.0
    low: float = 0.0
    high: float = 0.0
    lists_gain: float = 0.0
    num_users: int = 0
    reason: str = ""

    def __str__(self) -> str:
        """A part of a sentence for people."""
        if self.reason:
            return f"context ({self.kinds}) not kept: {self.reason}"
        kept = "kept" if self.is_kept else "not kept"
        return (
            f"context ({self.kinds}) {kept}: nDCG@{CUT_OFF} {self.gain:+.4f} ({self.low:+.4f} to {self.high:+.4f}) "
            f"against the order of the {self.beside} over {self.num_users} users, {self.lists_gain:+.4f} on lists "
            "without a request"
        )


def choose_second_stage(
    train: FitData, valid: Interactions, config: TrainingConfig, settings: RankerSettings
) -> tuple[RankerSettings, SecondStageDecision, SecondStage | None]:
    """Settings with the second stage where it is kept, the decision, and the second stage of the training part.

    Args:
        train: The training part.
        valid: [U, I] the validation part.
        config: `config.second_stage` is tried; None tries nothing.
        settings: Settings of the first stage.
    """
    if reason := _reason_against(train, config):
        return settings, SecondStageDecision(False, reason=reason), None
    assert config.second_stage is not None
    asked = with_windows(config.second_stage, train, valid)
    with_context = settings.model_copy(update={"second_stage": asked})
    tried = settings.model_copy(update={"second_stage": asked.model_copy(update={"context": ()})})
    judged_with = examples_of(train, fit_first_stage(train, settings), valid, with_context)
    windows_with = window_examples(train, with_context)
    windows = [window.without_context() for window in windows_with]
    fitted = fit_on_windows(train, tried, windows)
    if judged_with is None or fitted is None or len(windows) < _MIN_WINDOWS:
        reason = (
            "users with history turned to candidates in too few parts, both validation and "
            f"{_MIN_WINDOWS} held-out windows are needed"
        )
        return settings, SecondStageDecision(False, reason=reason), None
    judged = judged_with.without_context()
    networks = _networks(fitted, windows, tried)
    by_part = [_gain(part, network) for part, network in zip([judged, *windows], networks, strict=True)]
    gains = _of_users([judged, *windows], by_part)
    if len(gains) < _MIN_USERS:
        reason = f"{len(gains)} users can be judged by, {_MIN_USERS} are needed"
        return settings, SecondStageDecision(False, num_users=len(gains), reason=reason), None
    low, high = _interval(gains, settings.seed)
    decision = SecondStageDecision(
        is_kept=low > 0 and _interval(by_part[0], settings.seed)[1] >= 0,
        gain=float(gains.mean()),
        low=low,
        high=high,
        valid_gain=float(by_part[0].mean()),
        num_users=len(gains),
    )
    chosen, second_stage = (tried, fitted) if decision.is_kept else (settings, None)
    if asked.context:
        beaten = networks if decision.is_kept else None
        context, of_context = _choose_context(train, judged_with, windows_with, with_context, beaten)
        decision = replace(decision, context=context, is_kept=decision.is_kept or context.is_kept)
        chosen, second_stage = (with_context, of_context) if context.is_kept else (chosen, second_stage)
    _log.info("%s", decision)
    return chosen, decision, second_stage


def _choose_context(
    train: FitData,
    judged: WindowExamples,
    windows: Sequence[WindowExamples],
    settings: RankerSettings,
    without: Sequence[Network] | None,
) -> tuple[ContextDecision, SecondStage | None]:
    """The decision on the context of requests, and the second stage of the training part that knows it.

    Args:
        train: The training part.
        judged: Examples of validation.
        windows: Examples of the windows.
        settings: Settings with the context.
        without: Networks without context, by part; None where the first stage's order is to be beaten.
    """
    assert settings.second_stage is not None
    kinds = settings.second_stage.context
    told = ", ".join(kinds)
    parts = [judged, *windows]
    if "search" in kinds and (train.searches is None or settings.second_stage.windows == "random"):
        reason = "it needs searches that are known to come before the lists: parts that follow each other in time"
        return ContextDecision(told, False, reason=reason), None
    if (PER_REQUEST & set(kinds)) and not all(part.num_requests for part in parts):
        reason = "validation and windows need interactions with times or devices"
        return ContextDecision(told, False, reason=reason), None
    fitted = fit_on_windows(train, settings, windows)
    assert fitted is not None
    by_part = [_gain(part, network) for part, network in zip(parts, _networks(fitted, windows, settings), strict=True)]
    if without is not None:
        others = [_gain(part.without_features(), network) for part, network in zip(parts, without, strict=True)]
        by_part = [own - other for own, other in zip(by_part, others, strict=True)]
    is_request = [part.is_request if PER_REQUEST & set(kinds) else ~part.is_request for part in parts]
    gains = _of_users(parts, by_part, is_request)
    lists = _of_users(parts, by_part, [~part.is_request for part in parts])
    of_valid = _of_users(parts[:1], by_part[:1], is_request[:1])
    low, high = _interval(gains, settings.seed)
    speak_against = [values for values in (lists, of_valid) if _interval(values, settings.seed)[1] < 0]
    decision = ContextDecision(
        kinds=told,
        is_kept=len(gains) >= _MIN_USERS and low > 0 and not speak_against,
        beside=FIRST_STAGE if without is None else SECOND_STAGE,
        gain=float(gains.mean()),
        low=low,
        high=high,
        lists_gain=float(lists.mean()),
        num_users=len(gains),
    )
    return decision, fitted


def _reason_against(train: FitData, config: TrainingConfig) -> str:
    """Reason not to try a second stage; empty where there is none."""
    bounds = config.second_stage
    if bounds is None:
        return "training.second_stage is null"
    num_interactions, num_items = train.interactions.weights.nnz, int((train.interactions.item_counts() > 0).sum())
    if not num_interactions:
        return "there is nothing to learn from"
    for name, number in (("max_items", num_items), ("max_interactions", num_interactions)):
        if number > getattr(bounds, name):
            return f"{number:,} are more than training.second_stage.{name} = {getattr(bounds, name):,}"
    return ""


def by_user(gains_R: Doubles, users_R: Ints) -> Doubles:
    """[n] one value a user, whose mean is that of all gains and whose spread is that of users, not of their parts.

    A user may be in several parts, and is one draw of the bootstrap.
    """
    _, user = np.unique(users_R, return_inverse=True)
    num_parts = np.bincount(user)
    by_user: Doubles = weighted_mean_values(np.bincount(user, gains_R) / num_parts, num_parts)
    return by_user


def _interval(gains_N: Doubles, seed: int) -> tuple[float, float]:
    (low,), (high,) = mean_intervals(gains_N[:, None], _NUM_BOOTSTRAP, seed)
    return float(low), float(high)


def with_windows(chosen: SecondStageSettings, train: FitData, valid: Interactions) -> SecondStageSettings:
    """Windows that are cut as the validation part was: by time where it follows the training part."""
    if chosen.windows != "auto":
        return chosen
    before, after = train.interactions.times.data, valid.times.data
    follows = len(before) > 0 and len(after) > 0 and before.max() > 0 and after.min() >= before.max()
    return chosen.model_copy(update={"windows": "time" if follows else "random"})


def _networks(fitted: SecondStage, windows: Sequence[WindowExamples], settings: RankerSettings) -> list[Network]:
    """The network of all windows, for validation, and for each window one of the others."""
    of_others = [_network([one for one in windows if one is not window], settings) for window in windows]
    return [fitted.network, *of_others]


def _of_users(
    parts: Sequence[WindowExamples], gains: Sequence[Doubles], kept: Sequence[Bools] | None = None
) -> Doubles:
    """`by_user` of the gains of several parts, or of some of their rows."""
    rows = [np.ones(len(part.users), np.bool_) for part in parts] if kept is None else kept
    values = [own[at] for own, at in zip(gains, rows, strict=True)]
    users = [part.users[at] for part, at in zip(parts, rows, strict=True)]
    return by_user(np.concatenate(values), np.concatenate(users))


def _network(windows: Sequence[WindowExamples], settings: RankerSettings) -> Network:
    # As in `fit_on_windows`.
    from mmrec_lib.models.second_stage.train import train_network

    assert settings.second_stage is not None
    parts, blocks = [window.examples for window in windows], windows[0].signals.blocks
    return train_network(parts, blocks, len(windows[0].sources), settings.second_stage, settings.seed)


def _gain(part: WindowExamples, network: Network) -> Doubles:
    """[n] nDCG@10 in the second stage's order less that in the first's."""
    inputs, relevant = part.examples.inputs, part.examples.relevant
    # As `SecondStage.order`: where all candidates have one score, nothing is added.
    keys = inputs.scores + np.where(inputs.unit[:, None] > 0, network.additions(inputs), np.float32(0))
    order = standing(keys, inputs.is_item)
    metric, by_order = f"ndcg@{CUT_OFF}", []
    for hits in (np.take_along_axis(relevant, order, axis=1), relevant):
        padded = np.pad(hits[:, :CUT_OFF], ((0, 0), (0, max(0, CUT_OFF - hits.shape[1]))))
        by_order.append(hit_metrics(padded, part.num_relevant, (CUT_OFF,))[metric])
    gain: Doubles = by_order[0] - by_order[1]
    return gain
