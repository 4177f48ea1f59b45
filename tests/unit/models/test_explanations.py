"""Shares of modalities are Shapley values that add up to the score; counterfactuals are scores of shorter histories."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmrec_lib.errors import ModelError
from mmrec_lib.models.config import RankerSettings
from mmrec_lib.models.data import Content, FitData, Histories
from mmrec_lib.models.ranker.counterfactual import leave_one_out
from mmrec_lib.models.ranker.explanation import NO_MODALITY, ProjectedUsers
from mmrec_lib.models.ranker.first_stage import fit_first_stage
from mmrec_lib.models.ranker.list_explanations import explain_modalities, explain_without
from mmrec_lib.models.ranker.modality_shares import CoalitionValues, coalitions, modality_shares, shapley_values
from mmrec_lib.models.ranker.ranker import FittedRanker
from tests.unit.models.checkerboard import NUM_ITEMS, Checkerboard

USERS = np.array([0, 1, 7])


@pytest.fixture(scope="module")
def data(board: Checkerboard) -> FitData:
    """The board with a modality that is a copy of another and one that says the same of every item."""
    copy = board.train.contents["image:images"]
    alike = Content.from_vectors("audio:audio", np.ones((NUM_ITEMS, 4)))
    contents = {**board.train.contents, "video:video": replace(copy, name="video:video"), alike.name: alike}
    return replace(board.train, contents=contents)


@pytest.fixture(scope="module")
def ranker(data: FitData, settings: RankerSettings) -> FittedRanker:
    return fit_first_stage(data, settings)


@pytest.fixture(scope="module")
def users(data: FitData, ranker: FittedRanker) -> ProjectedUsers:
    return ranker.project(data.histories().rows(USERS))


@pytest.fixture(scope="module")
def items(data: FitData) -> np.ndarray:
    """[3, 8] unseen items of each user: two with interactions and all six without."""
    seen = data.interactions.weights[USERS].toarray() > 0
    cold = np.flatnonzero(data.interactions.item_counts() == 0)
    return np.array([[*np.flatnonzero(~own)[:2], *cold] for own in seen])


def test_shares_add_up_to_the_score(
    data: FitData, ranker: FittedRanker, users: ProjectedUsers, items: np.ndarray
) -> None:
    found = modality_shares(data, ranker, users, items)
    scores = np.take_along_axis(ranker.score(users.histories), items, axis=1)
    np.testing.assert_allclose(np.sum(list(found.shares.values()), axis=0) + found.others, scores, atol=1e-4)
    assert set(found.shares) == {"attribute", "audio", "image", "video"}
    assert np.abs(found.shares["image"]).max() > 0.01


def test_all_but_the_shares_is_what_the_model_says_with_every_content_masked(
    data: FitData, ranker: FittedRanker, users: ProjectedUsers, items: np.ndarray
) -> None:
    found = modality_shares(data, ranker, users, items)
    values = CoalitionValues.of(data, ranker, users, items)
    without_content = values.value(frozenset())
    by_source = ranker.shares(users, items)
    kept = sum(share for name, share in by_source.items() if name not in ("content_ease", "ridge", "content"))
    kept = kept + np.where(ranker.warm[items], 0.0, ranker.shift[items])
    np.testing.assert_allclose(found.others, kept + without_content, atol=1e-4)


def test_a_copy_gets_the_same_and_a_modality_that_says_nothing_gets_nothing(
    data: FitData, ranker: FittedRanker, users: ProjectedUsers, items: np.ndarray
) -> None:
    found = modality_shares(data, ranker, users, items).shares
    np.testing.assert_allclose(found["video"], found["image"], atol=1e-5)
    np.testing.assert_array_equal(found["audio"], np.zeros_like(found["audio"]))


def test_a_modality_is_worth_what_refits_without_it_lose(
    data: FitData, ranker: FittedRanker, users: ProjectedUsers, items: np.ndarray
) -> None:
    """Against refits of whole rankers on the contents of each coalition, in every order of the players."""
    found = modality_shares(data, ranker, users, items).shares
    players = tuple(found)
    warm_items = items[:, :2]

    def refitted(coalition: tuple[str, ...]) -> np.ndarray:
        contents = {name: block for name, block in data.contents.items() if name.partition(":")[0] in coalition}
        other = fit_first_stage(replace(data, contents=contents), ranker.settings)
        total = np.zeros(warm_items.shape)
        for name in ("content_ease", "ridge"):
            scores = other.sources[name].score(users.known)
            unseen = np.where(users.known.toarray() != 0, np.nan, scores)
            # The first items of the board are those with interactions.
            own = np.take_along_axis(scores, warm_items, axis=1) - np.nanmean(unseen, axis=1, keepdims=True)
            total += 0.25 * own / users.scales[name].deviation[:, None]
        return total

    known = {frozenset(some): refitted(some) for size in range(5) for some in itertools.combinations(players, size)}
    orders = list(itertools.permutations(players))
    expected = dict.fromkeys(players, np.zeros(warm_items.shape))
    for order in orders:
        for place, player in enumerate(order):
            gain = known[frozenset(order[: place + 1])] - known[frozenset(order[:place])]
            expected[player] = expected[player] + gain / len(orders)
    for player in players:
        np.testing.assert_allclose(found[player][:, :2], expected[player], atol=1e-4)


@given(st.lists(st.floats(-5, 5), min_size=16, max_size=16), st.permutations(range(4)))
def test_shapley_values_are_means_over_orders(numbers: list[float], renamed: list[int]) -> None:
    players = ("a", "b", "c", "d")
    values = {some: np.float32(number) for some, number in zip(coalitions(players), numbers, strict=True)}
    found = shapley_values(players, values)
    orders = list(itertools.permutations(players))
    for player in players:
        gains = []
        for order in orders:
            before = frozenset(order[: order.index(player)])
            gains.append(float(values[before | {player}]) - float(values[before]))
        assert found[player] == pytest.approx(np.mean(gains), abs=1e-4)
    assert sum(found.values()) == pytest.approx(
        float(values[frozenset(players)]) - float(values[frozenset()]), abs=1e-3
    )
    # Names do not matter.
    other = {player: players[place] for player, place in zip(players, renamed, strict=True)}
    moved = {frozenset(other[p] for p in some): value for some, value in values.items()}
    again = shapley_values(players, moved)
    assert all(again[other[player]] == pytest.approx(found[player], abs=1e-4) for player in players)


def test_data_that_changed_since_the_fit_are_refused(
    data: FitData, ranker: FittedRanker, users: ProjectedUsers, items: np.ndarray
) -> None:
    image = data.contents["image:images"]
    turned = replace(data, contents={**data.contents, image.name: replace(image, matrix=image.matrix[::-1].copy())})
    with pytest.raises(ModelError, match="have changed since its fit"):
        modality_shares(turned, ranker, users, items)
    with pytest.raises(ModelError, match="other items have interactions"):
        modality_shares(data.with_interactions(data.interactions.without_items(ranker.warm)), ranker, users, items)


def test_too_many_modalities_and_seen_items_are_refused(
    data: FitData, ranker: FittedRanker, users: ProjectedUsers, items: np.ndarray
) -> None:
    with pytest.raises(ModelError, match="4 modalities make 16 coalitions, 3 modalities"):
        modality_shares(data, ranker, users, items, max_modalities=3)
    seen = np.tile(users.histories.weights[0].indices[:1], (3, 1))
    with pytest.raises(ModelError, match="in the user's history"):
        modality_shares(data, ranker, users, seen)


def test_a_ranker_without_content_has_no_modalities(board: Checkerboard, settings: RankerSettings) -> None:
    ranker = fit_first_stage(board.train.without_content(), settings)
    users = ranker.project(board.train.histories().rows(USERS))
    unseen = np.flatnonzero(board.train.interactions.weights[USERS].toarray().sum(axis=0) == 0)[None, :1]
    found = modality_shares(board.train.without_content(), ranker, users, np.repeat(unseen, len(USERS), axis=0))
    assert found.shares == {}
    expected = ranker.score(users.histories)[:, unseen[0]]
    np.testing.assert_allclose(found.others, expected, atol=1e-5)


def test_ranks_without_an_item_are_those_of_the_shorter_history(board: Checkerboard, ranker: FittedRanker) -> None:
    history = board.train.histories().rows(np.array([4]))
    own = history.weights.indices
    items = np.setdiff1d(np.arange(NUM_ITEMS), own)[[0, 3, 9]]
    found = leave_one_out(ranker, history, items)
    assert found.removed.tolist() == sorted(own.tolist())
    for place, removed in enumerate(found.removed):
        weights = history.weights.toarray()
        weights[0, removed] = 0
        shorter = type(history.weights)(weights)
        scores = ranker.score(Histories(shorter, history.attributes))[0]
        np.testing.assert_allclose(found.scores_without[place], scores[items], atol=1e-5)
        scores[own] = -np.inf
        assert found.ranks_without[place].tolist() == [1 + int((scores > scores[item]).sum()) for item in items]
    assert (found.ranks_without != found.ranks).any()


def test_the_only_item_of_a_history_leaves_a_user_without_one(board: Checkerboard, ranker: FittedRanker) -> None:
    weights = np.zeros((1, NUM_ITEMS), dtype=np.float32)
    weights[0, 2] = 1.0
    history = Histories(type(board.train.interactions.weights)(weights))
    found = leave_one_out(ranker, history, np.array([5, 6]))
    nobody = ranker.score(Histories(type(history.weights)(np.zeros_like(weights))))[0]
    np.testing.assert_allclose(found.scores_without[0], nobody[[5, 6]], atol=1e-6)


def test_counterfactuals_of_what_is_hidden_or_was_never_there_are_refused(
    board: Checkerboard, ranker: FittedRanker
) -> None:
    history = board.train.histories().rows(np.array([4]))
    own, others = history.weights.indices, np.setdiff1d(np.arange(NUM_ITEMS), history.weights.indices)
    with pytest.raises(ModelError, match="must not get have no rank"):
        leave_one_out(ranker, history, own[:1])
    hidden = np.zeros(NUM_ITEMS, dtype=np.bool_)
    hidden[others[0]] = True
    with pytest.raises(ModelError, match="must not get have no rank"):
        leave_one_out(ranker, history, others[:1], hidden=hidden)
    with pytest.raises(ModelError, match="only items of the history"):
        leave_one_out(ranker, history, others[:1], removed=others[1:2])
    with pytest.raises(ModelError, match="one user is needed, got 2"):
        leave_one_out(ranker, board.train.histories().rows(np.array([4, 5])), others[:1])


def test_lists_of_any_length_are_explained_and_seen_items_have_no_shares(
    data: FitData, ranker: FittedRanker, items: np.ndarray
) -> None:
    histories = data.histories().rows(USERS)
    seen = int(histories.weights[0].indices[0])
    lists = [np.array([seen, *items[0, :3]]), np.zeros(0, dtype=np.int64), items[2, :1]]
    found = explain_modalities(ranker, data, histories, lists)
    assert [sorted(own) for own in found] == [sorted(items[0, :3].tolist()), [], items[2, :1].tolist()]
    scores = ranker.score(histories)
    for row, own in enumerate(found):
        for item, shares in own.items():
            assert NO_MODALITY in shares
            assert sum(shares.values()) == pytest.approx(float(scores[row, item]), abs=1e-4)


def test_the_item_without_which_a_listed_one_falls_furthest_comes_first(
    board: Checkerboard, ranker: FittedRanker
) -> None:
    history = board.train.histories().rows(np.array([4]))
    listed = np.setdiff1d(np.arange(NUM_ITEMS), history.weights.indices)[:4]
    hidden = np.zeros(NUM_ITEMS, dtype=np.bool_)
    hidden[listed[3]] = True
    found = explain_without(ranker, history, np.array([*listed, history.weights.indices[0]]), hidden)
    assert set(found) == set(listed[:3].tolist()), "what the model could not list today has no rank"
    expected = leave_one_out(ranker, history, listed[:3], hidden=hidden)
    for place, item in enumerate(listed[:3].tolist()):
        told = found[item]
        assert [one.rank_without for one in told] == sorted(expected.ranks_without[:, place].tolist(), reverse=True)
        assert {one.item_id for one in told} == set(ranker.item_ids[history.weights.indices])
        assert told[0].places_lost == expected.ranks_without[:, place].max() - expected.ranks[place]
    nobody = Histories(history.weights * 0)
    nobody.weights.eliminate_zeros()
    assert explain_without(ranker, nobody, listed, hidden) == {}
