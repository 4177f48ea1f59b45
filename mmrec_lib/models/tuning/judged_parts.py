"""Parts of the data in which an order of candidates can be judged, and what networks gain in them.

Judged are the windows that the second stage learns from, each by a network of the other windows, and the validation
part by a network of all windows (cross-fitting).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mmrec_lib.evaluation.metrics import hit_metrics
from mmrec_lib.evaluation.significance import mean_intervals, weighted_mean_values
from mmrec_lib.models.config import RankerSettings
from mmrec_lib.models.data import Bools, Doubles, FitData, Interactions, Ints
from mmrec_lib.models.ranker.first_stage import fit_first_stage
from mmrec_lib.models.ranker.second_stage import WindowExamples, examples_of, window_examples
from mmrec_lib.models.second_stage.model import Network, standing
from mmrec_lib.models.second_stage_settings import SecondStageSettings
from mmrec_lib.models.tuning.validation import CUT_OFF

MIN_USERS, MIN_WINDOWS = 20, 2
"""Users and windows that a judgement needs: fewer say nothing."""
_NUM_BOOTSTRAP = 1_000


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
    def every(self) -> tuple[WindowExamples, ...]:
        """The validation part, then the windows."""
        return (self.judged, *self.windows)

    @property
    def second_stage(self) -> SecondStageSettings:
        """Settings of the second stage."""
        assert self.settings.second_stage is not None
        return self.settings.second_stage

    def without_context(self) -> JudgedParts:
        """The same where nothing is known of requests."""
        update = {"second_stage": self.second_stage.model_copy(update={"context": ()})}
        windows = tuple(window.without_context() for window in self.windows)
        return JudgedParts(self.settings.model_copy(update=update), self.judged.without_context(), windows)


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
    settings = first_stage.model_copy(update={"second_stage": with_windows(second_stage, train, valid)})
    judged = examples_of(train, fit_first_stage(train, first_stage), valid, settings)
    windows = window_examples(train, settings)
    if judged is None or len(windows) < MIN_WINDOWS:
        return None
    return JudgedParts(settings, judged, tuple(windows))


def with_windows(chosen: SecondStageSettings, train: FitData, valid: Interactions) -> SecondStageSettings:
    """Windows that are cut as the validation part was: by time where it follows the training part."""
    if chosen.windows != "auto":
        return chosen
    before, after = train.interactions.times.data, valid.times.data
    follows = len(before) > 0 and len(after) > 0 and before.max() > 0 and after.min() >= before.max()
    return chosen.model_copy(update={"windows": "time" if follows else "random"})


def networks_of_others(windows: Sequence[WindowExamples], settings: RankerSettings) -> list[Network]:
    """For each window a network of the others."""
    return [network_of([one for one in windows if one is not window], settings) for window in windows]


def network_of(windows: Sequence[WindowExamples], settings: RankerSettings) -> Network:
    """A network of these windows."""
    # Torch takes seconds to import, which a run that trains nothing does not spend.
    from mmrec_lib.models.second_stage.train import train_network

    assert settings.second_stage is not None
    parts, blocks = [window.examples for window in windows], windows[0].signals.blocks
    return train_network(parts, blocks, len(windows[0].sources), settings.second_stage, settings.seed)


def gain_of(part: WindowExamples, network: Network) -> Doubles:
    """[n] nDCG@10 in the second stage's order less that in the first's."""
    inputs, relevant = part.examples.inputs, part.examples.relevant
    # As `SecondStage.order`: where all candidates have one score, nothing is added.
    keys = inputs.scores + np.where(inputs.unit[:, None] > 0, network.additions(inputs), np.float32(0))
    order = standing(keys, inputs.is_item)
    gain: Doubles = _ndcg(part, np.take_along_axis(relevant, order, axis=1)) - first_stage_ndcg(part)
    return gain


def first_stage_ndcg(part: WindowExamples) -> Doubles:
    """[n] nDCG@10 in the first stage's order."""
    return _ndcg(part, part.examples.relevant)


def _ndcg(part: WindowExamples, hits_NC: Bools) -> Doubles:
    """[n] nDCG@10 from what is relevant at each place."""
    padded = np.pad(hits_NC[:, :CUT_OFF], ((0, 0), (0, max(0, CUT_OFF - hits_NC.shape[1]))))
    values: Doubles = hit_metrics(padded, part.num_relevant, (CUT_OFF,))[f"ndcg@{CUT_OFF}"]
    return values


def of_users(parts: Sequence[WindowExamples], gains: Sequence[Doubles], kept: Sequence[Bools] | None = None) -> Doubles:
    """`by_user` of the gains of several parts, or of some of their rows."""
    rows = [np.ones(len(part.users), np.bool_) for part in parts] if kept is None else kept
    values = [own[at] for own, at in zip(gains, rows, strict=True)]
    users = [part.users[at] for part, at in zip(parts, rows, strict=True)]
    return by_user(np.concatenate(values), np.concatenate(users))


def by_user(gains_R: Doubles, users_R: Ints) -> Doubles:
    """[n] one value a user, whose mean is that of all gains and whose spread is that of users, not of their parts.

    A user may be in several parts, and is one draw of the bootstrap.
    """
    _, user = np.unique(users_R, return_inverse=True)
    num_parts = np.bincount(user)
    by_user: Doubles = weighted_mean_values(np.bincount(user, gains_R) / num_parts, num_parts)
    return by_user


def interval_of(gains_N: Doubles, seed: int) -> tuple[float, float]:
    """Ends of the 95 % interval of the mean, by a bootstrap."""
    (low,), (high,) = mean_intervals(gains_N[:, None], _NUM_BOOTSTRAP, seed)
    return float(low), float(high)
