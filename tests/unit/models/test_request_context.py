"""The context of a request in the second stage: found where it says something, masked where it is unknown."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy import sparse

from mmrec_lib.errors import ModelError
from mmrec_lib.features.request_context import DeviceCodes
from mmrec_lib.models.config import TrainingConfig
from mmrec_lib.models.data import FitData, Histories, Interactions
from mmrec_lib.models.ranker.fit import fit_ranker
from mmrec_lib.models.ranker.pyfunc_file import recommend
from mmrec_lib.models.ranker.ranker import FittedRanker
from mmrec_lib.models.ranker.requests import draw_requests, with_parts_hidden
from mmrec_lib.models.ranker.second_stage import window_examples
from mmrec_lib.models.request_context import RequestContext, Searches
from mmrec_lib.models.second_stage.context import NUM_COLUMNS, hour_codes, num_context_columns, weekday_codes
from mmrec_lib.models.second_stage.learn_context import learn_context, log_ratios
from mmrec_lib.models.second_stage_settings import ContextKind, SecondStageSettings
from mmrec_lib.models.tuning.choose_second_stage import choose_second_stage
from tests.unit.models.asked import DAY, HOUR, NUM_ITEMS, NUM_ROUNDS, START, WORDS, Asked, by_hour, by_search
from tests.unit.models.checkerboard import SETTINGS

SMALL = SecondStageSettings(
    windows="time",
    num_candidates=NUM_ITEMS,
    epochs=12,
    learning_rate=1e-2,
    attention_dim=4,
    hidden_dim=8,
    num_windows=2,
    window_share=1 / (NUM_ROUNDS - 1),
)


def with_context(*kinds: ContextKind) -> SecondStageSettings:
    return SMALL.model_copy(update={"context": kinds})


def fitted(store: Asked, *kinds: ContextKind) -> FittedRanker:
    return fit_ranker(store.train, SETTINGS.model_copy(update={"second_stage": with_context(*kinds)}))


@pytest.fixture(scope="module")
def hours() -> Asked:
    return by_hour()


@pytest.fixture(scope="module")
def searched() -> Asked:
    return by_search()


@pytest.fixture(scope="module")
def knows_hours(hours: Asked) -> FittedRanker:
    return fitted(hours, "time", "device")


@pytest.fixture(scope="module")
def knows_searches(searched: Asked) -> FittedRanker:
    return fitted(searched, "search")


def first_kinds(ranker: FittedRanker, store: Asked, histories: Histories, k: int = 5) -> np.ndarray:
    """[U, k] kinds of the first items of lists."""
    users = ranker.project(histories)
    top = ranker.in_second_stage(users, ranker.candidates(users, NUM_ITEMS))
    return store.kinds[top.indices[:, :k]]


def at(store: Asked, hour: float, device: str | None = None) -> Histories:
    """Histories of all users who ask at an hour of the last day."""
    histories = store.train.histories()
    blank = RequestContext.unknown(len(histories))
    devices = np.full(len(histories), device, dtype=np.object_)
    times = blank.times if hour < 0 else np.full(len(histories), START + NUM_ROUNDS * DAY + hour * HOUR)
    return replace(histories, context=replace(blank, times=times, devices=devices))


@pytest.mark.slow
def test_a_taste_that_follows_the_hour_is_found_and_not_without_context(hours: Asked) -> None:
    config = TrainingConfig(second_stage=with_context("time"))
    settings, decision, second_stage = choose_second_stage(hours.train, hours.rest, config, SETTINGS)
    assert decision.context is not None and decision.context.is_kept and decision.is_kept
    assert decision.context.gain > 0.05
    assert settings.second_stage == with_context("time")
    assert second_stage is not None and second_stage.context_kinds == ("time",)
    assert "context (time) kept: nDCG@10 +" in str(decision)
    settings, decision, _ = choose_second_stage(hours.train, hours.rest, TrainingConfig(second_stage=SMALL), SETTINGS)
    assert decision.context is None
    assert not decision.is_kept, "without the hour there is nothing to be found"


@pytest.mark.slow
def test_a_taste_that_follows_the_search_is_found_and_not_without_context(searched: Asked) -> None:
    config = TrainingConfig(second_stage=with_context("search"))
    _, decision, _ = choose_second_stage(searched.train, searched.rest, config, SETTINGS)
    assert decision.context is not None and decision.context.is_kept
    assert decision.context.gain > 0.2
    assert decision.context.lists_gain == decision.context.gain, "searches are known before a request"
    _, decision, _ = choose_second_stage(searched.train, searched.rest, TrainingConfig(second_stage=SMALL), SETTINGS)
    assert decision.gain < 0.05


@pytest.mark.slow
def test_context_that_says_nothing_is_left_out(searched: Asked) -> None:
    """Who acts at which hour is chance there."""
    config = TrainingConfig(second_stage=with_context("time"))
    settings, decision, _ = choose_second_stage(searched.train, searched.rest, config, SETTINGS)
    assert decision.context is not None and not decision.context.is_kept
    assert settings.second_stage is None or settings.second_stage.context == ()
    assert "context (time) not kept: nDCG@10" in str(decision)


@pytest.mark.parametrize(
    ("hour", "device", "kind"), [(8.2, None, 0), (20.9, None, 1), (-1, "phone", 0), (-1, "web", 1)]
)
def test_lists_follow_the_hour_or_the_device(
    knows_hours: FittedRanker, hours: Asked, hour: float, device: str | None, kind: int
) -> None:
    assert (first_kinds(knows_hours, hours, at(hours, hour, device)) == kind).mean() > 0.95


def test_what_is_unknown_moves_nothing_of_what_the_context_says(knows_hours: FittedRanker, hours: Asked) -> None:
    kinds = first_kinds(knows_hours, hours, hours.train.histories())
    assert 0.3 < kinds.mean() < 0.7
    blank = replace(hours.train.histories(), context=RequestContext.unknown(len(hours.wanted)))
    np.testing.assert_array_equal(first_kinds(knows_hours, hours, blank), kinds)
    strange = at(hours, -1, "a device of tomorrow")
    np.testing.assert_array_equal(first_kinds(knows_hours, hours, strange), kinds)


@pytest.mark.parametrize("with_names", [True, False])
def test_lists_follow_the_last_search(with_names: bool) -> None:
    store = by_search(with_names=with_names)
    kinds = first_kinds(fitted(store, "search"), store, store.train.histories(), k=1)[:, 0]
    assert (kinds == store.wanted).mean() > 0.8


def test_it_is_saved_and_loaded(
    knows_hours: FittedRanker, knows_searches: FittedRanker, hours: Asked, searched: Asked, tmp_path: Path
) -> None:
    for place, (ranker, histories) in enumerate(
        [(knows_hours, at(hours, 8.0, "phone")), (knows_searches, searched.train.histories())]
    ):
        ranker.save(tmp_path / str(place))
        loaded = FittedRanker.load(tmp_path / str(place))
        np.testing.assert_array_equal(loaded.score(histories), ranker.score(histories))
        assert loaded.second_stage is not None and ranker.second_stage is not None
        assert loaded.second_stage.context_kinds == ranker.second_stage.context_kinds


def test_a_list_does_not_depend_on_who_else_is_asked_for(knows_searches: FittedRanker, searched: Asked) -> None:
    histories = searched.train.histories()
    users = knows_searches.project(histories, users_at_once=16)
    top = knows_searches.candidates(users, NUM_ITEMS)
    together = knows_searches.order(users, top.indices, top.scores)
    for user in (0, 77):
        alone = knows_searches.project(histories.rows(np.array([user])), users_at_once=16)
        own = slice(user, user + 1)
        np.testing.assert_array_equal(knows_searches.order(alone, top.indices[own], top.scores[own])[0], together[user])


def test_nothing_after_the_cut_of_a_window_is_in_its_examples(searched: Asked) -> None:
    """Searches after the cut are other ones, and signals and features stay."""
    settings = SETTINGS.model_copy(update={"second_stage": with_context("time", "search")})
    times = searched.train.interactions.times.data
    cut = np.quantile(times, 1 - SMALL.window_share)
    searches = searched.train.searches
    assert searches is not None
    is_late = searches.times > cut
    assert is_late.any()
    other = np.where(is_late, "something else", searches.words)
    (first, *_), (again, *_) = (
        window_examples(data, settings)
        for data in (searched.train, replace(searched.train, searches=replace(searches, words=other)))
    )
    np.testing.assert_array_equal(first.examples.inputs.features, again.examples.inputs.features)
    own, changed = first.signals.context, again.signals.context
    assert own is not None and changed is not None
    assert own.names == changed.names
    before = searched.train.interactions.where(times <= cut)
    known = searches.until(float(cut))
    alone = learn_context(replace(searched.train, interactions=before, searches=known), with_context("time", "search"))
    for name, array in alone.arrays().items():
        np.testing.assert_array_equal(own.arrays()[name], array, err_msg=name)


def test_fit_data_refuse_searches_after_their_cut(searched: Asked) -> None:
    late = Searches.of([0], [searched.train.cut_ts + 1], ["tomorrow"])
    with pytest.raises(ModelError, match="nothing after the cut"):
        replace(searched.train, searches=late)


def test_lists_and_requests_of_a_window(hours: Asked) -> None:
    settings = SETTINGS.model_copy(update={"second_stage": with_context("time", "device")})
    plain = SETTINGS.model_copy(update={"second_stage": SMALL})
    for window, other in zip(window_examples(hours.train, settings), window_examples(hours.train, plain), strict=True):
        assert window.num_requests > 0
        assert window.is_request.sum() == window.num_requests
        lists = window.without_context()
        np.testing.assert_array_equal(lists.examples.inputs.features, other.examples.inputs.features)
        np.testing.assert_array_equal(lists.examples.relevant, other.examples.relevant)
        np.testing.assert_array_equal(lists.users, other.users)
        told = window.examples.inputs.features[:, 0, -num_context_columns(("time", "device")) :]
        is_known = told[:, [NUM_COLUMNS["time"] - 1, -1]]
        assert not is_known[~window.is_request].any(), "of lists neither is known"
        assert 0.7 < is_known[window.is_request].mean() < 1, "of requests some are hidden at random"


def test_users_without_history_have_no_requests(hours: Asked) -> None:
    """What new users turn to is in a window, but a second stage does not order their lists."""
    interactions = hours.train.interactions
    rows = np.repeat(np.arange(len(hours.wanted)), np.diff(interactions.weights.indptr))
    is_new = np.arange(len(hours.wanted)) % 3 == 0
    cut = np.quantile(interactions.times.data, 1 - SMALL.window_share)
    kept = ~is_new[rows] | (interactions.times.data > cut)
    data = hours.train.with_interactions(interactions.where(kept))
    settings = SETTINGS.model_copy(update={"second_stage": with_context("time")})
    for window in window_examples(data, settings):
        assert len(window.users) == len(window.examples.relevant) == len(window.num_relevant)
        assert not np.isin(window.users[window.is_request], window.users[~window.is_request], invert=True).any()
        requests = window.examples.relevant[window.is_request].sum(axis=1)
        assert (requests <= window.num_relevant[window.is_request]).all()


def test_requests_are_what_a_user_turned_to_within_an_hour_on_one_device() -> None:
    users, items = [0, 0, 0, 0, 2, 2], [0, 1, 2, 3, 1, 2]
    times = [8 * HOUR, 8.5 * HOUR, 9.5 * HOUR, 8.6 * HOUR, 0.0, 0.0]
    devices = np.array([0, 0, 0, 1, -1, 1])
    later = Interactions.from_rows(users, items, (3, 4), times=times, devices=devices)
    relevant = sparse.csr_matrix(later.weights)
    found = draw_requests(later, relevant, ("phone", "web"), 100, seed=0)
    assert found.users.tolist() == [0, 0, 2], "two of three of a user; nothing is known of one of the last user's"
    groups = {(0, 1): (8 * HOUR, "phone"), (2,): (9.5 * HOUR, "phone"), (3,): (8.6 * HOUR, "web")}
    for row in range(2):
        assert groups[tuple(found.relevant[row].indices)] == (found.times[row], found.devices[row])
    assert found.devices[2] == "web" and np.isnan(found.times[2])
    assert len(draw_requests(later, relevant, ("phone", "web"), 1, seed=0).users) == 1
    nothing = Interactions.from_rows([], [], (3, 4))
    assert not len(draw_requests(nothing, nothing.weights, (), 9, seed=0).users)


def test_parts_of_the_context_are_hidden_in_training_each_by_itself() -> None:
    number = 2_000
    known = RequestContext(
        *(np.full(number, value, dtype=kind) for value, kind in ((1.0, float), *[("x", object)] * 3))
    )
    histories = Histories(
        sparse.csr_matrix((number, 1), dtype=np.float32), {"country": np.full(number, "gb", dtype=object)}, None, known
    )
    settings = with_context("time", "market", "device", "search")
    hidden = with_parts_hidden(histories, settings, np.random.default_rng(0))
    assert hidden.context is not None
    gone = {
        "time": np.isnan(hidden.context.times),
        "market": np.array([value is None for value in hidden.attributes["country"]]),
        "device": np.array([value is None for value in hidden.context.devices]),
        "search": np.array([value is None for value in hidden.context.searches]),
    }
    for is_gone in gone.values():
        assert is_gone.mean() == pytest.approx(0.1, abs=0.03)
    assert (gone["time"] & gone["device"]).mean() == pytest.approx(0.01, abs=0.01)


def test_log_ratios_are_shrunken_observed_over_expected() -> None:
    codes, items = np.array([0, 0, 0, 1, -1]), np.array([0, 0, 1, 1, 1])
    found = log_ratios(codes, items, 2, 3)
    assert found[0, 0] == pytest.approx(np.log((2 + 5 * 0.75) / (2 * 0.75 + 5 * 0.75)))
    assert found[1, 1] == pytest.approx(np.log((1 + 5 * 0.25) / (2 * 0.25 + 5 * 0.25)))
    assert found[:, 2].tolist() == [0.0, 0.0], "nothing is known of an item without interactions"
    assert log_ratios(np.array([-1]), np.array([0]), 2, 1).tolist() == [[0.0], [0.0]]
    around = log_ratios(np.array([23, 12]), np.array([0, 1]), 24, 2, is_cyclic=True)
    assert around[0, 0] > 0 and around[22, 0] > 0 and around[12, 0] < 0


def test_hours_and_days_of_the_week_are_those_of_the_calendar() -> None:
    moments = pd.to_datetime(["2024-02-29T23:59:59Z", "1970-01-01T00:00:00Z", "2026-11-30T16:00:00Z"])
    seconds = np.array([moment.timestamp() for moment in moments] + [np.nan])
    assert hour_codes(seconds).tolist() == [*moments.hour, -1]
    assert weekday_codes(seconds).tolist() == [*moments.dayofweek, -1]


def test_searches_of_one_time_stand_in_the_order_of_their_words_however_long_one_is() -> None:
    words = ["b", "a", "c" * 1_000_000]
    tracemalloc.start()
    found = Searches.of([1, 1, 0], [5.0, 5.0, 5.0], words)
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()
    assert found.users.tolist() == [0, 1, 1]
    assert found.latest(2).tolist() == ["c" * 1_000_000, "b"]


def test_the_last_search_before_a_moment_is_the_user_s_own_and_not_of_that_moment() -> None:
    searches = Searches.of([0, 0, 2, 2], [5.0, 9.0, 1.0, 1.0], ["a", "b", "d", "c"])
    asked = [(0, 5.0, None), (0, 5.5, "a"), (0, 99.0, "b"), (1, 99.0, None), (2, 1.5, "d"), (2, 0.5, None)]
    asked += [(3, 7.0, None), (2, np.nan, None), (0, 9.0, "a")]
    users, moments, words = zip(*asked, strict=True)
    assert searches.last_before(np.array(users), np.array(moments)).tolist() == list(words)
    nothing = Searches.of([], [], [])
    assert nothing.last_before(np.array([0]), np.array([1.0])).tolist() == [None]
    assert searches.last_before(np.zeros(0, np.int64), np.zeros(0)).tolist() == []


def test_codes_of_devices_do_not_depend_on_the_order_of_rows() -> None:
    found = []
    for rows in (["web", None, "ios", "web"], ["ios", "web", "web", None]):
        codes = DeviceCodes()
        own = codes.in_order(np.concatenate([codes.codes(pa.array([row], pa.string())) for row in rows]))
        found.append((codes.names, dict(zip(rows, own.tolist(), strict=True))))
    assert found[0] == found[1] == (("ios", "web"), {"web": 1, None: -1, "ios": 0})


def test_a_served_model_takes_the_context_of_a_request(
    knows_hours: FittedRanker, knows_searches: FittedRanker, hours: Asked, searched: Asked
) -> None:
    items = [f"i{place:02d}" for place in (0, 1, 2, 3)]

    def kinds(ranker: FittedRanker, store: Asked, context: Any) -> np.ndarray:
        found = recommend(ranker, pd.DataFrame({"item_ids": [items], "context": [context]}), k=4)["item_ids"][0]
        return store.kinds[[int(item[1:]) for item in found]]

    for moment, kind in (("2023-12-01T08:10:00Z", 0), (pd.Timestamp("2023-12-01T20:10:00Z"), 1)):
        assert (kinds(knows_hours, hours, {"time": moment}) == kind).all()
    assert (kinds(knows_hours, hours, '{"device": " Web "}') == 1).all()
    assert kinds(knows_searches, searched, {"search": f"a {WORDS[5]}!"})[0] == 5
    unknown = recommend(knows_hours, pd.DataFrame({"item_ids": [items]}), k=4)["item_ids"][0]
    assert (kinds(knows_hours, hours, [("device", "web")]) == 1).all(), "Arrow hands maps over as pairs"
    evening = str(int(pd.Timestamp("2023-12-01T20:10:00Z").timestamp()))
    assert (kinds(knows_hours, hours, {"time": evening}) == 1).all()
    for nothing in (None, {}, {"time": None}, " ", "null"):
        frame = pd.DataFrame({"item_ids": [items], "context": [nothing]})
        assert recommend(knows_hours, frame, k=4)["item_ids"][0] == unknown


@pytest.mark.parametrize(
    ("context", "said"),
    [
        ({"hour": 8}, "row 0: context must be a mapping or a JSON object with some of time, market, device, search"),
        ("[1]", "row 0: context must be a mapping"),
        ("{", "row 0: context is no JSON"),
        ({"time": "soon"}, "row 0: context.time must be epoch seconds, dates with a time or None, got 'soon'"),
        ({"time": 1_700_000_000_000}, "row 0: context.time must lie between 1970 and now, in seconds"),
        ({"device": 3}, "row 0: context.device must be a text or None, got 3"),
    ],
)
def test_a_bad_context_is_named(knows_hours: FittedRanker, context: Any, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        recommend(knows_hours, pd.DataFrame({"item_ids": [["i01"]], "context": [context]}))


def test_a_market_of_the_request_takes_the_place_of_the_user_s(hours: Asked) -> None:
    """Users of one market take items of one kind; a second stage that knows markets follows the one of the request."""
    kinds = np.arange(NUM_ITEMS) % 2
    countries = np.array(["gb" if user % 2 else "fr" for user in range(len(hours.wanted))], dtype=object)
    rng = np.random.default_rng(0)
    rows = np.repeat(np.arange(len(countries)), 8)
    items = np.array([2 * rng.permutation(NUM_ITEMS // 2)[:8] + user % 2 for user in range(len(countries))]).ravel()
    times = START + DAY * np.tile(np.arange(8), len(countries)) + rng.random(len(rows))
    data = FitData(
        hours.train.item_ids,
        Interactions.from_rows(rows, items, (len(countries), NUM_ITEMS), times=times),
        user_attributes={"country": countries},
    )
    chosen = with_context("market").model_copy(update={"window_share": 1 / 8})
    ranker = fit_ranker(data, SETTINGS.model_copy(update={"second_stage": chosen}))
    assert ranker.attribute_names.count("country") == 1
    # A history of both kinds says nothing of the market.
    frame = pd.DataFrame(
        {
            "item_ids": [["i00", "i01"]] * 3,
            "attributes": [{"country": "GB"}, {"country": "FR"}, {"country": "FR"}],
            "context": [None, None, {"market": "GB"}],
        }
    )
    found = [kinds[[int(item[1:]) for item in items]].mean() for items in recommend(ranker, frame, k=6)["item_ids"]]
    assert found[0] > 0.7 and found[1] < 0.4
    assert found[2] > found[1] + 0.3


def test_what_a_split_cannot_tell_is_said(searched: Asked) -> None:
    random = {"windows": "random", "epochs": 1}
    config = TrainingConfig(second_stage=with_context("search").model_copy(update=random))
    _, decision, _ = choose_second_stage(searched.train, searched.rest, config, SETTINGS)
    assert "context (search) not kept: search needs searches that are known to come before the lists" in str(decision)
    timeless = [
        Interactions.from_rows(*part.weights.nonzero(), part.shape)
        for part in (searched.train.interactions, searched.rest)
    ]
    config = TrainingConfig(second_stage=with_context("time").model_copy(update=random))
    _, decision, _ = choose_second_stage(
        replace(searched.train, interactions=timeless[0]), timeless[1], config, SETTINGS
    )
    assert "context (time) not kept: validation and windows need interactions with times or devices" in str(decision)


def test_context_needs_a_level_that_sees_it() -> None:
    with pytest.raises(ValueError, match=r"context needs the level feature, model or hybrid.*got context time, search"):
        SecondStageSettings(level="decision", context=("search", "time"))
    assert SecondStageSettings(context=("search", "time", "search")).context == ("time", "search")
