"""The selection of the best columns agrees with a full sort, whatever the blocks and ties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmrec_lib.errors import ModelError
from mmrec_lib.topk.selection import NO_ITEM, empty_top, merge_block, select_top


def sorted_top(scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The definition: sort each row by score descending, then column; leave out -inf."""
    indices = np.full((scores.shape[0], k), NO_ITEM, np.int32)
    best = np.full((scores.shape[0], k), -np.inf, np.float32)
    for row, values in enumerate(scores):
        columns = sorted((c for c in range(values.size) if values[c] > -np.inf), key=lambda c: (-values[c], c))[:k]
        indices[row, : len(columns)] = columns
        best[row, : len(columns)] = values[columns]
    return indices, best


@st.composite
def score_blocks(draw: st.DrawFn) -> np.ndarray:
    """Small blocks with few distinct values, so that ties and masks are common; sometimes wide enough for groups."""
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    shape = (draw(st.integers(1, 5)), draw(st.integers(1, 120)))
    scores = rng.integers(-3, draw(st.integers(-2, 50)), shape).astype(np.float32)
    scores[rng.random(shape) < draw(st.sampled_from([0.0, 0.3, 0.98]))] = -np.inf
    return scores


@settings(max_examples=200, deadline=None)
@given(scores=score_blocks(), k=st.integers(1, 12))
def test_selection_equals_a_full_sort(scores: np.ndarray, k: int) -> None:
    top = select_top(scores, k)
    indices, best = sorted_top(scores, k)
    np.testing.assert_array_equal(top.indices, indices)
    np.testing.assert_array_equal(top.scores, best)


@settings(max_examples=100, deadline=None)
@given(scores=score_blocks(), k=st.integers(1, 12), block=st.integers(1, 60))
def test_blocks_of_items_give_the_same_lists_as_all_at_once(scores: np.ndarray, k: int, block: int) -> None:
    top = empty_top(scores.shape[0], k)
    for first in range(0, scores.shape[1], block):
        top = merge_block(top, scores[:, first : first + block], first)
    whole = select_top(scores, k)
    np.testing.assert_array_equal(top.indices, whole.indices)
    np.testing.assert_array_equal(top.scores, whole.scores)


def test_equal_scores_rank_by_item_index() -> None:
    assert select_top(np.zeros((1, 1000), np.float32), 3).indices.tolist() == [[0, 1, 2]]


def test_fewer_candidates_than_k_end_in_padding() -> None:
    top = select_top(np.array([[-np.inf, 2.0, -np.inf]], np.float32), 3)
    assert top.indices.tolist() == [[1, NO_ITEM, NO_ITEM]]
    assert top.scores.tolist() == [[2.0, -np.inf, -np.inf]]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_score_that_is_no_number_is_refused(bad: float) -> None:
    with pytest.raises(ModelError, match="finite"):
        select_top(np.array([[1.0, bad]], np.float32), 1)


def test_k_below_one_is_refused() -> None:
    with pytest.raises(ModelError, match="k must be at least 1"):
        select_top(np.zeros((1, 2), np.float32), 0)
