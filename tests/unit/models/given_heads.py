"""Heads whose probabilities are given, for tests of what is done with them."""

from __future__ import annotations

import numpy as np
from scipy.special import logit

from mmrec_lib.models.heads.curves import FEATURES, LOGISTIC, Curve
from mmrec_lib.models.heads.heads import Head


def head_of(name: str, rate: float, slope: float = 0.0) -> Head:
    """A head of this rate at a score of 0, whose log-odds rise with the score of users with history by `slope`."""
    bounds = np.full(len(FEATURES), 100.0)
    coefficients = np.zeros(len(FEATURES))
    coefficients[0] = slope
    none = np.zeros(0)
    return Head(name, Curve(LOGISTIC, float(logit(rate)), coefficients, -bounds, bounds, none, none), rate)
