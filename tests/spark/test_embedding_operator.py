from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyspark.errors import PythonException
from pyspark.sql import DataFrame, SparkSession

from mmrec_lib.embedding import operator
from mmrec_lib.embedding.config import EmbeddingConfig
from mmrec_lib.embedding.operator import MEDIA_COLUMNS, TEXT_COLUMNS, Columns, encode_table, encode_udf, extract_table
from mmrec_lib.encoders.config import ModelsConfig
from mmrec_lib.encoders.registry import make_encoder
from mmrec_lib.errors import ConfigError, EncoderError
from tests.unit.encoders.tiny_models import WORDS, image_bytes, make_models, sound_bytes


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> ModelsConfig:
    return make_models(tmp_path_factory.mktemp("models"))


def table(spark: SparkSession, rows: list[tuple[object, ...]], schema: str) -> DataFrame:
    return spark.createDataFrame(rows, schema)


@pytest.mark.slow
def test_table_face_carries_keys_and_gives_a_vector_or_an_error(spark: SparkSession, models: ModelsConfig) -> None:
    generator = np.random.default_rng(0)
    texts = [" ".join(generator.choice(WORDS, generator.integers(1, 20))) for _ in range(50)]
    rows = [(index, f"k{index}", text) for index, text in enumerate(texts)] + [(50, "k50", None), (51, "k51", "  ")]
    encoded = encode_table(
        table(spark, rows, "number int, name string, text string"),
        models.encoders["tiny-text"],
        models,
        Columns("text", keys=("number", "name")),
        EmbeddingConfig(num_partitions=3, batch_rows=7),
    )
    assert encoded.columns == ["number", "name", "vector", "dim", "error"]
    found = {row["number"]: row for row in encoded.collect()}
    assert sorted(found) == list(range(52))
    alone = make_encoder(models.encoders["tiny-text"], models)
    alone.load()
    expected = alone.encode(texts).vectors
    for number, text in enumerate(texts):
        row = found[number]
        assert (row["name"], row["dim"], row["error"]) == (f"k{number}", 16, None), text
        assert np.array_equal(np.array(row["vector"], np.float32), expected[number])
    for number in (50, 51):
        assert found[number]["vector"] is None and found[number]["dim"] is None
        assert found[number]["error"]


@pytest.mark.slow
def test_images_come_inline_or_by_uri(spark: SparkSession, models: ModelsConfig, tmp_path: Path) -> None:
    inline, stored = image_bytes(1), image_bytes(2)
    (tmp_path / "large image.png").write_bytes(stored)
    rows = [
        ("inline", bytearray(inline), None),
        ("stored", None, (tmp_path / "large image.png").as_uri()),
        ("by path", None, str(tmp_path / "large image.png")),
        ("gone", None, (tmp_path / "gone.png").as_uri()),
        ("broken", bytearray(inline[:60]), None),
    ]
    encoded = encode_table(
        table(spark, rows, "content_id string, content binary, uri string"),
        models.encoders["tiny-image"],
        models,
        MEDIA_COLUMNS,
        EmbeddingConfig(),
    )
    found = {row["content_id"]: row for row in encoded.collect()}
    assert {name: row["error"] is None for name, row in found.items()} == {
        "inline": True,
        "stored": True,
        "by path": True,
        "gone": False,
        "broken": False,
    }
    assert found["stored"]["vector"] == found["by path"]["vector"] != found["inline"]["vector"]


def test_storage_that_cannot_be_read_fails_the_task_so_that_it_is_tried_again(
    spark: SparkSession, models: ModelsConfig, tmp_path: Path
) -> None:
    rows = table(spark, [("a", None, tmp_path.as_uri())], "content_id string, content binary, uri string")
    encoded = encode_table(rows, models.encoders["tiny-image"], models, MEDIA_COLUMNS, EmbeddingConfig())
    with pytest.raises(PythonException, match="directory"):
        encoded.collect()


@pytest.mark.slow
def test_speech_becomes_text_or_an_error(spark: SparkSession, models: ModelsConfig) -> None:
    rows = [("good", bytearray(sound_bytes(0.5))), ("bad", bytearray(b"RIFF")), ("none", None)]
    sounds = table(spark, rows, "content_id string, content binary")
    heard = extract_table(sounds, models.encoders["tiny-speech"], models, Columns("content"), EmbeddingConfig())
    assert heard.columns == ["content_id", "text", "language", "confidence", "spans", "error"]
    found = {row["content_id"]: row for row in heard.collect()}
    assert found["good"]["text"] is not None and found["good"]["language"] == "en"
    for name in ("bad", "none"):
        assert found[name]["text"] is None and found[name]["error"]


@pytest.mark.slow
def test_column_face_gives_the_vectors_of_the_table_face(spark: SparkSession, models: ModelsConfig) -> None:
    texts = table(spark, [("a", "red shoe"), ("b", None), ("c", "blue boot river")], "content_id string, text string")
    encoder = models.encoders["tiny-text"]
    by_column = texts.select("content_id", encode_udf(encoder, models)("text").alias("vector"))
    by_table = encode_table(texts, encoder, models, TEXT_COLUMNS, EmbeddingConfig()).select("content_id", "vector")
    assert sorted(by_column.collect()) == sorted(by_table.collect(), key=lambda row: row["content_id"])


def test_a_worker_process_loads_a_model_once(
    spark: SparkSession, models: ModelsConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[str] = []

    class Counting:
        def __init__(self, name: str) -> None:
            self.made = make_encoder(models.encoders[name], models)
            self.spec = self.made.spec

        def load(self, device: str) -> None:
            loads.append(self.spec.id)
            self.made.load(device)

        def encode(self, batch: list[str]) -> object:
            return self.made.encode(batch)

    monkeypatch.setattr(operator, "make_encoder", lambda encoder, models: Counting(encoder.id))
    monkeypatch.setattr(operator, "_worker", operator._Worker())
    rows = table(spark, [("a", "red")], "content_id string, text string")
    task = operator._inference(rows, models.encoders["tiny-text"], models, TEXT_COLUMNS, EmbeddingConfig())

    def partition() -> Iterator[pa.RecordBatch]:
        yield pa.RecordBatch.from_pydict({"content_id": ["a", "b"], "text": ["red", "blue"]})

    for _ in range(3):
        assert sum(batch.num_rows for batch in operator._encode_partition(partition(), task)) == 2
    assert loads == ["tiny-text"]


def test_worker_that_sees_another_model_refuses(spark: SparkSession, models: ModelsConfig) -> None:
    spec = make_encoder(models.encoders["tiny-text"], models).spec
    with pytest.raises(EncoderError, match="every worker"):
        operator._encoder(models.encoders["tiny-text"], models, replace(spec, revision="other"))


@pytest.mark.parametrize("column", ["text", "absent"])
def test_wrong_input_column_is_refused_before_anything_runs(
    spark: SparkSession, models: ModelsConfig, column: str
) -> None:
    rows = table(spark, [("a", "red")], "content_id string, text string")
    with pytest.raises(ConfigError, match=column):
        encode_table(rows, models.encoders["tiny-image"], models, Columns(column), EmbeddingConfig())
