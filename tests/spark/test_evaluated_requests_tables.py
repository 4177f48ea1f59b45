"""Requests from events to `model_metric`, and past the gate, in a store whose tastes follow the hour."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from pyspark.sql import SparkSession

from mmrec_lib.features.assemble import assemble
from mmrec_lib.features.config import FeaturesConfig
from mmrec_lib.ingest.config import DEFAULT_EVENT_TYPES
from mmrec_lib.models.config import TrainingConfig
from mmrec_lib.models.second_stage_settings import SecondStageSettings
from mmrec_lib.training.config import PromotionConfig
from mmrec_lib.training.evaluate import evaluate_candidate
from mmrec_lib.training.promote import promote
from mmrec_lib.training.train import train
from tests.spark.test_people import EVALUATION, START, Store, new_store

NUM_USERS, NUM_ITEMS, NUM_ROUNDS = 60, 48, 20
pytestmark = pytest.mark.slow


def fill(store: Store) -> None:
    """Once a day each user takes an unseen item: an even one at 8 o'clock or an odd one at 20, which is chance."""
    rng = np.random.default_rng(0)
    store.put("item", [{"item_id": f"i{n:02d}", "available": True, "updated_at": START} for n in range(NUM_ITEMS)])
    users = [f"u{n:02d}" for n in range(NUM_USERS)]
    store.put("user", [{"user_id": user, "updated_at": START, "is_declared": True} for user in users])
    events: list[dict[str, object]] = []
    for user in users:
        orders = [rng.permutation(np.arange(kind, NUM_ITEMS, 2)).tolist() for kind in range(2)]
        for number, kind in enumerate(rng.integers(2, size=NUM_ROUNDS).tolist()):
            when = START + timedelta(days=number, hours=8 + 12 * kind, minutes=float(60 * rng.random()))
            event = {"event_id": f"{user}-{number}", "user_id": user, "item_id": f"i{orders[kind].pop():02d}"}
            events.append({**event, "event_type": "view", "event_ts": when})
    store.put("event", events)
    store.lakehouse.ensure("owner_text")


def test_every_evaluated_fit_has_rows_of_requests_and_the_gate_passes_it(spark: SparkSession, tmp_path: Path) -> None:
    store = new_store(spark, tmp_path)
    fill(store)
    second_stage = SecondStageSettings(
        context=("time",), num_candidates=NUM_ITEMS, epochs=12, learning_rate=1e-2, attention_dim=4, hidden_dim=8
    )
    config = TrainingConfig(sources=("graph_filter",), dims=(16,), max_groups=4, heads=None, second_stage=second_stage)
    assemble(store.lakehouse, FeaturesConfig(), DEFAULT_EVENT_TYPES, None, refit_on_valid=True, context=("time",))
    assert "context (time) kept" in train(store.lakehouse, store.registry, config)[1]
    evaluate_candidate(store.lakehouse, store.registry, EVALUATION, PromotionConfig())
    rows = [row for row in store.rows("model_metric") if row["segment"] == "requests"]
    assert {(row["metric"], row["k"]) for row in rows} == {("ndcg", 10), ("recall", 10)}
    by_model = {(row["fit"], row["part"], row["model"]): row for row in rows if row["metric"] == "ndcg"}
    parts = [("fit1", "valid"), ("fit1", "test"), ("fit2", "test")]
    models = ("ranker", "without_context", "first_stage")
    assert set(by_model) == {(*part, model) for part in parts for model in models}
    for part in parts:
        assert by_model[*part, "without_context"]["diff_low"] > 0, part
    message = promote(store.lakehouse, store.registry, PromotionConfig())[1]
    assert "promoted: the first version" in message and "without_context" not in message
