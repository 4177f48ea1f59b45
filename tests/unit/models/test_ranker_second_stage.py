from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

from mmrec_lib.errors import ModelError
from mmrec_lib.models.config import RankerSettings, TrainingConfig
from mmrec_lib.models.data import Content, FitData, Histories, Interactions
from mmrec_lib.models.ranker.explanation import explained_blocks
from mmrec_lib.models.ranker.fit import fit_ranker
from mmrec_lib.models.ranker.pyfunc_file import recommend
from mmrec_lib.models.ranker.ranker import FittedRanker
from mmrec_lib.models.ranker.second_stage import window_examples
from mmrec_lib.models.second_stage.inputs import candidate_inputs, latest_items
from mmrec_lib.models.second_stage.learn_signals import successors_of
from mmrec_lib.models.second_stage.modalities import FORMS
from mmrec_lib.models.second_stage.model import standing
from mmrec_lib.models.second_stage_settings import FusionForm, SecondStageSettings
from mmrec_lib.models.tuning.choose_second_stage import choose_second_stage
from mmrec_lib.models.tuning.judged_parts import by_user, with_windows
from mmrec_lib.topk.selection import NO_ITEM, select_top
from tests.unit.models.checkerboard import SETTINGS, Checkerboard
from tests.unit.models.circle import DAY, NUM_ITEMS, NUM_USERS, START, Circle, circle

SMALL = SecondStageSettings(windows="time", num_candidates=12, epochs=50, attention_dim=4, hidden_dim=8, num_windows=2)


@pytest.fixture(scope="module")
def store() -> Circle:
    return circle()


@pytest.fixture(scope="module")
def ranker(store: Circle) -> FittedRanker:
    return fit_ranker(store.train, SETTINGS.model_copy(update={"second_stage": SMALL}))


def first_stage_of(ranker: FittedRanker) -> FittedRanker:
    return replace(ranker, second_stage=None)


def first_hits(model: FittedRanker, store: Circle) -> float:
    """Share of users whose next item is first."""
    scores = model.score(store.train.histories())
    seen = store.train.interactions.weights
    scores[np.repeat(np.arange(NUM_USERS), np.diff(seen.indptr)), seen.indices] = -np.inf
    return float((scores.argmax(axis=1) == store.rest.weights.indices).mean())


def test_it_finds_what_comes_next_where_sets_of_items_cannot_tell(ranker: FittedRanker, store: Circle) -> None:
    assert first_hits(first_stage_of(ranker), store) < 0.6
    assert first_hits(ranker, store) > 0.8


@pytest.mark.slow
def test_it_is_kept_where_order_says_something(store: Circle) -> None:
    config = TrainingConfig(second_stage=SMALL.model_copy(update={"windows": "auto"}))
    settings, decision, second_stage = choose_second_stage(store.train, store.rest, config, SETTINGS)
    own = fit_ranker(store.train, settings).second_stage
    assert own is not None and second_stage is not None
    for name, array in own.arrays().items():
        np.testing.assert_array_equal(
            second_stage.arrays()[name], array, err_msg="the one that need not be fitted again"
        )
    assert settings.second_stage == SMALL, "the validation part follows the training part in time"
    assert decision.is_kept
    assert decision.low > 0
    assert decision.num_users == NUM_USERS
    assert str(decision).startswith("second stage kept: nDCG@10 +")


@pytest.mark.slow
def test_it_is_left_out_where_nothing_more_is_to_be_known(board: Checkerboard) -> None:
    settings, decision, _ = choose_second_stage(board.train, board.rest, TrainingConfig(second_stage=SMALL), SETTINGS)
    assert settings == SETTINGS
    assert not decision.is_kept
    assert decision.low <= 0 <= decision.num_users
    assert "the first stage's order stands" in str(decision)


@pytest.mark.parametrize(
    ("config", "said"), [(None, "training.second_stage is null"), (SMALL, "turned to candidates in too few parts")]
)
def test_without_a_judgement_there_is_none(store: Circle, config: SecondStageSettings | None, said: str) -> None:
    few = store.rest.where(np.arange(store.rest.weights.nnz) < 5)
    train = store.train.with_interactions(store.train.interactions.where(store.train.interactions.weights.indices < 0))
    first = store.train if config is None else replace(store.train, interactions=few)
    settings, decision, _ = choose_second_stage(first, few, TrainingConfig(second_stage=config), SETTINGS)
    assert settings == SETTINGS
    assert said in str(decision)
    assert "nothing to learn from" in str(choose_second_stage(train, few, TrainingConfig(), SETTINGS)[1])


