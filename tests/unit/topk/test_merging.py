"""Lists of parts of a catalogue merge into the lists of the whole."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmrec_lib.errors import ModelError
from mmrec_lib.topk import TopItems, exact_top, merge_lists
from tests.unit.topk.exactness import assert_same


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    num_items=st.integers(1, 60),
    k=st.integers(1, 20),
    cuts=st.lists(st.integers(0, 60), max_size=4),
)
def test_merged_lists_equal_those_of_the_whole_catalogue(seed: int, num_items: int, k: int, cuts: list[int]) -> None:
    rng = np.random.default_rng(seed)
    users = rng.integers(-2, 3, (4, 3)).astype(np.float32)
    items = rng.integers(-2, 3, (num_items, 3)).astype(np.float32)
    edges = sorted({0, num_items, *(cut for cut in cuts if cut < num_items)})
    parts = [exact_top(users, items[low:high], k) for low, high in itertools.pairwise(edges)]
    assert_same(merge_lists(parts, first_items=edges[:-1]), exact_top(users, items, k))


def test_parts_that_hold_indices_of_the_whole_merge_as_they_are() -> None:
    left = TopItems(np.array([[7, 1]], np.int32), np.array([[2.0, -1.0]], np.float32))
    right = TopItems(np.array([[3, -1]], np.int32), np.array([[2.0, -np.inf]], np.float32))
    merged = merge_lists([left, right], 4)
    assert merged.indices.tolist() == [[3, 7, 1, -1]]
    assert merged.scores.tolist() == [[2.0, 2.0, -1.0, -np.inf]]


def test_parts_that_cannot_be_merged_are_named() -> None:
    one = TopItems(np.zeros((1, 1), np.int32), np.zeros((1, 1), np.float32))
    two = TopItems(np.zeros((2, 1), np.int32), np.zeros((2, 1), np.float32))
    with pytest.raises(ModelError, match="at least one part"):
        merge_lists([])
    with pytest.raises(ModelError, match=r"same users, got \[1, 2\]"):
        merge_lists([one, two])
    with pytest.raises(ModelError, match="k must be at least 1"):
        merge_lists([one], 0)
    with pytest.raises(ModelError, match="1 parts need 1 first items, got 2"):
        merge_lists([one], first_items=[0, 1])
    with pytest.raises(ModelError, match="finite"):
        merge_lists([TopItems(np.zeros((1, 1), np.int32), np.full((1, 1), np.nan, np.float32))])
