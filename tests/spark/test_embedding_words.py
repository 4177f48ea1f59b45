"""Texts of owners: all that is written, and found in media, and the chunks in which it is found."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from mmrec_lib.contracts import CONTRACTS
from mmrec_lib.embedding.chunks import ChunkedRun, Work
from mmrec_lib.embedding.extracted_text import TextExtractor
from mmrec_lib.embedding.owner_text import (
    joined_texts,
    owner_text_rows,
    read_owner_text,
    review_words,
    write_owner_text,
)
from mmrec_lib.encoders.spec import EncoderSpec
from mmrec_lib.errors import NoDataError
from mmrec_lib.lakehouse.tables import Lakehouse
from tests.spark.test_embedding_contents import link, rows

SAID = {"kind": "transcript"}
EYES = {"kind": "labels", "encoder_id": "eyes", "revision": "r1"}
LOOKS = TextExtractor("images", EncoderSpec("eyes", "r1", "labels", "image", None))
READS = TextExtractor("images", EncoderSpec("glasses", "r1", "ocr", "image", None))
HEARS = TextExtractor("video", EncoderSpec("ears", "r1", "transcript", "audio", None))


@pytest.fixture(scope="module")
def links(spark: SparkSession) -> DataFrame:
    return rows(
        spark,
        "media_link",
        link("item", "i1", "images", "p1", 0),
        link("item", "i1", "images", "p2", 1),
        link("item", "i1", "video", "v1"),
        link("item", "i2", "video", "v1"),
    )


@pytest.fixture(scope="module")
def media_text(spark: SparkSession) -> DataFrame:
    def made(extractor: TextExtractor, asset: str, *texts: str, **changes: object) -> dict[str, object]:
        return {
            "content_id": asset,
            "kind": extractor.spec.modality,
            "encoder_id": extractor.spec.id,
            "revision": extractor.spec.revision,
            "text": ", ".join(texts),
            "confidence": 0.5,
            "spans": [(text, 0.5, float(part), float(part + 1)) for part, text in enumerate(texts)],
            **changes,
        }

    return rows(
        spark,
        "media_text",
        made(LOOKS, "p1", "shoe", "sandal"),
        made(LOOKS, "p2", "boot"),
        made(LOOKS, "p2", "old", revision="r0"),
        made(READS, "p1", "SALE"),
        made(READS, "p2"),
        made(HEARS, "v1", "said", language="fr"),
        # Found in the same medium by a model that reads sound, which this medium is not.
        made(TextExtractor("audio", EncoderSpec("other", "r1", "transcript", "audio", None)), "v1", "wrong"),
    )


@pytest.fixture(scope="module")
def provided_text(spark: SparkSession) -> DataFrame:
    return rows(
        spark,
        "provided_text",
        {"owner_kind": "item", "owner_id": "i2", **SAID, "text": "precomputed", "language": "de"},
        {"owner_kind": "item", "owner_id": "gone", **SAID, "text": "of an item that is not there"},
        {"owner_kind": "review", "owner_id": "r2", **SAID, "text": "said  instead"},
        {"owner_kind": "review", "owner_id": "r3", **SAID, "text": "said too"},
    )


@pytest.fixture(scope="module")
def texts(spark: SparkSession, links: DataFrame, media_text: DataFrame, provided_text: DataFrame) -> DataFrame:
    item = rows(
        spark,
        "item",
        {"item_id": "i1", "title": "A  pair", "description": "<p>&nbsp;</p>"},
        {"item_id": "i2", "description": "<b>two</b>"},
    )
    review = rows(
        spark,
        "review",
        {"review_id": "r1", "text": " fine\n", "language": "en"},
        {"review_id": "r2", "text": "<p>&nbsp;</p>"},
        {"review_id": "r3", "text": "both"},
        {"review_id": "silent"},
    )
    return owner_text_rows(
        item,
        review,
        links,
        media_text=media_text,
        provided_text=provided_text,
        extractors=[LOOKS, READS, HEARS],
    ).localCheckpoint()


def test_every_text_of_an_owner_is_there_once_with_where_it_came_from(texts: DataFrame) -> None:
    columns = ("field", "kind", "position", "text", "language", "confidence", "asset_id", "encoder_id", "revision")
    found = {(row["owner_id"], *(row[name] for name in columns)) for row in texts.collect()}
    provided = ("provided", "provided")
    assert found == {
        ("i1", "title", "written", 0, "A pair", None, None, None, None, None),
        ("i1", "images", "labels", 0, "shoe, sandal", None, 0.5, "p1", "eyes", "r1"),
        ("i1", "images", "labels", 1, "boot", None, 0.5, "p2", "eyes", "r1"),
        ("i1", "images", "ocr", 0, "SALE", None, 0.5, "p1", "glasses", "r1"),
        ("i1", "video", "transcript", 0, "said", "fr", 0.5, "v1", "ears", "r1"),
        ("i2", "description", "written", 0, "two", None, None, None, None, None),
        ("i2", "transcript", "transcript", 0, "precomputed", "de", None, None, *provided),
        ("r1", "text", "written", 0, "fine", "en", None, None, None, None),
        ("r2", "transcript", "transcript", 0, "said instead", None, None, None, *provided),
        ("r3", "text", "written", 0, "both", None, None, None, None, None),
        ("r3", "transcript", "transcript", 0, "said too", None, None, None, *provided),
    }
    assert texts.select(*CONTRACTS["owner_text"].key).distinct().count() == texts.count() == len(found)
    assert all(row["content_id"] == hashlib.sha256(row["text"].encode()).hexdigest() for row in texts.collect())


def test_words_of_several_media_join_by_kind(texts: DataFrame) -> None:
    found = joined_texts(texts.where(F.col("owner_kind") == "item")).collect()
    assert {(row["owner_id"], row["field"]): row["text"] for row in found} == {
        ("i1", "title"): "A pair",
        ("i1", "labels"): "shoe, sandal, boot",
        ("i1", "ocr"): "SALE",
        ("i1", "transcript"): "said",
        ("i2", "description"): "two",
        ("i2", "transcript"): "precomputed",
    }
    assert all(row["content_id"] == hashlib.sha256(row["text"].encode()).hexdigest() for row in found)


def test_a_review_counts_with_its_written_words_or_else_with_those_that_were_spoken(texts: DataFrame) -> None:
    found = {row["review_id"]: row["text"] for row in review_words(joined_texts(texts)).collect()}
    assert found == {"r1": "fine", "r2": "said instead", "r3": "both"}


@pytest.mark.slow
def test_texts_follow_what_they_come_from(lakehouse: Lakehouse) -> None:
    def texts() -> set[tuple[str, str]]:
        return {(row["owner_id"], row["text"]) for row in lakehouse.read("owner_text").collect()}

    def put(table: str, *values: dict[str, object]) -> None:
        lakehouse.merge(table, rows(lakehouse.spark, table, *values))

    with pytest.raises(NoDataError, match=r"owner_text.*Run extract_text first"):
        read_owner_text(lakehouse)
    assert write_owner_text(lakehouse, []) == 0
    assert read_owner_text(lakehouse).count() == 0, "a store without texts has the table too"
    put("item", {"item_id": "i1", "title": "a shoe"})
    put("media_text", {**EYES, "content_id": "p1", "text": "shoe"})
    write_owner_text(lakehouse, [LOOKS])
    assert texts() == {("i1", "a shoe")}
    version = lakehouse.data_version("owner_text")
    assert write_owner_text(lakehouse, [LOOKS]) == 1
    assert lakehouse.data_version("owner_text") == version, "nothing new commits nothing"
    put("media_link", link("item", "i1", "images", "p1", 0))
    write_owner_text(lakehouse, [LOOKS])
    assert texts() == {("i1", "a shoe"), ("i1", "shoe")}


class Clock:
    """A clock that each run of work moves forward."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def _work(todo: DataFrame, clock: Clock, seconds: float, sizes: list[int]) -> Work:
    def run(chunk: DataFrame, num_rows: int) -> DataFrame:
        sizes.append(chunk.count())
        clock.now += seconds * sizes[-1]
        return chunk.withColumn("error", F.when(F.col("content_id") < "2", F.lit("bad")))

    return Work("model", todo, run, rows_per_second=1.0)


