"""What every model must do, on a board whose right answer is known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mmrec_lib.models.config import BASELINE_NAMES, RankerSettings
from mmrec_lib.models.data import FitData, Histories
from mmrec_lib.models.ranker.fit import fit_ranker
from mmrec_lib.models.ranker.ranker import FittedRanker
from mmrec_lib.models.tuning.baselines import BaselineSettings, FittedBaseline, fit_baseline, load_model
from tests.unit.models.checkerboard import Checkerboard

Model = FittedBaseline | FittedRanker
MODELS = ("ranker", *BASELINE_NAMES)
PERSONAL = ("ranker", "item_knn", "ease", "ranker_no_content")


@pytest.fixture(scope="session")
def fit(settings: RankerSettings) -> Callable[[str, FitData], Model]:
    def fitted(name: str, data: FitData) -> Model:
        if name == "ranker":
            return fit_ranker(data, settings)
        own = settings.model_copy(update={"use_content": False})
        return fit_baseline(data, BaselineSettings.model_validate({"name": name, "ranker": own, "min_group_users": 5}))

    return fitted


def masked(scores: np.ndarray, histories: Histories) -> np.ndarray:
    scores = scores.copy()
    scores[histories.weights.toarray() > 0] = -np.inf
    return scores


@pytest.mark.parametrize("name", PERSONAL)
def test_unseen_items_of_the_own_colour_come_first(name: str, board: Checkerboard, fit: Callable[..., Model]) -> None:
    histories = board.train.histories()
    scores = masked(fit(name, board.train).score(histories), histories)
    warm_users = np.flatnonzero(np.diff(histories.weights.indptr) > 0)
    for user in warm_users:
        own = board.item_colour == board.user_colour[user]
        unseen = np.isfinite(scores[user]) & ~board.cold_items
        assert scores[user][unseen & own].min() > scores[user][unseen & ~own].max()


@pytest.mark.parametrize("name", MODELS)
def test_scores_are_finite_and_of_the_right_shape(name: str, board: Checkerboard, fit: Callable[..., Model]) -> None:
    scores = fit(name, board.train).score(board.train.histories())
    assert scores.shape == board.train.interactions.shape
    assert scores.dtype == np.float32
    assert np.isfinite(scores).all()


@pytest.mark.parametrize("name", MODELS)
def test_a_loaded_model_gives_the_same_scores(
    name: str, board: Checkerboard, fit: Callable[..., Model], tmp_path: Path
) -> None:
    model = fit(name, board.train)
    model.save(tmp_path)
    loaded = load_model(tmp_path, "ranker" if isinstance(model, FittedRanker) else "baseline")
    histories = board.train.histories()
    np.testing.assert_array_equal(loaded.score(histories), model.score(histories))
    assert loaded.item_ids.tolist() == board.train.item_ids.tolist()
    assert loaded.settings == model.settings
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".safetensors"]


@pytest.mark.parametrize("name", MODELS)
def test_the_same_fit_twice_gives_the_same_scores(name: str, board: Checkerboard, fit: Callable[..., Model]) -> None:
    histories = board.train.histories()
    np.testing.assert_array_equal(fit(name, board.train).score(histories), fit(name, board.train).score(histories))


@pytest.mark.parametrize("name", MODELS)
def test_a_user_of_another_batch_gets_the_same_scores(
    name: str, board: Checkerboard, fit: Callable[..., Model]
) -> None:
    model, histories = fit(name, board.train), board.train.histories()
    some = np.array([7, 3, 59, 20])
    np.testing.assert_allclose(model.score(histories.rows(some)), model.score(histories)[some], atol=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_holds_nothing_that_grows_with_users(name: str, board: Checkerboard, fit: Callable[..., Model]) -> None:
    model = fit(name, board.train)
    num_users = board.train.interactions.shape[0]
    arrays = [model.warm, *(vars(model.popularity)[field] for field in ("log_popularity", "log_ratios"))]
    if isinstance(model, FittedRanker):
        arrays += [array for source in model.sources.values() for array in source.arrays().values()]
        arrays += [model.distilled, model.shift]
    elif model.operator is not None:
        arrays.append(model.operator)
    assert all(num_users not in array.shape for array in arrays)


@pytest.mark.parametrize("name", MODELS)
def test_without_interactions_the_error_says_so(name: str, board: Checkerboard, fit: Callable[..., Model]) -> None:
    nothing = board.train.interactions.without_items(np.ones(len(board.train.item_ids), dtype=bool))
    with pytest.raises(Exception, match="needs at least one interaction"):
        fit(name, board.train.with_interactions(nothing))
