from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from mmrec_lib.errors import ModelError
from mmrec_lib.models.data import (
    Content,
    FitData,
    Interactions,
    histories_of_lists,
    history_rows,
    picked_columns,
    sampled_rows,
)
from mmrec_lib.models.ids import IdIndex

ROWS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 5), st.integers(1, 9), st.integers(0, 99)), max_size=40)


def as_dict(x: Interactions) -> dict[tuple[int, int], tuple[float, float]]:
    weights, times = x.weights.tocoo(), x.times.tocoo()
    pairs = zip(weights.coords[0].tolist(), weights.coords[1].tolist(), strict=True)
    return dict(zip(pairs, zip(weights.data.tolist(), times.data.tolist(), strict=True), strict=True))


def reference(rows: list[tuple[int, int, int, int]]) -> dict[tuple[int, int], tuple[float, float]]:
    found: dict[tuple[int, int], tuple[float, float]] = defaultdict(lambda: (0.0, 0.0))
    for user, item, weight, time in rows:
        known = found[user, item]
        found[user, item] = (known[0] + weight, max(known[1], time))
    return dict(found)


def build(rows: list[tuple[int, int, int, int]]) -> Interactions:
    users, items, weights, times = (
        (np.array(column) for column in zip(*rows, strict=True)) if rows else ([], [], [], [])
    )
    return Interactions.from_rows(users, items, (5, 6), weights, times)


@given(ROWS)
def test_rows_of_a_pair_are_summed_and_the_latest_time_kept(rows: list[tuple[int, int, int, int]]) -> None:
    assert as_dict(build(rows)) == reference(rows)


@given(st.lists(st.tuples(*[st.integers(0, 4)] * 4, st.integers(-1, 3)), unique_by=lambda row: row[:2], max_size=25))
def test_pairs_that_stand_once_are_what_they_are_beside_one_that_stands_twice(
    rows: list[tuple[int, int, int, int, int]],
) -> None:
    def built(rows: list[tuple[int, int, int, int, int]], kind: type[np.integer]) -> Interactions:
        users, items, weights, times, devices = np.array(rows, dtype=kind).reshape(-1, 5).T
        return Interactions.from_rows(users, items, (6, 5), weights + 0.1, times, devices.astype(np.int64))

    once, twice = built(rows, np.int32), built([(5, 0, 1, 0, -1), *rows, (5, 0, 1, 0, -1)], np.int64)
    apart = twice.where(np.repeat(np.arange(6), np.diff(twice.weights.indptr)) < 5)
    for one, other in ((once.weights, apart.weights), (once.times, apart.times)):
        assert one.indices.dtype == other.indices.dtype
        for name in ("indptr", "indices", "data"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert once.devices is not None and twice.devices is not None
    np.testing.assert_array_equal(once.devices, twice.devices[: len(once.devices)])


@given(ROWS, ROWS)
def test_a_union_is_the_build_of_both(
    first: list[tuple[int, int, int, int]], second: list[tuple[int, int, int, int]]
) -> None:
    assert as_dict(build(first) + build(second)) == reference(first + second)


@given(ROWS, st.lists(st.booleans(), min_size=6, max_size=6))
def test_hidden_items_are_gone_and_others_stay(rows: list[tuple[int, int, int, int]], hidden: list[bool]) -> None:
    kept = build(rows).without_items(np.array(hidden))
    assert as_dict(kept) == reference([row for row in rows if not hidden[row[1]]])


@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan"), float("inf")])
def test_weights_that_say_nothing_are_refused(bad: float) -> None:
    with pytest.raises(ModelError, match="finite and above 0"):
        Interactions.from_rows([0], [0], (1, 1), [bad])


def test_times_need_the_positions_of_the_weights() -> None:
    with pytest.raises(ModelError, match="stored positions"):
        Interactions(sparse.csr_matrix(np.eye(2, dtype=np.float32)), sparse.csr_matrix((2, 2)))


def test_fit_data_name_what_does_not_fit() -> None:
    interactions = Interactions.from_rows([0], [0], (1, 2))
    with pytest.raises(ModelError, match="1 item ids for 2 columns"):
        FitData(np.array(["a"]), interactions)
    with pytest.raises(ModelError, match="content text:title"):
        FitData(np.array(["a", "b"]), interactions, {"text:title": Content.from_vectors("text:title", np.ones((3, 2)))})
    with pytest.raises(ModelError, match="user attribute age"):
        FitData(np.array(["a", "b"]), interactions, user_attributes={"age": np.array([1, 2], dtype=object)})


def test_histories_of_lists_leave_out_what_the_catalogue_does_not_know() -> None:
    found = histories_of_lists(
        IdIndex(["a", "b", "c"], "items"), [["c", "x"], []], [[2.0, 1.0], []], [{"age": "9"}, {}]
    )
    assert found.weights.toarray().tolist() == [[0, 0, 2], [0, 0, 0]]
    assert found.attributes["age"].tolist() == ["9", None]


def test_histories_of_lists_need_a_weight_an_item() -> None:
    with pytest.raises(ModelError, match="one weight an item"):
        histories_of_lists(IdIndex(["a"], "items"), [["a"]], [[1.0, 2.0]])


@given(ROWS)
def test_picked_columns_are_those_of_an_index(rows: list[tuple[int, int, int, int]]) -> None:
    weights = build(rows).weights
    picked = picked_columns(weights, np.array([-1, 0, 1, -1, 2, -1], np.int32), 3)
    expected = weights[:, [1, 2, 4]]
    assert picked.shape == expected.shape
    np.testing.assert_array_equal(picked.indptr, expected.indptr)
    np.testing.assert_array_equal(picked.indices, expected.indices)
    np.testing.assert_array_equal(picked.data, expected.data)


def test_history_rows_depend_on_their_row_alone_and_not_on_the_scale_of_weights() -> None:
    weights = sparse.csr_matrix(np.array([[1.0, 0.0, 3.0], [10.0, 0.0, 30.0], [0.0, 5.0, 0.0]], dtype=np.float32))
    rows = history_rows(weights, 1.0).toarray()
    np.testing.assert_allclose(rows, [[0.5, 0, 1.5], [0.5, 0, 1.5], [0, 1, 0]])
    assert history_rows(weights, 0.0).toarray().tolist() == [[1, 0, 1], [1, 0, 1], [0, 1, 0]]


def test_a_sample_of_rows_holds_filled_ones_only_and_is_the_same_each_time() -> None:
    rows = sparse.csr_matrix(np.diag([1.0, 0, 2, 3, 0, 4, 5]).astype(np.float32))
    some = sampled_rows(rows, 3, seed=1)
    assert np.diff(some.indptr).tolist() == [1, 1, 1]
    assert sorted(some.data.tolist()) == some.data.tolist(), "the order stays"
    assert (some != sampled_rows(rows, 3, seed=1)).nnz == 0
    assert sampled_rows(rows, 5, seed=1) is rows, "few rows are taken as they are"
