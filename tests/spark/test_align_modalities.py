"""The joint space over tables: rows, maps, metrics and findings; a ranker that is trained takes it along."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql import DataFrame, SparkSession

from jobs.align_modalities import JOB
from mmrec_lib.contracts import CONTRACTS
from mmrec_lib.features.load import load_snapshot
from mmrec_lib.lakehouse.arrow_tables import arrow_schema
from mmrec_lib.lakehouse.config import StoreConfig
from mmrec_lib.lakehouse.tables import Lakehouse
from mmrec_lib.models.alignment.config import AlignmentConfig
from mmrec_lib.models.data import FitData
from mmrec_lib.publishing.shown_findings import shown_findings, shown_recalls
from mmrec_lib.training.alignment import align_modalities
from tests.unit.models.test_alignment import NUM_ITEMS, NUM_USERS, WRONG, catalogue

NOW = datetime(2026, 3, 1, tzinfo=UTC)
BEFORE = datetime(2026, 1, 1, tzinfo=UTC)
SNAPSHOT = "s1"
pytestmark = pytest.mark.slow
Rows = Mapping[str, list[dict[str, Any]]]


class Planted(Lakehouse):
    """A store whose inputs are frames of the test; what the job writes is written."""

    def __init__(self, spark: SparkSession, out: Path, frames: Mapping[str, DataFrame]) -> None:
        super().__init__(spark, StoreConfig(data=str(out / "landing"), out=str(out)), "run-1", NOW)
        self._frames = frames

    def read(self, name: str, version: int | None = None) -> DataFrame:
        return super().read(name, version) if name in JOB.writes else self._frames[name]

    def rows(self, name: str) -> list[Any]:
        return self.read(name).orderBy(*CONTRACTS[name].key).collect()


def inputs(data: FitData) -> Rows:
    """The tables of a snapshot that holds the planted items: every user's items are train."""
    ids = data.item_ids.tolist()
    users, items = data.interactions.weights.nonzero()
    train = [
        {"user_id": f"u{user:03d}", "item_id": ids[item], "train_weight": 1.0, "train_ts": BEFORE}
        for user, item in zip(users.tolist(), items.tolist(), strict=True)
    ]
    content = [
        {"fit": "all", "feature": name, "item_id": item_id, "vector": vector}
        for name, block in data.contents.items()
        for item_id, vector in zip(ids, np.asarray(block.matrix).tolist(), strict=True)
    ]
    prices = np.exp(np.random.default_rng(0).normal(3, 0.2, NUM_ITEMS))
    prices[17] = 9_000.0
    about = {"source_path": "x", "source_line": 1, "source_hash": "x", "updated_at": NOW, "available": True}
    return {
        "training_snapshot": [
            {"as_of_date": date(2026, 3, 1), "split_source": "by_time", "table_versions": {}, "is_current": True}
            | {"valid_from_ts": NOW, "test_from_ts": NOW, "num_users": 1, "num_items": 1, "num_interactions": 1}
        ],
        "training_interaction": train,
        "training_content": content,
        "training_item": [{"item_id": item_id} for item_id in ids],
        "training_user": [{"user_id": f"u{user:03d}"} for user in range(NUM_USERS)],
        "user": [{"user_id": f"u{user:03d}", "is_declared": True, **about} for user in range(NUM_USERS)],
        "item": [
            {"item_id": item_id, "title": f"Thing {item_id}", "categories": ["Things"], "price": float(price), **about}
            for item_id, price in zip(ids, prices, strict=True)
        ],
    }


def store(spark: SparkSession, out: Path, rows: Rows) -> Planted:
    frames: dict[str, DataFrame] = {}
    planted = Planted(spark, out, frames)
    for name, of_table in rows.items():
        schema = arrow_schema(CONTRACTS[name].input_schema)
        table = pa.Table.from_pylist([{"snapshot_id": SNAPSHOT, **row} for row in of_table], schema=schema)
        frames[name] = planted.from_arrow(table, CONTRACTS[name])
    return planted


@pytest.mark.slow
def test_a_joint_space_and_findings_are_written_and_read_and_go(spark: SparkSession, tmp_path: Path) -> None:
    planted = store(spark, tmp_path, inputs(catalogue(wrong=WRONG)))
    assert align_modalities(planted, AlignmentConfig())[0] == {}
    assert not any(planted.exists(name) for name in JOB.writes)

    counts, message = align_modalities(planted, AlignmentConfig(method="cca", dim=16, find_contradictions=True))
    assert (counts["items"], counts["aligned"], counts["finding.price"]) == (NUM_ITEMS, NUM_ITEMS, 1)
    assert "joint space by cca, 600 items; recall@10 on unseen items: image to text " in message
    vectors = planted.rows("aligned_embedding")
    assert {row["modality"] for row in vectors} == {"all", "image", "text"}
    assert len(vectors) == 3 * NUM_ITEMS
    lengths = np.linalg.norm(np.array([row["vector"] for row in vectors]), axis=1)
    np.testing.assert_allclose(lengths, 1, atol=1e-5)
    findings = {(row["kind"], row["item_id"]): row for row in planted.rows("content_finding")}
    assert findings["price", "i017"]["against"] == "Things"
    assert sum(("modality", f"i{item:03d}") in findings for item in WRONG) >= 5

    snapshot = load_snapshot(planted)
    assert snapshot.aligner is not None
    assert "aligned:cca" in snapshot.fit_data("fit1").contents
    assert snapshot.data_hash != replace(snapshot, aligner=None).data_hash, "a fit with the space is another fit"
    of_table = np.array([row["vector"] for row in vectors if row["modality"] == "all"], dtype=np.float32)
    np.testing.assert_allclose(snapshot.fit_data("fit3").contents["aligned:cca"].matrix, of_table, atol=1e-6)

    numbers, shown = shown_findings(planted, 2)
    assert numbers["price"] == 1
    assert [one.score for one in shown if one.kind == "modality"] == sorted(
        (one.score for one in shown if one.kind == "modality"), key=abs, reverse=True
    )
    assert {one.k for one in shown_recalls(planted)} == {1, 5, 10}

    assert align_modalities(planted, AlignmentConfig())[0] == {}
    assert not any(planted.rows(name) for name in JOB.writes), "not asked for any more"
