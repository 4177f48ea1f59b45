"""Fitting the fusion ranker: the first stage, and the second where settings have one."""

from __future__ import annotations

from dataclasses import replace

from mmrec_lib.models.config import RankerSettings
from mmrec_lib.models.data import FitData
from mmrec_lib.models.ranker.first_stage import fit_first_stage
from mmrec_lib.models.ranker.ranker import FittedRanker
from mmrec_lib.models.second_stage.model import SecondStage


def fit_ranker(
    data: FitData,
    settings: RankerSettings,
    fitted: FittedRanker | None = None,
    second_stage: SecondStage | None = None,
) -> FittedRanker:
    """Fit the ranker.

    Args:
        data: What to fit on.
        settings: Settings of the fit.
        fitted: A fit on the same interactions, whose sources are taken over where theirs would be the same.
        second_stage: One that was fitted on this data with these settings, so that it need not be fitted again.

    Raises:
        ModelError: When there are no interactions at all.
    """
    if settings.second_stage is not None and second_stage is None:
        # Torch takes seconds to load, and only fits with a second stage need it. First, because its windows fit first
        # stages of their own, one after the other.
        from mmrec_lib.models.ranker.second_stage import fit_second_stage

        second_stage = fit_second_stage(data, settings)
    ranker = fit_first_stage(data, settings, fitted)
    return ranker if settings.second_stage is None else replace(ranker, second_stage=second_stage)
