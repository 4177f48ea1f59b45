"""Entities of texts stand in for attributes that the store does not tell, marked, and never in place of its own."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from mmrec_lib.contracts import CONTRACTS
from mmrec_lib.features.config import EntityConfig, FeaturesConfig
from mmrec_lib.features.contents import attribute_tokens, graph_tokens
from mmrec_lib.features.entities import read_entities, write_found_attributes
from mmrec_lib.lakehouse.config import StoreConfig
from mmrec_lib.lakehouse.tables import Lakehouse

pytestmark = pytest.mark.slow
CONFIG = EntityConfig(recipe="parts", attributes={"brand": "brand", "colour": "color"}, edges=True)
ITEMS: dict[str, dict[str, str | None] | None] = {
    "a": {"brand": "ACME", "size": "9"},
    "b": {"brand": "ACME"},
    "c": None,
    "d": {"brand": " ", "size": "9"},
    "e": {"brand": None},
}
# item, label, text, confidence
SPANS = [
    ("a", "brand", "Other", 0.99),
    ("a", "colour", "Red", 0.9),
    ("c", "brand", "acme", 0.9),
    ("c", "brand", "Second", 0.85),
    ("c", "colour", "red", 0.95),
    ("d", "brand", "Acme", 0.95),
    ("d", "colour", "red", 0.9),
    ("e", "brand", "Unsure", 0.5),
    ("e", "material", "wool", 0.99),
    ("gone", "brand", "acme", 0.99),
]


@pytest.mark.slow
def test_what_the_store_does_not_tell_is_filled_and_marked(spark: SparkSession, tmp_path: Path) -> None:
    lake = Lakehouse(spark, StoreConfig(out=str(tmp_path / "out")), "run-1", datetime(2026, 1, 1, tzinfo=UTC))

    def frame(name: str, rows: list[dict[str, Any]]) -> Any:
        schema = CONTRACTS[name].input_schema
        return spark.createDataFrame([tuple(row.get(column) for column in schema.names) for row in rows], schema)

    shared = {"owner_kind": "item", "field": "title", "revision": "r1", "recipe": "parts"}
    spans = [
        {**shared, "owner_id": i, "label": label, "text": text, "confidence": sure, "start": n, "end": n + 1}
        for n, (i, label, text, sure) in enumerate(SPANS)
    ]
    spans.append({**spans[4], "recipe": "other", "owner_id": "b", "text": "green"})
    lake.append("text_entity", frame("text_entity", spans))
    columns = "item_id string, attributes map<string,string>, categories array<string>, price double"
    items = spark.createDataFrame([(one, own, None, None) for one, own in ITEMS.items()], columns)

    assert read_entities(lake, items, None) is None
    write_found_attributes(lake, None)
    assert not lake.exists("found_attribute"), "who asks for none has no table either"

    entities = read_entities(lake, items, CONFIG)
    assert entities is not None
    write_found_attributes(lake, entities)
    found = {(r["item_id"], r["attribute"]): r for r in lake.read("found_attribute").collect()}
    assert {key: (row["value"], row["confidence"]) for key, row in found.items()} == {
        ("a", "color"): ("red", 0.9),
        ("c", "brand"): ("ACME", 0.9),
        ("c", "color"): ("red", 0.95),
        ("d", "brand"): ("ACME", 0.95),
        ("d", "color"): ("red", 0.9),
    }
    assert {(row["recipe"], row["revision"]) for row in found.values()} == {("parts", "r1")}

    features = FeaturesConfig(entities=CONFIG, min_block_share=0)
    tokens = {
        (row["feature"], row["item_id"]): row["tokens"]
        for row in attribute_tokens(entities.filled(items), features).collect()
    }
    assert {item for feature, item in tokens if feature == "attribute:brand"} == {"a", "b", "c", "d"}
    assert tokens["attribute:size", "d"] == ["9"], "what the store tells stays"
    assert {row["item_id"]: row["attributes"] for row in items.collect()} == ITEMS

    edges = entities.joined(frame("graph_edge", []).select("head", "relation", "tail"))
    assert {row["relation"] for row in edges.collect()} == {"found_brand", "found_color"}
    blocks = {row["feature"] for row in graph_tokens(items, edges, features).collect()}
    assert blocks == {"graph:found_brand", "graph:found_color"}

    write_found_attributes(lake, None)
    assert lake.read("found_attribute").count() == 0
