"""LambdaMART in the place of the second stage's network: the tree baseline, by LightGBM (extra `mmrec[bench]`).

It learns from the same windows, candidates and features as the network, less the attention over the history, which
trees cannot have (Burges 2010, From RankNet to LambdaRank to LambdaMART).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import lightgbm
import numpy as np

from mmrec_lib.models.config import RankerSettings
from mmrec_lib.models.data import FitData, Floats
from mmrec_lib.models.ranker.first_stage import content_features, fit_first_stage
from mmrec_lib.models.ranker.ranker import FittedRanker
from mmrec_lib.models.ranker.second_stage import window_examples
from mmrec_lib.models.second_stage.inputs import CandidateInputs
from mmrec_lib.models.second_stage.learn_signals import learn_signals
from mmrec_lib.models.second_stage.model import SecondStage

PARAMETERS: dict[str, Any] = {
    "objective": "lambdarank",
    "learning_rate": 0.05,
    "num_leaves": 15,
    "min_data_in_leaf": 50,
    "feature_fraction": 0.7,
    "lambdarank_truncation_level": 20,
    "num_threads": 1,
    "deterministic": True,
    "verbosity": -1,
}
NUM_TREES = 150


@dataclass(frozen=True)
class Trees:
    """Trees where a network stands in a second stage."""

    booster: lightgbm.Booster

    def additions(self, inputs: CandidateInputs) -> Floats:
        """[n, C] what makes of the first stage's scores the order of the trees alone."""
        found = np.zeros(inputs.items.shape, dtype=np.float32)
        found[inputs.is_item] = self.booster.predict(_rows(inputs))
        return found - inputs.scores


def fit_with_trees(data: FitData, settings: RankerSettings) -> FittedRanker:
    """The first stage with trees over its candidates; the first stage alone where windows have no hits.

    Args:
        data: What to fit on.
        settings: Settings with a second stage, whose windows and candidates are taken.
    """
    chosen = settings.second_stage
    assert chosen is not None
    first = fit_first_stage(data, settings.model_copy(update={"second_stage": None}))
    windows = window_examples(data, settings)
    if not windows:
        return first
    parts = [window.examples for window in windows]
    rows = np.concatenate([_rows(part.inputs) for part in parts])
    labels = np.concatenate([part.relevant[part.inputs.is_item] for part in parts])
    groups = np.concatenate([part.inputs.is_item.sum(axis=1) for part in parts])
    examples = lightgbm.Dataset(rows, labels.astype(np.int32), group=groups[groups > 0])
    booster = lightgbm.train(PARAMETERS | {"seed": settings.seed}, examples, NUM_TREES)
    signals = learn_signals(data, content_features(data, settings), chosen, settings.seed)
    network: Any = Trees(booster)
    second = SecondStage(windows[0].sources, signals, network, chosen.num_candidates, chosen.history_length)
    return replace(first, second_stage=second)


def _rows(inputs: CandidateInputs) -> Floats:
    """[rows, F + 1] features and score of each candidate."""
    rows: Floats = np.concatenate([inputs.features, inputs.scores[:, :, None]], axis=2)[inputs.is_item]
    return rows
