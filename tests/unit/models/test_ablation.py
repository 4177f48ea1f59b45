"""Rankers without one source or modality: the others stay what they were, and what carried the ranking is missed."""

from __future__ import annotations

import numpy as np

from mmrec_lib.evaluation.rows import WITHOUT_MODALITY, WITHOUT_SOURCE
from mmrec_lib.models.config import PopularitySettings, RankerSettings
from mmrec_lib.models.ranker.first_stage import fit_first_stage
from mmrec_lib.models.tuning.ablation import ablated_rankers, used_modalities
from tests.unit.models.checkerboard import Checkerboard


def test_each_source_and_modality_is_left_out_once(board: Checkerboard, settings: RankerSettings) -> None:
    ranker = fit_first_stage(board.train, settings)
    found = ablated_rankers(board.train, board.rest, ranker)
    sources = {f"{WITHOUT_SOURCE}{name}" for name in ("content_ease", "ridge", "ials", "graph_filter", "demographics")}
    assert set(found) == sources | {f"{WITHOUT_MODALITY}image", f"{WITHOUT_MODALITY}attribute"}
    without = found[f"{WITHOUT_SOURCE}ials"]
    assert "ials" not in without.sources and "ials" not in without.settings.fusion
    assert set(without.sources) <= set(ranker.sources)
    assert all(without.sources[name] is ranker.sources[name] for name in without.sources)


def test_without_a_modality_the_fit_is_that_of_data_without_it(board: Checkerboard, settings: RankerSettings) -> None:
    ranker = fit_first_stage(board.train, settings)
    without = ablated_rankers(board.train, board.rest, ranker)[f"{WITHOUT_MODALITY}image"]
    again = fit_first_stage(board.train, without.settings)
    assert without.settings.exclude_content == ("image:images",)
    histories = board.train.histories()
    np.testing.assert_allclose(without.score(histories), again.score(histories), rtol=1e-4, atol=1e-4)


def test_cold_items_need_the_contents_that_are_left_out(board: Checkerboard, settings: RankerSettings) -> None:
    """By colour cold items are found; without any content all of them are alike."""
    ranker = fit_first_stage(board.train, settings.model_copy(update={"exclude_content": ("image:images",)}))
    without = ablated_rankers(board.train, board.rest, ranker)[f"{WITHOUT_MODALITY}attribute"]
    users = np.flatnonzero(np.diff(board.train.interactions.weights.indptr))
    histories = board.train.histories().rows(users)
    right = board.user_colour[users, None] == board.item_colour[None, board.cold_items]

    def separation(scores: np.ndarray) -> float:
        cold = scores[:, board.cold_items]
        return float(cold[right].mean() - cold[~right].mean())

    assert separation(ranker.score(histories)) > 0.1
    assert abs(separation(without.score(histories))) < 1e-5


def test_popularity_is_a_part_where_users_with_history_have_it(board: Checkerboard, settings: RankerSettings) -> None:
    popular = settings.model_copy(update={"popularity": PopularitySettings(warm_weight=0.5), "max_groups": 0})
    ranker = fit_first_stage(board.train, popular)
    found = ablated_rankers(board.train, board.rest, ranker)
    assert f"{WITHOUT_SOURCE}demographics" not in found
    histories = board.train.histories()
    warm = np.diff(histories.weights.indptr) > 0
    lost = ranker.score(histories) - found[f"{WITHOUT_SOURCE}popularity"].score(histories)
    expected = np.where(warm[:, None], 0.5 * ranker.popularity.log_popularity, 0.0)
    np.testing.assert_allclose(lost, expected, atol=1e-5)


def test_blocks_without_weight_make_no_modality(board: Checkerboard, settings: RankerSettings) -> None:
    nothing = {"image:images": 0.0}
    chosen = settings.model_copy(
        update={
            "content_weights": nothing,
            "cold_items": settings.cold_items.model_copy(update={"weights": nothing}),
        }
    )
    assert used_modalities(board.train, chosen) == {"attribute": ["attribute:colour"]}
    assert used_modalities(board.train, settings.model_copy(update={"use_content": False})) == {}
