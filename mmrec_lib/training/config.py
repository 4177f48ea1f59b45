"""Settings of the gate between candidate and champion."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mmrec_lib.models.config import BaselineName
from mmrec_lib.section import Section


class PromotionConfig(Section):
    """The gate between candidate and champion.

    Attributes:
        metric: Metric on the validation part that decides.
        k: Its cut-off.
        margin: How much worse than the champion's settings, fitted on the same part, a candidate may be in any case;
            beyond it, no more than chance explains (95 % interval of the difference, paired by user).
        first_must_beat: Baselines that the first ranker must not be worse than by more than chance explains; else the
            best baseline is published in its place.
    """

    metric: Literal["ndcg", "recall", "precision", "map"] = "ndcg"
    k: int = Field(default=10, ge=1)
    margin: float = Field(default=0.005, ge=0)
    first_must_beat: tuple[BaselineName, ...] = ("popularity", "decayed_popularity", "item_knn", "ease")
