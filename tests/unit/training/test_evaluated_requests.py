"""Lists for requests: what they know, how a user counts, and that a context that says something is seen to say it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime

import numpy as np
import pytest
from scipy import sparse

from mmrec_lib.errors import ModelError
from mmrec_lib.evaluation.config import EvaluationConfig
from mmrec_lib.evaluation.evaluate import relevant_of_some
from mmrec_lib.evaluation.requests import request_values, top_lists
from mmrec_lib.evaluation.rows import MetricRow
from mmrec_lib.features.interactions import Cuts
from mmrec_lib.features.load import Snapshot
from mmrec_lib.models.data import FitData, Floats, Histories, Interactions
from mmrec_lib.models.ranker.fit import fit_ranker
from mmrec_lib.models.ranker.ranker import FittedRanker
from mmrec_lib.models.request_context import Searches
from mmrec_lib.models.second_stage.context import hour_codes
from mmrec_lib.training.config import PromotionConfig
from mmrec_lib.training.evaluate import _logged, with_first_stage
from mmrec_lib.training.evaluate_requests import evaluate_requests, request_rows
from mmrec_lib.training.gate import gate_values
from mmrec_lib.training.parts import evaluate_part
from tests.unit.models.asked import HOUR, NUM_USERS, START, Asked, by_hour
from tests.unit.models.checkerboard import SETTINGS
from tests.unit.models.test_request_context import with_context

# MLflow warns about type hints of its own modules when they are first imported.
pytestmark = pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning")
SECOND = 1 / np.log2(3)
"""Gain of a hit on the second place."""
HALF_FOUND = 1 / (1 + SECOND)
"""nDCG of one hit on the first place of two that there could be."""
Known = tuple[int, str | None, str | None]
"""Hour, device and last search as a list knows them; -1 and None where it does not."""


@dataclass(frozen=True)
class Told:
    """Lists by what is known of a request; anything else that it might know is an error."""

    lists: Mapping[Known, tuple[int, ...]]

    def score(self, histories: Histories) -> Floats:
        context = histories.context
        assert context is not None
        scores = np.zeros(histories.weights.shape, dtype=np.float32)
        for row, hour in enumerate(hour_codes(context.times).tolist()):
            for place, item in enumerate(self.lists[hour, context.devices[row], context.searches[row]]):
                scores[row, item] = 10 - place
        return scores


def at(hour: float) -> float:
    return START + hour * HOUR


TRAIN = FitData(
    np.array(["seen", "a", "b", "c", "d", "e"]),
    Interactions.from_rows([0, 1], [0, 0], (3, 6), times=[at(-2), at(-2)], devices=np.array([0, 0])),
    cut_ts=at(0),
    searches=Searches.of([0], [at(-1)], ["old"]),
    device_names=("phone", "web"),
)
"""Two users who took the first item, and one without history."""
LATER = Interactions.from_rows(
    [0, 0, 0, 0, 1, 2],
    [3, 4, 5, 0, 2, 1],
    (3, 6),
    times=[at(8), at(8.5), at(20), at(20.5), at(9), at(9)],
    devices=np.array([0, 0, 1, 1, 0, 0]),
)
"""The first user takes c and d within an hour, e in the evening with the seen item; the second one b."""
SEARCHES = Searches.of(
    [0, 0, 0, 1, 1, 1],
    [at(-1), at(12), at(21), at(8.9), at(9), at(9.1)],
    ["old", "noon", "late", "before", "at once", "after"],
)
MODELS = {
    "ranker": Told(
        {
            (8, "phone", "old"): (3, 1),
            (20, "web", "noon"): (0, 1, 5),
            (9, "phone", "before"): (2, 1),
            (-1, None, "old"): (1, 2),
            (-1, None, None): (1, 2),
        }
    ),
    "first_stage": Told({(-1, None, "old"): (3, 2), (-1, None, None): (3, 2)}),
}
CONFIG = EvaluationConfig(ks=(1, 2), num_bootstrap=100)


def by_key(rows: list[MetricRow]) -> dict[tuple[str, str], MetricRow]:
    assert {row.segment for row in rows} <= {"requests"}
    return {(row.model, row.name): row for row in rows}


def test_a_request_knows_what_was_before_it_and_a_user_counts_once() -> None:
    rows = by_key(request_rows(TRAIN, LATER, SEARCHES, MODELS, CONFIG))
    assert {name for _, name in rows} == {"ndcg@1", "ndcg@2", "recall@1", "recall@2"}
    expected = {
        # The first user's requests find one of two on the first place, and all on the second.
        ("ranker", "ndcg@2"): ((HALF_FOUND + SECOND) / 2 + 1) / 2,
        ("ranker", "recall@2"): (0.75 + 1) / 2,
        ("without_context", "ndcg@2"): SECOND / 2,
        ("without_context", "recall@2"): 0.5,
        ("first_stage", "ndcg@2"): (HALF_FOUND / 2 + SECOND) / 2,
        ("first_stage", "recall@1"): (0.5 / 2 + 0) / 2,
    }
    for key, value in expected.items():
        assert rows[key].value == pytest.approx(value), key
    assert {row.num_users for row in rows.values()} == {2}, "nobody without history"
    own = rows["ranker", "ndcg@2"]
    assert own.diff is None and own.p_value is None
    for model in ("without_context", "first_stage"):
        row = rows[model, "ndcg@2"]
        assert row.diff == pytest.approx(own.value - row.value)
        assert row.diff_low is not None and row.diff_high is not None and row.diff_low <= row.diff <= row.diff_high
        assert (row.p_value, row.p_adjusted) == (0.5, 1.0), "two of four ways to set two signs, for two models"


def test_without_searches_that_follow_the_fit_a_request_knows_the_last_one_before_it() -> None:
    told = {**MODELS["ranker"].lists, (20, "web", "old"): (5,), (9, "phone", None): (5,)}
    rows = by_key(request_rows(TRAIN, LATER, None, {**MODELS, "ranker": Told(told)}, CONFIG))
    assert rows["ranker", "ndcg@1"].value == pytest.approx((1 + 1) / 2 / 2)


def test_the_users_are_a_sample_of_those_that_are_evaluated_and_the_same_each_time() -> None:
    some = CONFIG.model_copy(update={"max_users": 1})
    later = LATER.where(np.array([True] * 5 + [False]))
    (user,) = np.flatnonzero(np.diff(relevant_of_some(later.weights, TRAIN.interactions.weights, 1, seed=0).indptr))
    rows = request_rows(TRAIN, later, SEARCHES, MODELS, some)
    assert {row.num_users for row in rows} == {1}
    alone = ((HALF_FOUND + SECOND) / 2, 1.0)[user]
    assert by_key(rows)["ranker", "ndcg@2"].value == pytest.approx(alone)
    assert request_rows(TRAIN, later, SEARCHES, MODELS, some) == rows


def test_where_nothing_is_known_of_a_request_there_is_none() -> None:
    timeless = Interactions.from_rows([0, 1], [3, 2], (3, 6))
    assert request_rows(TRAIN, timeless, SEARCHES, MODELS, CONFIG) == []
    of_new_users = LATER.where(np.array([False] * 5 + [True]))
    assert request_rows(TRAIN, of_new_users, SEARCHES, MODELS, CONFIG) == []


def test_scores_of_another_shape_are_refused() -> None:
    class Short:
        def score(self, histories: Histories) -> Floats:
            return np.zeros((len(histories), 2), dtype=np.float32)

    with pytest.raises(ModelError, match=r"requests: scores must be \(3, 6\), got \(3, 2\)"):
        top_lists(Short(), TRAIN.histories(), TRAIN.interactions.weights, 2, block=8)


@pytest.fixture(scope="module")
def hours() -> Asked:
    return by_hour()


@pytest.fixture(scope="module")
def snapshot(hours: Asked) -> Snapshot:
    """All rounds but the last, and the last one as the validation part."""
    return Snapshot(
        snapshot_id="s1",
        cuts=Cuts(date(2024, 1, 1), "by_time", datetime.fromtimestamp(hours.train.cut_ts, UTC), None),
        user_ids=np.array([f"u{number:03d}" for number in range(NUM_USERS)]),
        item_ids=hours.train.item_ids,
        is_available=np.ones(len(hours.train.item_ids), dtype=np.bool_),
        parts={"train": hours.train.interactions, "valid": hours.rest},
        contents={},
        user_attributes={},
        device_names=hours.train.device_names,
    )


@pytest.fixture(scope="module")
def ranker(hours: Asked) -> FittedRanker:
    second_stage = with_context("time").model_copy(update={"epochs": 6})
    settings = SETTINGS.model_copy(update={"second_stage": second_stage})
    return fit_ranker(hours.train, settings)


def test_taste_that_follows_the_hour_is_measured_on_requests(snapshot: Snapshot, ranker: FittedRanker) -> None:
    config = EvaluationConfig(num_bootstrap=100)
    models = with_first_stage({"ranker": ranker})
    rows = by_key(evaluate_requests(snapshot, "fit1", "valid", ranker, models, config))
    assert {name for _, name in rows} == {"ndcg@10", "ndcg@20", "recall@10", "recall@20"}
    assert {row.num_users for row in rows.values()} == {NUM_USERS}
    for model in ("without_context", "first_stage"):
        row = rows[model, "ndcg@10"]
        assert row.diff is not None and row.diff > 0.05, "half of the items are those of the hour"
        assert row.diff_low is not None and row.diff_low > 0
        assert row.p_adjusted is not None and row.p_adjusted < 0.05
    # Everybody turned to one item at one time here, so that lists without context are those that are evaluated anyway.
    lists = evaluate_part(snapshot, "fit1", "valid", models, config)
    of_warm = {(row.model, row.name): row.value for row in lists if row.segment == "warm"}
    for name in ("ndcg@10", "recall@20"):
        assert rows["without_context", name].value == pytest.approx(of_warm["ranker", name])
        assert rows["first_stage", name].value == pytest.approx(of_warm["first_stage", name])


def test_a_ranker_to_which_a_request_tells_nothing_has_no_rows(snapshot: Snapshot, ranker: FittedRanker) -> None:
    second_stage = ranker.second_stage
    assert second_stage is not None and second_stage.signals.context is not None
    market = replace(second_stage.signals.context, kinds=("market",))
    for other in (
        None,
        replace(second_stage, signals=replace(second_stage.signals, context=None)),
        replace(second_stage, signals=replace(second_stage.signals, context=market)),
    ):
        silent = replace(ranker, second_stage=other)
        # Without a model that could be scored: it costs nothing.
        assert evaluate_requests(snapshot, "fit1", "valid", silent, {}, CONFIG) == []


ROWS = [
    MetricRow("ranker", "all", "ndcg", 10, 0.3, 0.2, 0.4, num_users=9),
    MetricRow("popularity", "all", "ndcg", 10, 0.1, 0.0, 0.2, 0.2, 0.1, 0.3, 9, 0.01, 0.02),
    MetricRow("ranker", "requests", "ndcg", 10, 0.2, 0.1, 0.3, num_users=7),
    MetricRow("without_context", "requests", "ndcg", 10, 0.15, 0.1, 0.2, 0.05, 0.01, 0.09, 7, 0.01, 0.02),
    MetricRow("first_stage", "requests", "ndcg", 10, 0.25, 0.1, 0.3, -0.05, -0.1, -0.01, 7, 0.01, 0.02),
]


def test_the_run_has_them_and_the_gate_does_not_look_at_them() -> None:
    assert dict(_logged(ROWS)) == {
        "all.ndcg@10": 0.3,
        "all.ndcg@10.ci_low": 0.2,
        "all.ndcg@10.ci_high": 0.4,
        "all.ndcg@10.minus_best": 0.2,
        "all.ndcg@10.minus_best.p_adjusted": 0.02,
        "requests.ndcg@10": 0.2,
        "requests.ndcg@10.ci_low": 0.1,
        "requests.ndcg@10.ci_high": 0.3,
        "requests.ndcg@10.minus_without_context": 0.05,
        "requests.ndcg@10.minus_first_stage": -0.05,
    }
    values = gate_values(ROWS, PromotionConfig())
    assert {name: own.value for name, own in values.items()} == {"ranker": 0.3, "popularity": 0.1}
    assert gate_values(reversed(ROWS), PromotionConfig()) == values


def test_requests_without_a_user_are_refused() -> None:
    lists = {"ranker": np.zeros((2, 1), np.int32)}
    with pytest.raises(ModelError, match="users must be 2, one a request, got 1"):
        request_values(lists, np.array([7]), sparse.csr_matrix(np.ones((2, 3))), (1,))


def test_requests_are_bounded_by_the_users_that_evaluation_looks_at() -> None:
    """The first user alone has two requests, of which a list finds half and all on two places."""
    alone = LATER.where(np.arange(LATER.weights.nnz) < 4)
    both, one = (
        by_key(request_rows(TRAIN, alone, SEARCHES, MODELS, CONFIG.model_copy(update={"max_users": bound})))
        for bound in (9, 1)
    )
    assert both["ranker", "recall@2"].value == 0.75
    assert one["ranker", "recall@2"].value in (0.5, 1.0)
