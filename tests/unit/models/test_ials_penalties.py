"""Penalties of iALS in large catalogues: where factors vanish, and where a search begins."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from mmrec_lib.models.config import TrainingConfig
from mmrec_lib.models.data import FitData, Interactions
from mmrec_lib.models.sources.ials import Ials, IalsSettings, fit_ials, fold_in, largest_regulariser, learnable
from mmrec_lib.models.tuning.choose import choose_settings


def clusters(num_users: int, num_items: int, num_clusters: int = 5) -> sparse.csr_matrix:
    """Users who each turn to eight items of one cluster."""
    generator = np.random.default_rng(0)
    of_user = generator.integers(0, num_clusters, num_users)
    items = np.stack(
        [generator.choice(np.arange(cluster, num_items, num_clusters), 8, replace=False) for cluster in of_user]
    )
    entries = (np.ones(items.size, np.float32), (np.repeat(np.arange(num_users), 8), items.ravel()))
    return sparse.csr_matrix(entries, shape=(num_users, num_items))


def interactions_of(rows: sparse.csr_matrix) -> Interactions:
    users, items = rows.nonzero()
    return Interactions.from_rows(users, items, rows.shape, times=np.full(len(users), 1e9))


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


@pytest.mark.parametrize("shape", [(3, 4), (0, 5), (5, 0)])
def test_without_interactions_settings_stay(shape: tuple[int, int]) -> None:
    empty = sparse.csr_matrix(shape, dtype=np.float32)
    assert largest_regulariser(empty, 0.1) == 0
    assert learnable(IalsSettings(), empty) == IalsSettings()


@pytest.mark.parametrize("valid_users", [0, 40])
def test_settings_that_no_search_chooses_learn_something(valid_users: int) -> None:
    """Nobody in the validation part, or people without history alone."""
    rows = clusters(4_000, 20_000)
    rows = sparse.csr_matrix(sparse.vstack([rows, sparse.csr_matrix((40, 20_000), dtype=np.float32)]))
    columns = np.arange(valid_users)
    train = FitData(np.array([f"i{n}" for n in range(20_000)]), interactions_of(rows), {})
    valid = Interactions.from_rows(4_000 + columns, columns, rows.shape, times=np.full(valid_users, 1e9))
    chosen = choose_settings(train, valid, TrainingConfig(sources=("ials",)))
    assert chosen.of(Ials).unobserved < 0.1
    assert largest_score(rows, chosen.of(Ials).model_copy(update={"rank": 8})) > 0.1
