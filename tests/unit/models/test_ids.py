"""Ids that are not there never become a position."""

from __future__ import annotations

import numpy as np
import pytest

from mmrec_lib.errors import ModelError
from mmrec_lib.models.data import Interactions, histories_of_lists
from mmrec_lib.models.ids import IdIndex, Mapped


def test_positions_follow_the_order_and_a_miss_raises_with_its_name() -> None:
    index = IdIndex(["b", "a", "ä"], "items")
    assert index.positions(["a", "ä", "b", "a"]).tolist() == [1, 2, 0, 1]
    assert index.known(["a", "gone", "b"]).tolist() == [True, False, True]
    with pytest.raises(ModelError, match=r"items: 2 of 3 ids .*'gone', 'lost'"):
        index.positions(["a", "gone", "lost"])


def test_nothing_has_a_position_among_nothing() -> None:
    index = IdIndex([], "items")
    assert index.known(["a"]).tolist() == [False]
    assert index.positions([]).tolist() == []
    with pytest.raises(ModelError):
        index.positions(["a"])


def test_an_id_twice_is_refused() -> None:
    with pytest.raises(ModelError, match="'a' stands twice"):
        IdIndex(["a", "b", "a"], "items")


def test_positions_map_between_lists_only_where_both_have_the_id() -> None:
    mapped = Mapped(["x", "a", "b"], IdIndex(["b", "c", "a"], "items of the fit"))
    assert mapped.known.tolist() == [False, True, True]
    assert mapped.of(np.array([[2, 1], [1, 1]])).tolist() == [[0, 2], [2, 2]]
    for wrong in ([0], [-1], [3]):
        with pytest.raises(ModelError):
            mapped.of(np.array(wrong))


@pytest.mark.parametrize(
    "users", [np.array([0.0, np.nan]), np.array([0, -1]), np.array([0, 2]), np.array([0.0, 1.0]), [None, 0]]
)
def test_interactions_refuse_positions_that_may_be_a_cast_miss(users: np.ndarray) -> None:
    with pytest.raises(ModelError, match="user positions must be whole numbers from 0 to 1"):
        Interactions.from_rows(users, np.array([0, 0]), (2, 3))


def test_histories_leave_out_unknown_items_whatever_stands_beside_them() -> None:
    found = histories_of_lists(IdIndex(["a", "b"], "items"), [["gone", "b"], ["gone"], []])
    assert found.weights.toarray().tolist() == [[0.0, 1.0], [0.0, 0.0], [0.0, 0.0]]
