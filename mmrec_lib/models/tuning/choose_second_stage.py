"""Deciding on the second stage: it is kept where it beats the first stage's order on events that neither had seen.

Judged are the windows that it learns from, each by a network of the other windows, and the validation part by a network
of all windows (cross-fitting). Settings of the first stage were chosen on the validation part, which favours its order
there; the windows keep that from deciding alone.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mmrec_lib.evaluation.metrics import hit_metrics
from mmrec_lib.evaluation.significance import mean_intervals, weighted_mean_values
from mmrec_lib.models.config import RankerSettings, TrainingConfig
from mmrec_lib.models.data import Bools, Doubles, FitData, Interactions, Ints
from mmrec_lib.models.ranker.first_stage import fit_first_stage
from mmrec_lib.models.ranker.second_stage import WindowExamples, examples_of, fit_on_windows, window_examples
from mmrec_lib.models.second_stage.model import Network, SecondStage, standing
from mmrec_lib.models.second_stage_settings import SecondStageSettings
from mmrec_lib.models.tuning.validation import CUT_OFF

_log = logging.getLogger(__name__)
_NUM_BOOTSTRAP = 1_000
# Fewer users and windows say nothing.
_MIN_USERS, _MIN_WINDOWS = 20, 2


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
    """

    is_kept: bool
    gain: float = 0.0
    low: float = 0.0
    high: float = 0.0
    valid_gain: float = 0.0
    num_users: int = 0
    reason: str = ""

    def __str__(self) -> str:
        """A sentence for people."""
        if self.reason:
            return f"no second stage: {self.reason}"
        kept = "kept" if self.is_kept else "not kept, the first stage's order stands"
        return (
            f"second stage {kept}: nDCG@{CUT_OFF} {self.gain:+.4f} ({self.low:+.4f} to {self.high:+.4f}) over "
            f"{self.num_users} users of held-out windows and validation, {self.valid_gain:+.4f} on validation alone"
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
    fitted = None if parts is None else fit_on_windows(train, parts.settings, parts.windows)
    if parts is None or fitted is None:
        reason = (
            "users with history turned to candidates in too few parts, both validation and "
            f"{_MIN_WINDOWS} held-out windows are needed"
        )
        return settings, SecondStageDecision(False, reason=reason), None
    of_valid, of_windows = _gain(parts.judged, fitted.network), _cross_fitted(parts.windows, parts.settings)
    users = [part.users for part in (parts.judged, *parts.windows)]
    gains = by_user(np.concatenate([of_valid, *of_windows]), np.concatenate(users))
    if len(gains) < _MIN_USERS:
        reason = f"{len(gains)} users can be judged by, {_MIN_USERS} are needed"
        return settings, SecondStageDecision(False, num_users=len(gains), reason=reason), None
    low, high = _interval(gains, settings.seed)
    decision = SecondStageDecision(
        is_kept=low > 0 and _interval(of_valid, settings.seed)[1] >= 0,
        gain=float(gains.mean()),
        low=low,
        high=high,
        valid_gain=float(of_valid.mean()),
        num_users=len(gains),
    )
    _log.info("%s", decision)
    return (parts.settings, decision, fitted) if decision.is_kept else (settings, decision, None)


@dataclass(frozen=True)
class JudgedParts:
    """Parts of the data in which an order can be judged.

    Attributes:
        settings: Settings with the second stage, its windows cut as the validation part was.
        judged: The validation part; its first stage is fitted on the training part.
        windows: Windows of the training part, at least two, the latest first.
    """

    settings: RankerSettings
    judged: WindowExamples
    windows: tuple[WindowExamples, ...]

    @property
    def settings_of_stage(self) -> SecondStageSettings:
        """Settings of the second stage."""
        assert self.settings.second_stage is not None
        return self.settings.second_stage

    @property
    def first_stage_ndcg(self) -> float:
        """nDCG@10 of the windows in the first stage's order, each user of a window alike."""
        return float(np.concatenate([_ndcg(part, part.examples.relevant) for part in self.windows]).mean())


def parts_of(
    train: FitData, valid: Interactions, second_stage: SecondStageSettings, first_stage: RankerSettings
) -> JudgedParts | None:
    """Parts in which an order can be judged; None where users turned to candidates in too few of them.

    Args:
        train: The training part.
        valid: [U, I] the validation part.
        second_stage: Settings of the second stage.
        first_stage: Settings of the first.
    """
    tried = first_stage.model_copy(update={"second_stage": with_windows(second_stage, train, valid)})
    judged = examples_of(train, fit_first_stage(train, first_stage), valid.weights, tried)
    windows = window_examples(train, tried)
    if judged is None or len(windows) < _MIN_WINDOWS:
        return None
    return JudgedParts(tried, judged, tuple(windows))


def cross_fitted_gains(windows: Sequence[WindowExamples], settings: RankerSettings) -> Doubles:
    """Gain in nDCG@10 over the first stage's order of each user of each window, by a network of the other windows."""
    return np.concatenate(_cross_fitted(windows, settings))


def network_gains(judged: WindowExamples, windows: Sequence[WindowExamples], settings: RankerSettings) -> Doubles:
    """[n] the same of the users of another part, by a network of all windows."""
    return _gain(judged, _network(windows, settings))


def _cross_fitted(windows: Sequence[WindowExamples], settings: RankerSettings) -> list[Doubles]:
    return [_gain(part, _network([w for w in windows if w is not part], settings)) for part in windows]


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
    gain: Doubles = _ndcg(part, np.take_along_axis(relevant, order, axis=1)) - _ndcg(part, relevant)
    return gain


def _ndcg(part: WindowExamples, hits_NC: Bools) -> Doubles:
    """[n] nDCG@10 of the users of a part, from what is relevant at each place."""
    padded = np.pad(hits_NC[:, :CUT_OFF], ((0, 0), (0, max(0, CUT_OFF - hits_NC.shape[1]))))
    values: Doubles = hit_metrics(padded, part.num_relevant, (CUT_OFF,))[f"ndcg@{CUT_OFF}"]
    return values
