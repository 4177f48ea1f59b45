"""Paths from the history to recommended items, against plain Python."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from scipy import sparse

from mmrec_lib.models.data import Content
from mmrec_lib.scoring.path_nodes import nodes_of_contents
from mmrec_lib.tastes import paths
from mmrec_lib.tastes.paths import NO_PATH, ItemNodes, best_paths
from mmrec_lib.tastes.sentences import path_text

IDS = pa.array(["a", "b", "c", "d", "e", "f", "g", "h"])


def contents(**blocks: list[list[str]]) -> dict[str, Content]:
    return {
        name.replace("__", ":"): Content.from_tokens(name.replace("__", ":"), lists) for name, lists in blocks.items()
    }


def films() -> ItemNodes:
    found = nodes_of_contents(
        contents(
            graph__directed_by=[["Ann"], [], ["Ann"], ["Bo"]],
            graph__starring=[["Bo"], ["Bo"]],
            attribute__categories=[["War"], ["War"], [], ["War"]],
            attribute__year=[["1999"], [], [], [], ["1999"]],
            attribute__price=[["3"], ["3"], ["4"], ["4"], ["4"]],
            attributes__rare=[["colour=Bo"], [], [], [], ["colour=Bo"]],
        ),
        8,
    )
    assert found is not None
    return found


def told(history: list[list[float]], items: list[list[int]], nodes: ItemNodes) -> list[list[dict[str, str] | None]]:
    indices = np.array(items)
    found = best_paths(sparse.csr_matrix(np.array(history)), indices, nodes)
    flat = iter(found.arrow(indices >= 0, nodes, IDS).to_pylist())
    return [[next(flat) for item in row if item >= 0] for row in items]


def test_the_rarest_shared_fact_connects_and_says_how_both_ends_have_it() -> None:
    (row,) = told([[1, 0, 0, 0, 0, 0, 0, 0]], [[1, 2, 3, 4, -1]], films())
    # Bo starred in a and b and directed d; War are three as well, and stands after Bo.
    assert row == [
        {"item_id": "a", "relation": "starring", "node": "Bo", "node_relation": "starring"},
        {"item_id": "a", "relation": "directed_by", "node": "Ann", "node_relation": "directed_by"},
        {"item_id": "a", "relation": "starring", "node": "Bo", "node_relation": "directed_by"},
        {"item_id": "a", "relation": "colour", "node": "Bo", "node_relation": "colour"},
    ]


def test_numbers_and_prices_and_what_nearly_all_have_are_no_facts() -> None:
    assert set(films().names.to_pylist()) == {"Ann", "Bo", "War"}
    assert set(films().relations) == {"directed_by", "starring", "categories", "colour"}
    everywhere = contents(attribute__kind=[["film"]] * 5, graph__made_by=[["x"]])
    assert nodes_of_contents(everywhere, 8) is None
    assert nodes_of_contents({}, 8) is None


def test_the_item_that_weighs_most_is_named_and_none_is_a_reason_for_itself() -> None:
    zeros = [0] * 6
    rows = told([[1, 3, *zeros], [3, 1, *zeros], [1, 0, *zeros], [0] * 8], [[3], [0], [0], [3]], films())
    assert [row[0] and row[0]["item_id"] for row in rows] == ["b", "b", None, None]


@pytest.mark.parametrize("at_once", [1, 40, 10**9])
def test_paths_are_those_of_a_search_in_plain_python_in_blocks_of_any_size(
    monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(paths, "_PAIRS_AT_ONCE", at_once)
    rng = np.random.default_rng(5)
    num_items, num_users = 30, 12
    lists = [[f"n{node}" for node in rng.choice(20, rng.integers(0, 5), replace=False)] for _ in range(num_items)]
    nodes = nodes_of_contents(contents(graph__has=lists), num_items)
    assert nodes is not None
    weights = rng.integers(1, 4, (num_users, num_items)) * (rng.random((num_users, num_items)) < 0.3)
    items = np.array([rng.choice(np.flatnonzero(own == 0), 6, replace=False) for own in weights])
    items[3:, 4:] = -1
    found = best_paths(sparse.csr_matrix(weights.astype(np.float32)), items, nodes)
    names = nodes.names.to_pylist()
    count = {name: sum(name in own for own in lists) for name in names}
    num_paths = 0
    for user in range(num_users):
        for place, item in enumerate(items[user]):
            options = [
                (count[name], names.index(name), -weights[user, other], other)
                for other in np.flatnonzero(weights[user])
                for name in (lists[item] if item >= 0 else [])
                if name in lists[other] and name in count
            ]
            best = min(options, default=(0, NO_PATH, 0, NO_PATH))
            assert (found.nodes[user, place], found.items[user, place]) == (best[1], best[3])
            num_paths += bool(options)
    assert num_paths > 20


def test_a_path_in_words_names_both_ends() -> None:
    assert path_text("Alien", "directed_by", "Ann", "directed_by") == "Alien: directed by Ann"
    assert path_text("Alien", "directed_by", "Ann", "starring") == "Alien: directed by Ann; this one: starring"
    assert path_text("A\x1b[1m", "r", "<b>" + "x" * 99, "r").isprintable()


def test_nodes_are_the_same_after_they_were_saved(tmp_path: Path) -> None:
    films().save(tmp_path)
    loaded = ItemNodes.load(tmp_path)
    assert loaded.names == films().names and loaded.relations == films().relations
    assert (loaded.items != films().items).nnz == 0
