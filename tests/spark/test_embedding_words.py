"""Words of media: documents of items, and the order of what is released."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from mmrec_lib.embedding.chunks import ChunkedRun, Work
from mmrec_lib.embedding.documents import item_documents
from mmrec_lib.embedding.extracted_text import TextExtractor, media_words, owner_texts, released_extractors
from mmrec_lib.encoders.spec import EncoderSpec
from tests.spark.test_embedding_contents import link, rows

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
        made(HEARS, "v1", "said"),
        # Found in the same medium by a model that reads sound, which this medium is not.
        made(TextExtractor("audio", EncoderSpec("other", "r1", "transcript", "audio", None)), "v1", "wrong"),
    )


@pytest.fixture(scope="module")
def provided_text(spark: SparkSession) -> DataFrame:
    return rows(
        spark, "provided_text", {"owner_kind": "item", "owner_id": "i2", "kind": "transcript", "text": "precomputed"}
    )


def test_words_of_several_media_join_by_kind(links: DataFrame, media_text: DataFrame, provided_text: DataFrame) -> None:
    found = owner_texts(links, media_text, provided_text, [LOOKS, READS, HEARS]).collect()
    assert {(row["owner_id"], row["kind"]): row["text"] for row in found} == {
        ("i1", "labels"): "shoe, sandal, boot",
        ("i1", "ocr"): "SALE",
        ("i1", "transcript"): "said",
        ("i2", "transcript"): "precomputed",
    }


def test_a_document_holds_every_span_with_where_it_came_from(
    spark: SparkSession, links: DataFrame, media_text: DataFrame, provided_text: DataFrame
) -> None:
    item = rows(spark, "item", {"item_id": "i1", "title": "A  pair"}, {"item_id": "i2", "description": "two"})
    words = media_words(links, media_text, [LOOKS, READS, HEARS])
    made = item_documents(item, words, provided_text).orderBy("item_id", "position").collect()
    assert [
        (row["item_id"], row["position"], row["source"], row["text"], row["asset_id"], row["encoder_id"])
        for row in made
    ] == [
        ("i1", 0, "title", "A pair", None, None),
        ("i1", 1, "transcript", "said", "v1", "ears"),
        ("i1", 2, "ocr", "SALE", "p1", "glasses"),
        ("i1", 3, "labels", "shoe", "p1", "eyes"),
        ("i1", 4, "labels", "sandal", "p1", "eyes"),
        ("i1", 5, "labels", "boot", "p2", "eyes"),
        ("i2", 0, "description", "two", None, None),
        ("i2", 1, "transcript", "precomputed", None, "provided"),
    ]
    assert (made[4]["confidence"], made[4]["start_seconds"], made[4]["end_seconds"]) == (0.5, 1.0, 2.0)


def test_readers_are_known_from_the_release(spark: SparkSession) -> None:
    released = spark.createDataFrame(
        [("labels", "images", "eyes", "r1"), ("image", "images", "pixels", "r1")],
        "modality string, field string, encoder_id string, revision string",
    )
    assert released_extractors(released) == [LOOKS]


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
