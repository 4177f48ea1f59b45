"""Queries over tables: found by words and by image, silent and lost ones told, and only what changed answered again."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs.answer_queries import JOB
from mmrec_lib.answering.index import hash_of_answers
from mmrec_lib.answering.run import AnsweringSettings, answer_queries
from mmrec_lib.answering.searcher import open_searcher
from mmrec_lib.contracts import CONTRACTS
from mmrec_lib.embedding.config import EmbeddingConfig
from mmrec_lib.encoders.config import ModelsConfig
from mmrec_lib.encoders.registry import encoder_spec, make_encoder
from mmrec_lib.lakehouse.actions import side_by_side
from mmrec_lib.lakehouse.config import StoreConfig
from mmrec_lib.lakehouse.job_tables import JobTables
from mmrec_lib.lakehouse.tables import Lakehouse
from mmrec_lib.media.child import DecoderChild
from mmrec_lib.media.images import ContinuedImage
from mmrec_lib.publishing.search_page import SearchPage
from mmrec_lib.search.config import SearchConfig
from mmrec_lib.showing.config import ShowingConfig
from tests.unit.encoders.tiny_models import image_bytes, make_models

pytestmark = pytest.mark.slow

AT, LATER = datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 2, tzinfo=UTC)
TITLES = {"i1": "red dress", "i2": "red shoes", "i3": "blue hat", "i4": "red scarf", "i5": "green hat"}
FIELDS = ("description", "transcript", "ocr", "labels", "tags", "audio", "video")
EMBEDDING = EmbeddingConfig.model_validate(
    {
        "encode": {
            "item": {"title": "tiny-text", "images": "tiny-image", **dict.fromkeys(FIELDS)},
            "review": {"text": None},
        },
        "extract": {
            "images": {"ocr": None, "labels": None},
            "audio": {"transcript": None, "tags": None},
            "video": {"transcript": None, "tags": None},
        },
    }
)


@dataclass(frozen=True)
class Shop:
    lakehouse: Lakehouse
    models: ModelsConfig
    filling: list[Callable[[], object]] = field(default_factory=list)

    def frame(self, name: str, rows: Iterable[dict[str, Any]]) -> DataFrame:
        schema = CONTRACTS[name].input_schema
        values = [tuple(row.get(column) for column in schema.names) for row in rows]
        return self.lakehouse.spark.createDataFrame(values, schema)

    def fill(self, name: str, rows: Iterable[dict[str, Any]]) -> None:
        """Rows of a new table, to be written with those of the others: nothing is compared."""
        made = self.frame(name, rows)
        self.filling.append(lambda: self.lakehouse.append(name, made))

    def write(self, name: str, rows: Iterable[dict[str, Any]]) -> None:
        self.lakehouse.merge(name, self.frame(name, rows))

    def run(self, name: str, **changes: object) -> dict[str, int]:
        store = self.lakehouse
        lakehouse = Lakehouse(store.spark, store.store, name, AT)
        search = SearchConfig.model_validate({"personal_weight": 3.0, **changes})
        settings = AnsweringSettings(search, ShowingConfig(), self.models, EMBEDDING)
        return answer_queries(JobTables(lakehouse, JOB.name, reads=JOB.reads, writes=JOB.writes), settings)

    def read(self, name: str) -> list[Any]:
        fresh = Lakehouse(self.lakehouse.spark, self.lakehouse.store, "run-9", AT)
        key = list(CONTRACTS[name].key)
        return fresh.read(name).orderBy(*key).collect()

    def ask(self, *queries: dict[str, Any]) -> None:
        self.write("query", [{"updated_at": AT, **query} for query in queries])


@pytest.fixture(scope="module")
def shop(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    folder: Path = tmp_path_factory.mktemp("answering")
    (folder / "models").mkdir()
    models = make_models(folder / "models")
    out = folder / "out" / "demo"
    shop = Shop(Lakehouse(spark, StoreConfig(data=str(out / "landing"), out=str(out)), "run-1", AT), models)
    text, image = (make_encoder(models.encoders[name], models) for name in ("tiny-text", "tiny-image"))
    text.load()
    image.load()
    titles, photos = (
        text.encode(list(TITLES.values())).vectors,
        image.encode([image_bytes(n) for n in range(5)]).vectors,
    )
    specs = {name: encoder_spec(models.encoders[name], models) for name in ("tiny-text", "tiny-image")}
    shop.fill("item", [{"item_id": i, "available": i != "i4", "updated_at": AT} for i in TITLES])
    told = {"owner_kind": "item", "field": "title", "kind": "written", "position": 0}
    shop.fill("owner_text", [{**told, "owner_id": i, "text": t, "content_id": t} for i, t in TITLES.items()])
    made = {"encoder_id": "tiny-text", "revision": specs["tiny-text"].revision, "modality": "text", "dim": 16}
    kept = {"field": "title", "num_contents": 1, "storage": "float32"}
    shop.fill(
        "item_embedding",
        [{**made, **kept, "item_id": i, "vector": v.tolist()} for i, v in zip(TITLES, titles, strict=True)],
    )
    seen = {"encoder_id": "tiny-image", "revision": specs["tiny-image"].revision, "modality": "image"}
    shop.fill(
        "content_embedding",
        [
            {**seen, "content_id": f"photo{n}", "dim": len(v), "storage": "float32", "vector": v.tolist()}
            for n, v in enumerate(photos)
        ],
    )
    link = {"field": "images", "position": 0, "media_path": "images/x"}
    shop.fill(
        "media_link",
        [{**link, "owner_kind": "item", "owner_id": i, "asset_id": f"photo{n}"} for n, i in enumerate(TITLES)]
        + [{**link, "owner_kind": "query", "owner_id": "photo", "asset_id": "photo2"}]
        + [
            {**link, "owner_kind": "query", "owner_id": q, "field": "audio", "asset_id": q} for q in ("voice", "silent")
        ],
    )
    about = {"media_kind": "image", "mime": "image/png", "bytes_len": 1}
    shop.fill("media_asset", [{**about, "asset_id": "photo2", "content": bytearray(image_bytes(2))}])
    heard = {"kind": "transcript", "encoder_id": "provided", "revision": "provided"}
    shop.fill(
        "media_text",
        [{**heard, "content_id": "voice", "text": "red shoes"}, {**heard, "content_id": "silent", "text": ""}],
    )
    known = {"num_events": 1, "event_counts": {}, "history": [], "seen_item_ids": []}
    shop.fill("user", [{"user_id": "u1", "updated_at": AT, "is_declared": True}])
    shop.fill("user_profile", [{"user_id": "u1", **known}])
    shop.fill("user_vector", [{"model_version": "7", "user_id": "u1", "vector": [1.0, 0.0]}])
    shop.fill("item_vector", [{"model_version": "7", "item_id": i, "vector": [float(i == "i2"), 1.0]} for i in TITLES])
    shop.fill("current_slice", [{"table_name": "user_vector", "as_of_date": date(2026, 3, 1), "model_version": "7"}])
    shop.fill("training_item", [{"snapshot_id": "s1", "item_id": i} for i in TITLES])
    numbers = {"num_users": 1, "num_items": 5, "num_interactions": 1, "table_versions": {}}
    snapshot = {"snapshot_id": "s1", "as_of_date": date(2026, 3, 1), "split_source": "by_time", "is_current": True}
    shop.fill("training_snapshot", [{**snapshot, **numbers}])
    side_by_side(shop.filling)
    assert shop.run("run-1") == {"queries": 0, "answered": 0, "empty": 0, "encoded": 0}, "nobody asked"
    shop.write(
        "answer",
        [
            {"answer_id": "a1", "question": "how long does delivery take", "answer": "Two days.", "updated_at": AT},
            {
                "answer_id": "a2",
                "question": "which size has the red dress",
                "answer": "See below.",
                "source": "sizes",
                "updated_at": AT,
            },
        ],
    )
    shop.ask(
        {"query_id": "words", "text": "dress red"},
        {"query_id": "user", "text": "red", "user_id": "u1"},
        {"query_id": "photo", "images": ["images/x"], "k": 1},
        {"query_id": "voice", "audio": ["audio/x"]},
        {"query_id": "silent", "audio": ["audio/y"]},
        {"query_id": "lost", "images": ["images/none"]},
        {"query_id": "marks", "text": "?!"},
        {"query_id": "support", "text": "which size has the red dress"},
    )
    return shop


def test_queries_are_answered_once_and_again_only_where_something_changed(shop: Shop) -> None:
    # The tiny encoder knows no word of the question of a1.
    # The photo is looked at twice.
    assert shop.run("run-2") == {"queries": 8, "answered": 8, "empty": 3, "encoded": 7}
    results = {row["query_id"]: row for row in shop.read("query_result")}
    assert {name: row["reason"] for name, row in results.items() if row["reason"]} == {
        "silent": "silent",
        "lost": "media_missing",
        "marks": "no_words",
    }
    first = {row["query_id"]: row for row in reversed(shop.read("query_topk"))}
    assert {name: row["item_id"] for name, row in first.items() if name in ("words", "user", "photo", "voice")} == {
        "words": "i1",
        "user": "i2",
        "photo": "i3",
        "voice": "i2",
    }
    assert not any(row["item_id"] == "i4" for row in shop.read("query_topk")), "it is not available"
    assert all(sum(row["shares"].values()) == pytest.approx(row["score"]) for row in shop.read("query_topk"))
    assert (results["voice"]["words"], results["photo"]["num_items"]) == ("red shoes", 1)
    (given,) = (row for row in shop.read("support_answer") if row["query_id"] == "support" and row["rank"] == 1)
    assert (given["answer_id"], given["answer"], given["source"]) == ("a2", "See below.", "sizes")
    before = {name: shop.read(name) for name in ("query_topk", "query_result", "support_answer", "search_vector")}
    shop.ask({"query_id": "words", "text": "red hat"}, {"query_id": "new", "text": "green shoes"})
    gone = shop.lakehouse.read("query").where(F.col("query_id") == "voice")
    shop.lakehouse.merge("query", gone.limit(0).select(*CONTRACTS["query"].content_columns), delete_keys=gone)
    assert shop.run("run-3") == {"queries": 8, "answered": 2, "empty": 0, "encoded": 2}
    for name, rows in before.items():
        after, touched = shop.read(name), ("words", "new", "voice")
        assert [row for row in after if _owner(row) not in touched] == [
            row for row in rows if _owner(row) not in touched
        ], "what did not change stays as it is"
        assert "voice" not in {_owner(row) for row in after}
    kept = {row["query_id"]: row["run_id"] for row in shop.read("query_result")}
    assert (kept["words"], kept["new"]) == ("run-3", "run-3")


def _owner(row: Any) -> str:
    return str(row["query_id"] if "query_id" in row else row["owner_id"])


def test_a_notebook_searches_by_the_same_code(shop: Shop) -> None:
    store = Lakehouse(shop.lakehouse.spark, shop.lakehouse.store, "run-5", AT)
    searcher = open_searcher(store, shop.models, embedding=EMBEDDING, config=SearchConfig(personal_weight=3.0))
    assert searcher.search("dress red").items[0].item_id == "i1"
    assert searcher.search("red", user_id="u1").items[0].item_id == "i2"
    (photo,) = searcher.search(image=image_bytes(2), k=1).items
    assert photo.item_id == "i3"
    assert searcher.search(image=b"no image").reason == "media_unreadable"
    assert searcher.search("?!").reason == "no_words"
    assert searcher.search(audio=b"x").reason == "not_read"


def test_the_page_shows_items_and_answers_of_the_same_search(shop: Shop) -> None:
    store = Lakehouse(shop.lakehouse.spark, shop.lakehouse.store, "run-page", AT)
    searcher = open_searcher(store, shop.models, embedding=EMBEDDING, config=SearchConfig())
    with DecoderChild() as decoder:
        page = SearchPage(searcher, store, decoder)
        found = page.search("which size has the red dress", None, "", None, None, 2)
        photo = page.search(None, image_bytes(2), "image", None, None, 1)
    # Its items have no titles of their own here: the key stands for them.
    assert (found.items[0].item_id, found.items[0].title) == ("i1", "i1")
    assert [(one.answer_id, one.question) for one in found.answers] == [("a2", "which size has the red dress")]
    assert [item.item_id for item in photo.items] == ["i3"] and photo.items[0].image is not None


def test_other_texts_of_an_answer_are_another_index(shop: Shop) -> None:
    answer = {"answer_id": "a2", "question": "which size has the red dress", "answer": "See below.", "source": "sizes"}
    before = hash_of_answers(shop.lakehouse)
    shop.write("answer", [{**answer, "updated_at": LATER}])
    assert hash_of_answers(shop.lakehouse) == before, "no text changed"
    shop.write("answer", [{**answer, "source": None, "updated_at": LATER}])
    assert hash_of_answers(shop.lakehouse) != before


def test_looks_at_a_photo_come_and_go_with_the_setting(shop: Shop) -> None:
    def seen() -> dict[str, list[float]]:
        rows = shop.read("search_vector")
        return {row["field"]: list(row["vector"]) for row in rows if row["owner_id"] == "photo"}

    before = seen()
    assert set(before) == {"images", "images@1.15"}
    image = make_encoder(shop.models.encoders["tiny-image"], shop.models)
    image.load()
    expected = image.encode([image_bytes(2), ContinuedImage(image_bytes(2), 1.15)]).vectors
    for field_name, vector in zip(("images", "images@1.15"), expected, strict=True):
        assert before[field_name] == pytest.approx(vector.tolist(), abs=1e-5)
    counts = shop.run("run-looks", photo_looks=[1.5, 1.0])
    assert (counts["encoded"], counts["answered"]) == (1, counts["queries"]), "another setting is another result"
    after = seen()
    assert set(after) == {"images", "images@1.5"}
    assert after["images"] == before["images"]


def test_gone_queries_leave_nothing_and_no_model_is_looked_at(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = shop.lakehouse.read("query")
    shop.lakehouse.merge("query", gone.limit(0).select(*CONTRACTS["query"].content_columns), delete_keys=gone)
    monkeypatch.setattr("mmrec_lib.answering.run.searched_encoders", None)
    assert shop.run("run-6") == {"queries": 0, "answered": 0, "empty": 0, "encoded": 0}
    assert not any(shop.read(name) for name in ("query_topk", "support_answer", "query_result"))
    assert {row["owner_kind"] for row in shop.read("search_vector")} == {"answer"}
