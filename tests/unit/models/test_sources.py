from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from mmrec_lib.models.ranker.distil import leading_items_basis
from mmrec_lib.models.ranker.fusion import standardise
from mmrec_lib.models.sources.ease import (
    EaseSettings,
    ease_inverse,
    ease_weights,
    fit_ease,
    gram,
    symmetric_inverse,
)
from mmrec_lib.models.sources.graph_filter import GraphSettings, fit_graph_filter, fit_low_rank_filter
from mmrec_lib.models.sources.ials import IalsSettings, fit_ials, fold_in
from mmrec_lib.models.sources.item_knn import nearest_items
from mmrec_lib.models.sources.range_finder import top_right_vectors


def random_interactions(seed: int = 0, shape: tuple[int, int] = (30, 12), density: float = 0.3) -> sparse.csr_matrix:
    dense = (np.random.default_rng(seed).random(shape) < density).astype(np.float32)
    return sparse.csr_matrix(dense)


def test_ease_solves_the_regression_of_each_item_on_the_others() -> None:
    x = random_interactions()
    settings = EaseSettings(regulariser=0.7, dropout=0.0, content_scale=0.0, user_exponent=0.0, diagonal_exponent=1.0)
    weights = fit_ease(gram(x, 0.0), None, settings)
    penalty = 0.7 * float(np.diag(gram(x, 0.0)).mean())
    dense = x.toarray()
    for item in range(x.shape[1]):
        others = np.delete(dense, item, axis=1)
        expected = np.linalg.solve(others.T @ others + penalty * np.eye(others.shape[1]), others.T @ dense[:, item])
        np.testing.assert_allclose(np.delete(weights[:, item], item), expected, atol=1e-4)
        assert weights[item, item] == 0


def test_ridge_ranks_unseen_items_like_user_side_ease() -> None:
    x = random_interactions(1)
    settings = EaseSettings(regulariser=0.5, dropout=0.0, content_scale=0.0, user_exponent=0.0, diagonal_exponent=0.0)
    scores = x @ ease_weights(ease_inverse(gram(x, 0.0), None, settings), 0.0)
    penalty = 0.5 * float(np.diag(gram(x, 0.0)).mean())
    dense = x.toarray().astype(np.float64)
    for user in range(5):
        others = np.delete(dense, user, axis=0)
        coefficients = np.linalg.solve(others @ others.T + penalty * np.eye(len(others)), others @ dense[user])
        unseen = dense[user] == 0
        expected = (coefficients @ others)[unseen]
        assert np.corrcoef(scores[user][unseen], expected)[0, 1] > 0.99999


def test_content_draws_alike_items_together() -> None:
    x = random_interactions(2)
    kernel = np.zeros((12, 12), dtype=np.float32)
    kernel[0, 1] = kernel[1, 0] = kernel[0, 0] = kernel[1, 1] = 1.0
    plain = fit_ease(gram(x, 0.0), None, EaseSettings(content_scale=1.0))
    drawn = fit_ease(gram(x, 0.0), kernel, EaseSettings(content_scale=1.0))
    assert drawn[0, 1] > plain[0, 1]


def test_inverse_falls_back_to_float64_and_to_a_pseudo_inverse() -> None:
    nearly_singular = np.array([[1.0, 1.0], [1.0, 1.0 + 1e-6]], dtype=np.float32)
    assert np.isfinite(symmetric_inverse(nearly_singular)).all()
    assert np.isfinite(symmetric_inverse(np.ones((3, 3), dtype=np.float32))).all()


def test_fold_in_solves_each_rows_least_squares() -> None:
    x = random_interactions(3, (9, 14))
    x.data[:] = np.random.default_rng(3).random(x.nnz).astype(np.float32) + 0.5
    settings = IalsSettings(rank=4, unobserved=0.2, regulariser=0.1)
    items = np.random.default_rng(4).standard_normal((14, 4)).astype(np.float32)
    found = fold_in(x, items, settings)
    for row in range(9):
        weights = x.toarray()[row]
        observed = weights > 0
        penalty = 0.1 * (observed.sum() + 0.2 * 14)
        left = 0.2 * items.T @ items + (items * weights[:, None]).T @ items + penalty * np.eye(4)
        np.testing.assert_allclose(found[row], np.linalg.solve(left, items.T @ weights), atol=1e-4)