def test_windows_are_cut_as_the_validation_part_was(store: Circle) -> None:
    undecided = SMALL.model_copy(update={"windows": "auto"})
    assert with_windows(undecided, store.train, store.rest).windows == "time"
    drawn = np.random.default_rng(0).random(store.train.interactions.weights.nnz) < 0.3
    train = store.train.with_interactions(store.train.interactions.where(~drawn))
    assert with_windows(undecided, train, store.train.interactions.where(drawn)).windows == "random"
    assert with_windows(SMALL, train, store.train.interactions.where(drawn)).windows == "time", "as it was asked for"


def test_examples_of_a_window_know_nothing_of_it(store: Circle) -> None:
    """The signals of a window are those of the data before it, to the last entry."""
    settings = SETTINGS.model_copy(update={"second_stage": SMALL})
    times = store.train.interactions.times.data
    for place, window in enumerate(window_examples(store.train, settings)):
        cut = np.quantile(times, 1 - SMALL.window_share * (place + 1))
        before = store.train.interactions.where(times <= cut)
        assert (window.signals.successors != successors_of(before, SETTINGS.seed)).nnz == 0
        np.testing.assert_array_equal(window.signals.is_new, before.item_counts() == 0)
        seen = before.weights[np.flatnonzero(np.diff(before.weights.indptr) > 0)]
        assert window.examples.inputs.items.max() < NUM_ITEMS
        assert seen.nnz > 0


def test_users_without_history_keep_the_first_stage_to_the_last_bit(ranker: FittedRanker) -> None:
    nobody = Histories(sparse.csr_matrix((3, NUM_ITEMS), dtype=np.float32))
    np.testing.assert_array_equal(ranker.score(nobody), first_stage_of(ranker).score(nobody))


def test_candidates_have_each_other_s_scores_and_all_others_their_own(ranker: FittedRanker, store: Circle) -> None:
    histories = store.train.histories()
    users = ranker.project(histories)
    top = ranker.candidates(users, SMALL.num_candidates)
    scores, before = ranker.score(histories), first_stage_of(ranker).score(histories)
    at = ranker.order(users, top.indices, top.scores)
    assert (np.sort(at, axis=1) == np.arange(SMALL.num_candidates)).all()
    assert (at != np.arange(SMALL.num_candidates)).any()
    np.testing.assert_array_equal(
        np.take_along_axis(scores, np.take_along_axis(top.indices, at, axis=1), axis=1), top.scores
    )
    is_candidate = np.zeros(scores.shape, np.bool_)
    np.put_along_axis(is_candidate, top.indices, True, axis=1)
    np.testing.assert_array_equal(scores[~is_candidate], before[~is_candidate])


def test_items_without_interactions_keep_their_places(store: Circle) -> None:
    hidden = np.isin(np.arange(NUM_ITEMS), (3, 17, 30))
    data = store.train.with_interactions(store.train.interactions.without_items(hidden))
    cold = SETTINGS.cold_items.model_copy(update={"shift": 1.0})
    short = SMALL.model_copy(update={"epochs": 5})
    model = fit_ranker(data, SETTINGS.model_copy(update={"second_stage": short, "cold_items": cold}))
    users = model.project(data.histories())
    top = model.candidates(users, SMALL.num_candidates)
    at = model.order(users, top.indices, top.scores)
    is_new = hidden[top.indices]
    assert is_new.any()
    assert (at != np.arange(SMALL.num_candidates)).any()
    np.testing.assert_array_equal(np.broadcast_to(np.arange(SMALL.num_candidates), at.shape)[is_new], at[is_new])
    scores, before = model.score(data.histories()), first_stage_of(model).score(data.histories())
    np.testing.assert_array_equal(scores[:, hidden], before[:, hidden])


