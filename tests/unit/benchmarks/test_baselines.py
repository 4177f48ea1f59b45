"""Each reference model finds what was planted for it in a tiny store."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from mmrec_lib.models.data import Content, FitData, Interactions
from tests.benchmarks.baselines.reference import Reference, Vectors
from tests.benchmarks.baselines.registry import REFERENCES
from tests.benchmarks.baselines.sasrec import sequences_of

NUM_GROUPS, USERS, ITEMS = 3, 30, 24
DAY = 86_400.0


@pytest.fixture(autouse=True)
def _warnings_of_torch() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta", UserWarning)
        yield


def grouped_store() -> tuple[FitData, np.ndarray]:
    """Users take two thirds of the items of their group, in a circle from item to item; and what is left for each."""
    rng = np.random.default_rng(0)
    own_items = np.arange(ITEMS).reshape(NUM_GROUPS, -1)
    rows, columns, times = [], [], []
    left = np.zeros((USERS, ITEMS), dtype=np.bool_)
    for user in range(USERS):
        items = np.roll(own_items[user % NUM_GROUPS], rng.integers(ITEMS))
        num_taken = len(items) * 2 // 3
        rows += [user] * num_taken
        columns += items[:num_taken].tolist()
        times += [DAY * (place + 1) for place in range(num_taken)]
        left[user, items[num_taken:]] = True
    groups = np.arange(ITEMS) // len(own_items[0])
    contents = {
        "attribute:categories": Content.from_tokens("attribute:categories", [[f"g{group}"] for group in groups]),
        "image:images": Content.from_vectors("image:images", np.eye(NUM_GROUPS)[groups]),
    }
    attributes = {"age": np.array([None, *range(USERS - 1)], dtype=object)}
    interactions = Interactions.from_rows(rows, columns, (USERS, ITEMS), times=times)
    return FitData(np.array([f"i{item}" for item in range(ITEMS)]), interactions, contents, attributes), left


def share_found(data: FitData, left: np.ndarray, scores: np.ndarray) -> float:
    """Share of what is left among the best unseen items, as many of them as are left."""
    masked = np.where(data.interactions.weights.toarray() > 0, -np.inf, scores)
    top = np.argsort(-masked, axis=1)[:, : left.sum(axis=1)[0]]
    return float(np.take_along_axis(left, top, axis=1).mean())


@pytest.mark.parametrize("name", sorted(set(REFERENCES) - {"windowed_popularity", "sasrec"}))
def test_a_model_finds_the_groups_of_users(name: str) -> None:
    data, left = grouped_store()
    reference = REFERENCES[name]
    settings = {**reference.tried_settings(1, 0)[0]}
    if "neighbors" in settings:
        settings["neighbors"] = 7
    if "learning_rate" in settings:
        settings |= {"learning_rate": 0.05, "factors": 16}
    if "epochs" in settings:
        settings["epochs"] = 200
    assert share_found(data, left, reference.fit(data, settings, 0)(np.arange(USERS))) > 0.8


def test_sasrec_finds_the_item_that_follows_the_last_one() -> None:
    data, _ = grouped_store()
    settings = {"factors": 32, "learning_rate": 0.01, "dropout": 0.0, "epochs": 40}
    scores = REFERENCES["sasrec"].fit(data, settings, 0)(np.arange(USERS))
    sequences, lengths = sequences_of(data)
    last = sequences[np.arange(USERS), lengths - 1]
    size = ITEMS // NUM_GROUPS
    expected = last // size * size + (last + 1) % size
    masked = np.where(data.interactions.weights.toarray() > 0, -np.inf, scores)
    assert (masked.argmax(axis=1) == expected).mean() > 0.9


def test_sequences_are_the_latest_items_in_order_of_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.benchmarks.baselines.sasrec._MAX_LENGTH", 2)
    interactions = Interactions.from_rows([0, 0, 0, 2], [3, 1, 2, 0], (3, 4), times=[5.0, 9.0, 7.0, 1.0])
    sequences, lengths = sequences_of(FitData(np.array(["a", "b", "c", "d"]), interactions))
    assert sequences.tolist() == [[2, 1], [4, 4], [0, 4]]
    assert lengths.tolist() == [2, 0, 1]


def test_windowed_popularity_counts_the_last_days_and_orders_the_rest_by_all_time() -> None:
    interactions = Interactions.from_rows(
        [0, 1, 2, 0, 1, 0], [0, 0, 0, 1, 1, 2], (4, 4), times=[DAY, DAY, DAY, 2 * DAY, 20 * DAY, 21 * DAY]
    )
    data = FitData(np.array(["a", "b", "c", "d"]), interactions)
    for user, order in ((0, [1, 2, 0, 3]), (3, [1, 2, 0, 3])):  # user 3 has no history
        scores = REFERENCES["windowed_popularity"].fit(data, {"days": 3.0}, 0)(np.array([user]))
        assert np.argsort(-scores[0], kind="stable").tolist() == order


def test_jaccard_is_shared_categories_over_all_of_both() -> None:
    interactions = Interactions.from_rows([0], [0], (1, 3))
    tokens = Content.from_tokens("attribute:categories", [["x", "y"], ["x"], ["y", "z", "w"]])
    data = FitData(np.array(["a", "b", "c"]), interactions, {"attribute:categories": tokens})
    scores = REFERENCES["category_jaccard"].fit(data, {"neighbors": 5}, 0)(np.array([0]))
    np.testing.assert_allclose(scores[0], [0, 1 / 2, 1 / 4])


def test_a_factorisation_machine_sums_all_pairs_of_features_of_a_user_and_an_item() -> None:
    import torch

    from tests.benchmarks.baselines.pairwise import FactorisationMachine

    data, _ = grouped_store()
    torch.manual_seed(0)
    model = FactorisationMachine(data, 4)
    torch.nn.init.normal_(model.item_weights)
    with torch.no_grad():
        users, items, biases = model()
        scores = (users @ items.T + biases).numpy()
    user_features, item_features = model.user_features.to_dense().numpy(), model.item_features.to_dense().numpy()
    user_factors, item_factors, weights = (
        parameter.detach().numpy() for parameter in (model.user_factors, model.item_factors, model.item_weights)
    )

    def pairs(user: int, item: int) -> float:
        vectors = np.vstack([user_factors[user_features[user] > 0], item_factors[item_features[item] > 0]])
        products = vectors @ vectors.T
        return float((products.sum() - np.trace(products)) / 2 + weights[item_features[item] > 0].sum())

    expected = [pairs(3, item) - pairs(3, 0) for item in range(ITEMS)]
    np.testing.assert_allclose(scores[3] - scores[3, 0], expected, rtol=1e-3, atol=1e-5)


def test_light_gcn_averages_propagations_over_the_normalised_graph() -> None:
    import torch

    from tests.benchmarks.baselines.pairwise import LightGcn

    data = FitData(np.array(["a", "b"]), Interactions.from_rows([0, 0, 1], [0, 1, 1], (2, 2)))
    model = LightGcn(data, 3, num_layers=2)
    adjacency = np.array([[0, 0, 1, 1], [0, 0, 0, 1], [1, 0, 0, 0], [1, 1, 0, 0]], dtype=float)
    scale = 1 / np.sqrt(adjacency.sum(axis=1))
    graph = scale[:, None] * adjacency * scale
    nodes = model.nodes.detach().numpy()
    with torch.no_grad():
        users, items, _ = model()
    expected = (nodes + graph @ nodes + graph @ graph @ nodes) / 3
    np.testing.assert_allclose(np.vstack([users, items]), expected, rtol=1e-5, atol=1e-6)


def test_users_without_history_get_popularity() -> None:
    data, _ = grouped_store()
    empty = data.interactions.weights.copy().tolil()
    empty[4] = 0
    rows, columns = empty.nonzero()
    data = replace(data, interactions=Interactions.from_rows(rows, columns, (USERS, ITEMS)))
    scores = REFERENCES["content_knn"].fit(data, {"neighbors": 5}, 0)(np.array([4, 5]))
    np.testing.assert_array_equal(scores[0], data.interactions.item_counts())
    assert not np.array_equal(scores[1], scores[0])


def test_choosing_tries_no_more_settings_than_allowed_and_takes_the_best_with_its_epochs() -> None:
    vectors = Vectors(np.zeros((USERS, 1)), np.zeros((ITEMS, 1)), np.zeros(ITEMS))
    fitted: list[float] = []

    def fits(data, settings, seed):
        fitted.append(settings["size"])
        for epochs in (1, 2):
            yield (
                {**settings, "epochs": epochs},
                replace(vectors, biases=np.full(ITEMS, settings["size"] + epochs)).scores,
            )

    reference = Reference("planted", {"size": (5.0, 9.0, 7.0), "epochs": (2,)}, fits)
    data, _ = grouped_store()
    chosen, num_tried = reference.choose(data, lambda scores: -abs(scores(np.array([0]))[0, 0] - 8.0), 10, 0)
    assert (chosen, num_tried) == ({"size": 7.0, "epochs": 1}, 3)
    assert sorted(fitted) == [5.0, 7.0, 9.0]
    fitted.clear()
    assert reference.choose(data, lambda scores: 0.0, 1, 0)[0] == {"size": 5.0, "epochs": 1}
    assert fitted == [5.0]


def test_what_a_model_lacks_is_told() -> None:
    data, _ = grouped_store()
    timeless = replace(data, interactions=Interactions.from_rows([0], [0], (USERS, ITEMS)), contents={})
    assert all(reference.reason_against(data) is None for reference in REFERENCES.values())
    reasons = {name: reference.reason_against(timeless) for name, reference in REFERENCES.items()}
    assert reasons["sasrec"] == reasons["windowed_popularity"] == "events have no time stamps"
    assert reasons["vbpr"] == "items have no content"
    assert reasons["category_jaccard"] == "items have no tokens such as categories"
    assert reasons["lightgcn"] is None
