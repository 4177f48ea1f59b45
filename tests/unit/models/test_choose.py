from __future__ import annotations

import numpy as np
import pytest

from mmrec_lib.models.config import BASELINE_NAMES, BaselineName, RankerSettings, TrainingConfig
from mmrec_lib.models.data import Interactions
from mmrec_lib.models.ranker.fit import fit_ranker
from mmrec_lib.models.sources.content_ease import ContentEase
from mmrec_lib.models.sources.ease import EaseSettings
from mmrec_lib.models.tuning.baselines import choose_baseline, fit_baseline, possible_baselines
from mmrec_lib.models.tuning.choose import choose_settings
from mmrec_lib.models.tuning.validation import ValidationUsers
from tests.unit.models.checkerboard import Checkerboard

CONFIG = TrainingConfig(dims=(8, 16), min_group_users=5)


@pytest.fixture(scope="module")
def chosen(board: Checkerboard) -> RankerSettings:
    return choose_settings(board.train, board.rest, CONFIG)


def test_the_same_data_give_the_same_settings(board: Checkerboard, chosen: RankerSettings) -> None:
    assert choose_settings(board.train, board.rest, CONFIG) == chosen


def test_settings_survive_json(chosen: RankerSettings) -> None:
    assert RankerSettings.model_validate_json(chosen.model_dump_json()) == chosen


def test_chosen_settings_are_near_the_best_possible_on_the_board(board: Checkerboard, chosen: RankerSettings) -> None:
    users = ValidationUsers.of(board.train, board.rest, CONFIG)
    warm = users.rows(np.flatnonzero(users.has_history))
    assert warm.ndcg(fit_ranker(board.train, chosen).score(warm.histories)) > 0.8


def test_an_empty_validation_part_gives_defaults(board: Checkerboard) -> None:
    nothing = Interactions.from_rows([], [], board.train.interactions.shape)
    settings = choose_settings(board.train, nothing, CONFIG)
    assert settings.dim == 8
    assert settings.of(ContentEase) == EaseSettings()


def test_without_content_nothing_about_content_is_chosen(board: Checkerboard) -> None:
    settings = choose_settings(board.train, board.rest, CONFIG.model_copy(update={"use_content": False}))
    assert settings.of(ContentEase).content_scale == 0
    assert settings.cold_items == RankerSettings().cold_items


def test_large_catalogues_choose_among_sources_that_scale(board: Checkerboard) -> None:
    settings = choose_settings(board.train, board.rest, CONFIG.model_copy(update={"max_dense_items": 5}))
    assert set(settings.fusion) <= {"ials", "graph_filter"}
    assert "ease" not in possible_baselines(board.train, CONFIG.model_copy(update={"max_dense_items": 5}))


@pytest.mark.parametrize("name", BASELINE_NAMES)
def test_every_baseline_can_be_chosen_and_fitted(name: BaselineName, board: Checkerboard) -> None:
    settings = choose_baseline(name, board.train, board.rest, CONFIG)
    assert settings.name == name
    assert np.isfinite(fit_baseline(board.train, settings).score(board.train.histories())).all()


def test_validation_users_are_those_with_something_new(board: Checkerboard) -> None:
    again = board.rest + board.train.interactions
    users = ValidationUsers.of(board.train, again, CONFIG)
    assert users.relevant.nnz == board.rest.weights.nnz


def test_the_number_of_searched_users_is_bounded(board: Checkerboard) -> None:
    users = ValidationUsers.of(board.train, board.rest, CONFIG.model_copy(update={"max_search_users": 7}))
    assert len(users) == 7