def test_places_are_taken_by_keys_among_movable_candidates_alone() -> None:
    keys = np.array([[1.0, 9.0, 3.0, 2.0], [5.0, 5.0, 5.0, 5.0], [0.0, np.inf, 0.0, 1.0]], dtype=np.float32)
    movable = np.array([[True, False, True, True], [True] * 4, [False] * 4])
    assert standing(keys, movable).tolist() == [[2, 1, 3, 0], [0, 1, 2, 3], [0, 1, 2, 3]]


def test_a_user_s_order_does_not_depend_on_who_else_is_scored(ranker: FittedRanker, store: Circle) -> None:
    histories = store.train.histories()
    users = ranker.project(histories, users_at_once=16)
    top = ranker.candidates(users, SMALL.num_candidates)
    second = ranker.second_stage
    assert second is not None

    def additions(some: Histories, rows: slice) -> np.ndarray:
        shares = ranker.explain(ranker.project(some, users_at_once=16), top.indices[rows]).shares
        return second.network.additions(
            candidate_inputs(second.signals, some, top.indices[rows], shares, second.history_length)
        )

    together = additions(histories, slice(None))
    for user in (0, 7, NUM_USERS - 1):
        alone = additions(histories.rows(np.array([user])), slice(user, user + 1))
        np.testing.assert_array_equal(alone[0], together[user])


def test_it_is_saved_and_loaded(ranker: FittedRanker, store: Circle, tmp_path: Path) -> None:
    ranker.save(tmp_path)
    loaded = FittedRanker.load(tmp_path)
    np.testing.assert_array_equal(loaded.score(store.train.histories()), ranker.score(store.train.histories()))
    assert loaded.settings.second_stage == SMALL


def test_the_loss_of_each_epoch_is_kept_and_falls(ranker: FittedRanker, tmp_path: Path) -> None:
    assert ranker.second_stage is not None
    curve = ranker.second_stage.learning_curve
    assert len(curve) == SMALL.epochs
    assert all(math.isfinite(loss) for loss in curve)
    assert curve[-1] < 0.9 * curve[0]
    ranker.save(tmp_path / "curve")
    loaded = FittedRanker.load(tmp_path / "curve").second_stage
    assert loaded is not None and loaded.learning_curve == pytest.approx(curve)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_model(ranker: FittedRanker, store: Circle) -> None:
    again = fit_ranker(store.train, ranker.settings)
    assert ranker.second_stage is not None and again.second_stage is not None
    for name, array in ranker.second_stage.arrays().items():
        np.testing.assert_array_equal(again.second_stage.arrays()[name], array, err_msg=name)
    other = fit_ranker(store.train, ranker.settings.model_copy(update={"seed": 1})).second_stage
    assert other is not None
    assert not np.array_equal(other.network.hidden, ranker.second_stage.network.hidden)


def test_additions_are_what_the_formula_says(ranker: FittedRanker, store: Circle) -> None:
    """One candidate at a time, in double precision, from the docstring of the module."""
    second, histories = ranker.second_stage, store.train.histories()
    assert second is not None
    users = ranker.project(histories)
    top = ranker.candidates(users, SMALL.num_candidates)
    shares = ranker.explain(users, top.indices).shares
    inputs = candidate_inputs(second.signals, histories, top.indices, shares, SMALL.history_length)
    network, found = second.network, second.network.additions(inputs)
    arrays = {name: array.astype(np.float64) for name, array in network.arrays().items()}
    for user in (0, 50):
        latest = [item for item in inputs.history[user] if item != NO_ITEM]
        for place in (0, 5):
            item = inputs.items[user, place]
            x = (inputs.features[user, place] - arrays["mean"]) / arrays["scale"]
            hidden = x @ arrays["hidden"] + arrays["hidden_bias"]
            expected = (hidden / (1 + np.exp(-hidden))) @ arrays["output"] + x @ arrays["linear"]
            logits = [
                arrays["query"][item, 0] @ arrays["key"][before, 0] / math.sqrt(SMALL.attention_dim)
                + arrays["gap_bias"][0][inputs.gaps[user, at]]
                + arrays["strength"][0, 0] * inputs.strengths[user, at]
                for at, before in enumerate(latest)
            ]
            attention = np.exp(logits) / np.exp(logits).sum()
            attended = sum(share * arrays["value"][before, 0] for share, before in zip(attention, latest, strict=True))
            expected += float(attended @ arrays["match"][item, 0])
            assert found[user, place] == pytest.approx(expected / arrays["first_stage"][0], rel=1e-4, abs=1e-5)