def test_an_empty_history_has_no_factors() -> None:
    x = sparse.csr_matrix((2, 5), dtype=np.float32)
    assert not fold_in(x, np.ones((5, 3), dtype=np.float32), IalsSettings()).any()


def test_ials_separates_two_tastes() -> None:
    dense = np.kron(np.eye(2), np.ones((8, 6))).astype(np.float32)
    dense[0, 0] = 0
    settings = IalsSettings(rank=4, iterations=5)
    x = sparse.csr_matrix(dense)
    items = fit_ials(x, settings, seed=0)
    scores = fold_in(x, items, settings) @ items.T
    assert scores[0, 0] > scores[0, 6:].max() + 0.3


def test_the_low_rank_filter_ranks_like_the_dense_one_at_full_rank() -> None:
    x = random_interactions(5)
    settings = GraphSettings(rank=12, low_pass=0.0)
    left, right = fit_low_rank_filter(x, settings, seed=0)
    np.testing.assert_allclose(x @ left @ right, x @ fit_graph_filter(x, settings, seed=0), atol=1e-3)


def test_range_finder_finds_leading_singular_vectors() -> None:
    x = random_interactions(6, (40, 20))
    vectors, singular = top_right_vectors(x, 3, seed=0)
    _, expected, right = np.linalg.svd(x.toarray())
    np.testing.assert_allclose(singular, expected[:3], rtol=1e-5)
    np.testing.assert_allclose(np.abs(np.sum(vectors * right[:3].T, axis=0)), 1.0, atol=1e-4)


def test_distillation_keeps_scores_of_low_rank() -> None:
    generator = np.random.default_rng(7)
    fused = (generator.standard_normal((50, 3)) @ generator.standard_normal((3, 30))).astype(np.float32)
    basis = leading_items_basis([fused[:20], fused[20:]], 30, 3, seed=0)
    np.testing.assert_allclose(fused @ basis @ basis.T, fused, atol=1e-3)
    np.testing.assert_allclose(basis.T @ basis, np.eye(3), atol=1e-4)


def test_more_dimensions_than_items_are_filled_with_zeros() -> None:
    basis = leading_items_basis([np.eye(4, dtype=np.float32)], 4, 6, seed=0)
    assert basis.shape == (4, 6)
    assert not basis[:, 4:].any()


@given(st.integers(0, 10_000), st.integers(2, 12), st.floats(0.0, 0.9))
def test_standardised_scores_have_mean_0_and_deviation_1_over_unseen_items(seed: int, width: int, share: float) -> None:
    generator = np.random.default_rng(seed)
    scores = (generator.standard_normal((3, width)) * 10).astype(np.float32)
    seen = generator.random((3, width)) < share
    x = sparse.csr_matrix(seen.astype(np.float32))
    found = standardise(scores, x)[0]
    assert np.isfinite(found).all()
    for row in range(3):
        unseen = found[row][~seen[row]]
        if len(unseen) > 1:
            assert abs(float(unseen.mean())) < 1e-3
            assert abs(float(unseen.std()) - 1) < 1e-2
            assert found[row].max() <= max(unseen.max(), 0) + 1e-5
            order = np.argsort(scores[row][~seen[row]])
            assert (np.diff(unseen[order]) >= -1e-5).all()


def test_equal_scores_standardise_to_zero() -> None:
    found = standardise(np.full((2, 5), 3.0, dtype=np.float32), sparse.csr_matrix((2, 5), dtype=np.float32))[0]
    assert not found.any()


@pytest.mark.parametrize("num_neighbors", [1, 3, 50])
def test_nearest_items_are_those_of_largest_cosine(num_neighbors: int) -> None:
    x = random_interactions(8)
    dense = x.toarray()
    counts = dense.sum(axis=0)
    similarity = (dense.T @ dense) / (np.sqrt(np.outer(counts, counts)) + 2.0)
    np.fill_diagonal(similarity, 0)
    found = nearest_items(x, num_neighbors, shrinkage=2.0).toarray()
    for item in range(12):
        kept = np.sort(similarity[:, item][similarity[:, item] > 0])[::-1][:num_neighbors]
        np.testing.assert_allclose(np.sort(found[:, item][found[:, item] > 0])[::-1], kept, atol=1e-6)
