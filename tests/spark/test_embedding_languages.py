from __future__ import annotations

from dataclasses import replace

import pytest
from pyspark.sql import SparkSession

from mmrec_lib.embedding.config import FieldEncoder
from mmrec_lib.embedding.contents import item_contents
from mmrec_lib.embedding.owner_text import owner_text_rows
from tests.spark.test_embedding_contents import TEXT, rows

TEXTS = {
    "german": "Eine leise Liebesgeschichte über zwei Musiker in einer kleinen Stadt. ",
    "japanese": "娘のために買いましたが、とても気に入っています。",
    "french": "La batterie dure toute la journée et se recharge en moins d'une heure.",
    "code": "XR-2000",
}
BY_LANGUAGE = [("default", "general"), ("de", "my-german"), ("ja", "my-japanese")]


@pytest.mark.slow
def test_each_text_goes_to_the_encoder_of_its_language(spark: SparkSession) -> None:
    items = rows(
        spark, "item", *({"item_id": name, "description": text, "title": text} for name, text in TEXTS.items())
    )
    fields = [FieldEncoder("description", name, code) for code, name in BY_LANGUAGE]
    encoders = [(one, replace(TEXT, id=one.encoder_id)) for one in (*fields, FieldEncoder("title", "other"))]
    none = rows(spark, "provided_vector")
    review, links = rows(spark, "review"), rows(spark, "media_link")
    words = {"media_text": rows(spark, "media_text"), "provided_text": rows(spark, "provided_text")}
    texts = owner_text_rows(items, review, links, **words, extractors=[])
    found = item_contents(items, review, links, owner_text=texts, provided_vector=none, encoders=encoders).collect()
    assert {(row["item_id"], row["field"], row["encoder_id"]) for row in found} == {
        ("german", "description", "my-german"),
        ("japanese", "description", "my-japanese"),
        ("french", "description", "general"),
        ("code", "description", "general"),
        *((name, "title", "other") for name in TEXTS),
    }
