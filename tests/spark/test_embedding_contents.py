from __future__ import annotations

import hashlib
from datetime import UTC, datetime

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from mmrec_lib.contracts import CONTRACTS
from mmrec_lib.embedding.config import FieldEncoder
from mmrec_lib.embedding.contents import content_embedding_rows, item_contents, plan_encoding
from mmrec_lib.embedding.extracted_text import (
    TextExtractor,
    media_text_rows,
    plan_extraction,
    provided_media_text,
)
from mmrec_lib.embedding.owner_text import owner_text_rows
from mmrec_lib.embedding.pooling import pool_items, release_rows
from mmrec_lib.embedding.storage import quantized
from mmrec_lib.embedding.texts import content_id, normalised
from mmrec_lib.encoders.spec import EncoderSpec

TEXT = EncoderSpec("words", "r1", "text", "text", 2)
IMAGE = EncoderSpec("pixels", "r1", "image", "image", 2)
SPEECH = EncoderSpec("ears", "r1", "transcript", "audio", None)
EARS = TextExtractor("audio", SPEECH)
NEVER = datetime(1970, 1, 1, tzinfo=UTC)


def encoders() -> list[tuple[FieldEncoder, EncoderSpec]]:
    texts = [
        (FieldEncoder(field, "words"), TEXT) for field in ("title", "description", "transcript", "labels", "review")
    ]
    return [*texts, (FieldEncoder("images", "pixels"), IMAGE)]


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def rows(spark: SparkSession, table: str, *values: dict[str, object]) -> DataFrame:
    """A table of a contract; columns that are not given are null, required ones have a value that says nothing."""
    schema = CONTRACTS[table].input_schema
    nothing = {"string": "", "timestamp": NEVER, "boolean": True, "int": 0, "bigint": 0}

    def value(name: str, kind: str, nullable: bool, given: dict[str, object]) -> object:
        return given[name] if name in given else None if nullable else nothing[kind]

    columns = [(field.name, field.dataType.simpleString(), field.nullable) for field in schema.fields]
    return spark.createDataFrame([tuple(value(*column, given) for column in columns) for given in values], schema)


def link(kind: str, owner: str, field: str, asset: str, position: int = 0) -> dict[str, object]:
    return {
        "owner_kind": kind,
        "owner_id": owner,
        "field": field,
        "asset_id": asset,
        "position": position,
        "media_path": f"{field}/{asset}",
    }


@pytest.fixture(scope="module")
def item(spark: SparkSession) -> DataFrame:
    return rows(
        spark,
        "item",
        {"item_id": "i1", "title": " Red  shoe ", "description": "warm"},
        {"item_id": "i2", "title": "Red shoe", "description": "  "},
        {"item_id": "i3", "title": None},
    )


@pytest.fixture(scope="module")
def links(spark: SparkSession) -> DataFrame:
    return rows(
        spark,
        "media_link",
        link("item", "i1", "images", "p1", 0),
        link("item", "i1", "images", "p1", 1),
        link("item", "i1", "images", "p2", 2),
        link("item", "i2", "images", "p2"),
        link("item", "gone", "images", "p3"),
        link("item", "i3", "audio", "s1", 0),
        link("item", "i3", "audio", "s2", 1),
        link("review", "r2", "audio", "s3"),
        link("review", "r3", "audio", "s4"),
        link("review", "r4", "audio", "s5"),
    )


@pytest.fixture(scope="module")
def provided_text(spark: SparkSession) -> DataFrame:
    return rows(
        spark,
        "provided_text",
        {"owner_kind": "review", "owner_id": "r3", "kind": "transcript", "text": "by owner", "language": "en"},
        {"owner_kind": "media", "owner_id": "audio/s2", "kind": "transcript", "text": "by path"},
    )


@pytest.fixture(scope="module")
def media_text(spark: SparkSession) -> DataFrame:
    def made(asset: str, text: str | None, **changes: object) -> dict[str, object]:
        return {
            "content_id": asset,
            "kind": "transcript",
            "encoder_id": "ears",
            "revision": "r1",
            "text": text,
            "error": "text_empty: broken" if text is None else None,
            **changes,
        }

    return rows(
        spark,
        "media_text",
        made("s1", "first part"),
        made("s2", "by path", encoder_id="provided", revision="provided"),
        made("s2", "heard"),
        made("s3", "spoken"),
        made("s3", "old", revision="r0"),
        made("s5", None),
    )


