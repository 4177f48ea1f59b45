"""Decisions of the gate between candidate and champion, from validation metrics alone."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mmrec_lib.evaluation.rows import MetricRow
from mmrec_lib.training.config import PromotionConfig
from mmrec_lib.training.fits import FIRST_STAGE, RANKER, WITHOUT_SCORER

MIN_USERS = 6
"""With fewer users even a loss for each of them may be chance: by a sign test 5 of 5 have a p of 0.06."""
NO_BASELINES = 'SET="promotion.first_must_beat=[]"'


@dataclass(frozen=True)
class GateValue:
    """Validation metric of one model, as the gate compares it.

    Attributes:
        value: Its validation metric.
        diff_high: Upper end of the 95 % interval of ranker minus this model, paired by user; None for the ranker.
        num_users: Users that it was measured on.
    """

    value: float
    diff_high: float | None = None
    num_users: int = 0

    @property
    def is_beyond(self) -> bool:
        """True when the ranker is worse than this model by more than chance explains."""
        return self.diff_high is not None and self.diff_high < 0 and self.num_users >= MIN_USERS


@dataclass(frozen=True)
class Decision:
    """Outcome of the gate for a candidate, with its reason."""

    passed: bool
    reason: str


def gate_values(rows: Iterable[MetricRow], config: PromotionConfig) -> dict[str, GateValue]:
    """Values of the ranker and its baselines among validation metrics; empty where nobody could be evaluated."""
    parts = (FIRST_STAGE, WITHOUT_SCORER)
    return {
        row.model: GateValue(row.value, row.diff_high, row.num_users)
        for row in rows
        if (row.segment, row.metric, row.k) == ("all", config.metric, config.k) and row.model not in parts
    }


def decide_first(values: Mapping[str, GateValue], config: PromotionConfig) -> Decision:
    """Refuse a first ranker that is worse on validation than a named baseline by more than chance explains.

    Args:
        values: See `gate_values`.
        config: Which baselines.
    """
    metric = f"validation {config.metric}@{config.k}"
    if RANKER not in values:
        return Decision(True, "promoted: the first version, and there is no validation part to evaluate it on")
    own = values[RANKER].value
    against = {name: values[name] for name in config.first_must_beat if name in values}
    better = [_told(name, found) for name, found in against.items() if found.is_beyond]
    if better:
        return Decision(
            False,
            f"refused: {metric} {own:.4f} is worse than {', '.join(better)} by more than chance explains; "
            f"{NO_BASELINES} lets it pass",
        )
    ties = [_told(name, found) for name, found in against.items() if found.value >= own]
    if ties:
        return Decision(
            True,
            f"promoted: the first version, {metric} {own:.4f} differs from {', '.join(ties)} by chance at most",
        )
    return Decision(True, f"promoted: the first version, {metric} {own:.4f} beats all baselines")


def best_baseline(values: Mapping[str, GateValue]) -> str | None:
    """The baseline with the best validation metric, ties by name; None where there is none."""
    names = sorted(name for name in values if name != RANKER)
    return max(names, key=lambda name: values[name].value, default=None)


def decide_next(own: GateValue | None, reference: GateValue | None, champion: str, config: PromotionConfig) -> Decision:
    """Keep the champion where a candidate is worse by more than the margin and by more than chance explains.

    Args:
        own: The candidate's validation metric; None without a validation part.
        reference: That of the champion's settings, fitted on the same part.
        champion: Version of the champion.
        config: Metric and margin.
    """
    if own is None or reference is None:
        return Decision(True, "promoted: there is no validation part to compare on")
    told = (
        f"validation {config.metric}@{config.k} {own.value:.4f} against {reference.value:.4f} of champion {champion}'s "
        f"settings, margin {config.margin}"
    )
    if own.value >= reference.value - config.margin:
        return Decision(True, f"promoted: {told}")
    if not reference.is_beyond:
        return Decision(True, f"promoted: {told}; the difference is no more than chance")
    # The next thousandth above the difference, so that what is told does let it pass.
    needed = (math.floor(1_000 * (reference.value - own.value)) + 1) / 1_000
    return Decision(False, f'refused: {told}; SET="promotion.margin={needed}" lets it pass')


def _told(name: str, found: GateValue) -> str:
    interval = "" if found.diff_high is None else f", 95 % interval of the difference to {found.diff_high:+.4f}"
    return f"{name} ({found.value:.4f}{interval})"
