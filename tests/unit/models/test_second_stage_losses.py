from __future__ import annotations

import math
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch

from mmrec_lib.models.data import Histories
from mmrec_lib.models.ranker.fit import fit_ranker
from mmrec_lib.models.ranker.second_stage import window_examples
from mmrec_lib.models.second_stage.losses import LOSSES, draw, without_false_negatives
from mmrec_lib.models.second_stage.model import Network
from mmrec_lib.models.second_stage.network import Batch, Orderer
from mmrec_lib.models.second_stage_settings import FusionLevel, Loss, SecondStageSettings
from tests.unit.models.checkerboard import SETTINGS
from tests.unit.models.circle import Circle, circle

SMALL = SecondStageSettings(windows="time", num_candidates=12, epochs=50, attention_dim=4, hidden_dim=8, num_windows=2)
NOTHING = torch.zeros(1, 3)
LOGITS, RELEVANT = torch.tensor([[2.0, 1.0, 0.0]]), torch.tensor([[1.0, 0.0, 0.0]])
ALL = torch.tensor([[True, True, True]])


@pytest.fixture(scope="module")
def store() -> Circle:
    return circle()


def network_of(store: Circle, **changes: object) -> Network:
    settings = SETTINGS.model_copy(update={"second_stage": SMALL.model_copy(update=changes)})
    fitted = fit_ranker(store.train, settings).second_stage
    assert fitted is not None
    return fitted.network


@pytest.fixture(scope="module")
def plain(store: Circle) -> Network:
    return network_of(store, epochs=2)


def first_hits(store: Circle, **changes: object) -> float:
    """Share of users whose next item is first."""
    model = fit_ranker(store.train, SETTINGS.model_copy(update={"second_stage": SMALL.model_copy(update=changes)}))
    scores = model.score(store.train.histories())
    seen = store.train.interactions.weights
    scores[np.repeat(np.arange(seen.shape[0]), np.diff(seen.indptr)), seen.indices] = -np.inf
    return float((scores.argmax(axis=1) == store.rest.weights.indices).mean())


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ("softmax", -math.log(math.exp(2) / (math.exp(2) + math.exp(1) + 1))),
        ("bpr", -(math.log(sigmoid(1)) + math.log(sigmoid(2))) / 2),
        ("logistic", -math.log(sigmoid(2)) - math.log(1 - sigmoid(1)) - math.log(1 - sigmoid(0))),
    ],
)
def test_losses_are_what_their_formulas_say(loss: Loss, expected: float) -> None:
    assert LOSSES[loss](LOGITS, RELEVANT, ALL, NOTHING).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("loss", get_args(Loss))
def test_a_place_without_a_candidate_counts_for_nothing(loss: Loss) -> None:
    padded = torch.cat([LOGITS, torch.tensor([[50.0]])], dim=1)
    relevant, is_item = torch.cat([RELEVANT, torch.zeros(1, 1)], dim=1), torch.cat([ALL, ~ALL[:, :1]], dim=1)
    alone, beside = LOSSES[loss](LOGITS, RELEVANT, ALL, NOTHING), LOSSES[loss](padded, relevant, is_item, padded * 0)
    assert beside.item() == pytest.approx(alone.item(), rel=1e-5)


@pytest.mark.parametrize("loss", get_args(Loss))
def test_one_that_stands_for_two_counts_as_two(loss: Loss) -> None:
    twice = torch.tensor([[2.0, 1.0, 1.0, 0.0]])
    relevant = torch.tensor([[1.0, 0.0, 0.0, 0.0]])
    both = LOSSES[loss](twice, relevant, torch.ones(1, 4, dtype=torch.bool), twice * 0)
    one = LOSSES[loss](LOGITS, RELEVANT, ALL, torch.tensor([[0.0, math.log(2.0), 0.0]]))
    assert one.item() == pytest.approx(both.item(), rel=1e-5)


@pytest.mark.parametrize("hard", [0.0, 0.6])
def test_drawn_candidates_stand_for_all_others(hard: float) -> None:
    """The sum over drawn ones, each as many as it stands for, is on average the sum over all."""
    rng = np.random.default_rng(0)
    scores = np.linspace(2.0, -2.0, 40, dtype=np.float32)[None].repeat(4_000, axis=0)
    relevant, is_item = np.zeros(scores.shape, np.bool_), np.ones(scores.shape, np.bool_)
    relevant[:, 3] = True
    is_item[:, 30:] = False
    drawn, log_odds = draw(scores, relevant, is_item, 8, hard, rng)
    assert drawn.shape == (4_000, 9)
    assert (drawn == 3).any(axis=1).all()
    assert (drawn < 30).all()
    assert (log_odds[drawn == 3] == 0).all()
    counts = np.bincount(drawn.ravel(), minlength=40)
    assert (counts[0] > 1.5 * counts[29]) == (hard > 0)
    sums = np.where(drawn == 3, 0, np.exp(log_odds)).sum(axis=1)
    # Without replacement the likely ones are drawn a little less than their share.
    assert sums.mean() == pytest.approx(29, rel=0.12)


def test_draws_of_users_with_few_candidates() -> None:
    rng = np.random.default_rng(0)
    scores = np.linspace(2, -2, 12, dtype=np.float32).reshape(3, 4)
    relevant = np.array([[True, False, False, False], [True, True, True, True], [True, False, False, False]])
    is_item = np.array([[True, False, False, False], [True, True, True, True], [True, True, True, False]])
    for hard in (0.0, 0.5):
        drawn, log_odds = draw(scores, relevant, is_item, 2, hard, rng)
        assert np.isfinite(log_odds).all()
        np.testing.assert_allclose(log_odds, 0, atol=1e-6)
        assert sorted(drawn[1]) == [0, 1, 2, 3]