def test_latest_items_are_by_time_with_their_ages() -> None:
    weights = sparse.csr_matrix(np.array([[1.0, 3.0, 2.0], [0, 0, 0], [0, 1, 0]], dtype=np.float32))
    times = weights.astype(np.float64)
    times.data = np.array([START, START - 180.0, 0.0, START])
    history, gaps, strengths = latest_items(Histories(weights, times=times), 2)
    assert history.tolist() == [[0, 1], [NO_ITEM, NO_ITEM], [1, NO_ITEM]]
    assert gaps[0].tolist() == [0, 2]  # log2(1 + 180 / 60)
    np.testing.assert_allclose(strengths[0], np.log([0.5, 1.5]), rtol=1e-6)


def test_successors_are_shrunken_lifts_in_the_order_of_time() -> None:
    # 0 → 1 for everybody, at one time with 2 for the last user.
    rows, columns, days = [0, 0, 1, 1, 2, 2, 2], [0, 1, 0, 1, 0, 1, 2], [0, 1, 0, 1, 0, 1, 1]
    data = Interactions.from_rows(rows, columns, (3, 3), times=START + DAY * np.array(days))
    found = successors_of(data, seed=0).toarray()
    assert found[0, 1] > found[0, 2] > 0
    assert found[1].tolist() == found[2].tolist() == [0, 0, 0], (
        "nothing comes after them, and equal times have no order"
    )
    total = 3 + 1 + 0.5  # 0 → 1 three times, 0 → 2 one step on, and none two steps on
    assert found.sum() < total * 3


def hostile_stores(store: Circle) -> dict[str, FitData]:
    data, interactions = store.train, store.train.interactions
    constant = Content.from_vectors("image:images", np.ones((NUM_ITEMS, 6)))
    one_user = np.repeat(np.arange(NUM_USERS), np.diff(interactions.weights.indptr)) < 1
    return {
        "no content": data.without_content(),
        "no times": data.with_interactions(Interactions.from_rows(*interactions.weights.nonzero(), interactions.shape)),
        "constant vectors": replace(data, contents={"image:images": constant}),
        "one user": data.with_interactions(interactions.where(one_user)),
        "one time": data.with_interactions(
            Interactions.from_rows(
                *interactions.weights.nonzero(), interactions.shape, times=np.full(interactions.weights.nnz, START)
            )
        ),
        "two days": data.with_interactions(
            Interactions.from_rows(
                *interactions.weights.nonzero(),
                interactions.shape,
                times=START + DAY * (np.arange(interactions.weights.nnz) % 10 > 8),
            )
        ),
        "three days": data.with_interactions(
            Interactions.from_rows(
                *interactions.weights.nonzero(),
                interactions.shape,
                times=START + DAY * np.array([0] * 85 + [1] * 9 + [2] * 6)[np.arange(interactions.weights.nnz) % 100],
            )
        ),
        "two items": data.with_interactions(interactions.where(interactions.weights.indices < 2)),
    }


HOSTILE = (
    "no content",
    "no times",
    "constant vectors",
    "one user",
    "two items",
    "one time",
    "two days",
    "three days",
)


@pytest.mark.parametrize("name", HOSTILE)
def test_every_store_gets_finite_scores(store: Circle, name: str) -> None:
    data = hostile_stores(store)[name]
    for windows in ("time", "random"):
        chosen = SMALL.model_copy(update={"epochs": 1, "windows": windows})
        model = fit_ranker(data, SETTINGS.model_copy(update={"second_stage": chosen}))
        assert np.isfinite(model.score(data.histories())).all()
        asked = TrainingConfig(second_stage=chosen)
        assert str(choose_second_stage(data, store.rest, asked, SETTINGS)[1])


