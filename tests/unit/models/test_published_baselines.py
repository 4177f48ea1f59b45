"""A baseline behind the interface of the ranker ranks as the baseline does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mmrec_lib.models.config import BASELINE_NAMES, PopularitySettings, RankerSettings
from mmrec_lib.models.data import Histories
from mmrec_lib.models.ranker.fit import fit_ranker
from mmrec_lib.models.ranker.pyfunc_file import recommend
from mmrec_lib.models.ranker.ranker import FittedRanker
from mmrec_lib.models.tuning.baselines import BaselineSettings, FittedBaseline, as_ranker, fit_baseline
from tests.unit.models.checkerboard import Checkerboard

NAMES = [name for name in BASELINE_NAMES if name != "ranker_no_content"]


def settings_of(name: str) -> BaselineSettings:
    popularity = PopularitySettings(half_life_days=5.0, group_weight=0.5)
    return BaselineSettings.model_validate(
        {"name": name, "popularity": popularity, "num_neighbors": 10, "min_group_users": 5}
    )


def published(name: str, board: Checkerboard, settings: RankerSettings) -> tuple[FittedBaseline, FittedRanker]:
    baseline = fit_baseline(board.train, settings_of(name))
    assert isinstance(baseline, FittedBaseline)
    num_items = int((board.train.interactions.item_counts() > 0).sum())
    return baseline, fit_ranker(board.train, as_ranker(settings_of(name), settings, num_items))


def ranked(scores: np.ndarray, histories: Histories, warm_items: np.ndarray) -> np.ndarray:
    """[n, I] scores of unseen items with interactions; the others are masked."""
    scores = scores.astype(np.float64)
    scores[histories.weights.toarray() > 0] = -np.inf
    scores[:, ~warm_items] = -np.inf
    return scores


@pytest.mark.parametrize("name", NAMES)
def test_the_published_form_ranks_unseen_items_as_the_baseline(
    name: str, board: Checkerboard, settings: RankerSettings
) -> None:
    baseline, ranker = published(name, board, settings)
    histories = board.train.histories()
    warm = ~board.cold_items
    one, other = (ranked(model.score(histories), histories, warm) for model in (baseline, ranker))
    for user in range(len(histories)):
        places = np.flatnonzero(np.isfinite(one[user]))
        # Where the baseline tells two items apart clearly, the published form has them in the same order.
        first, second = np.meshgrid(places, places)
        spread = max(float(np.ptp(one[user, places])), 1e-9)
        clear = one[user, first] > one[user, second] + 1e-3 * spread
        assert (other[user, first][clear] > other[user, second][clear]).all(), (name, user)


@pytest.mark.parametrize("name", NAMES)
def test_items_without_interactions_come_last_also_those_after_the_fit(
    name: str, board: Checkerboard, settings: RankerSettings
) -> None:
    _, ranker = published(name, board, settings)
    histories = board.train.histories()
    scores = ranker.score(histories)
    late = ranker.user_vectors(histories) @ ranker.item_vectors_from_content({}, 1).T
    assert (scores[:, board.cold_items].max(axis=1) < scores[:, ~board.cold_items].min(axis=1)).all()
    assert (late[:, 0] < scores[:, ~board.cold_items].min(axis=1)).all()


@pytest.mark.parametrize("name", NAMES)
def test_the_published_form_is_saved_explained_and_served_like_a_ranker(
    name: str, board: Checkerboard, settings: RankerSettings, tmp_path: Path
) -> None:
    _, ranker = published(name, board, settings)
    ranker.save(tmp_path)
    loaded = FittedRanker.load(tmp_path)
    histories = board.train.histories()
    assert np.array_equal(loaded.score(histories), ranker.score(histories))
    items = np.tile(np.arange(5), (len(histories), 1))
    shares = loaded.explain(loaded.project(histories), items).shares
    picked = np.take_along_axis(loaded.score(histories), items, axis=1)
    assert np.allclose(sum(shares.values()), picked, atol=1e-3)
    answer = recommend(loaded, pd.DataFrame({"item_ids": [["i00", "i02"], []]}), k=3)
    assert [len(row) for row in answer["item_ids"]] == [3, 3]
    assert not {"i00", "i02"} & set(answer["item_ids"][0])
