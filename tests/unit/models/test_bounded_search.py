"""The search of settings stays within its bounds, and what is shared or cut short gives what the whole would."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from scipy import sparse

from mmrec_lib.models.config import RankerSettings, TrainingConfig
from mmrec_lib.models.data import Histories
from mmrec_lib.models.ranker.fit import fit_ranker
from mmrec_lib.models.sources import ease
from mmrec_lib.models.sources.base import FitInputs, FrequentItems, SearchInputs
from mmrec_lib.models.sources.cold_items import kernel_ridge
from mmrec_lib.models.sources.content import BlockKernels, ContentFeatures
from mmrec_lib.models.sources.content_ease import ContentEase
from mmrec_lib.models.sources.ease import EaseSettings, gram, gram_unit
from mmrec_lib.models.sources.graph_filter import GraphFilter, GraphSettings, Spectrum, item_degrees
from mmrec_lib.models.sources.ials import Ials
from mmrec_lib.models.tuning import choose_cold
from mmrec_lib.models.tuning.choose import choose_settings
from mmrec_lib.models.tuning.validation import Candidates, ValidationUsers
from tests.unit.models.checkerboard import Checkerboard

CONFIG = TrainingConfig(dims=(8, 16), min_group_users=5)
NO_CONTENT = CONFIG.model_copy(update={"use_content": False})


@pytest.fixture(scope="module")
def chosen(board: Checkerboard) -> RankerSettings:
    return choose_settings(board.train, board.rest, CONFIG)


@pytest.fixture
def inverted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Sizes of the matrices that were inverted."""
    sizes: list[int] = []
    inverse = ease.symmetric_inverse

    def recorded(matrix: np.ndarray) -> np.ndarray:
        sizes.append(len(matrix))
        return inverse(matrix)

    monkeypatch.setattr(ease, "symmetric_inverse", recorded)
    yield sizes


def random_histories(seed: int = 0, shape: tuple[int, int] = (40, 15)) -> sparse.csr_matrix:
    rng = np.random.default_rng(seed)
    return sparse.csr_matrix(np.where(rng.random(shape) < 0.3, rng.random(shape) + 0.5, 0.0), dtype=np.float32)


def test_the_search_inverts_few_matrices_of_the_whole_catalogue(board: Checkerboard, inverted: list[int]) -> None:
    settings = choose_settings(board.train, board.rest, CONFIG.model_copy(update={"max_search_items": 12}))
    sizes = np.array(inverted)
    # The fusion fits both forms of EASE once, simulated new items once more, and real ones at most once.
    assert (sizes > 12).sum() <= 6
    assert (sizes == 12).sum() > 12
    users = ValidationUsers.of(board.train, board.rest, CONFIG)
    warm = users.rows(np.flatnonzero(users.has_history))
    assert warm.ndcg(fit_ranker(board.train, settings).score(warm.histories)) > 0.8


def test_penalties_found_on_frequent_items_count_absolutely() -> None:
    x = random_histories()
    few = np.zeros(15, dtype=bool)
    few[np.argsort(-np.diff(x.tocsc().indptr))[:5]] = True
    features = ContentFeatures.learn({})
    frequent = FrequentItems(x[:, few], x[:, few], lambda scores: 0.5, features, few)
    every = np.ones(15, dtype=bool)
    inputs = SearchInputs(x, x, lambda scores: 0.5, features, every, 0, 100, 1, frequent)
    start = EaseSettings(regulariser=8.0, content_scale=0.0)
    found = ContentEase.search(inputs, start).settings
    penalties = [
        settings.regulariser * np.diag(gram(rows, settings.user_exponent)).mean()
        for settings, rows in ((start, frequent.histories), (found, x))
    ]
    assert penalties[0] == pytest.approx(penalties[1], rel=1e-5)


@pytest.mark.parametrize("exponent", [0.0, 0.25])
def test_the_unit_of_penalties_is_the_mean_of_the_diagonal(exponent: float) -> None:
    x = random_histories(1)
    assert gram_unit(x, exponent) == pytest.approx(float(np.diag(gram(x, exponent)).mean()), rel=1e-5)


def test_kernels_computed_once_sum_like_those_computed_each_time(board: Checkerboard) -> None:
    features = ContentFeatures.learn(board.train.contents)
    left, right = (np.arange(40) % 3 == rest for rest in (0, 1))
    kernels = BlockKernels.of(features, left, right)
    for weights in ({}, {"image:images": 0.0}, {"attribute:colour": 2.0}):
        np.testing.assert_allclose(kernels.kernel(weights), features.kernel(weights, left, right), atol=1e-6)
    assert kernels.kernel(dict.fromkeys(features.rows, 0.0)) is None


