"""Areas under the curve agree with scikit-learn, over the candidates of each user."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.metrics import roc_auc_score

from mmrec_lib.evaluation.auc import NO_PAIR, auc_of_midranks, relevant_midranks, user_auc


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    num_items=st.integers(1, 40),
    num_values=st.sampled_from([1, 3, 1000]),
    masked=st.sampled_from([0.0, 0.5]),
)
def test_areas_equal_those_of_scikit_learn_on_what_is_not_masked(
    seed: int, num_items: int, num_values: int, masked: float
) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(-num_values, num_values, (5, num_items)).astype(np.float32)
    hidden = rng.random(scores.shape) < masked
    relevant = (rng.random(scores.shape) < 0.3) & ~hidden
    found = user_auc(np.where(hidden, np.float32(-np.inf), scores), sparse.csr_matrix(relevant))
    for row in range(5):
        labels, own = relevant[row, ~hidden[row]], scores[row, ~hidden[row]]
        has_both = 0 < labels.sum() < labels.size
        assert found[row] == pytest.approx(roc_auc_score(labels, own) if has_both else NO_PAIR)


def test_an_item_that_the_model_leaves_out_is_below_all_others() -> None:
    scores = np.array([[-np.inf, -np.inf, 2.0, 1.0]], np.float32)
    relevant = sparse.csr_matrix(np.array([[0, 1, 1, 0]]))
    # Item 0 is masked. Of the pairs with item 3 the one of item 2 is right, the one of item 1 wrong.
    midranks = relevant_midranks(scores, relevant, np.array([1]))
    assert midranks.tolist() == [1.0, 3.0]
    assert auc_of_midranks(midranks, relevant, np.array([3])).tolist() == [0.5]
