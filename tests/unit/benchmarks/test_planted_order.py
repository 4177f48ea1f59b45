from __future__ import annotations

import numpy as np
import pytest

from tests.benchmarks.planted_order import (
    NUM_KINDS,
    NUM_ROUNDS,
    NUM_STYLES,
    ORDER_SHARE,
    STYLE_SHARE,
    OrderedStore,
    main,
    measure,
    planted_order,
)

USERS, ITEMS = 150, 800


@pytest.fixture(scope="module")
def store() -> OrderedStore:
    return planted_order(USERS, ITEMS, seed=1)


def test_parts_are_the_rounds_and_hold_every_event_once(store: OrderedStore) -> None:
    total = store.train.interactions.weights + store.valid.weights + store.test.weights
    assert total.nnz == len(store.items)
    assert total.max() == 1
    assert (np.diff(store.test.weights.indptr) == 1).all()
    assert store.train.interactions.times.data.max() < store.valid.times.data.min()
    assert store.train_and_valid.interactions.times.data.max() < store.test.times.data.min()
    assert store.train_and_valid.interactions.weights.nnz == (store.rounds < NUM_ROUNDS - 1).sum()


def test_kinds_follow_each_other_in_time_and_styles_are_the_users(store: OrderedStore) -> None:
    order = np.lexsort((store.times, store.users))
    users, kinds = store.users[order], store.kinds[store.items[order]]
    same_user = users[1:] == users[:-1]
    follows = (kinds[1:] == (kinds[:-1] + 1) % NUM_KINDS)[same_user]
    assert follows.mean() == pytest.approx(ORDER_SHARE + (1 - ORDER_SHARE) / NUM_KINDS, abs=0.03)
    likes = store.styles[store.items] == store.tastes[store.users]
    assert likes.mean() == pytest.approx(STYLE_SHARE + (1 - STYLE_SHARE) / NUM_STYLES, abs=0.03)


def test_a_histories_set_does_not_tell_the_next_kind(store: OrderedStore) -> None:
    seen = store.train_and_valid.interactions.weights.toarray() > 0
    rounds = np.stack([seen[:, store.kinds == kind].any(axis=1) for kind in range(NUM_KINDS)])
    assert rounds.mean() > 0.9


def test_styles_are_axes_and_not_directions(store: OrderedStore) -> None:
    images = store.contents["image:images"].matrix
    of_style = [images[store.styles == style] for style in range(NUM_STYLES)]
    leading = [np.linalg.svd(rows, full_matrices=False)[2][0] for rows in of_style]
    own = [np.abs(rows @ axis).mean() for rows, axis in zip(of_style, leading, strict=True)]
    other = [np.abs(rows @ axis).mean() for rows, axis in zip(of_style, leading[1:], strict=False)]
    assert min(own) > 2 * max(other)
    assert all(0.2 < (rows @ axis > 0).mean() < 0.8 for rows, axis in zip(of_style, leading, strict=True))


def test_the_ceiling_needs_both_order_and_looks(store: OrderedStore) -> None:
    full, no_order, no_looks = (
        measure(store, store.probabilities(*known))["ndcg@10"] for known in ((True, True), (False, True), (True, False))
    )
    assert full > 0.4
    assert max(no_order, no_looks) < full / 2


def test_probabilities_are_those_of_the_draws(store: OrderedStore) -> None:
    chances = store.probabilities()
    np.testing.assert_allclose(chances.sum(axis=1), 1, rtol=1e-4)
    # Mean log-probability of what came is the negative entropy of the draws, up to chance.
    came = np.log(chances[np.arange(USERS), store.test.weights.indices]).mean()
    expected = (chances * np.log(chances)).sum(axis=1).mean()
    assert came == pytest.approx(expected, abs=0.35)


def test_the_same_seed_draws_the_same_store_and_another_another() -> None:
    first, again, other = (planted_order(20, ITEMS, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.items, again.items)
    np.testing.assert_array_equal(first.contents["image:images"].matrix, again.contents["image:images"].matrix)
    assert first.items.tolist() != other.items.tolist()


def test_too_few_items_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 768 items, got 100"):
        planted_order(10, 100)


@pytest.mark.slow
def test_the_command_prints_ceilings_and_models(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--users", "60", "--items", "800"]) == 0
    out = capsys.readouterr().out
    names = ("ceiling", "ceiling without order", "ceiling without looks", "popularity", "linear ranker")
    assert all(any(line.startswith(f"{name:40s} ndcg@10 0.") for line in out.splitlines()) for name in names)