@pytest.mark.parametrize("max_dense_items", [100, 0])
def test_histories_through_a_spectrum_score_as_the_fitted_filter(max_dense_items: int) -> None:
    x = random_histories(2)
    settings = GraphSettings(rank=6, low_pass=0.3, item_exponent=0.3, output_exponent=0.25)
    fitted = GraphFilter.fit(FitInputs(x, None, 0, max_dense_items), settings)
    spectrum, degrees = Spectrum.of(x, settings.item_exponent, settings.rank, 0), item_degrees(x)
    before = x @ sparse.diags_array(degrees**-settings.item_exponent)
    linear = np.asarray(before @ spectrum.linear()) if max_dense_items else None
    scores = spectrum.filtered(linear, np.asarray(before @ spectrum.vectors), degrees, settings)
    np.testing.assert_allclose(scores, fitted.score(x), rtol=1e-3, atol=1e-5)


def test_candidates_judge_as_the_whole_catalogue_does_where_they_hold_its_best() -> None:
    rng = np.random.default_rng(4)
    scores = rng.standard_normal((30, 60)).astype(np.float32)
    relevant = sparse.csr_matrix(rng.random((30, 60)) < 0.1, dtype=np.float32)
    users = ValidationUsers(Histories(random_histories(5, (30, 60))), relevant)
    candidates = Candidates.of(users, [users.top(scores, 10), users.top(-scores, 3)])
    np.testing.assert_allclose(candidates.ndcg_by_user(candidates.scores(scores)), users.ndcg_by_user(scores))
    some = np.array([3, 8])
    assert candidates.rows(some).ndcg_by_user(candidates.scores(scores)[some]) == pytest.approx(
        users.ndcg_by_user(scores)[some]
    )


def test_relevant_items_that_are_no_candidates_count_as_missed() -> None:
    relevant = sparse.csr_matrix(np.array([[1.0, 0.0, 1.0]], dtype=np.float32))
    users = ValidationUsers(Histories(sparse.csr_matrix((1, 3), dtype=np.float32)), relevant)
    candidates = Candidates.of(users, [np.array([[2, -1]])])
    scores = candidates.scores(np.ones((1, 3), dtype=np.float32))
    assert candidates.items.tolist() == [[2]]
    assert candidates.ndcg_by_user(scores)[0] == pytest.approx(1 / (1 + 1 / np.log2(3)))


def test_the_ranker_without_content_is_the_same_whether_its_search_is_shared(
    board: Checkerboard, chosen: RankerSettings
) -> None:
    without = board.train.without_content()
    assert choose_settings(without, board.rest, NO_CONTENT, chosen) == choose_settings(without, board.rest, NO_CONTENT)


def test_sources_without_content_are_fitted_once(board: Checkerboard, settings: RankerSettings) -> None:
    fitted, without = fit_ranker(board.train, settings), board.train.without_content()
    shared, own = fit_ranker(without, settings, fitted), fit_ranker(without, settings)
    assert [name for name in own.sources if shared.sources[name] is fitted.sources[name]] == ["ials", "graph_filter"]
    np.testing.assert_array_equal(shared.score(board.train.histories()), own.score(board.train.histories()))


@pytest.mark.parametrize("update", [{"seed": 1}, {"weight_exponent": 0.5}, {"max_dense_items": 5}])
def test_a_source_of_another_fit_is_not_taken(
    update: dict[str, float], board: Checkerboard, settings: RankerSettings
) -> None:
    fitted = fit_ranker(board.train, settings)
    other = fit_ranker(board.train, settings.model_copy(update=update), fitted)
    assert not [name for name, source in other.sources.items() if source is fitted.sources[name]]


def test_sources_that_sample_users_read_no_more_than_these(settings: RankerSettings) -> None:
    few = settings.with_max_users(7)
    assert (few.of(Ials).max_users, few.of(GraphFilter).max_users) == (7, 7)
    assert few.with_max_users(9) == few
    assert few.of(ContentEase) == settings.of(ContentEase)


def test_the_ridge_of_new_items_is_tried_on_blocks_of_positive_weight_alone(
    board: Checkerboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[float] = []

    def recorded(kernel: np.ndarray, penalty: float, target: np.ndarray) -> np.ndarray:
        # Rows have length 1, so an item with every block has the sum of their weights on the diagonal.
        tried.append(penalty / float(kernel.diagonal().max()))
        return kernel_ridge(kernel, penalty, target)

    monkeypatch.setattr(choose_cold, "kernel_ridge", recorded)
    choose_settings(board.train, board.rest, CONFIG)
    assert len(tried) > len(choose_cold.REGULARISERS)
    distances = np.abs(np.array(tried)[:, None] / np.array(choose_cold.REGULARISERS) - 1).min(axis=1)
    np.testing.assert_allclose(distances, 0, atol=1e-5)
