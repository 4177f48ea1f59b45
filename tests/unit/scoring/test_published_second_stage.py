from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np
import pyarrow as pa
import pytest

from mmrec_lib.models.ranker.fit import fit_ranker
from mmrec_lib.models.ranker.ranker import FittedRanker
from mmrec_lib.reranking.config import RerankingConfig
from mmrec_lib.reranking.facts import ItemFacts
from mmrec_lib.scoring.arrow_lists import lists_of_rows
from mmrec_lib.scoring.catalogue import Catalogue
from mmrec_lib.scoring.config import ListConfig
from mmrec_lib.scoring.users import score_batch
from mmrec_lib.showing.build import build_rules
from mmrec_lib.showing.config import ShowingConfig
from tests.unit.models.checkerboard import SETTINGS
from tests.unit.models.circle import NUM_ITEMS, Circle, circle
from tests.unit.models.test_ranker_second_stage import SMALL
from tests.unit.scoring.test_users import MAP, rules_of

USERS = 20


@pytest.fixture(scope="module")
def store() -> Circle:
    return circle()


@pytest.fixture(scope="module")
def catalogue(store: Circle) -> Catalogue:
    """The items of the fit and one that came after it, all of them available but the fourth."""
    short = SMALL.model_copy(update={"epochs": 10})
    ranker = fit_ranker(store.train, SETTINGS.model_copy(update={"second_stage": short}))
    ids = np.array([*ranker.item_ids, "zz-late"])
    vectors = np.vstack([ranker.item_vectors(), ranker.item_vectors()[7:8] * 1.2]).astype(np.float32)
    return Catalogue(ranker, ids, vectors, rules_of(ids))


def batch_of(store: Circle, ranker: FittedRanker) -> pa.RecordBatch:
    own, times = (matrix[:USERS] for matrix in (store.train.interactions.weights, store.train.interactions.times))
    lengths = np.diff(own.indptr)
    items = lists_of_rows(pa.array(ranker.item_ids[own.indices], pa.string()), lengths)
    return pa.RecordBatch.from_pydict(
        {
            "user_id": [f"u{row}" for row in range(USERS)],
            "attributes": pa.array([None] * USERS, MAP),
            "history_items": items,
            "history_weights": lists_of_rows(pa.array(own.data.astype(np.float64)), lengths),
            "history_times": lists_of_rows(pa.array(times.data), lengths),
            "seen_item_ids": items,
            "input_hash": pa.array(range(USERS), pa.int64()),
            "seed": pa.array(range(USERS), pa.int64()),
        }
    )


@pytest.mark.parametrize("k", [1, 5, 12, 30])
def test_published_lists_are_those_of_the_model(store: Circle, catalogue: Catalogue, k: int) -> None:
    ranker, ids = catalogue.ranker, catalogue.ranker.item_ids
    everything = build_rules(
        pa.table(
            {
                "item_id": ids,
                "available": [True] * len(ids),
                "categories": [["all"]] * len(ids),
                "attributes": pa.array([None] * len(ids), MAP),
            }
        ),
        ShowingConfig(),
        date(2026, 1, 1),
        {},
        soft_controls={},
    )
    catalogue = Catalogue(ranker, ids, ranker.item_vectors(), everything)
    rows = score_batch(batch_of(store, ranker), catalogue, ListConfig(k=k), RerankingConfig()).to_pylist()
    histories = store.train.histories().rows(np.arange(USERS))
    scores = ranker.score(histories)
    scores[np.repeat(np.arange(USERS), np.diff(histories.weights.indptr)), histories.weights.indices] = -np.inf
    plain = score_batch(
        batch_of(store, ranker),
        replace(catalogue, ranker=replace(ranker, second_stage=None)),
        ListConfig(k=k),
        RerankingConfig(),
    ).to_pylist()
    assert [row["item_ids"] for row in rows] != [row["item_ids"] for row in plain]
    for row, own in zip(rows, scores, strict=True):
        best = [place for place in np.argsort(-own, kind="stable")[:k] if np.isfinite(own[place])]
        assert row["item_ids"] == ids[best].tolist()
        np.testing.assert_allclose(row["scores"], own[best], atol=1e-4)


def test_shares_add_up_and_name_the_second_stage(store: Circle, catalogue: Catalogue) -> None:
    config = ListConfig(k=NUM_ITEMS, explained_ranks=NUM_ITEMS)
    rows = score_batch(batch_of(store, catalogue.ranker), catalogue, config, RerankingConfig()).to_pylist()
    late = 0
    for row in rows:
        for item, shares, score in zip(row["item_ids"], row["shares"], row["scores"], strict=True):
            assert sum(dict(shares).values()) == pytest.approx(score, abs=1e-5)
            if item == "zz-late":
                late += 1
                assert {name for name, value in shares if abs(value) > 1e-6} <= {"content", "residual"}
    assert late
    assert any(abs(dict(row["shares"][0]).get("second_stage", 0.0)) > 0.01 for row in rows)


def test_a_user_s_row_does_not_depend_on_who_else_is_scored(store: Circle, catalogue: Catalogue) -> None:
    batch = batch_of(store, catalogue.ranker)
    whole = score_batch(batch, catalogue, ListConfig(k=4), RerankingConfig()).to_pylist()
    for start, size in ((0, 1), (3, 2), (5, 7), (1, USERS - 1)):
        part = score_batch(batch.slice(start, size), catalogue, ListConfig(k=4), RerankingConfig()).to_pylist()
        assert part == whole[start : start + size]


def test_what_came_last_decides_not_what_stands_first(store: Circle, catalogue: Catalogue) -> None:
    batch = batch_of(store, catalogue.ranker)
    whole = score_batch(batch, catalogue, ListConfig(k=4), RerankingConfig()).to_pylist()
    turned = batch.set_column(
        batch.schema.names.index("history_times"),
        "history_times",
        pa.array([[3.4e9 - seconds for seconds in own] for own in batch["history_times"].to_pylist()]),
    )
    other = score_batch(turned, catalogue, ListConfig(k=4), RerankingConfig()).to_pylist()
    assert [row["item_ids"] for row in other] != [row["item_ids"] for row in whole]


def test_steps_after_it_see_its_order(store: Circle, catalogue: Catalogue) -> None:
    facts = ItemFacts.of(len(catalogue.item_ids), is_new=np.zeros(len(catalogue.item_ids), np.bool_))
    shop, batch = replace(catalogue, facts=facts), batch_of(store, catalogue.ranker)
    reranking = RerankingConfig.model_validate({"exploration": {"slots": [4], "epsilon": 0.5}})
    plain = score_batch(batch, catalogue, ListConfig(k=4), RerankingConfig()).to_pylist()
    for row, undisturbed in zip(score_batch(batch, shop, ListConfig(k=4), reranking).to_pylist(), plain, strict=True):
        assert row["item_ids"] == undisturbed["item_ids"], "there is no new item to explore"
