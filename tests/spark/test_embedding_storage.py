"""Vectors in fewer bytes, from encoding to what readers of the tables see."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from deltalake import DeltaTable
from pyspark.sql import SparkSession

from mmrec_lib.contracts import CONTRACTS
from mmrec_lib.embedding.config import EmbeddingConfig
from mmrec_lib.embedding.run import embed_contents
from mmrec_lib.embedding.storage import packed, stored_as, with_vectors
from mmrec_lib.encoders.config import ModelsConfig
from mmrec_lib.encoders.packing import Storage
from mmrec_lib.encoders.registry import encoder_spec
from mmrec_lib.features.contents import released_vectors
from mmrec_lib.lakehouse.tables import Lakehouse, WriteResult
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


def vectors(lakehouse: Lakehouse, table: str) -> dict[str, np.ndarray]:
    found = with_vectors(lakehouse.read(table)).select(CONTRACTS[table].key[0], "vector").collect()
    return {row[0]: np.array(row["vector"], np.float32) for row in found}


def revisions(lakehouse: Lakehouse, table: str) -> set[str]:
    return {row["revision"] for row in lakehouse.read(table).select("revision").distinct().collect()}


def test_what_readers_get_is_the_vector_packed_or_not(spark: SparkSession) -> None:
    exact = spark.createDataFrame(
        [("a", [1.0, -127.0], None), ("b", None, "text_empty: no"), ("c", [0.0], None)], VECTORS
    )
    for storage in ("float32", "int8"):
        made = packed(exact, storage)
        assert {"content_id", "error", "vector", "codes", "scale", "storage"} == set(made.columns)
        read = with_vectors(made)
        assert dict(read.dtypes) == dict(exact.dtypes)
        found = {row["content_id"]: row.asDict() for row in read.collect()}
        assert found == {
            "a": {"content_id": "a", "vector": [1.0, -127.0], "error": None},
            "c": {"content_id": "c", "vector": [0.0], "error": None},
        }
    forms = packed(exact, "int8").select("content_id", stored_as("int8").alias("is"), stored_as("float32").alias("not"))
    assert {tuple(row) for row in forms.collect()} == {("a", True, False), ("b", False, True), ("c", True, False)}


def test_a_change_to_int8_packs_what_is_stored_encodes_what_is_new_and_tells_what_it_costs(
    lakehouse: Lakehouse, models: ModelsConfig
) -> None:
    spark, said, work = lakehouse.spark, list[str](), "text of text by tiny-text"
    spec = encoder_spec(models.encoders["tiny-text"], models)
    named = {f"i{n}": title for n, title in enumerate(titles(41))}
    lakehouse.merge("item", rows(spark, "item", *({"item_id": i, "title": title} for i, title in named.items())))
    numbers = np.random.default_rng(6).normal(size=(40, 16)).astype(np.float32)
    exact = {sha(title): vector for title, vector in zip(list(named.values())[:40], numbers, strict=True)}
    known = {"encoder_id": spec.id, "revision": spec.revision, "modality": "text", "dim": 16, "storage": "float32"}
    stored = [{"content_id": i, "vector": vector.tolist(), **known} for i, vector in exact.items()]
    lakehouse.merge("content_embedding", rows(spark, "content_embedding", *stored))

    counts, metrics = embed_contents(lakehouse, models, settings("int8"), said.append)
    assert (counts["encoded"], counts["item_vectors"]) == (1, 41)
    assert f"  {work}: 40 stored vectors packed in int8" in said
    assert 0.8 < metrics[f"{work}/storage_recall@10"] <= 1
    assert 0.999 < metrics[f"{work}/storage_cosine"] < 1
    for table in TABLES:
        plain = DeltaTable(lakehouse.location(table)).to_pyarrow_table()
        assert plain.column("codes").type.value_type == pa.int8() and plain.column("vector").null_count == 41
        kept = vectors(lakehouse, table)
        for key, vector in exact.items():
            found = kept[key] if table == "content_embedding" else kept[next(i for i in named if sha(named[i]) == key)]
            # A vector of an item is rounded once as content, and once more as item.
            assert 0 < np.abs(found - vector).max() <= np.abs(vector).max() / 127


def test_a_new_revision_is_released_in_one_commit_and_the_old_one_goes_with_the_next_run(
    lakehouse: Lakehouse, models: ModelsConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    spark, made = lakehouse.spark, {"encoder_id": "tiny-text", "modality": "text", "dim": 2, "storage": "float32"}
    named = {f"i{n}": title for n, title in enumerate(titles(3))}
    old = {"revision": "r0", "vector": [1.0, 0.0], **made}
    of_items = [{"item_id": i, "field": "title", "num_contents": 1, **old} for i in named]
    of_contents = [{"content_id": sha(title), **old} for title in named.values()]
    block = {"modality": "text", "field": "title", "encoder_id": "tiny-text", "revision": "r0"}
    lakehouse.merge("item", rows(spark, "item", *({"item_id": i, "title": title} for i, title in named.items())))
    lakehouse.merge("content_embedding", rows(spark, "content_embedding", *of_contents))
    lakehouse.merge("item_embedding", rows(spark, "item_embedding", *of_items))
    lakehouse.merge("encoder_release", rows(spark, "encoder_release", block))

    seen = []
    merge = lakehouse.merge

    def merge_and_look(name: str, *args: Any, **kwargs: Any) -> WriteResult:
        result = merge(name, *args, **kwargs)
        vectors = released_vectors(lakehouse.read("item_embedding"), lakehouse.read("encoder_release")).collect()
        seen.append((name, sorted((row["item_id"], len(row["vector"])) for row in vectors)))
        return result

    monkeypatch.setattr(lakehouse, "merge", merge_and_look)
    counts, _ = embed_contents(lakehouse, models, settings("int8"), print)
    assert counts["encoded"] == 3
    before, after = [(i, 2) for i in named], [(i, 16) for i in named]
    assert seen == [
        ("content_embedding", before),
        ("item_embedding", before),
        ("encoder_release", after),
        ("item_embedding", after),
    ]
    assert revisions(lakehouse, "item_embedding") == {encoder_spec(models.encoders["tiny-text"], models).revision}
    assert revisions(lakehouse, "content_embedding") == {"r0"} | revisions(lakehouse, "item_embedding")

    stood = versions(Path(lakehouse.store.out or ""))
    counts, metrics = embed_contents(lakehouse, models, settings("int8"), print)
    assert (counts["encoded"], metrics) == (0, {})
    assert revisions(lakehouse, "content_embedding") == revisions(lakehouse, "item_embedding")
    stands = versions(Path(lakehouse.store.out or ""))
    assert {name for name in stands if stands[name] != stood[name]} == {"content_embedding"}
