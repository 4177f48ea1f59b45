from __future__ import annotations

import pytest
from pyspark.sql import SparkSession

from mmrec_lib.embedding.languages import with_encoder
from mmrec_lib.encoders.choice import EncoderChoice
from mmrec_lib.errors import ConfigError

TEXTS = {
    "german": "Eine leise Liebesgeschichte über zwei Musiker in einer kleinen Stadt. ",
    "japanese": "娘のために買いましたが、とても気に入っています。",
    "french": "La batterie dure toute la journée et se recharge en moins d'une heure.",
    "code": "XR-2000",
    "picture": None,
}


def test_each_content_goes_to_the_encoder_of_its_language(spark: SparkSession) -> None:
    contents = spark.createDataFrame(
        [*TEXTS.items(), ("long", TEXTS["german"] * 20_000)], "content_id string, text string"
    )
    choice = EncoderChoice.model_validate({"default": "general", "de": "my-german", "ja": "my-japanese"})
    rows = with_encoder(contents, choice).collect()
    assert {row["content_id"]: (row["language"], row["encoder_id"]) for row in rows} == {
        "german": ("de", "my-german"),
        "japanese": ("ja", "my-japanese"),
        "french": ("fr", "general"),
        "code": (None, "general"),
        "picture": (None, "general"),
        "long": ("de", "my-german"),
    }


def test_one_encoder_for_all_detects_nothing(spark: SparkSession) -> None:
    contents = spark.createDataFrame(list(TEXTS.items()), "content_id string, text string")
    found = with_encoder(contents, EncoderChoice.model_validate("general"))
    assert {(row["language"], row["encoder_id"]) for row in found.collect()} == {(None, "general")}


def test_a_language_that_is_never_detected_is_an_error_before_anything_runs(spark: SparkSession) -> None:
    contents = spark.createDataFrame(list(TEXTS.items()), "content_id string, text string")
    with pytest.raises(ConfigError, match="jp"):
        with_encoder(contents, EncoderChoice.model_validate({"default": "general", "jp": "my-japanese"}))
