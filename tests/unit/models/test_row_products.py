"""A user's vector does not depend on who else is asked for, by the kernels of any processor."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from mmrec_lib.models.data import row_product
from mmrec_lib.models.ranker.fit import fit_ranker
from tests.unit.models.checkerboard import SETTINGS, checkerboard

# Kernels of OpenBLAS that sum a row of a block in an order of its own, and others.
KERNELS = ("Haswell", "Sandybridge")


def require_same_rows() -> None:
    """Vectors of users in one order, in another, and of one alone, with all sources, in products of one shape."""
    board = checkerboard()
    names = ("content_ease", "ridge", "ials", "graph_filter")
    settings = SETTINGS.model_copy(update={"fusion": dict.fromkeys(names, 1.0), "max_dense_items": 10})
    for chosen in (settings, settings.model_copy(update={"max_dense_items": 10_000})):
        ranker = fit_ranker(board.train, chosen)
        assert ranker.sources
        histories = board.train.histories()
        vectors = ranker.project(histories, users_at_once=16).vectors
        order = np.random.default_rng(0).permutation(len(histories))
        np.testing.assert_array_equal(ranker.project(histories.rows(order), users_at_once=16).vectors, vectors[order])
        for user in (0, 7, 30):
            alone = ranker.project(histories.rows(np.array([user])), users_at_once=16)
            np.testing.assert_array_equal(alone.vectors[0], vectors[user])


@pytest.mark.slow
@pytest.mark.parametrize("kernels", KERNELS)
def test_vectors_of_users_are_their_own_to_the_last_bit(kernels: str) -> None:
    script = f"from {__name__} import require_same_rows; require_same_rows()"
    own = {"OPENBLAS_CORETYPE": kernels, "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", script], env=os.environ | own, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_row_products_are_products() -> None:
    rng = np.random.default_rng(0)
    left, right = rng.standard_normal((2_500, 7)).astype(np.float32), rng.standard_normal((7, 5)).astype(np.float32)
    product = row_product(left, right)
    assert product.dtype == np.float32
    np.testing.assert_array_equal(product, (left.astype(np.float64) @ right).astype(np.float32))
    assert row_product(left[:0], right).shape == (0, 5)
