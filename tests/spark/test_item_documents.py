"""Documents: all that an item says as one text, from the columns of the record to the vector and what is learned."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs.fit_word_model import Config as FitConfig
from jobs.fit_word_model import external_versions
from mmrec_lib.embedding.config import DEFAULT_DOCUMENT, EmbeddingConfig
from mmrec_lib.embedding.document_parts import unknown_attributes
from mmrec_lib.embedding.fit_word_model import store_texts
from mmrec_lib.embedding.owner_text import document_rows, joined_texts, owner_text_rows, write_owner_text
from mmrec_lib.embedding.run import embed_contents, extract_texts
from mmrec_lib.encoders.config import ModelsConfig
from mmrec_lib.errors import NoDataError
from mmrec_lib.features.contents import released_vectors
from mmrec_lib.features.item_texts import items_with_texts
from mmrec_lib.fine_tuning.material import ranker_blocks
from mmrec_lib.fine_tuning.read_behaviour import items_with_text
from mmrec_lib.lakehouse.tables import Lakehouse
from mmrec_lib.recipes.adapt_config import AdaptationConfig
from mmrec_lib.recipes.scorer_config import ScorerConfig
from tests.spark.test_embedding_contents import link, rows, sha
from tests.spark.test_embedding_words import EYES, LOOKS
from tests.unit.encoders.tiny_models import make_models

NO_TEXTS = dict.fromkeys(("title", "description", "transcript", "ocr", "labels", "tags", "images", "audio", "video"))


def settings(encoder: str | dict[str, str] | None = None, entries: Sequence[str] | None = None) -> EmbeddingConfig:
    """Documents alone are encoded; nothing is read out of media."""
    sounds = {"transcript": None, "tags": None}
    return EmbeddingConfig.model_validate(
        {
            "extract": {"images": {"ocr": None, "labels": None}, "audio": sounds, "video": sounds},
            "encode": {"item": {**NO_TEXTS, "document": encoder}, "review": {"text": None}},
            "document": entries,
            "num_partitions": 1,
        }
    )


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> ModelsConfig:
    return make_models(tmp_path_factory.mktemp("models"))


FILM: dict[str, object] = {
    "item_id": "film",
    "title": "Toy <b>Story</b>.",
    "description": "Toys come alive...",
    "categories": ["Animation", " ", "Family"],
    "price": 9.5,
    "attributes": {
        "year": "1995",
        "director": '["John Lasseter"]',
        "cast": '["Tom Hanks", null, "Tim&nbsp;Allen"]',
        "in_colour": "true",
        "sizes": '{"l":2,"m":null}',
        "nothing": "[]",
        "note": "[sic] <p>restored</p>",
        "quote": '["You"] are a toy',
        "empty": " ",
    },
}
ITEMS: tuple[dict[str, object], ...] = (
    FILM,
    {"item_id": "seen", "price": 3.0},
    {"item_id": "silent", "title": "...", "categories": [], "attributes": {}, "price": float("nan")},
    {"item_id": "named", "title": "Alone"},
)


@pytest.fixture(scope="module")
def item(spark: SparkSession) -> DataFrame:
    return rows(spark, "item", *ITEMS)


@pytest.fixture(scope="module")
def texts(spark: SparkSession, item: DataFrame) -> DataFrame:
    """The other texts of these items; `seen` has two images, and `film` is the name of a review as well."""
    made = owner_text_rows(
        item,
        rows(spark, "review", {"review_id": "film", "text": "of a review"}),
        rows(spark, "media_link", *(link("item", "seen", "images", f"p{n}", n) for n in (1, 2))),
        media_text=rows(
            spark,
            "media_text",
            {**EYES, "content_id": "p1", "text": "boot"},
            {**EYES, "content_id": "p2", "text": "shoe"},
        ),
        provided_text=rows(spark, "provided_text"),
        extractors=[LOOKS],
    )
    return made.localCheckpoint()


def test_a_document_has_its_entries_in_order_and_words_without_markup(texts: DataFrame, item: DataFrame) -> None:
    others = 'Tom Hanks, Tim Allen. in_colour: true. [sic] restored. ["You"] are a toy. l: 2'
    expected = {
        DEFAULT_DOCUMENT: {
            "film": "Toy Story. Animation, Family. Tom Hanks, Tim Allen. John Lasseter. in_colour: true. "
            '[sic] restored. ["You"] are a toy. l: 2. year: 1995. Toys come alive',
            "named": "Alone",
        },
        ("attribute:year", "attributes", "attribute:director", "price", "title"): {
            "film": f"year: 1995. {others}. John Lasseter. price: 9.50. Toy Story",
            "named": "Alone",
            "seen": "price: 3.00",
        },
        ("attribute:nothing", "attribute:absent", "attribute:empty"): {},
        ("description", "labels", "ocr"): {"film": "Toys come alive", "seen": "boot, shoe"},
    }
    made = [document_rows(texts, item, entries).withColumn("of", F.lit(n)) for n, entries in enumerate(expected.keys())]
    found = {(row["of"], row["owner_id"]): row["text"] for row in reduce(DataFrame.unionByName, made).collect()}
    assert found == {(n, one): text for n, own in enumerate(expected.values()) for one, text in own.items()}


def test_a_document_is_a_row_of_its_own_kind_that_is_joined_with_nothing(texts: DataFrame, item: DataFrame) -> None:
    made = document_rows(texts, item, ("price", "labels")).where(F.col("owner_id") == "seen")
    (row,) = made.collect()
    told = {name: value for name, value in row.asDict().items() if value is not None}
    text = "price: 3.00. boot, shoe"
    assert told == {
        "owner_kind": "item",
        "owner_id": "seen",
        "field": "document",
        "kind": "document",
        "position": 0,
        "text": text,
        "content_id": sha(text),
    }
    (joined,) = joined_texts(made).collect()
    assert (joined["field"], joined["text"], joined["content_id"]) == ("document", text, sha(text))


def test_named_attributes_that_no_item_has_are_told(item: DataFrame) -> None:
    assert unknown_attributes(item, ("title", "attribute:year", "attribute:yeer", "attributes")) == ["yeer"]
    assert unknown_attributes(item, DEFAULT_DOCUMENT) == []


class Store:
    """A store whose items change between runs."""

    def __init__(self, lakehouse: Lakehouse, models: ModelsConfig) -> None:
        self.lakehouse, self.models, self.said = lakehouse, models, list[str]()

    def put(self, *items: dict[str, object]) -> None:
        item = rows(self.lakehouse.spark, "item", *items)
        self.lakehouse.merge("item", item, delete_keys=self.lakehouse.read("item"))

    def run(self, config: EmbeddingConfig) -> dict[str, int]:
        write_owner_text(self.lakehouse, [], config.document_entries)
        return embed_contents(self.lakehouse, self.models, config, self.said.append)[0]

    def documents(self) -> dict[str, str]:
        found = self.lakehouse.read("owner_text").where(F.col("kind") == "document").collect()
        return {row["owner_id"]: row["text"] for row in found}


def hat(colour: str, **changes: object) -> dict[str, object]:
    return {"item_id": colour, "title": "Warm hat", "attributes": {"colour": colour}, **changes}


@pytest.mark.slow
def test_documents_follow_items_and_settings_and_only_changed_ones_are_encoded(
    lakehouse: Lakehouse, models: ModelsConfig
) -> None:
    store = Store(lakehouse, models)
    store.put(hat("red"), hat("blue"), hat("old"))
    assert store.run(settings("tiny-text"))["encoded"] == 3
    assert store.documents() == {name: f"Warm hat. {name}" for name in ("red", "blue", "old")}
    vectors = lakehouse.read("item_embedding").select("item_id", "modality", "field", "encoder_id").collect()
    assert {tuple(row) for row in vectors} == {(one, "text", "document", "tiny-text") for one in ("red", "blue", "old")}
    blocks = released_vectors(lakehouse.read("item_embedding"), lakehouse.read("encoder_release"))
    assert {row["feature"] for row in blocks.select("feature").collect()} == {"text:document"}
    assert ranker_blocks(AdaptationConfig(fields=("document",)), "text") == ("text:document",)

    store.put(hat("red"), hat("blue", attributes={"colour": "green"}))
    by_language = settings({"default": "tiny-text", "de": "tiny-text"})
    assert store.run(by_language)["encoded"] == 1, "that of the changed one"
    assert store.documents() == {"red": "Warm hat. red", "blue": "Warm hat. green"}, "the third one was deleted"

    extract_texts(lakehouse, models, settings("tiny-text", ["attribute:colour", "attribute:size"]), store.said.append)
    assert store.documents() == {"red": "red", "blue": "green"}
    assert "  embedding.document: no item has an attribute `size`" in store.said

    store.run(settings())
    assert store.documents() == {} and lakehouse.read("item_embedding").isEmpty()
    assert {row["text"] for row in lakehouse.read("owner_text").collect()} == {"Warm hat"}


@pytest.mark.slow
def test_whoever_reads_texts_reads_documents_where_they_are_named_and_made(
    lakehouse: Lakehouse, models: ModelsConfig, tmp_path: Path
) -> None:
    store = Store(lakehouse, models)
    store.put(hat("red"), hat("blue"))
    adaptation, items = AdaptationConfig(fields=("document",)), lakehouse.read("item").select("item_id")
    scorer = ScorerConfig(model=str(tmp_path), fields=("document",))
    readers: dict[str, Any] = {
        "adaptation.fields": lambda: items_with_text(lakehouse, adaptation),
        "scorer.fields": lambda: items_with_texts(lakehouse, items, scorer),
        "words.fields": lambda: store_texts(lakehouse, ("document",)),
    }
    config = FitConfig.model_validate({"models": {"root": "m"}, "words": {"fields": ["document"]}})
    context: Any = SimpleNamespace(lakehouse=lakehouse)
    assert (store.run(settings())["encoded"], store.documents()) == (0, {}), "off unless it is asked for"
    before = external_versions(context, config)
    for setting, read in readers.items():
        with pytest.raises(NoDataError, match=rf"{setting}: .*`document`.*Set embedding.document .* run extract_text"):
            read()
    usual = items_with_text(lakehouse, AdaptationConfig()).collect()

    # Without an encoder: the entries make it.
    assert store.run(settings(None, DEFAULT_DOCUMENT))["encoded"] == 0
    both = {"Warm hat. red", "Warm hat. blue"}
    assert {row["content"] for row in readers["adaptation.fields"]().collect()} == both
    assert {(row["title"], row["document"]) for row in readers["scorer.fields"]().collect()} == {(t, t) for t in both}
    assert {row["text"] for row in readers["words.fields"]().collect()} == both
    assert external_versions(context, config) != before, "new documents are a reason to fit again"
    assert items_with_text(lakehouse, AdaptationConfig()).collect() == usual, "others read what they read before"
    assert {row["text"] for row in store_texts(lakehouse, ("title",)).collect()} == {"Warm hat"}
