"""Names are data: whatever a record is called, it goes through the whole pipeline and comes out as it went in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from mlflow import MlflowClient

from jobs import run_pipeline
from mmrec_lib.tracking.names import sqlite_uri
from tests.chaos import SETTINGS
from tests.compare import table_rows
from tests.data.hostile_names import NAMES, RELATIONS, write_hostile_names
from tests.data.tiny import NUM_ITEMS, write_tiny_store

pytestmark = [pytest.mark.models, pytest.mark.slow, pytest.mark.long]

# Names are what is tried here; nothing is encoded, and the models that read media stay out.
ENCODERS = [
    *(f"embedding.encode.item.{field}=null" for field in ("images", "audio", "video", "ocr", "labels", "tags")),
    *(f"embedding.encode.item.{field}=null" for field in ("title", "description", "transcript")),
    *(f"embedding.extract.images.{kind}=null" for kind in ("ocr", "labels")),
    *(f"embedding.extract.{media}.{kind}=null" for media in ("audio", "video") for kind in ("transcript", "tags")),
    "embedding.encode.review.text=null",
]


def test_hostile_names_go_through_the_whole_pipeline(spark: object, models_root: Path, tmp_path: Path) -> None:
    data, out = tmp_path / "landing", tmp_path / "out"
    write_tiny_store(data)
    expected = write_hostile_names(data, [f"t{number:02d}" for number in range(1, NUM_ITEMS + 1)])
    settings = [f"store.data={data}", f"store.out={out}", f"models.root={models_root}", *SETTINGS, *ENCODERS]
    assert run_pipeline.main(["--set", *settings]) == 0

    items = {row["item_id"]: row["title"] for row in table_rows(out, "item", ["item_id", "title"]).to_pylist()}
    assert {name: items.get(name) for name in NAMES} == expected["items"]
    assert expected["users"] <= {row["user_id"] for row in table_rows(out, "user", ["user_id"]).to_pylist()}
    assert expected["events"] <= {row["event_id"] for row in table_rows(out, "event", ["event_id"]).to_pylist()}
    reviews = {row["review_id"]: row["text"] for row in table_rows(out, "review", ["review_id", "text"]).to_pylist()}
    assert expected["reviews"].items() <= reviews.items()
    triples = table_rows(out, "graph_edge", ["head", "relation", "tail"]).to_pylist()
    assert expected["triples"] <= {(row["head"], row["relation"], row["tail"]) for row in triples}
    lists: dict[str, list[str]] = {}
    for row in table_rows(out, "user_topk", ["user_id", "item_id"]).to_pylist():
        lists.setdefault(row["user_id"], []).append(row["item_id"])
    assert expected["users"] <= set(lists)
    assert set(NAMES) <= {item for listed in lists.values() for item in listed}

    # The model knows them by their names, and MLflow took it.
    (meta,) = out.glob("mlartifacts/models/*/artifacts/artifacts/ranker/model.json")
    blocks = {block["name"] for block in json.loads(meta.read_text(encoding="utf-8"))["content_blocks"]}
    assert {f"graph:{relation}" for relation in RELATIONS} <= blocks
    assert "audio:provided:my@model (50%) it's" in blocks
    champion = MlflowClient(sqlite_uri(f"{out}/mlflow.db")).get_model_version_by_alias("mmrec_ranker", "champion")
    assert champion.version == "1"

    page = (out / "report.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert json.loads((out / "summary.json").read_text(encoding="utf-8"))["model"]["alias"] == "champion"
    # Nothing was written outside the store.
    assert sorted(path.name for path in tmp_path.iterdir()) == ["landing", "out"]
