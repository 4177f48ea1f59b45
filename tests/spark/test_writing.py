"""Words for people over tables: a planted store with known texts, changed step by step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession

from jobs.write_texts import JOB
from mmrec_lib.contracts import CONTRACTS
from mmrec_lib.embedding.config import EmbeddingConfig
from mmrec_lib.encoders.config import ModelsConfig
from mmrec_lib.generation.config import GenerationConfig
from mmrec_lib.lakehouse.config import StoreConfig
from mmrec_lib.lakehouse.tables import Lakehouse
from mmrec_lib.writing.run import WritingSettings, write_texts

pytestmark = pytest.mark.slow

DAY = date(2026, 3, 1)
NOW = datetime(2026, 3, 1, tzinfo=UTC)
SOURCE = {"updated_at": NOW, "source_path": "x", "source_line": 1, "source_hash": "x"}


class Planted(Lakehouse):
    """A store whose inputs are rows of the test; what the job writes is written."""

    def __init__(
        self, spark: SparkSession, out: Path, number: int, rows: Mapping[str, Sequence[dict[str, Any]]]
    ) -> None:
        super().__init__(spark, StoreConfig(data=str(out / "landing"), out=str(out)), f"run-{number}", NOW)
        self._rows = rows

    def read(self, name: str, version: int | None = None) -> DataFrame:
        if name in JOB.writes:
            return super().read(name, version)
        schema = CONTRACTS[name].input_schema
        whole = [tuple({**SOURCE, **row}.get(field.name) for field in schema) for row in self._rows.get(name, ())]
        return self.spark.createDataFrame(whole, schema)


@dataclass
class Shop:
    spark: SparkSession
    out: Path
    rows: dict[str, list[dict[str, Any]]]
    num_runs: int = 0

    def fresh(self) -> Planted:
        self.num_runs += 1
        return Planted(self.spark, self.out, self.num_runs, self.rows)

    def write(self, **config: Any) -> dict[str, int]:
        generation = GenerationConfig(**{"num_ranks": 2, **config})
        settings = WritingSettings(generation, "brand", ModelsConfig(), EmbeddingConfig())
        return write_texts(self.fresh(), settings)

    def written(self, name: str) -> list[Any]:
        return self.fresh().read(name).orderBy(*CONTRACTS[name].key).collect()


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


def test_texts_follow_lists_items_and_people(spark: SparkSession, tmp_path: Path) -> None:
    item = {"available": True, "description": "A text."}
    profile = {"num_events": 0, "event_counts": {}, "history": [], "seen_item_ids": []}
    languages = {"u": None, "v": {"language": "fr"}, "w": None}
    reviews = [review(number, "b", 0.9 if number < 4 else -0.9) for number in range(5)]
    shop = Shop(
        spark,
        tmp_path,
        {
            "item": [
                {**item, "item_id": "a", "title": "Alien"},
                {**item, "item_id": "b", "title": "Dune"},
                {**item, "item_id": "c", "categories": ["Maps"], "description": None},
                {**item, "item_id": "d", "description": " "},
            ],
            "user": [{"user_id": user, "is_declared": True} for user in languages],
            "user_profile": [{**profile, "user_id": user, "attributes": known} for user, known in languages.items()],
            "user_topk": [
                topk("u", 1, "b", ["a"]),
                topk("u", 2, "d"),
                topk("v", 1, "b"),
                topk("v", 3, "c"),
                topk("w", 1, "c"),
            ],
            "current_slice": [{"table_name": "user_topk", "as_of_date": DAY, "model_version": "1"}],
            "review": [one for one, _ in reviews],
            "review_opinion": [one for _, one in reviews],
        },
    )
    nothing = {"texts": 0, "model": 0, "no_facts": 0, "out_of_bounds": 0, "descriptions": 1}
    assert shop.write() == {**nothing, "users": 3, "written": 3, "texts": 3, "no_facts": 1}
    told = {(row["user_id"], row["item_id"]): row["text"] for row in shop.written("recommendation_text")}
    assert set(told) == {("u", "b"), ("u", "d"), ("v", "b"), ("w", "c")}
    assert all(word in told["u", "b"] for word in ("“Alien”", "4", "“plot”"))
    assert "« plot »" in told["v", "b"] and told["u", "d"] is None
    assert not any("promises" in text for text in told.values() if text), "no thing"
    (described,) = shop.written("generated_description")
    assert (described["item_id"], described["source"]) == ("c", "template") and "“Maps”" in described["text"]

    versions = shop.fresh().data_versions(JOB.writes)
    assert shop.write() == {**nothing, "users": 3, "written": 0}, "nothing new"
    assert shop.fresh().data_versions(JOB.writes) == versions

    shop.rows["item"][0]["title"] = "Alien II"
    shop.rows["user"].pop()
    assert shop.write() == {**nothing, "users": 2, "written": 1, "texts": 1, "no_facts": 1}, "who is told of it"
    rows = {(row["user_id"], row["item_id"]): row["text"] for row in shop.written("recommendation_text")}
    assert set(rows) == {("u", "b"), ("u", "d"), ("v", "b")} and "“Alien II”" in rows["u", "b"]
    assert shop.write(num_ranks=0) == {}
    assert shop.written("recommendation_text") == shop.written("generated_description") == []