@pytest.mark.parametrize("form", get_args(FusionForm))
def test_every_form_masks_what_is_missing_and_trains(store: Circle, form: FusionForm) -> None:
    torch.manual_seed(0)
    fuse = FORMS[form](3, 4, 8).eval()
    blocks = torch.randn(5, 3, 4)
    has = torch.tensor([[True, False, True]] * 4 + [[False] * 3])
    other = torch.where(has[:, :, None], blocks, torch.randn(5, 3, 4))
    with torch.no_grad():
        torch.testing.assert_close(fuse(blocks, has), fuse(other, has))
        assert torch.isfinite(fuse(blocks, has)).all()
        assert not torch.allclose(fuse(blocks, has)[0], fuse(blocks, has)[1])
    chosen = SMALL.model_copy(update={"form": form, "epochs": 2})
    model = fit_ranker(store.train, SETTINGS.model_copy(update={"second_stage": chosen}))
    assert np.isfinite(model.score(store.train.histories())).all()


def test_shares_of_another_first_stage_are_refused(ranker: FittedRanker, store: Circle) -> None:
    assert ranker.second_stage is not None
    none = np.zeros((NUM_USERS, 1), dtype=np.float32)
    with pytest.raises(ModelError, match="fitted with shares of"):
        ranker.second_stage.order(
            store.train.histories(), none.astype(int), none, {"ease": none}, np.ones(NUM_USERS, np.bool_)
        )


def test_a_served_model_tells_from_times_what_came_last(ranker: FittedRanker) -> None:
    items = [f"i{place:02d}" for place in range(10, 16)]
    forwards = [START + DAY * place for place in range(6)]
    frame = pd.DataFrame({"item_ids": [items, items], "times": [forwards, forwards[::-1]]})
    found = recommend(ranker, frame, k=5)["item_ids"].tolist()
    assert found[0][0] == "i16"
    assert found[1] != found[0]
    dates = pd.DataFrame({"item_ids": [items], "times": [[pd.Timestamp(moment, unit="s") for moment in forwards]]})
    assert recommend(ranker, dates, k=5)["item_ids"][0] == recommend(ranker, frame, k=5)["item_ids"][0]
    unknown = recommend(ranker, pd.DataFrame({"item_ids": [items], "times": [None]}), k=3)
    assert unknown["item_ids"][0] == recommend(ranker, pd.DataFrame({"item_ids": [items]}), k=3)["item_ids"][0]


@pytest.mark.parametrize(
    ("times", "said"),
    [
        ([1.0], "needs one time an item, got 1 times for 2 items"),
        (["yesterday", None], "times must be epoch seconds, dates with a time or None, got 'yesterday'"),
        ([True, None], "times must be epoch seconds"),
        ([-5, None], "times must lie between 1970 and now"),
        ([float("inf"), None], "times must lie between 1970 and now"),
    ],
)
def test_bad_times_are_named(ranker: FittedRanker, times: list[Any], said: str) -> None:
    with pytest.raises(ModelError, match=said):
        recommend(ranker, pd.DataFrame({"item_ids": [["i01", "i02"]], "times": [times]}))


def test_histories_need_times_of_the_same_positions(store: Circle) -> None:
    weights = store.train.interactions.weights
    with pytest.raises(ModelError, match="times must have the stored positions of weights"):
        Histories(weights, times=sparse.csr_matrix(weights.shape))


def test_settings_without_a_second_stage_stay_as_they_were() -> None:
    assert RankerSettings().second_stage is None
    assert RankerSettings.model_validate(RankerSettings().model_dump(mode="json")) == RankerSettings()


def test_windows_leave_something_to_fit() -> None:
    with pytest.raises(ValueError, match=r"num_windows times window_share must be 0\.9 at most.*got 1\.20"):
        SecondStageSettings(num_windows=4, window_share=0.3)


def test_users_of_one_event_leave_no_window_and_are_no_reason_to_fail(store: Circle) -> None:
    interactions = store.train.interactions
    first = np.zeros(interactions.weights.nnz, dtype=np.bool_)
    first[interactions.weights.indptr[:-1]] = True
    data = store.train.with_interactions(interactions.where(first))
    assert window_examples(data, SETTINGS.model_copy(update={"second_stage": SMALL})) == []
    settings, decision, second_stage = choose_second_stage(
        data, store.rest, TrainingConfig(second_stage=SMALL), SETTINGS
    )
    assert (settings, second_stage) == (SETTINGS, None)
    assert "too few parts" in str(decision)
    model = fit_ranker(data, SETTINGS.model_copy(update={"second_stage": SMALL}))
    assert model.second_stage is None
    assert np.isfinite(model.score(data.histories())).all()