def test_what_is_like_a_relevant_candidate_is_no_negative(store: Circle) -> None:
    part = window_examples(store.train, SETTINGS.model_copy(update={"second_stage": SMALL}))[0]
    inputs, relevant = part.examples.inputs, part.examples.relevant & part.examples.inputs.is_item
    assert relevant.any()
    blocks = part.signals.blocks.copy()
    # A twin of the first relevant candidate of a user among the user's other candidates.
    user = int(np.flatnonzero(relevant.any(axis=1))[0])
    place = int(np.flatnonzero(relevant[user])[0])
    twin = int(np.flatnonzero(inputs.is_item[user] & ~relevant[user])[0])
    blocks[inputs.items[user, twin]] = blocks[inputs.items[user, place]] * 1.0
    kept = without_false_negatives(inputs, relevant, blocks, 0.98)
    assert not kept[user, twin]
    assert kept[relevant].all()
    assert not kept[~inputs.is_item].any()
    flat = blocks.reshape(len(blocks), -1)
    unit = flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)
    for row in range(len(inputs)):
        for at in np.flatnonzero(inputs.is_item[row] & ~relevant[row]):
            nearest = max(
                (
                    unit[inputs.items[row, at]] @ unit[inputs.items[row, other]]
                    for other in np.flatnonzero(relevant[row])
                ),
                default=0.0,
            )
            assert kept[row, at] == (nearest <= 0.98)


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"loss": "bpr"},
        {"loss": "logistic"},
        {"adversarial": 0.3, "hard_negatives": 0.3, "content_noise": 0.1, "false_negative_cosine": 0.95},
    ],
)
def test_what_comes_next_is_found_by_every_loss_and_with_all_options(store: Circle, changes: dict[str, object]) -> None:
    assert first_hits(store, **changes) > 0.8


@pytest.mark.parametrize(
    "changes",
    [
        {"hard_negatives": 0.0},
        {"false_negative_cosine": 0.9},
        {"content_noise": 0.3},
        {"adversarial": 0.2, "loss": "bpr", "hard_negatives": 0.3, "content_noise": 0.1},
    ],
)
def test_every_option_changes_the_network(store: Circle, plain: Network, changes: dict[str, object]) -> None:
    other = network_of(store, epochs=2, **changes)
    assert not np.array_equal(plain.hidden, other.hidden)
    assert all(np.isfinite(array).all() for array in other.arrays().values())


@pytest.mark.parametrize("level", get_args(FusionLevel))
def test_levels_have_their_attentions_and_serve_what_was_trained(store: Circle, level: FusionLevel) -> None:
    text = store.train.contents["image:images"]
    vectors = np.random.default_rng(1).standard_normal((len(store.train.item_ids), 5))
    other = replace(type(text).from_vectors("text:title", vectors), name="text:title")
    data = replace(store.train, contents={**store.train.contents, "text:title": other})
    settings = SETTINGS.model_copy(update={"second_stage": SMALL.model_copy(update={"level": level, "epochs": 3})})
    model = fit_ranker(data, settings)
    assert model.second_stage is not None
    network = model.second_stage.network
    num_attentions = {"feature": 1, "model": 2, "hybrid": 3, "decision": 0}[level]
    assert network.query.shape[1] == len(network.gap_bias) == len(network.strength) == num_attentions
    assert np.isfinite(model.score(data.histories())).all()
    if level == "decision":
        num_shares = len(model.second_stage.sources)
        assert network.linear[:num_shares].any()
        assert not network.linear[num_shares:].any()
        assert not network.output.any()


def test_a_network_that_was_saved_with_one_attention_is_loaded(store: Circle) -> None:
    model = fit_ranker(
        store.train, SETTINGS.model_copy(update={"second_stage": SMALL.model_copy(update={"epochs": 2})})
    )
    second = model.second_stage
    assert second is not None
    old = {
        name: array[:, 0]
        if name in ("query", "key", "value", "match")
        else array[0]
        if name in ("gap_bias", "strength")
        else array
        for name, array in second.network.arrays().items()
    }
    loaded = replace(model, second_stage=replace(second, network=Network.load(old)))
    histories: Histories = store.train.histories()
    np.testing.assert_array_equal(loaded.score(histories), model.score(histories))
    without = {
        name: array[:, :0] if name in ("query", "key", "value", "match") else array for name, array in old.items()
    }
    assert Network.load(without).query.shape[1] == 0


def test_noise_and_steps_do_not_touch_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Item 5 has no image: however contents are disturbed, it stays an item without any, and the others move."""
    store, seen = circle(), []
    forward = Orderer.forward

    def watched(network: Orderer, batch: Batch, blocks: torch.Tensor, has: torch.Tensor) -> torch.Tensor:
        seen.append((blocks.detach().clone(), has))
        return forward(network, batch, blocks, has)

    monkeypatch.setattr(Orderer, "forward", watched)
    network_of(store, content_noise=0.5, adversarial=0.5, epochs=2)
    assert any((~has).any() for _, has in seen)
    for blocks, has in seen:
        assert (blocks[~has] == 0).all()
        assert (blocks[has].norm(dim=-1) != 1).any()
    # At the first batch the attention adds nothing yet, so that there is no way up the loss.
    moved = [(up[0] - plain[0]).norm(dim=-1) for plain, up in zip(seen[2::2], seen[3::2], strict=True)]
    for lengths, (_, has) in zip(moved, seen[3::2], strict=True):
        assert (lengths <= 0.5 + 1e-5).all()
        assert (lengths[has] > 0.4).any()
