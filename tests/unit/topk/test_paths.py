"""Every path of the search gives the lists of a full sort, to the last bit the same, on adversarial input too."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmrec_lib.topk import numpy_search
from mmrec_lib.topk.compiled_search import has_int8, search_compiled
from mmrec_lib.topk.items import PreparedItems, UserBatch, check_users, prepare_items
from mmrec_lib.topk.numpy_search import search_with_numpy
from mmrec_lib.topk.scores import exact_scores
from mmrec_lib.topk.selection import TopItems
from mmrec_lib.topk.torch_search import search_on_device
from tests.unit.topk.exactness import Case, assert_is_exact, assert_same, brute_force

Search = Callable[[PreparedItems, UserBatch], TopItems]
PATHS: dict[str, Search] = {
    "numpy": search_with_numpy,
    "numpy in small blocks": lambda items, users: search_with_numpy(items, users, user_block=3, item_block=17),
    "float32": lambda items, users: search_compiled(items, users, use_int8=False, num_threads=1),
    "float32 in small blocks": lambda items, users: search_compiled(
        items, users, use_int8=False, user_block=4, num_threads=2
    ),
}
for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
    PATHS[f"torch on {device}"] = functools.partial(search_on_device, device=device)
    PATHS[f"torch on {device} in small blocks"] = functools.partial(
        search_on_device, device=device, user_block=6, item_block=160
    )
if has_int8():
    PATHS["int8"] = lambda items, users: search_compiled(items, users, use_int8=True, num_threads=1)
    PATHS["int8 in small blocks"] = lambda items, users: search_compiled(
        items, users, use_int8=True, user_block=5, num_threads=2
    )

Draw = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]
VALUES: dict[str, Draw] = {
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "small whole numbers, many ties": lambda rng, shape: rng.integers(-2, 3, shape),
    "all equal": lambda rng, shape: np.full(shape, 0.1),
    "zeros of both signs": lambda rng, shape: np.where(rng.random(shape) < 0.5, 0.0, -0.0),
    "mostly zero": lambda rng, shape: rng.standard_normal(shape) * (rng.random(shape) < 0.1),
    "lengths that fall": lambda rng, shape: rng.standard_normal(shape) * np.exp(-np.arange(shape[0]) / 20)[:, None],
    "one very long": lambda rng, shape: (
        rng.standard_normal(shape) * np.where(np.arange(shape[0]) == 1, 1e12, 1)[:, None]
    ),
    "huge": lambda rng, shape: rng.standard_normal(shape) * 1e17,
    "denormal": lambda rng, shape: rng.standard_normal(shape) * 1e-40,
    "some denormal": lambda rng, shape: rng.standard_normal(shape) * np.where(rng.random(shape) < 0.5, 1e-42, 1.0),
    "negative scores": lambda rng, shape: (
        -np.abs(rng.standard_normal(shape)) if shape[0] > 40 else np.abs(rng.random(shape))
    ),
    "one direction": lambda rng, shape: (
        rng.standard_normal((shape[0], 1)) * np.ones(shape[1]) + 1e-4 * rng.random(shape)
    ),
    "nearly equal": lambda rng, shape: 1.0 + 1e-7 * rng.integers(-2, 3, shape),
    "one large dimension": lambda rng, shape: rng.standard_normal(shape) + 1e3 * (np.arange(shape[1]) == 0),
}


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Searches with filters of every strength."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    num_users = draw(st.sampled_from([1, 2, 7, 13, 80]))
    num_items = draw(st.sampled_from([1, 3, 63, 64, 65, 130, 400, 1000]))
    dim = draw(st.sampled_from([1, 3, 8, 13, 32]))
    users = VALUES[draw(st.sampled_from(sorted(VALUES)))](rng, (num_users, dim)).astype(np.float32)
    items = VALUES[draw(st.sampled_from(sorted(VALUES)))](rng, (num_items, dim)).astype(np.float32)
    if draw(st.booleans()):
        items = items[rng.integers(0, num_items, num_items)]  # copies of one another
    shares = st.sampled_from([0.0, 0.02, 0.5, 0.98, 1.0])
    num_groups = draw(st.sampled_from([0, 1, 4]))
    return Case(
        users=users,
        items=items,
        k=draw(st.sampled_from([1, 2, 10, 100, num_items, num_items + 3])),
        seen=rng.random((num_users, num_items)) < draw(shares),
        unavailable=rng.random(num_items) < draw(shares),
        allowed=rng.random((num_groups, num_items)) < draw(shares),
        groups=rng.integers(-1, num_groups, num_users),
    )


def run(search: Search, case: Case) -> TopItems:
    items = prepare_items(case.items, unavailable=case.unavailable, allowed=case.allowed)
    return search(items, check_users(items, case.users, case.k, case.seen_matrix, case.groups))


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(case=cases())
def test_every_path_gives_the_lists_of_a_full_sort(case: Case) -> None:
    found = {name: run(search, case) for name, search in PATHS.items()}
    assert_is_exact(found["numpy"], case)
    for lists in found.values():
        assert_same(lists, found["numpy"])


@pytest.mark.parametrize("path", PATHS)
def test_whole_numbers_give_the_definition_to_the_last_bit(path: str) -> None:
    rng = np.random.default_rng(5)
    for num_items in (40, 300):
        case = Case.open_to_all(rng.integers(-3, 4, (20, 6)), rng.integers(-3, 4, (num_items, 6)), 25)
        assert_same(run(PATHS[path], case), brute_force(case))


@pytest.mark.parametrize("path", PATHS)
def test_a_list_does_not_depend_on_the_other_users(path: str) -> None:
    rng = np.random.default_rng(6)
    users, items = rng.standard_normal((90, 24)), rng.standard_normal((500, 24))
    together = run(PATHS[path], Case.open_to_all(users, items, 20))
    for rows in (slice(0, 1), slice(17, 60)):
        apart = run(PATHS[path], Case.open_to_all(users[rows], items, 20))
        assert_same(apart, TopItems(together.indices[rows], together.scores[rows]))


@pytest.mark.parametrize("path", PATHS)
def test_zero_users_get_the_first_items_that_they_may_get(path: str) -> None:
    items = np.random.default_rng(7).standard_normal((200, 4))
    case = Case.open_to_all(np.zeros((3, 4)), items, 3)
    case.seen[1, [0, 2]] = True
    assert run(PATHS[path], case).indices.tolist() == [[0, 1, 2], [1, 3, 4], [0, 1, 2]]
    assert (run(PATHS[path], case).scores == 0).all()


@pytest.mark.parametrize("path", PATHS)
def test_zero_users_beside_others_get_full_lists_behind_filters(path: str) -> None:
    rng = np.random.default_rng(8)
    case = Case.open_to_all(rng.standard_normal((9, 4)), rng.standard_normal((200, 4)), 25)
    case.users[::2] = 0.0
    case.seen[:] = rng.random(case.seen.shape) < 0.6
    case.unavailable[:] = rng.random(200) < 0.3
    case = replace(case, allowed=rng.random((2, 200)) < 0.7, groups=np.arange(9) % 3 - 1)
    found = run(PATHS[path], case)
    assert_is_exact(found, case)
    for user in range(0, 9, 2):
        assert found.indices[user].tolist() == np.flatnonzero(~case.excluded[user])[:25].tolist()


def test_of_users_without_a_vector_few_items_are_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    # Their scores are equal, so that otherwise each item would be scored exactly, which takes 300 times as long.
    pairs = []

    def counted(users: np.ndarray, items: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        pairs.append(len(rows))
        return exact_scores(users, items, rows, columns)

    monkeypatch.setattr(numpy_search, "exact_scores", counted)
    case = Case.open_to_all(np.zeros((6, 4)), np.random.default_rng(9).standard_normal((2000, 4)), 3)
    for search in (search_with_numpy, PATHS["numpy in small blocks"], PATHS["torch on cpu"]):
        pairs.clear()
        run(search, case)
        assert sum(pairs) == 6 * 3


@pytest.mark.parametrize("path", PATHS)
def test_nothing_to_list_is_an_empty_list(path: str) -> None:
    case = Case.open_to_all(np.ones((2, 3)), np.ones((4, 3)), 2)
    case.unavailable[:] = True
    assert run(PATHS[path], case).indices.tolist() == [[-1, -1], [-1, -1]]
    empty = Case.open_to_all(np.ones((2, 3)), np.zeros((0, 3)), 2)
    assert run(PATHS[path], empty).indices.tolist() == [[-1, -1], [-1, -1]]


@pytest.mark.parametrize("path", PATHS)
def test_many_equal_scores_around_the_last_place_are_told_apart_by_index(path: str) -> None:
    # More candidates of one score than any buffer holds.
    items = np.ones((5000, 8), np.float32)
    items[::7] = 2.0
    case = Case.open_to_all(np.ones((4, 8)), items, 1000)
    expected = [*range(0, 5000, 7), *[i for i in range(5000) if i % 7][: 1000 - 715]]
    assert run(PATHS[path], case).indices.tolist() == [expected] * 4


@pytest.mark.parametrize("path", [name for name in PATHS if name.startswith(("float32", "int8"))])
def test_pruning_skips_products_and_changes_no_list(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from mmrec_lib.topk import compiled_search

    rng = np.random.default_rng(8)
    items = rng.standard_normal((4000, 16)) * (0.05 + (np.arange(4000) < 100))[:, None]
    case = Case.open_to_all(rng.standard_normal((128, 16)), items[rng.permutation(4000)], 10)
    scanned = []
    scan = compiled_search.scan_block
    monkeypatch.setattr(
        compiled_search, "scan_block", lambda scores, *rest: (scanned.append(scores.size), scan(scores, *rest))[1]
    )
    top = run(PATHS[path], case)
    assert_is_exact(top, case)
    assert sum(scanned) < 0.25 * 128 * 4000


def test_prepared_items_serve_users_unlike_those_that_they_were_prepared_with() -> None:
    rng = np.random.default_rng(9)
    items = prepare_items(rng.standard_normal((600, 12)).astype(np.float32))
    for scale in (1.0, 1e-6, np.geomspace(1e-4, 1e4, 12)):
        case = Case.open_to_all(rng.standard_normal((100, 12)) * scale, items.vectors, 15)
        users = check_users(items, case.users, 15, None, None)
        for search in PATHS.values():
            assert_is_exact(search(items, users), case)