@pytest.fixture(scope="module")
def contents(
    spark: SparkSession, item: DataFrame, links: DataFrame, media_text: DataFrame, provided_text: DataFrame
) -> DataFrame:
    review = rows(
        spark,
        "review",
        {"review_id": "r1", "item_id": "i1", "user_id": "u", "text": "fine"},
        {"review_id": "r2", "item_id": "i1", "user_id": "u", "text": None},
        {"review_id": "r3", "item_id": "i2", "user_id": "u", "text": " "},
        {"review_id": "r4", "item_id": "i2", "user_id": "u", "text": None},
        {"review_id": "r5", "item_id": "gone", "user_id": "u", "text": "lost"},
    )
    provided_vector = rows(
        spark, "provided_vector", {"item_id": "i2", "modality": "image", "encoder_id": "shop", "vector": [1.0, 2.0]}
    )
    texts = owner_text_rows(item, review, links, media_text=media_text, provided_text=provided_text, extractors=[EARS])
    return item_contents(
        item, review, links, owner_text=texts, provided_vector=provided_vector, encoders=encoders()
    ).localCheckpoint()


def test_contents_of_items(contents: DataFrame) -> None:
    found = {(r["item_id"], r["field"], r["text"] or r["content_id"]) for r in contents.collect()}
    assert found == {
        ("i1", "title", "Red shoe"),
        ("i1", "description", "warm"),
        ("i1", "review", "fine"),
        ("i1", "review", "spoken"),
        ("i1", "images", "p1"),
        ("i1", "images", "p2"),
        ("i2", "title", "Red shoe"),
        ("i2", "review", "by owner"),
        ("i3", "transcript", "first part by path"),
    }
    assert contents.count() == len(found)


def test_identity_of_a_text_is_the_sha256_of_its_normal_form(spark: SparkSession) -> None:
    texts = spark.createDataFrame([(" cafe\u0301\n",), ("caf\u00e9",)], "text string")
    ids = {row[0] for row in texts.select(content_id(normalised(F.col("text")))).collect()}
    assert ids == {sha("caf\u00e9")}


@pytest.mark.slow
def test_fields_and_modalities_can_be_left_out(
    spark: SparkSession, item: DataFrame, links: DataFrame, media_text: DataFrame, provided_text: DataFrame
) -> None:
    review, vector = rows(spark, "review"), rows(spark, "provided_vector")
    texts = owner_text_rows(
        item, rows(spark, "review"), links, media_text=media_text, provided_text=provided_text, extractors=[]
    )

    def fields(*chosen: str) -> set[str]:
        wanted = [(one, spec) for one, spec in encoders() if one.field in chosen]
        made = item_contents(item, review, links, owner_text=texts, provided_vector=vector, encoders=wanted)
        return {row["field"] for row in made.collect()}

    assert fields("title") == {"title"}
    assert fields("images") == {"images"}
    assert fields() == set()


def test_precomputed_vectors_replace_or_stand_beside(
    spark: SparkSession, item: DataFrame, links: DataFrame, media_text: DataFrame, provided_text: DataFrame
) -> None:
    vector = rows(spark, "provided_vector", {"item_id": "i1", "modality": "image", "encoder_id": "x", "vector": [1.0]})
    texts = owner_text_rows(
        item, rows(spark, "review"), links, media_text=media_text, provided_text=provided_text, extractors=[]
    )
    images = [(one, spec) for one, spec in encoders() if one.field == "images"]
    for provided, expected in (("replace", {"i2"}), ("both", {"i1", "i2"})):
        made = item_contents(
            item,
            rows(spark, "review"),
            links,
            owner_text=texts,
            provided_vector=vector,
            encoders=images,
            provided=provided,
        )
        assert {row["item_id"] for row in made.collect()} == expected


def test_only_what_has_neither_vector_nor_error_is_encoded(spark: SparkSession, contents: DataFrame) -> None:
    def done(identity: str, encoder: str, revision: str = "r1", error: str | None = None) -> dict[str, object]:
        return {
            "content_id": identity,
            "encoder_id": encoder,
            "revision": revision,
            "modality": "",
            "error": error,
            "vector": None if error else [1.0, 0.0],
        }

    stored = rows(
        spark,
        "content_embedding",
        done(sha("Red shoe"), "words"),
        done(sha("fine"), "words", error="text_empty: bad"),
        done(sha("warm"), "words", "r0"),
        done("p1", "pixels"),
    )
    in_half = stored.withColumn("storage", F.when(F.col("vector").isNotNull(), F.lit("float16")))
    assets = rows(
        spark,
        "media_asset",
        *({"asset_id": name, "media_kind": "image", "content": bytearray(b"x")} for name in ("p1", "p2", "p3")),
    )
    texts = plan_encoding(contents, stored, TEXT, None)
    assert texts.columns == ["content_id", "text"]
    assert {row["text"] for row in texts.collect()} == {"warm", "spoken", "by owner", "first part by path"}
    images = plan_encoding(contents, stored, IMAGE, assets)
    assert images.columns == ["content_id", "content", "uri", "num_attempts"]
    assert {row["content_id"] for row in images.collect()} == {"p2"}
    assert plan_encoding(contents, in_half, TEXT, None, "float16").count() == texts.count()
    again = plan_encoding(contents, in_half, TEXT, None, "float32")
    assert {row["text"] for row in again.join(texts, "content_id", "left_anti").collect()} == {"Red shoe"}


