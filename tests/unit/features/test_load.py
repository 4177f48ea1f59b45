from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from scipy import sparse

from mmrec_lib.errors import ModelError
from mmrec_lib.features.arrow_columns import map_entries, vector_matrix
from mmrec_lib.features.token_rows import TokenRows
from mmrec_lib.features.user_groups import user_groups
from mmrec_lib.models.attributes import group_values
from mmrec_lib.models.data import Content

MAPS = pa.map_(pa.string(), pa.string())
PEOPLE: list[dict[str, str | None]] = [{"age": "24", "country": "DE"}, {"age": None}, {}, {"country": " fr", "x": "0"}]


def test_groups_of_arrow_maps_are_those_of_dictionaries() -> None:
    maps = pa.array([*(list(person.items()) for person in PEOPLE), None], MAPS)
    expected = group_values([*PEOPLE, {}])
    found = user_groups(maps)
    assert {name: column.tolist() for name, column in found.items()} == {
        name: column.tolist() for name, column in expected.items()
    }
    assert found["country"].tolist() == ["de", None, None, "fr", None]


def test_a_slice_of_maps_has_the_groups_of_its_own_users() -> None:
    maps = pa.array([list(person.items()) for person in PEOPLE], MAPS)
    assert user_groups(maps.slice(3))["country"].tolist() == ["fr"]
    assert user_groups(maps.slice(4)) == {}


def test_vectors_become_a_matrix_and_other_lengths_are_refused() -> None:
    lists = pa.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], pa.list_(pa.float32()))
    assert vector_matrix(lists.slice(1), "content a").tolist() == [[3.0, 4.0], [5.0, 6.0]]
    assert vector_matrix(lists, "content a").dtype == np.float32
    with pytest.raises(ModelError, match=r"content a: vectors must have one length, got \[1, 2\]"):
        vector_matrix(pa.array([[1.0], [1.0, 2.0]], pa.list_(pa.float32())), "content a")


def test_entries_of_maps_are_those_of_dictionaries_also_in_a_slice() -> None:
    told = [{"view": 1.0, "view:share": 0.5}, None, {}, {"view": 1.0}]
    maps = pa.array([one if one is None else list(one.items()) for one in told], pa.map_(pa.string(), pa.float64()))
    found = {name: (rows.tolist(), values.tolist()) for name, rows, values in map_entries(maps)}
    assert found == {"view": ([0, 3], [1.0, 1.0]), "view:share": ([0], [0.5])}
    assert [(name, rows.tolist()) for name, rows, _ in map_entries(maps.slice(2))] == [("view", [1])]
    assert list(map_entries(maps.slice(1, 2))) == []


def test_tokens_of_batches_make_the_block_of_their_lists() -> None:
    lists = [["b", "é"], [], ["b", "b", "a"], [], ["\uffff", "\U0001f600"], []]
    rows = TokenRows()
    first = pa.array([["gone"], lists[4], None, lists[0]], pa.list_(pa.string())).slice(1)
    rows.add(np.array([4, 5, 0]), first)
    rows.add(np.array([2]), pa.array([lists[2]], pa.list_(pa.string())))
    found, expected = rows.content("graph:a", 6), Content.from_tokens("graph:a", lists)
    assert (found.name, found.kind, found.tokens) == (expected.name, expected.kind, expected.tokens)
    np.testing.assert_array_equal(*(sparse.csr_matrix(block.matrix).toarray() for block in (found, expected)))
    np.testing.assert_array_equal(found.has, expected.has)
    assert TokenRows().content("graph:a", 2).matrix.shape == (2, 0)
