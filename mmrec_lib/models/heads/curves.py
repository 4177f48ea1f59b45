"""Curves from what is known of an item in a list to the probability of an outcome.

Shape letters: P pairs of a user and an item, F features, B knots.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from mmrec_lib.models.data import Doubles

FEATURES = (
    "score_with_history",
    "score_without_history",
    "has_history",
    "log_rank",
    "log_history",
    "log_idle_days",
    "log_popularity",
    "is_new_item",
)
"""Names of the features, in order; the score stands in the first or the second place, by whether the user has history,
because the two kinds of scores have other scales."""
NUM_SCORES, SCORE_FEATURES = 2, 3
"""Features that are the score, and the first features, which curves over the score alone look at."""
Form = str
CONSTANT, PLATT, ISOTONIC, LOGISTIC = "constant", "platt", "isotonic", "logistic"
"""Forms: the base rate, a logistic curve over the score, the same made stepwise, a logistic curve over all features."""

_ARRAYS = ("coefficients", "low", "high", "knots", "steps")


@dataclass(frozen=True)
class Curve:
    """A fitted curve; probabilities rise with the score for the forms over the score alone.

    Attributes:
        form: One of the forms.
        intercept: Log-odds at features of 0.
        coefficients: [F] log-odds a unit; 0 for features that the form does not look at.
        low: [F] lowest value at the fit; smaller ones count as this, so that nothing is extrapolated.
        high: [F] highest value at the fit.
        knots: [B] log-odds, ascending, at which a stepwise curve has `steps`; none for the others.
        steps: [B] probabilities, ascending.
    """

    form: Form
    intercept: float
    coefficients: Doubles
    low: Doubles
    high: Doubles
    knots: Doubles
    steps: Doubles

    def __call__(self, features_PF: npt.NDArray[np.floating]) -> Doubles:
        """[P] probabilities, between 0 and 1."""
        log_odds = self.log_odds(features_PF)
        probabilities: Doubles = np.interp(log_odds, self.knots, self.steps) if len(self.knots) else expit(log_odds)
        return probabilities

    def log_odds(self, features_PF: npt.NDArray[np.floating]) -> Doubles:
        """[P] log-odds before the steps."""
        used = np.flatnonzero(self.coefficients)
        clipped = np.clip(features_PF[:, used], self.low[used], self.high[used])
        # Not a matrix product, which would round by who else is asked for.
        log_odds: Doubles = np.einsum("pf,f->p", clipped.astype(np.float64), self.coefficients[used], optimize=False)
        return log_odds + self.intercept

    def meta(self) -> dict[str, Any]:
        """Values for JSON; see `load`."""
        arrays = {name: getattr(self, name).tolist() for name in _ARRAYS}
        return {"form": self.form, "intercept": self.intercept, **arrays}

    @classmethod
    def load(cls, meta: dict[str, Any]) -> Curve:
        """Read what `meta` wrote."""
        return cls(meta["form"], meta["intercept"], *(np.array(meta[name], dtype=np.float64) for name in _ARRAYS))