def test_items_are_the_mean_of_their_distinct_contents(
    spark: SparkSession, item: DataFrame, contents: DataFrame
) -> None:
    def made(identity: str, encoder: str, vector: list[float] | None) -> dict[str, object]:
        return {
            "content_id": identity,
            "encoder_id": encoder,
            "revision": "r1",
            "modality": "",
            "vector": vector,
            "error": None if vector else "text_empty: bad",
        }

    stored = rows(
        spark,
        "content_embedding",
        made(sha("Red shoe"), "words", [1.0, 0.0]),
        made(sha("fine"), "words", [1.0, 0.0]),
        made(sha("spoken"), "words", [0.0, 1.0]),
        made(sha("warm"), "words", None),
        made("p1", "pixels", [2.0, 2.0]),
        made("p2", "pixels", [4.0, 0.0]),
    )
    provided = rows(
        spark,
        "provided_vector",
        {"item_id": "i2", "modality": "image", "encoder_id": "shop", "vector": [1.0, 2.0, 3.0]},
        {"item_id": "gone", "modality": "image", "encoder_id": "shop", "vector": [1.0, 2.0, 3.0]},
    )
    pooled = pool_items(item, contents, stored, provided, [TEXT, IMAGE])
    assert set(quantized(pooled, "float32").columns) == set(CONTRACTS["item_embedding"].content_columns)
    found = {(r["item_id"], r["field"]): (r["num_contents"], r["dim"], r["vector"]) for r in pooled.collect()}
    assert found == {
        ("i1", "title"): (1, 2, [1.0, 0.0]),
        ("i2", "title"): (1, 2, [1.0, 0.0]),
        ("i1", "review"): (2, 2, [0.5, 0.5]),
        ("i1", "images"): (2, 2, [3.0, 1.0]),
        ("i2", "provided"): (1, 3, [1.0, 2.0, 3.0]),
    }
    assert {tuple(row) for row in release_rows(pooled).collect()} == {
        ("text", "title", "words", "r1"),
        ("text", "review", "words", "r1"),
        ("image", "images", "pixels", "r1"),
        ("image", "provided", "shop", "provided"),
    }


def test_only_sound_without_a_transcript_is_transcribed(
    spark: SparkSession, links: DataFrame, media_text: DataFrame, provided_text: DataFrame
) -> None:
    assets = rows(
        spark,
        "media_asset",
        *({"asset_id": f"s{n}", "media_kind": "audio", "content": bytearray(b"x")} for n in range(1, 7)),
    )
    fresh = plan_extraction(assets, links, rows(spark, "media_text"), provided_text, EARS)
    assert {row["content_id"] for row in fresh.collect()} == {"s1", "s3", "s5"}
    again = plan_extraction(assets, links, media_text, provided_text, EARS)
    assert {row["content_id"] for row in again.collect()} == set()


def test_precomputed_transcripts_are_taken_as_they_are(links: DataFrame, provided_text: DataFrame) -> None:
    made = provided_media_text(provided_text, links)
    assert made.columns == CONTRACTS["media_text"].content_columns
    assert {(r["content_id"], r["encoder_id"], r["text"], r["language"]) for r in made.collect()} == {
        ("s4", "provided", "by owner", "en"),
        ("s2", "provided", "by path", None),
    }


def test_operator_output_fits_the_contracts(spark: SparkSession) -> None:
    words = "text string, language string, confidence float, spans array<string>, error string"
    heard = spark.createDataFrame([("s1", "hello", "en", 0.5, [], None)], f"content_id string, {words}")
    assert media_text_rows(heard, SPEECH).columns == CONTRACTS["media_text"].content_columns
    encoded = spark.createDataFrame(
        [("c", [1.0], 1, None)], "content_id string, vector array<float>, dim int, error string"
    )
    made = quantized(content_embedding_rows(encoded, TEXT), "float32")
    assert set(made.columns) == set(CONTRACTS["content_embedding"].content_columns)