@pytest.mark.parametrize(("bound", "said"), [({"max_items": 10}, "max_items = 10"), ({"max_interactions": 99}, "= 99")])
def test_large_stores_try_none_and_say_so(store: Circle, bound: dict[str, int], said: str) -> None:
    config = TrainingConfig(second_stage=SMALL.model_copy(update=bound))
    settings, decision, _ = choose_second_stage(store.train, store.rest, config, SETTINGS)
    assert settings == SETTINGS
    assert said in str(decision)


def test_sources_are_those_that_the_whole_fit_has(store: Circle) -> None:
    for update in ({"fusion": {"content_ease": 1.0}, "max_dense_items": 10}, {"fusion": {}}):
        chosen = SMALL.model_copy(update={"epochs": 1})
        model = fit_ranker(store.train, SETTINGS.model_copy(update={**update, "second_stage": chosen}))
        assert not model.sources
        assert np.isfinite(model.score(store.train.histories())).all()


def test_a_fit_needs_windows_of_a_kind(store: Circle) -> None:
    undecided = SMALL.model_copy(update={"windows": "auto"})
    with pytest.raises(ModelError, match="windows must be time or random"):
        fit_ranker(store.train, SETTINGS.model_copy(update={"second_stage": undecided}))


def test_a_history_that_the_first_stage_does_not_know_keeps_its_order(store: Circle) -> None:
    hidden = np.arange(NUM_ITEMS) == 3
    data = store.train.with_interactions(store.train.interactions.without_items(hidden))
    short = SMALL.model_copy(update={"epochs": 3})
    model = fit_ranker(data, SETTINGS.model_copy(update={"second_stage": short}))
    only_new = sparse.csr_matrix(([1.0], ([0], [3])), shape=(1, NUM_ITEMS), dtype=np.float32)
    np.testing.assert_array_equal(model.score(Histories(only_new)), first_stage_of(model).score(Histories(only_new)))


def test_a_served_list_orders_what_may_be_listed(ranker: FittedRanker, store: Circle) -> None:
    """Candidates are the best items that are left, however many of the best ones may not be listed."""
    histories = store.train.histories()
    users = ranker.project(histories)
    masked = users.vectors @ ranker.item_vectors().T
    masked[np.repeat(np.arange(NUM_USERS), np.diff(histories.weights.indptr)), histories.weights.indices] = -np.inf
    masked[:, ::2] = -np.inf
    top = ranker.select(users, masked.copy(), 5)
    candidates = ranker.in_second_stage(users, select_top(masked, SMALL.num_candidates))
    np.testing.assert_array_equal(top.indices, candidates.indices[:, :5])
    assert (top.indices[top.indices != NO_ITEM] % 2 == 1).all()
    plain = first_stage_of(ranker).select(users, masked, 5)
    np.testing.assert_array_equal(plain.scores, top.scores)
    assert (plain.indices != top.indices).any()


def test_blocks_of_explained_users_are_bounded() -> None:
    assert list(explained_blocks(np.array([5, 5, 5]), 10)) == [slice(0, 3)]
    huge = np.array([150_000, 1, 150_000, 60_000, 0])
    assert list(explained_blocks(huge, 100)) == [slice(0, 2), slice(2, 3), slice(3, 5)]
    assert [block.stop - block.start for block in explained_blocks(np.ones(600, int), 1)] == [256, 256, 88]
    assert not list(explained_blocks(np.zeros(0, int), 10))


def test_a_user_of_several_parts_is_one_draw() -> None:
    gains, users = np.array([0.4, 0.2, 0.0, -0.2, 0.1]), np.array([7, 7, 3, 3, 5])
    values = by_user(gains, users)
    assert len(values) == 3
    assert values.mean() == pytest.approx(gains.mean())
    # Ten copies of each row are no more users, and no less spread.
    again = by_user(np.tile(gains, 10), np.tile(users, 10))
    np.testing.assert_allclose(again, values)
    one_each = np.arange(5)
    np.testing.assert_allclose(by_user(gains, one_each), gains)
