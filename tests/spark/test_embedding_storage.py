"""Vectors in fewer bytes, from encoding to what readers of the tables see."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from deltalake import DeltaTable
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from mmrec_lib.contracts import CONTRACTS
from mmrec_lib.embedding.config import EmbeddingConfig
from mmrec_lib.embedding.owner_text import write_owner_text
from mmrec_lib.embedding.run import embed_contents
from mmrec_lib.embedding.storage import quantized, stored_as, with_vectors
from mmrec_lib.embedding.vector_codec import Storage
from mmrec_lib.encoders.config import ModelsConfig
from mmrec_lib.encoders.registry import encoder_spec
from mmrec_lib.features.contents import released_vectors
from mmrec_lib.lakehouse.merging import WriteResult
from mmrec_lib.lakehouse.tables import Lakehouse
from tests.compare import versions
from tests.spark.test_embedding_contents import rows, sha
from tests.unit.encoders.tiny_models import WORDS, make_models

TABLES = ("content_embedding", "item_embedding")
VECTORS = "content_id string, vector array<float>, error string"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> ModelsConfig:
    return make_models(tmp_path_factory.mktemp("models"))


def settings(storage: Storage) -> EmbeddingConfig:
    nothing = {"title": "tiny-text"} | dict.fromkeys(
        ("description", "transcript", "ocr", "labels", "tags", "images", "audio", "video")
    )
    sounds = {"transcript": None, "tags": None}
    return EmbeddingConfig.model_validate(
        {
            "extract": {"images": {"ocr": None, "labels": None}, "audio": sounds, "video": sounds},
            "encode": {"item": nothing, "review": {"text": None}},
            "num_partitions": 1,
            "storage": storage,
        }
    )


def titles(num: int) -> list[str]:
    generator = np.random.default_rng(5)
    return [" ".join(generator.choice(WORDS, 6)) for _ in range(num)]


def vectors(lakehouse: Lakehouse, table: str, revision: str) -> dict[str, np.ndarray]:
    made = lakehouse.read(table).where(F.col("revision") == revision)
    found = with_vectors(made).select(CONTRACTS[table].key[0], "vector").collect()
    return {row[0]: np.array(row["vector"], np.float32) for row in found}


def revisions(lakehouse: Lakehouse, table: str) -> set[str]:
    return {row["revision"] for row in lakehouse.read(table).select("revision").distinct().collect()}


def test_what_readers_get_is_the_vector_packed_or_not(spark: SparkSession) -> None:
    exact = spark.createDataFrame(
        [("a", [1.0, -127.0], None), ("b", None, "text_empty: no"), ("c", [0.0], None), ("d", [1e5], None)], VECTORS
    )
    for storage in ("float32", "float16"):
        made = quantized(exact, storage)
        assert {"content_id", "error", "vector", "codes", "scale", "storage"} == set(made.columns)
        assert made.where("codes IS NOT NULL OR scale IS NOT NULL").count() == 0
        read = with_vectors(made)
        assert dict(read.dtypes) == dict(exact.dtypes)
        found = {row["content_id"]: row.asDict() for row in read.collect()}
        assert found == {
            "a": {"content_id": "a", "vector": [1.0, -127.0], "error": None},
            "c": {"content_id": "c", "vector": [0.0], "error": None},
            "d": {"content_id": "d", "vector": [1e5], "error": None},
        }
    forms = quantized(exact, "float16").select(
        "content_id", stored_as("float16").alias("is"), stored_as("float32").alias("not")
    )
    # What half precision cannot hold stays float32.
    assert {tuple(row) for row in forms.collect()} == {
        ("a", True, False),
        ("b", False, True),
        ("c", True, False),
        ("d", False, True),
    }


@pytest.mark.slow
def test_vectors_that_an_earlier_version_stored_in_int8_are_read_until_the_next_run_encodes_them_again(
    lakehouse: Lakehouse, models: ModelsConfig
) -> None:
    spark = lakehouse.spark
    revision = encoder_spec(models.encoders["tiny-text"], models).revision
    named = {f"i{n}": title for n, title in enumerate(titles(3))}
    lakehouse.merge("item", rows(spark, "item", *({"item_id": i, "title": title} for i, title in named.items())))
    write_owner_text(lakehouse, [])
    coded = {"encoder_id": "tiny-text", "modality": "text", "revision": revision, "dim": 16, "storage": "int8"}
    coded |= {"codes": [127, -64, *range(14)], "scale": 0.5}
    of_contents = [{"content_id": sha(title), **coded} for title in named.values()]
    of_items = [{"item_id": i, "field": "title", "num_contents": 1, **coded} for i in named]
    block = {"modality": "text", "field": "title", "encoder_id": "tiny-text", "revision": revision}
    lakehouse.merge("content_embedding", rows(spark, "content_embedding", *of_contents))
    lakehouse.merge("item_embedding", rows(spark, "item_embedding", *of_items))
    lakehouse.merge("encoder_release", rows(spark, "encoder_release", block))

    read = released_vectors(lakehouse.read("item_embedding"), lakehouse.read("encoder_release")).collect()
    assert [row["vector"] for row in read] == [[63.5, -32.0, *(n / 2 for n in range(14))]] * 3

    counts, _ = embed_contents(lakehouse, models, settings("float16"), lambda _: None)
    assert (counts["encoded"], counts["errors"]) == (3, 0)
    for table in TABLES:
        forms = lakehouse.read(table).select("storage", "codes", "scale", F.size("vector").alias("size")).collect()
        assert {tuple(row) for row in forms} == {("float16", None, None, 16)}


@pytest.mark.slow
def test_a_new_revision_is_released_in_one_commit_packed_in_float16_and_the_next_run_removes_the_old_one(
    lakehouse: Lakehouse, models: ModelsConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    spark, said, work = lakehouse.spark, list[str](), "text of text by tiny-text"
    revision = encoder_spec(models.encoders["tiny-text"], models).revision
    named = {f"i{n}": title for n, title in enumerate(titles(41))}
    lakehouse.merge("item", rows(spark, "item", *({"item_id": i, "title": title} for i, title in named.items())))
    write_owner_text(lakehouse, [])
    # Readers use revision r0. Of the new one a run in float32 has done all but the last title.
    made = {"encoder_id": "tiny-text", "modality": "text", "storage": "float32"}
    old = {"revision": "r0", "dim": 2, "vector": [1.0, 0.0], **made}
    numbers = np.random.default_rng(6).normal(size=(40, 16)).astype(np.float32)
    exact = {sha(title): vector for title, vector in zip(list(named.values())[:40], numbers, strict=True)}
    new = [{"content_id": i, "revision": revision, "dim": 16, "vector": v.tolist(), **made} for i, v in exact.items()]
    of_contents = [{"content_id": sha(title), **old} for title in named.values()]
    of_items = [{"item_id": i, "field": "title", "num_contents": 1, **old} for i in named]
    block = {"modality": "text", "field": "title", "encoder_id": "tiny-text", "revision": "r0"}
    lakehouse.merge("content_embedding", rows(spark, "content_embedding", *of_contents, *new))
    lakehouse.merge("item_embedding", rows(spark, "item_embedding", *of_items))
    lakehouse.merge("encoder_release", rows(spark, "encoder_release", block))

    seen = []
    merge = lakehouse.merge

    def merge_and_look(name: str, *args: Any, **kwargs: Any) -> WriteResult:
        result = merge(name, *args, **kwargs)
        read = released_vectors(lakehouse.read("item_embedding"), lakehouse.read("encoder_release")).collect()
        seen.append((name, len(read), {len(row["vector"]) for row in read}))
        return result

    monkeypatch.setattr(lakehouse, "merge", merge_and_look)
    counts, metrics = embed_contents(lakehouse, models, settings("float16"), said.append)
    assert seen == [
        ("content_embedding", 41, {2}),  # packed
        ("content_embedding", 41, {2}),  # encoded
        ("item_embedding", 41, {2}),
        ("encoder_release", 41, {16}),
        ("item_embedding", 41, {16}),
    ]
    assert revisions(lakehouse, "item_embedding") == {revision}
    assert revisions(lakehouse, "content_embedding") == {"r0", revision}
    assert (counts["encoded"], counts["item_vectors"]) == (1, 41)
    assert f"  {work}: 40 stored vectors packed in float16" in said
    assert 0.8 < metrics[f"{work}/storage_recall@10"] <= 1
    assert 0.999999 < metrics[f"{work}/storage_cosine"] < 1
    for table in TABLES:
        plain = DeltaTable(lakehouse.location(table)).to_pyarrow_table(filters=[("revision", "=", revision)])
        assert (plain.column("codes").null_count, plain.column("vector").null_count) == (41, 0)
        assert plain.column("storage").to_pylist() == ["float16"] * 41
        kept = vectors(lakehouse, table, revision)
        for key, vector in exact.items():
            found = kept[key] if table == "content_embedding" else kept[next(i for i in named if sha(named[i]) == key)]
            # A vector of an item is rounded as content; rounded again as item it stays what it is.
            assert 0 < np.abs(found - vector).max() <= np.abs(vector).max() * 2.0**-11

    stood = versions(Path(lakehouse.store.out or ""))
    counts, metrics = embed_contents(lakehouse, models, settings("float16"), said.append)
    assert (counts["encoded"], metrics) == (0, {})
    assert revisions(lakehouse, "content_embedding") == {revision}
    stands = versions(Path(lakehouse.store.out or ""))
    assert {name for name in stands if stands[name] != stood[name]} == {"content_embedding"}
