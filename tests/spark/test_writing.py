"""Words for people over tables: a planted store with known texts, changed step by step."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from jobs.write_texts import JOB
from mmrec_lib.contracts import CONTRACTS
from mmrec_lib.embedding.config import EmbeddingConfig
from mmrec_lib.encoders.config import ModelsConfig
from mmrec_lib.generation.config import GenerationConfig
from mmrec_lib.lakehouse.config import StoreConfig
from mmrec_lib.lakehouse.job_tables import JobTables
from mmrec_lib.lakehouse.tables import Lakehouse
from mmrec_lib.writing.run import WritingSettings, write_texts

DAY = date(2026, 3, 1)
NOW = datetime(2026, 3, 1, tzinfo=UTC)
SOURCE = {"updated_at": NOW, "source_path": "x", "source_line": 1, "source_hash": "x"}


class Store:
    def __init__(self, spark: SparkSession, out: Path) -> None:
        self.lakehouse = Lakehouse(spark, StoreConfig(data=str(out / "landing"), out=str(out)), "run-1", NOW)

    def put(self, name: str, *rows: dict[str, Any]) -> None:
        schema = CONTRACTS[name].input_schema
        whole = [tuple({**SOURCE, **row}.get(field.name) for field in schema) for row in rows]
        self.lakehouse.merge(name, self.lakehouse.spark.createDataFrame(whole, schema))

    def write(self, **config: Any) -> dict[str, int]:
        fresh = Lakehouse(self.lakehouse.spark, self.lakehouse.store, "run-2", NOW)
        settings = WritingSettings(
            GenerationConfig(**{"num_ranks": 2, **config}), "brand", ModelsConfig(), EmbeddingConfig()
        )
        return write_texts(JobTables(fresh, JOB.name, reads=JOB.reads, writes=JOB.writes), settings)

    def rows(self, name: str) -> list[Any]:
        fresh = Lakehouse(self.lakehouse.spark, self.lakehouse.store, "run-3", NOW)
        return fresh.read(name).orderBy(*CONTRACTS[name].key).collect()


def topk(user: str, rank: int, item: str, because: list[str] | None = None) -> dict[str, Any]:
    return {
        "as_of_date": DAY,
        "user_id": user,
        "rank": rank,
        "item_id": item,
        "score": 1.0 / rank,
        "source_shares": {},
        "because_item_ids": because,
        "model_version": "1",
    }


def review(number: int, item: str, polarity: float) -> tuple[dict[str, Any], dict[str, Any]]:
    aspects = [(name, "positive", polarity, "a clause") for name in ("plot", "plot promises")]
    opinion = {
        "review_id": f"r{number}",
        "encoder_id": "store",
        "revision": "1",
        "sentiment": "positive",
        "rating": 4.0,
        "rating_source": "given",
        "aspects": aspects,
    }
    return {"review_id": f"r{number}", "item_id": item, "user_id": "u", "review_ts": NOW}, opinion


@pytest.mark.slow
def test_texts_follow_lists_items_and_people(spark: SparkSession, tmp_path: Path) -> None:
    store = Store(spark, tmp_path)
    item = {"available": True, "description": "A text."}
    alien, dune = {**item, "item_id": "a", "title": "Alien"}, {**item, "item_id": "b", "title": "Dune"}
    plain = {**item, "item_id": "c", "categories": ["Maps"], "description": None}
    store.put("item", alien, dune, plain, {**item, "item_id": "d", "description": " "})
    store.put("user", *({"user_id": user, "is_declared": True} for user in "uvw"))
    profile = {"num_events": 0, "event_counts": {}, "history": [], "seen_item_ids": []}
    store.put(
        "user_profile",
        *({**profile, "user_id": user, "attributes": {"language": "fr"} if user == "v" else None} for user in "uvw"),
    )
    store.put(
        "user_topk",
        topk("u", 1, "b", ["a"]),
        topk("u", 2, "d"),
        topk("v", 1, "b"),
        topk("v", 3, "c"),
        topk("w", 1, "c"),
    )
    store.put("current_slice", {"table_name": "user_topk", "as_of_date": DAY, "model_version": "1"})
    reviews = [review(number, "b", 0.9 if number < 4 else -0.9) for number in range(5)]
    store.put("review", *(one for one, _ in reviews))
    store.put("review_opinion", *(one for _, one in reviews))

    assert store.write() == {
        "users": 3, "written": 3, "texts": 3, "model": 0, "no_facts": 1, "out_of_bounds": 0, "descriptions": 1,
    }  # fmt: skip
    told = {(row["user_id"], row["item_id"]): row["text"] for row in store.rows("recommendation_text")}
    assert set(told) == {("u", "b"), ("u", "d"), ("v", "b"), ("w", "c")}
    assert not any("promises" in text for text in told.values() if text), "no thing"
    assert "“Alien”" in told["u", "b"] and "4" in told["u", "b"] and "“plot”" in told["u", "b"]
    assert "« plot »" in told["v", "b"] and told["u", "d"] is None
    (described,) = store.rows("generated_description")
    assert (described["item_id"], described["source"]) == ("c", "template") and "“Maps”" in described["text"]

    versions = {name: store.lakehouse.data_version(name) for name in JOB.writes}
    assert store.write()["written"] == 0, "nothing new"
    fresh = Lakehouse(spark, store.lakehouse.store, "run-4", NOW)
    assert {name: fresh.data_version(name) for name in JOB.writes} == versions

    store.put("item", {**alien, "title": "Alien II"})
    assert store.write()["written"] == 1, "only who is told of it"
    gone = store.lakehouse.read("user").where("user_id = 'w'")
    store.lakehouse.merge("user", gone.limit(0).select(*CONTRACTS["user"].content_columns), delete_keys=gone)
    assert store.write() | {"descriptions": 0} == {
        "users": 2, "written": 0, "texts": 0, "model": 0, "no_facts": 0, "out_of_bounds": 0, "descriptions": 0,
    }  # fmt: skip
    assert {row["user_id"] for row in store.rows("recommendation_text")} == {"u", "v"}
    assert store.write(num_ranks=0) == {}
    assert store.rows("recommendation_text") == store.rows("generated_description") == []
