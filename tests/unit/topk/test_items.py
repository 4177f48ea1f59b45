"""Items and users of a search are checked, and what does not fit is named."""

from __future__ import annotations

import numpy as np
import pytest

from mmrec_lib.errors import ModelError
from mmrec_lib.topk import exact_top, prepare_items, search
from mmrec_lib.topk.items import checked_vectors
from mmrec_lib.topk.scores import exact_scores, pad_dimensions


def test_groups_limit_their_users_only() -> None:
    items = prepare_items(
        np.array([[3.0], [2.0], [1.0]], np.float32), allowed=np.array([[False, True, True], [False, False, False]])
    )
    top = search(items, np.ones((3, 1), np.float32), 2, group_of_user=np.array([0, -1, 1]))
    assert top.indices.tolist() == [[1, 2], [0, 1], [-1, -1]]


def test_masks_and_groups_that_do_not_fit_are_named() -> None:
    vectors = np.ones((2, 2), np.float32)
    with pytest.raises(ModelError, match=r"allowed items must have shape \[num_groups, 2\]"):
        prepare_items(vectors, allowed=np.ones((1, 3), np.bool_))
    with pytest.raises(ModelError, match="one of the 1 rows of allowed items, or -1 for none, got 1"):
        exact_top(vectors, vectors, 1, allowed=np.ones((1, 2), np.bool_), group_of_user=np.array([0, 1]))
    with pytest.raises(ModelError, match="groups of users must have shape"):
        exact_top(vectors, vectors, 1, allowed=np.ones((1, 2), np.bool_), group_of_user=np.array([0]))
    with pytest.raises(ModelError, match="k must be at least 1, got 0"):
        exact_top(vectors, vectors, 0)


def test_scores_that_float32_cannot_hold_are_refused() -> None:
    with pytest.raises(ModelError, match="must fit float32"):
        exact_top(np.full((1, 1), 1e20, np.float32), np.full((1, 1), 1e20, np.float32), 1)
    assert exact_top(np.full((1, 1), 1e19, np.float32), np.full((1, 1), 1e19, np.float32), 1).scores[0, 0] > 9e37


def test_lengths_are_right_where_float32_squares_are_not() -> None:
    _, norms = checked_vectors(np.array([[1e30, 0], [3e-30, 4e-30], [0, 0], [3, 4]], np.float32), "vectors")
    np.testing.assert_allclose(norms, [1e30, 5e-30, 0.0, 5.0], rtol=1e-6)


def test_a_score_is_the_float64_sum_rounded_once() -> None:
    # In float32 the small terms would be lost one by one.
    users = pad_dimensions(np.ones((1, 101), np.float32))
    items = pad_dimensions(np.array([[1.0] + [2.0**-25] * 100], np.float32))
    score = exact_scores(users, items, np.zeros(1, np.intp), np.zeros(1, np.intp))
    assert score[0] == np.float32(1.0 + 100 * 2.0**-25)
