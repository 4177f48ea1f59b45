"""Fitted heads: curves from the places of a list to probabilities of outcomes, and what follows from them.

Shape letters: P pairs of a user and an item, F features, H heads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from mmrec_lib.errors import ModelError
from mmrec_lib.models.data import Doubles
from mmrec_lib.models.heads.curves import Curve
from mmrec_lib.models.heads.outcomes import event_of


@dataclass(frozen=True)
class Head:
    """A head that is kept.

    Attributes:
        name: Name of its outcome, or of the quantity of an event.
        curve: From features to the probability; of a quantity to its place between `low` and `high`.
        base_rate: Mean of what it learned from, which the curve is compared with.
        low: The quantity at 0; 0 for an outcome.
        high: The quantity at 1; 1 for an outcome.
        num_events: Outcomes that it learned from.
        gain: Log loss of the base rate less that of the curve, in nats, on users that neither had seen.
        gain_low: Lower end of its 95 % interval, by a bootstrap over users.
        gain_high: Upper end of it.
    """

    name: str
    curve: Curve
    base_rate: float
    low: float = 0.0
    high: float = 1.0
    num_events: int = 0
    gain: float = 0.0
    gain_low: float = 0.0
    gain_high: float = 0.0

    def __call__(self, features_PF: npt.NDArray[np.floating]) -> Doubles:
        """[P] probabilities, or quantities in their unit."""
        return self.low + (self.high - self.low) * self.curve(features_PF)


@dataclass(frozen=True)
class Heads:
    """The heads of a ranker.

    Attributes:
        kept: Heads that beat the base rate.
        dropped: The reason by name for each that was tried and is not there.
        num_candidates: First places of each list that they learned from.
        typical_idle_days: Idle time of a user with history whose times are unknown: the median of the training part.
        latest_ts: Epoch seconds of the latest event of the ranker's fit, which idle time counts from; 0 without times.
    """

    kept: tuple[Head, ...]
    dropped: Mapping[str, str]
    num_candidates: int
    typical_idle_days: float = 0.0
    latest_ts: float = 0.0

    @cached_property
    def outcomes(self) -> tuple[Head, ...]:
        """Heads of outcomes, which say probabilities."""
        return tuple(head for head in self.kept if event_of(head.name) is None)

    @cached_property
    def quantities(self) -> tuple[Head, ...]:
        """Heads of quantities, which say what is expected where the event happens."""
        return tuple(head for head in self.kept if event_of(head.name) is not None)

    def with_latest(self, latest_ts: float) -> Heads:
        """The same heads for a ranker of another fit."""
        return replace(self, latest_ts=latest_ts)

    def missing(self, worths: Mapping[str, float]) -> dict[str, str]:
        """Reason by name for each worth that cannot count, because its head, or that of its event, was dropped.

        Raises:
            ModelError: When a worth names what no event of the store told.
        """
        names = {head.name for head in self.kept}
        missing = {}
        for name in worths:
            for needed in (name, event_of(name)):
                if needed is None or needed in names:
                    continue
                if needed not in self.dropped:
                    known = ", ".join(sorted({*names, *self.dropped})) or "none"
                    raise ModelError(
                        f"worths: {name} must be an outcome that the ranker has a head for, or tried one for, got none "
                        f"among {known}; correct the name, or train with training.heads"
                    )
                missing[name] = self.dropped[needed]
        return missing

    def expected_worth(self, values: Mapping[str, Doubles], worths: Mapping[str, float]) -> Doubles | None:
        """[P] sum of worths times probabilities; that of a quantity counts by its unit, where its event happens.

        Args:
            values: [P] by name, what the heads say.
            worths: By name; those without a head do not count.

        Returns:
            None where no worth counts.
        """
        counted = [name for name in worths if name not in self.missing(worths)]
        if not counted:
            return None
        parts = []
        for name in counted:
            event = event_of(name)
            parts.append(worths[name] * values[name] * (1.0 if event is None else values[event]))
        worth: Doubles = np.sum(parts, axis=0)
        return worth

    def meta(self) -> dict[str, Any]:
        """Values for JSON; see `load`."""
        kept = [{**asdict(head), "curve": head.curve.meta()} for head in self.kept]
        return {**asdict(replace(self, kept=())), "kept": kept, "dropped": dict(self.dropped)}

    @classmethod
    def load(cls, meta: Mapping[str, Any]) -> Heads:
        """Read what `meta` wrote."""
        kept = tuple(Head(**{**head, "curve": Curve.load(head["curve"])}) for head in meta["kept"])
        return cls(**{**meta, "kept": kept})
