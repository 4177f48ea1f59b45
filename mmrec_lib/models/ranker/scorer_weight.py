"""The weight of a scorer, as a model keeps it, with the gain on validation that it was chosen by, and the time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self


@dataclass(frozen=True)
class ScorerWeight:
    """The decision on a scorer.

    Attributes:
        name: Directory of the scorer under `models.root`.
        revision: Its revision; another one has no weight.
        num_candidates: First candidates of a user that it judges.
        weight: What one deviation of its values counts, in deviations of the ranker's scores; 0 leaves it out.
        deviation: Deviation of its values from the mean of a user's candidates, on validation.
        gain: Mean difference of nDCG@10 with and without it, each half of the users with the weight of the other half.
        low: Lower end of the 95 % interval of the gain, by a bootstrap over users.
        high: Upper end of it.
        num_users: Users of the validation part that it was judged on.
        seconds: Seconds that it took for a thousand lists.
        reason: Why it was not judged; empty where it was.
    """

    name: str
    revision: str
    num_candidates: int
    weight: float = 0.0
    deviation: float = 1.0
    gain: float = 0.0
    low: float = 0.0
    high: float = 0.0
    num_users: int = 0
    seconds: float = 0.0
    reason: str = ""

    @property
    def is_used(self) -> bool:
        """True where it has a weight."""
        return self.weight > 0

    def __str__(self) -> str:
        """A sentence for people."""
        if self.reason:
            return f"scorer {self.name} has no weight: {self.reason}"
        told = f"has weight {self.weight:g}" if self.is_used else "has no weight, the order stands"
        return (
            f"scorer {self.name} {told}: nDCG@10 {self.gain:+.4f} ({self.low:+.4f} to {self.high:+.4f}) over "
            f"{self.num_users} users of validation, {self.seconds:.1f} seconds a thousand lists of "
            f"{self.num_candidates} candidates"
        )

    def meta(self) -> dict[str, Any]:
        """Its state, as JSON takes it."""
        return asdict(self)

    @classmethod
    def load(cls, meta: Mapping[str, Any]) -> Self:
        """Rebuild from what `meta` gave."""
        return cls(**meta)
