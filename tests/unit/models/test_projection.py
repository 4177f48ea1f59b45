"""Closed forms of low-rank sources and explanations against whole rows of scores."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from mmrec_lib.models.config import RankerSettings
from mmrec_lib.models.data import Histories
from mmrec_lib.models.ranker import projection
from mmrec_lib.models.ranker.explanation import NO_REASON, strongest_entries
from mmrec_lib.models.ranker.fit import fit_ranker
from mmrec_lib.models.ranker.fusion import entry_rows, fuse, standardise
from mmrec_lib.models.ranker.projection import Projector, plain_search
from mmrec_lib.models.sources.base import FitInputs
from mmrec_lib.models.sources.registry import SOURCES
from mmrec_lib.topk import exact
from mmrec_lib.training.parts import compiled_search
from tests.unit.models.checkerboard import SETTINGS, Checkerboard


def random_histories(seed: int, num_users: int = 40, num_items: int = 60) -> sparse.csr_matrix:
    generator = np.random.default_rng(seed)
    dense = (generator.random((num_users, num_items)) < generator.uniform(0.02, 0.4, (num_users, 1))).astype(np.float32)
    dense[0] = 0
    dense[1] = 1
    return sparse.csr_matrix(dense)


def fitted(name: str, x: sparse.csr_matrix, max_dense_items: int):  # type: ignore[no-untyped-def]
    source = SOURCES[name]
    return source.fit(FitInputs(x, None, 0, max_dense_items), source.settings_type())


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("max_dense_items", [10, 1_000])
def test_contributions_of_the_history_add_up_to_the_score(name: str, max_dense_items: int) -> None:
    x = random_histories(3)
    source = fitted(name, x, max_dense_items)
    items = np.random.default_rng(1).integers(0, x.shape[1], (x.shape[0], 5))
    parts = source.contributions(x, items)
    assert parts.shape == (x.nnz, 5)
    summed = np.zeros(items.shape)
    np.add.at(summed, entry_rows(x), parts)
    expected = np.take_along_axis(source.score(x), items, axis=1)
    np.testing.assert_allclose(summed, expected, atol=1e-4 * np.abs(expected).max())


@given(st.integers(0, 1_000))
@settings(max_examples=15, deadline=None)
def test_closed_forms_equal_whole_rows_of_scores(seed: int) -> None:
    x = random_histories(seed)
    weights = {"ials": 1.0, "graph_filter": 0.5, "item_knn": 0.25}
    sources = {name: fitted(name, x, max_dense_items=10) for name in weights}
    basis = np.random.default_rng(seed).standard_normal((x.shape[1], 7)).astype(np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(projection, "MIN_LOW_RANK_ITEMS", 1)
        vectors, scales = Projector(sources, weights, basis).project(x, plain_search)
    has_unseen = np.diff(x.indptr) < x.shape[1]
    expected = fuse(sources, weights, x) @ basis
    np.testing.assert_allclose(vectors[has_unseen], expected[has_unseen], atol=2e-3 * np.abs(expected).max())
    assert np.isfinite(vectors).all()
    for name, source in sources.items():
        of_rows = standardise(source.score(x), x)[1]
        usual = has_unseen & np.isfinite(of_rows.deviation)
        np.testing.assert_allclose(scales[name].mean[usual], of_rows.mean[usual], atol=1e-4)
        np.testing.assert_allclose(scales[name].deviation[usual], of_rows.deviation[usual], rtol=1e-3)
        np.testing.assert_allclose(scales[name].top[usual], of_rows.top[usual], rtol=2e-3, atol=2e-3)


@pytest.mark.slow  # the kernels are loaded, or compiled
def test_compiled_search_gives_the_vectors_of_plain_search(monkeypatch: pytest.MonkeyPatch) -> None:
    x = random_histories(4)
    weights = {"ials": 1.0, "graph_filter": 0.5}
    projector = Projector(
        {name: fitted(name, x, max_dense_items=10) for name in weights},
        weights,
        np.random.default_rng(4).standard_normal((x.shape[1], 7)).astype(np.float32),
    )
    monkeypatch.setattr(projection, "MIN_LOW_RANK_ITEMS", 1)
    for threshold in ("_USERS_WORTH_PREPARING", "_PAIRS_WORTH_CALLING", "_PAIRS_WORTH_LOADING"):
        monkeypatch.setattr(exact, threshold, 0)
    plain, compiled = projector.project(x, plain_search), projector.project(x, compiled_search)
    assert np.array_equal(plain[0], compiled[0])
    assert all(np.array_equal(plain[1][name].top, compiled[1][name].top) for name in weights)


def test_a_user_is_pulled_by_what_is_like_the_item(board: Checkerboard) -> None:
    ranker = fit_ranker(board.train, RankerSettings.model_validate(SETTINGS.model_dump()))
    histories = board.train.histories()
    users = ranker.project(histories)
    items = np.argsort(-ranker.score(histories), axis=1)[:, :4]
    entries = strongest_entries(ranker.explain(users, items).pulls, users.known.indptr, 2)
    warm = np.flatnonzero(ranker.warm)
    is_reason = entries != NO_REASON
    assert is_reason[np.diff(users.known.indptr) > 0].any(axis=2).mean() > 0.9
    reasons = warm[users.known.indices[np.where(is_reason, entries, 0)]]
    same = board.item_colour[reasons] == board.item_colour[items][:, :, None]
    assert same[is_reason].mean() > 0.9


def test_reasons_are_the_largest_pulls_first_ones_of_equals_and_never_below_zero() -> None:
    pulls = np.array([[1, 0], [3, 0], [3, -1], [2, 5]], dtype=np.float32)
    found = strongest_entries(pulls, np.array([0, 3, 3, 4]), 2)
    assert found.tolist() == [[[1, 2], [-1, -1]], [[-1, -1], [-1, -1]], [[3, -1], [3, -1]]]
    assert strongest_entries(np.zeros((0, 2), np.float32), np.array([0, 0]), 1).tolist() == [[[-1], [-1]]]


def test_users_without_history_have_no_reasons(board: Checkerboard) -> None:
    ranker = fit_ranker(board.train, SETTINGS)
    empty = Histories(sparse.csr_matrix((2, len(ranker.item_ids)), dtype=np.float32))
    explained = ranker.explain(ranker.project(empty), np.zeros((2, 3), dtype=np.int64))
    assert explained.pulls.shape == (0, 3)
    assert all(not explained.shares[name].any() for name in ranker.sources)
