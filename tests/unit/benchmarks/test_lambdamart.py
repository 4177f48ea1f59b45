from __future__ import annotations

import numpy as np

from mmrec_lib.models.ranker.fit import fit_ranker
from mmrec_lib.models.second_stage_settings import SecondStageSettings
from tests.benchmarks.quality.lambdamart import fit_with_trees
from tests.unit.models.checkerboard import SETTINGS
from tests.unit.models.circle import circle

CHOSEN = SecondStageSettings(windows="time", num_candidates=12, num_windows=2)


def test_trees_order_the_candidates_of_the_first_stage() -> None:
    store = circle()
    settings = SETTINGS.model_copy(update={"second_stage": CHOSEN})
    histories, seen = store.train.histories(), store.train.interactions.weights
    hits = {}
    for name, model in (
        ("trees", fit_with_trees(store.train, settings)),
        ("first stage", fit_ranker(store.train, SETTINGS)),
    ):
        scores = model.score(histories)
        scores[np.repeat(np.arange(len(histories)), np.diff(seen.indptr)), seen.indices] = -np.inf
        hits[name] = float((scores.argmax(axis=1) == store.rest.weights.indices).mean())
    assert hits["trees"] > hits["first stage"] + 0.1
    again = fit_with_trees(store.train, settings)
    np.testing.assert_array_equal(again.score(histories), fit_with_trees(store.train, settings).score(histories))


def test_without_windows_the_first_stage_stands() -> None:
    store = circle()
    few = store.train.interactions.where(np.arange(store.train.interactions.weights.nnz) < 1)
    data = store.train.with_interactions(few)
    assert fit_with_trees(data, SETTINGS.model_copy(update={"second_stage": CHOSEN})).second_stage is None