@pytest.fixture(scope="module")
def todo(spark: SparkSession) -> DataFrame:
    ids = [(hashlib.sha256(str(number).encode()).hexdigest(),) for number in range(400)]
    return spark.createDataFrame(ids, "content_id string").localCheckpoint()


def _chunked(clock: Callable[[], float], commits: list[int], said: list[str]) -> ChunkedRun:
    return ChunkedRun(lambda made: commits.append(sum(part.count() for part in made)), 100.0, said.append, clock)


def test_work_is_committed_in_chunks_that_follow_its_speed(todo: DataFrame) -> None:
    clock, sizes, commits, said = Clock(), list[int](), list[int](), list[str]()
    run = _chunked(clock, commits, said)
    run.add(_work(todo, clock, 0.5, sizes))
    # One row a second was thought: 100 rows. Two are done: then 200.
    assert 70 <= sizes[0] <= 130 and 160 <= sizes[1] <= 240
    assert sum(sizes) == 400 and commits == sizes[: len(commits)] and len(commits) >= len(sizes) - 1
    assert [part.count() for part in run.take()] == sizes[len(commits) :]
    assert run.take() == []
    errors = todo.where(F.col("content_id") < "2").count()
    assert run.counts == {"rows": 400, "errors": errors} and f"{errors} errors, 0 min left" in said[-1]


def test_work_that_fits_is_one_chunk_and_left_to_the_last_commit(todo: DataFrame) -> None:
    clock, sizes, commits = Clock(), list[int](), list[int]()
    run = _chunked(clock, commits, [])
    run.add(_work(todo.limit(90), clock, 0.5, sizes))
    assert sizes == [90] and commits == [] and len(run.take()) == 1


def test_of_several_pieces_of_work_only_those_with_rows_are_run(todo: DataFrame) -> None:
    clock, sizes = Clock(), list[int]()
    run = _chunked(clock, [], [])
    run.add(*(_work(todo.limit(number), clock, 0.5, sizes) for number in (0, 7, 0, 5)))
    run.add()
    assert sizes == [7, 5] and run.counts["rows"] == 12


def test_what_was_committed_stays_when_a_later_chunk_fails(todo: DataFrame) -> None:
    clock, sizes, commits = Clock(), list[int](), list[int]()
    work = _work(todo, clock, 2.0, sizes)

    def run_twice(chunk: DataFrame, num_rows: int) -> DataFrame:
        if len(sizes) == 2:
            raise RuntimeError("killed")
        return work.run(chunk, num_rows)

    run = _chunked(clock, commits, [])
    with pytest.raises(RuntimeError, match="killed"):
        run.add(Work("model", todo, run_twice, 1.0))
    assert commits == sizes and len(sizes) == 2
