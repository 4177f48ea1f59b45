from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mmrec_lib.models.data import Content, FitData
from tests.benchmarks.quality.robustness import (
    FILLERS,
    least_known,
    share_with,
    with_noise,
    with_push,
    with_vector_noise,
    with_wrong_images,
)
from tests.unit.models.circle import NUM_ITEMS, NUM_USERS, circle


@pytest.fixture(scope="module")
def data() -> FitData:
    store = circle().train
    poster = Content.from_vectors("image:poster", np.eye(NUM_ITEMS))
    ages = np.array([str(user % 3) for user in range(NUM_USERS)], dtype=np.object_)
    return replace(store, contents={**store.contents, "image:poster": poster}, user_attributes={"age": ages})


def test_noise_moves_a_share_of_the_events_and_keeps_the_rest(data: FitData) -> None:
    before, after = data.interactions.weights, with_noise(data, 0.3, np.random.default_rng(0)).interactions.weights
    assert after.sum() == pytest.approx(before.sum())
    kept = before.multiply(after > 0).sum() / before.sum()
    assert 0.65 < kept < 0.85
    untouched = with_noise(data, 0.0, np.random.default_rng(0)).interactions.weights
    assert (untouched != before).nnz == 0


def test_fake_users_come_after_real_ones_and_act_on_the_target(data: FitData) -> None:
    rng = np.random.default_rng(0)
    target = least_known(data, rng)
    counts = data.interactions.item_counts()
    assert 0 < counts[target] <= np.quantile(counts[counts > 0], 0.2)
    pushed = with_push(data, 0.1, target, rng)
    weights, num_fake = pushed.interactions.weights, round(0.1 * NUM_USERS)
    assert weights.shape == (NUM_USERS + num_fake, NUM_ITEMS)
    assert (weights[:NUM_USERS] != data.interactions.weights).nnz == 0
    fake = weights[NUM_USERS:]
    assert (fake[:, [target]].toarray() > 0).all()
    assert (np.diff(fake.indptr) == FILLERS + 1).all()
    assert list(pushed.user_attributes["age"][NUM_USERS:]) == [None] * num_fake
    times = data.interactions.times.data
    assert times.min() <= pushed.interactions.times.data.min() <= pushed.interactions.times.data.max() <= times.max()


def test_the_share_of_lists_leaves_out_who_had_the_item(data: FitData) -> None:
    target = 7
    has = data.interactions.weights[:, [target]].toarray()[:, 0] > 0

    def first(users: np.ndarray) -> np.ndarray:
        assert not has[users].any()
        scores = np.zeros((len(users), NUM_ITEMS), np.float32)
        scores[: len(users) // 2, target] = 1.0
        scores[len(users) // 2 :, target] = -1.0
        return scores

    users = int((~has).sum())
    assert share_with(data, target, first) == pytest.approx((users // 2) / users)


def test_vector_noise_is_as_long_as_asked_and_leaves_missing_ones(data: FitData) -> None:
    noisy = with_vector_noise(data, 0.5, np.random.default_rng(0))
    for name, content in data.contents.items():
        moved = np.linalg.norm(noisy.contents[name].matrix - content.matrix, axis=1)
        np.testing.assert_array_equal(noisy.contents[name].has, content.has)
        np.testing.assert_allclose(moved, 0.5 * np.linalg.norm(content.matrix, axis=1), rtol=1e-4)


def test_wrong_images_are_those_of_other_items_in_all_blocks_alike(data: FitData) -> None:
    wrong = with_wrong_images(data, 0.3, np.random.default_rng(0))
    source = wrong.contents["image:poster"].matrix.argmax(axis=1)
    assert sorted(source) == list(range(NUM_ITEMS))
    assert 0.1 < (source != np.arange(NUM_ITEMS)).mean() < 0.5
    images = data.contents["image:images"]
    np.testing.assert_array_equal(wrong.contents["image:images"].matrix, images.matrix[source])
    np.testing.assert_array_equal(wrong.contents["image:images"].has, images.has[source])
