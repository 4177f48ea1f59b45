"""Penalties of iALS in large catalogues: where factors vanish, and where a search begins."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from mmrec_lib.models.sources.ials import IalsSettings, fit_ials, fold_in, largest_regulariser, learnable


def clusters(num_users: int, num_items: int, num_clusters: int = 5) -> sparse.csr_matrix:
    """Users who each turn to eight items of one cluster."""
    generator = np.random.default_rng(0)
    of_user = generator.integers(0, num_clusters, num_users)
    items = np.stack(
        [generator.choice(np.arange(cluster, num_items, num_clusters), 8, replace=False) for cluster in of_user]
    )
    entries = (np.ones(items.size, np.float32), (np.repeat(np.arange(num_users), 8), items.ravel()))
    return sparse.csr_matrix(entries, shape=(num_users, num_items))


def largest_score(rows: sparse.csr_matrix, settings: IalsSettings) -> float:
    items = fit_ials(rows, settings, seed=0)
    return float(np.abs(fold_in(rows[:50], items, settings) @ items.T).max())


@pytest.mark.parametrize("unobserved", [0.01, 0.1, 1.0])
def test_factors_vanish_above_the_largest_regulariser_and_only_there(unobserved: float) -> None:
    rows = clusters(400, 300)
    largest = largest_regulariser(rows, unobserved)
    settings = IalsSettings(rank=8, unobserved=unobserved, iterations=60)
    above = settings.model_copy(update={"regulariser": 1.2 * largest})
    below = settings.model_copy(update={"regulariser": 0.8 * largest})
    assert largest_score(rows, above) < 1e-3
    assert largest_score(rows, below) > 1e-2


def test_the_largest_regulariser_is_a_singular_value() -> None:
    rows = clusters(200, 90)
    rows.data[:] = np.random.default_rng(1).uniform(0.2, 3.0, rows.nnz)
    dense = rows.toarray().astype(np.float64)
    of_users, of_items = (rows != 0).sum(1).A1 + 0.3 * 90, (rows != 0).sum(0).A1 + 0.3 * 200
    scaled = dense / np.sqrt(of_users)[:, None] / np.sqrt(of_items)[None, :]
    assert largest_regulariser(rows, 0.3) == pytest.approx(np.linalg.norm(scaled, 2), rel=0.02)


def test_a_search_in_a_large_catalogue_begins_where_something_is_learned() -> None:
    small, large = clusters(400, 300), clusters(4_000, 20_000)
    assert learnable(IalsSettings(), small) == IalsSettings(), "nothing changes where the defaults are good"
    assert largest_score(large, IalsSettings(rank=8)) < 1e-3, "the defaults are not"
    chosen = learnable(IalsSettings(rank=8), large)
    assert chosen.unobserved < 0.1 and chosen.regulariser == IalsSettings().regulariser
    assert largest_score(large, chosen) > 0.1


def test_nothing_to_learn_ends_at_the_smallest_weight() -> None:
    empty = sparse.csr_matrix((3, 4), dtype=np.float32)
    assert largest_regulariser(empty, 0.1) == 0
    assert learnable(IalsSettings(), empty).unobserved == 0.001
