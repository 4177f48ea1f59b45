"""Vectors in fewer bytes, from encoding to what readers of the tables see."""

from __future__ import annotations

from pathlib import Path

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
from mmrec_lib.encoders.packing import STORAGES, Storage
from mmrec_lib.lakehouse.tables import Lakehouse
from tests.compare import versions
from tests.spark.test_embedding_contents import rows
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


def test_what_readers_get_is_the_vector_in_every_form(spark: SparkSession) -> None:
    exact = spark.createDataFrame(
        [("a", [1.0, -127.0], None), ("b", None, "text_empty: no"), ("c", [0.0], None)], VECTORS
    )
    for storage in STORAGES:
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
    said: list[str] = []
    name = "text of text by tiny-text"

    def run(storage: Storage, num_items: int) -> tuple[int, dict[str, float]]:
        named = [{"item_id": f"i{n}", "title": title} for n, title in enumerate(titles(num_items))]
        lakehouse.merge("item", rows(lakehouse.spark, "item", *named))
        counts, metrics = embed_contents(lakehouse, models, settings(storage), said.append)
        return counts["encoded"], metrics

    encoded, metrics = run("float32", 40)
    assert encoded == 40
    assert set(metrics) == {f"{name}/rows", f"{name}/errors", f"{name}/rows_per_second"}
    exact = {table: vectors(lakehouse, table) for table in TABLES}

    encoded, metrics = run("int8", 41)
    assert encoded == 1
    assert f"  {name}: 40 stored vectors packed in int8" in said
    assert 0.8 < metrics[f"{name}/storage_recall@10"] <= 1
    assert 0.999 < metrics[f"{name}/storage_cosine"] < 1
    for table in TABLES:
        plain = DeltaTable(lakehouse.location(table)).to_pyarrow_table()
        assert plain.column("codes").type.value_type == pa.int8() and plain.column("vector").null_count == 41
        kept = vectors(lakehouse, table)
        assert len(kept) == 41
        for key, vector in exact[table].items():
            # A pooled vector is rounded once as content, and once more as item.
            most = np.abs(vector).max() / 127
            assert 0 < np.abs(kept[key] - vector).max() <= most

    before = versions(Path(lakehouse.store.out or ""))
    assert run("int8", 41) == (0, {})
    assert versions(Path(lakehouse.store.out or "")) == before
