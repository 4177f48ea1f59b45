"""Deciding on the second stage: it is kept where it beats the first stage's order on events that neither had seen.

Judged are the windows that it learns from, each by a network of the other windows, and the validation part by a network
of all windows (cross-fitting). Settings of the first stage were chosen on the validation part, which favours its order
there; the windows keep that from deciding alone.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

from mmrec_lib.models.config import RankerSettings, TrainingConfig
from mmrec_lib.models.data import FitData, Interactions
from mmrec_lib.models.ranker.requests import PER_REQUEST
from mmrec_lib.models.ranker.second_stage import fit_on_windows
from mmrec_lib.models.second_stage.model import Network, SecondStage
from mmrec_lib.models.tuning.judged_parts import (
    MIN_USERS,
    MIN_WINDOWS,
    JudgedParts,
    gain_of,
    interval_of,
    networks_of_others,
    of_users,
    parts_of,
)
from mmrec_lib.models.tuning.validation import CUT_OFF

_log = logging.getLogger(__name__)
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
    if reason := reason_against(train, config):
        return settings, SecondStageDecision(False, reason=reason), None
    assert config.second_stage is not None
    parts = parts_of(train, valid, config.second_stage, settings)
    plain = None if parts is None else parts.without_context()
    fitted = None if plain is None else fit_on_windows(train, plain.settings, plain.windows)
    if parts is None or plain is None or fitted is None:
        reason = (
            "users with history turned to candidates in too few parts, both validation and "
            f"{MIN_WINDOWS} held-out windows are needed"
        )
        return settings, SecondStageDecision(False, reason=reason), None
    networks = [fitted.network, *networks_of_others(plain.windows, plain.settings)]
    by_part = [gain_of(part, network) for part, network in zip(plain.every, networks, strict=True)]
    gains = of_users(plain.every, by_part)
    if len(gains) < MIN_USERS:
        reason = f"{len(gains)} users can be judged by, {MIN_USERS} are needed"
        return settings, SecondStageDecision(False, num_users=len(gains), reason=reason), None
    low, high = interval_of(gains, settings.seed)
    decision = SecondStageDecision(
        is_kept=low > 0 and interval_of(by_part[0], settings.seed)[1] >= 0,
        gain=float(gains.mean()),
        low=low,
        high=high,
        valid_gain=float(by_part[0].mean()),
        num_users=len(gains),
    )
    chosen, second_stage = (plain.settings, fitted) if decision.is_kept else (settings, None)
    if parts.second_stage.context:
        context, of_context = _choose_context(train, parts, networks if decision.is_kept else None)
        decision = replace(decision, context=context, is_kept=decision.is_kept or context.is_kept)
        chosen, second_stage = (parts.settings, of_context) if context.is_kept else (chosen, second_stage)
    _log.info("%s", decision)
    return chosen, decision, second_stage


def _choose_context(
    train: FitData, judged_parts: JudgedParts, without: Sequence[Network] | None
) -> tuple[ContextDecision, SecondStage | None]:
    """The decision on the context of requests, and the second stage of the training part that knows it.

    Args:
        train: The training part.
        judged_parts: Validation and windows, with what is known of requests.
        without: Networks without context, by part; None where the first stage's order is to be beaten.
    """
    settings, second_stage, parts = judged_parts.settings, judged_parts.second_stage, judged_parts.every
    kinds = second_stage.context
    told = ", ".join(kinds)
    if "search" in kinds and (train.searches is None or second_stage.windows == "random"):
        reason = "search needs searches that are known to come before the lists: parts that follow each other in time"
        if second_stage.windows != "random":
            reason = "search needs searches, and nobody searched before validation"
        if len(kinds) > 1:
            reason += "; without it in training.second_stage.context the others are tried"
        return ContextDecision(told, False, reason=reason), None
    if (PER_REQUEST & set(kinds)) and not all(part.num_requests for part in parts):
        reason = "validation and windows need interactions with times or devices"
        return ContextDecision(told, False, reason=reason), None
    fitted = fit_on_windows(train, settings, judged_parts.windows)
    assert fitted is not None
    networks = [fitted.network, *networks_of_others(judged_parts.windows, settings)]
    by_part = [gain_of(part, network) for part, network in zip(parts, networks, strict=True)]
    if without is not None:
        others = [gain_of(part.without_features(), network) for part, network in zip(parts, without, strict=True)]
        by_part = [own - other for own, other in zip(by_part, others, strict=True)]
    is_request = [part.is_request if PER_REQUEST & set(kinds) else ~part.is_request for part in parts]
    gains = of_users(parts, by_part, is_request)
    lists = of_users(parts, by_part, [~part.is_request for part in parts])
    of_valid = of_users(parts[:1], by_part[:1], is_request[:1])
    low, high = interval_of(gains, settings.seed)
    speak_against = [values for values in (lists, of_valid) if interval_of(values, settings.seed)[1] < 0]
    decision = ContextDecision(
        kinds=told,
        is_kept=len(gains) >= MIN_USERS and low > 0 and not speak_against,
        beside=FIRST_STAGE if without is None else SECOND_STAGE,
        gain=float(gains.mean()),
        low=low,
        high=high,
        lists_gain=float(lists.mean()),
        num_users=len(gains),
    )
    return decision, fitted


def reason_against(train: FitData, config: TrainingConfig) -> str:
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
