"""Exact search agrees with the definition, with exclusions, unavailable items and any block sizes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from mmrec_lib.errors import ModelError
from mmrec_lib.topk import exact_top, nearest
from mmrec_lib.topk.selection import select_top


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    num_users=st.integers(1, 9),
    num_items=st.integers(1, 70),
    k=st.integers(1, 8),
    user_block=st.integers(1, 10),
    item_block=st.integers(1, 80),
    share_seen=st.sampled_from([0.0, 0.2, 1.0]),
    share_unavailable=st.sampled_from([0.0, 0.3, 1.0]),
)
def test_exact_top_equals_brute_force(
    *,
    seed: int,
    num_users: int,
    num_items: int,
    k: int,
    user_block: int,
    item_block: int,
    share_seen: float,
    share_unavailable: float,
) -> None:
    rng = np.random.default_rng(seed)
    # Whole numbers, so that products are exact and ties are common.
    users = rng.integers(-2, 3, (num_users, 3)).astype(np.float32)
    items = rng.integers(-2, 3, (num_items, 3)).astype(np.float32)
    seen = rng.random((num_users, num_items)) < share_seen
    unavailable = rng.random(num_items) < share_unavailable

    top = exact_top(
        users,
        items,
        k,
        seen=sparse.csr_matrix(seen),
        unavailable=unavailable,
        user_block=user_block,
        item_block=item_block,
    )

    scores = users @ items.T
    scores[seen] = -np.inf
    scores[:, unavailable] = -np.inf
    expected = select_top(scores, k)
    np.testing.assert_array_equal(top.indices, expected.indices)
    np.testing.assert_array_equal(top.scores, expected.scores)


def test_a_stored_zero_still_means_seen() -> None:
    seen = sparse.csr_matrix((np.zeros(1), np.array([0]), np.array([0, 1])), shape=(1, 2))
    assert exact_top(np.ones((1, 1), np.float32), np.array([[9.0], [1.0]], np.float32), 1, seen=seen).indices == [[1]]


def test_no_user_and_no_item_are_no_error() -> None:
    vectors = np.zeros((0, 4), np.float32)
    assert exact_top(vectors, np.ones((3, 4), np.float32), 2).indices.shape == (0, 2)
    assert exact_top(np.ones((2, 4), np.float32), vectors, 2).indices.tolist() == [[-1, -1], [-1, -1]]


def test_shapes_that_do_not_fit_are_named() -> None:
    with pytest.raises(ModelError, match="got 2 and 3"):
        exact_top(np.ones((1, 2), np.float32), np.ones((1, 3), np.float32), 1)
    with pytest.raises(ModelError, match="seen items"):
        exact_top(np.ones((1, 2), np.float32), np.ones((1, 2), np.float32), 1, seen=sparse.csr_matrix((2, 1)))
    with pytest.raises(ModelError, match="unavailable"):
        exact_top(np.ones((1, 2), np.float32), np.ones((1, 2), np.float32), 1, unavailable=np.zeros(3, np.bool_))


def test_a_vector_that_is_not_finite_is_named_by_its_row() -> None:
    items = np.ones((3, 2), np.float32)
    items[1, 0] = np.nan
    with pytest.raises(ModelError, match="row 1"):
        exact_top(np.ones((1, 2), np.float32), items, 1)


def test_nearest_lists_the_most_alike_without_the_item_itself() -> None:
    items = np.array([[1, 0], [2, 0.1], [0, 3], [0.1, 1], [0, 0]], np.float32)
    top = nearest(items, 2)
    assert top.indices[:4, 0].tolist() == [1, 0, 3, 2]
    assert top.indices[4].tolist() == [-1, -1]
    assert not (top.indices == 4).any()
    assert (top.indices != np.arange(5)[:, None]).all()
    assert top.scores.max() <= 1.0


def test_unavailable_items_are_no_neighbours_but_have_some() -> None:
    items = np.array([[1, 0], [1, 0.1], [1, 0.5]], np.float32)
    top = nearest(items, 1, unavailable=np.array([False, True, False]))
    assert top.indices.tolist() == [[2], [0], [0]] or top.indices.tolist() == [[2], [2], [0]]
    assert 1 not in top.indices
