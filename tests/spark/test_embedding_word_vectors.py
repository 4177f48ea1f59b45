from __future__ import annotations

import filecmp
from pathlib import Path

import numpy as np
import pytest
from pyspark.sql import DataFrame, SparkSession

from mmrec_lib.embedding.fit_word_model import fit_vocabulary, fit_word_model, latent_vectors, segmented, store_texts
from mmrec_lib.embedding.word_model_config import WordModelConfig
from mmrec_lib.encoders.config import ModelsConfig
from mmrec_lib.encoders.registry import make_encoder
from mmrec_lib.encoders.text.word_model import word_counts
from mmrec_lib.errors import NoDataError
from mmrec_lib.lakehouse.tables import Lakehouse
from tests.spark.test_embedding_contents import rows

SEA = ["ship sails over the wave", "wave and wind and ship", "the wind fills the sail", "sail on the wave with wind"]
LAND = ["山の道を歩く", "道は山の森へ", "森の道を歩く", "山と森を歩く"]
SETTINGS = WordModelConfig(name="own", dim=2, min_texts=2, max_share=1.0, num_partitions=2, epochs=3)


def frame(spark: SparkSession, texts: list[str | None]) -> DataFrame:
    return spark.createDataFrame([(text,) for text in texts], "text string")


def cached(name: str, rows: DataFrame) -> DataFrame:
    return rows.persist()


def two_worlds() -> list[str | None]:
    """Forty texts, each of five words of one world; word2vec needs some to learn from."""
    generator = np.random.default_rng(0)
    worlds = (["ship", "sail", "wave", "wind", "harbour", "anchor"], ["森", "山", "道", "川", "谷", "雪"])
    return [" ".join(generator.choice(worlds[number % 2], 5, replace=False)) for number in range(40)]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["tfidf", "word2vec"])
def test_a_model_puts_like_texts_together_and_is_the_same_for_texts_in_any_order(
    spark: SparkSession, tmp_path: Path, method: str
) -> None:
    settings = SETTINGS.model_copy(update={"method": method, "dim": 6, "epochs": 20})
    texts = two_worlds()
    fit_word_model(frame(spark, [*texts, None, texts[0]]), str(tmp_path / "a"), settings, cached)
    fit_word_model(frame(spark, texts[::-1]), str(tmp_path / "b"), settings, cached)
    names = ["config.json", "vocabulary.json", "model.safetensors"]
    assert filecmp.cmpfiles(tmp_path / "a" / "own", tmp_path / "b" / "own", names, shallow=False)[0] == names

    models = ModelsConfig.model_validate({"root": str(tmp_path / "a"), "encoders": {"own": {"kind": method}}})
    encoder = make_encoder(models.encoders["own"], models)
    encoder.load()
    result = encoder.encode(texts)
    assert result.errors == [None] * 40
    similarity = result.vectors @ result.vectors.T - 2 * np.eye(40)
    assert np.array_equal(similarity.argmax(axis=1) % 2, np.arange(40) % 2)


@pytest.mark.slow
def test_vectors_are_the_singular_vectors_of_the_weighted_matrix(spark: SparkSession) -> None:
    words = frame(spark, [*SEA, *LAND]).select(segmented("text").alias("words")).persist()  # type: ignore[arg-type]
    vocabulary = fit_vocabulary(words, SETTINGS)
    found = latent_vectors(words, vocabulary, SETTINGS)
    counts = word_counts([row["words"] for row in words.collect()], vocabulary.index, vocabulary.weights).toarray()
    counts /= np.linalg.norm(counts, axis=1, keepdims=True)
    _, _, right = np.linalg.svd(counts)
    assert np.abs((right[:2] * found.T).sum(axis=1)) == pytest.approx([1, 1], abs=1e-4)


def test_the_vocabulary_leaves_out_what_is_rare_or_everywhere(spark: SparkSession) -> None:
    words = frame(spark, ["a b", "a b c", "a c d", "a c"]).select(segmented("text").alias("words"))  # type: ignore[arg-type]
    settings = SETTINGS.model_copy(update={"max_share": 0.75})
    found = fit_vocabulary(words, settings)
    assert found.words == ["c", "b"]
    assert found.weights == pytest.approx([np.log(5 / 4) + 1, np.log(5 / 3) + 1])
    assert fit_vocabulary(words, settings.model_copy(update={"vocabulary_size": 2, "max_share": 1.0})).words == [
        "a",
        "c",
    ]


@pytest.mark.slow
def test_too_few_words_are_an_error_that_says_what_to_do(spark: SparkSession, tmp_path: Path) -> None:
    with pytest.raises(NoDataError, match="min_texts"):
        fit_word_model(frame(spark, ["one", "two", None]), str(tmp_path), SETTINGS, cached)
    assert not list(tmp_path.iterdir())


def test_the_texts_of_a_store_are_those_of_the_chosen_fields(lakehouse: Lakehouse) -> None:
    lakehouse.merge("item", rows(lakehouse.spark, "item", {"item_id": "i", "title": "T", "description": "D"}))
    lakehouse.merge("review", rows(lakehouse.spark, "review", {"review_id": "r", "text": "R"}))
    every = store_texts(lakehouse, ("title", "description", "review")).collect()
    assert {row["text"] for row in every} == {"T", "D", "R"}
    assert [row["text"] for row in store_texts(lakehouse, ("title",)).collect()] == ["T"]
