"""Lists of few users from the longest items alone, against those of the whole catalogue."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import sparse

from mmrec_lib.topk.items import PreparedItems, check_users, prepare_items
from mmrec_lib.topk.numpy_search import search_longest, search_with_numpy
from mmrec_lib.topk.selection import TopItems

DIM = 4


def items_of(lengths: NDArray[np.float64], rng: np.random.Generator) -> PreparedItems:
    vectors = rng.standard_normal((len(lengths), DIM))
    vectors *= lengths[:, None] / np.linalg.norm(vectors, axis=1, keepdims=True)
    return prepare_items(vectors.astype(np.float32), unavailable=rng.random(len(lengths)) < 0.1)


def both(items: PreparedItems, users: NDArray[np.float32], k: int, seen: sparse.csr_matrix | None) -> list[TopItems]:
    batch = check_users(items, users, k, seen, None)
    found = search_longest(items, batch)
    return [] if found is None else [found, search_with_numpy(items, batch)]


@given(st.integers(0, 10_000), st.integers(1, 5), st.integers(1, 4), st.booleans())
@settings(max_examples=60, deadline=None)
def test_lists_of_the_longest_items_are_those_of_all_items(seed: int, num_users: int, k: int, hides: bool) -> None:
    rng = np.random.default_rng(seed)
    items = items_of(rng.pareto(1.5, 80) + 0.1, rng)
    users = rng.standard_normal((num_users, DIM)).astype(np.float32)
    seen = sparse.random(num_users, 80, 0.2, "csr", np.float32, rng) if hides else None
    lists = both(items, users, k, seen)
    if lists:
        np.testing.assert_array_equal(lists[0].indices, lists[1].indices)
        np.testing.assert_array_equal(lists[0].scores, lists[1].scores)


def test_long_items_decide_for_a_user_whose_way_they_point() -> None:
    vectors = np.full((64, DIM), 0.5, np.float32)
    vectors[[9, 40]] = 10.0
    lists = both(prepare_items(vectors), np.ones((1, DIM), np.float32), 2, None)
    assert [top.indices.tolist() for top in lists] == [[[9, 40]]] * 2


@pytest.mark.parametrize("hidden", [[9, 40], [9]])
def test_a_user_who_has_seen_the_long_items_needs_the_others(hidden: list[int]) -> None:
    vectors = np.full((64, DIM), 0.5, np.float32)
    vectors[[9, 40]] = 10.0
    seen = sparse.csr_matrix((np.ones(len(hidden)), ([0] * len(hidden), hidden)), shape=(1, 64))
    assert not both(prepare_items(vectors), np.ones((1, DIM), np.float32), 2, seen)


def test_items_of_one_length_are_all_looked_at() -> None:
    rng = np.random.default_rng(0)
    assert not both(items_of(np.ones(800), rng), rng.standard_normal((1, DIM)).astype(np.float32), 1, None)
