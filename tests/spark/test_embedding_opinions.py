from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame

from mmrec_lib.embedding.config import EmbeddingConfig
from mmrec_lib.embedding.owner_text import write_owner_text
from mmrec_lib.encoders.config import ModelsConfig
from mmrec_lib.lakehouse.tables import Lakehouse
from mmrec_lib.opinions.config import OpinionConfig
from mmrec_lib.reviews.extract_opinions import extract_opinions
from tests.spark.test_embedding_contents import rows
from tests.unit.encoders.tiny_sentiment import make_sentiment_model
from tests.unit.opinions.planted import planted_reviews

NOTHING_IS_READ = {"images": ("ocr", "labels"), "audio": ("transcript", "tags"), "video": ("transcript", "tags")}
PORTIONS = EmbeddingConfig.model_validate(
    {
        "extract": {media: dict.fromkeys(kinds) for media, kinds in NOTHING_IS_READ.items()},
        "num_partitions": 2,
        "batch_rows": 50,
    }
)
CONFIG = OpinionConfig(min_aspect_share=0.05, topic_counts=(4,), refit_share=0.1)
MODELS = ModelsConfig()


def review_rows(lakehouse: Lakehouse, *values: dict[str, Any]) -> DataFrame:
    return rows(lakehouse.spark, "review", *values)


def judge(lakehouse: Lakehouse, *settings: Any) -> tuple[dict[str, int], dict[str, float]]:
    """Opinions of the reviews as they are now: their words are written first, as extraction does."""
    write_owner_text(lakehouse, [])
    return extract_opinions(lakehouse, *settings)


def versions(lakehouse: Lakehouse) -> dict[str, int | None]:
    return lakehouse.data_versions(("opinion_model", "review_opinion"))


def opinions(lakehouse: Lakehouse) -> dict[str, Any]:
    return {row["review_id"]: row for row in lakehouse.read("review_opinion").collect()}


@pytest.mark.slow
def test_reviews_become_opinions_once_and_only_what_changed_again(lakehouse: Lakehouse, tmp_path: Path) -> None:
    planted = [
        {"review_id": f"r{n:03d}", "text": review.text, "language": "en", "rating": review.rating}
        for n, review in enumerate(planted_reviews(120))
    ]
    others: list[dict[str, Any]] = [
        {"review_id": "unrated", "text": "The zip is awful, but the collar is great."},
        {"review_id": "empty", "text": "  "},
        {"review_id": "emoji", "text": "🦆🦆"},
        {"review_id": "nul", "text": "The soup \0 is superb"},
        {"review_id": "spoken", "text": None},
    ]
    lakehouse.merge("user", rows(lakehouse.spark, "user", {"user_id": ""}))
    lakehouse.merge("review", review_rows(lakehouse, *planted, *others))
    said = {"owner_kind": "review", "owner_id": "spoken", "kind": "transcript", "text": "the story is horrible"}
    lakehouse.merge("provided_text", rows(lakehouse.spark, "provided_text", said))

    counts, metrics = judge(lakehouse, MODELS, PORTIONS, CONFIG)
    assert counts == {"analysed": 123, "errors": 2, "fitted": 1}
    found = opinions(lakehouse)
    assert len(found) == 125
    assert (found["unrated"]["rating_source"], found["unrated"]["fit_part"]) == ("predicted", "unrated")
    assert 1 <= found["unrated"]["rating"] <= 5 and found["unrated"]["rating_std"] > 0
    aspects = {aspect["aspect"]: aspect["sentiment"] for aspect in found["unrated"]["aspects"]}
    assert aspects == {"zip": "negative", "collar": "positive"}
    assert found["unrated"]["topics"][0]["share"] > 0.5
    assert found["spoken"]["sentiment"] == "negative" and found["nul"]["sentiment"] == "positive"
    assert found["empty"]["error"].startswith("no_words") and found["empty"]["rating_source"] is None
    assert found["emoji"]["error"].startswith("no_known_words")
    for value in planted:
        row = found[value["review_id"]]
        assert (row["rating"], row["rating_source"], row["rating_std"]) == (value["rating"], "given", None)
    assert {row["fit_part"] for row in found.values()} == {"train", "valid", "test", "unrated", None}
    fitted = lakehouse.read("opinion_model").collect()[0]
    assert dict(fitted["metrics"]) == metrics and metrics["accuracy"] > metrics["majority.accuracy"]
    held_out = [row for row in found.values() if row["fit_part"] == "test"]
    assert len(held_out) == metrics["num_test"]

    new = {"review_id": "new", "text": "The waiter is lovely"}
    gone = review_rows(lakehouse, planted[0], others[1])
    lakehouse.merge("review", review_rows(lakehouse, new), delete_keys=gone)
    assert judge(lakehouse, MODELS, PORTIONS, CONFIG)[0] == {"analysed": 1, "errors": 0, "fitted": 0}
    after = opinions(lakehouse)
    assert set(after) == (set(found) | {"new"}) - {"r000", "empty"}
    assert after["new"]["fit_part"] is None and after["new"]["revision"] == fitted["revision"]

    more = [{"review_id": f"m{n}", "text": f"The dessert is lovely, number {n}", "rating": 5.0} for n in range(20)]
    lakehouse.merge("review", review_rows(lakehouse, *more))
    make_sentiment_model(tmp_path / "tiny", ("1 star", "3 stars", "5 stars"), planted=True)
    models = ModelsConfig.model_validate({"root": str(tmp_path), "encoders": {"tiny": {"kind": "sentiment"}}})
    config = CONFIG.model_copy(update={"sentiment_encoder": "tiny"})
    assert judge(lakehouse, models, PORTIONS, config)[0]["fitted"] == 1
    judged = opinions(lakehouse)
    assert len(judged) == 144
    assert {row["encoder_id"] for row in judged.values()} == {"tiny"}
    assert len({row["revision"] for row in judged.values()}) == 1
    assert judged["m0"]["fit_part"] in {"train", "valid", "test"}
    assert judged["new"]["fit_part"] == "unrated"


@pytest.mark.slow
def test_a_store_with_few_ratings_says_why_it_predicts_none_and_a_second_run_commits_nothing(
    lakehouse: Lakehouse,
) -> None:
    lakehouse.merge("user", rows(lakehouse.spark, "user", {"user_id": ""}))
    lakehouse.merge("review", review_rows(lakehouse, {"review_id": "a", "text": "I love it"}))
    counts, metrics = judge(lakehouse, MODELS, PORTIONS, CONFIG)
    assert counts == {"analysed": 1, "errors": 0, "fitted": 1}
    assert "accuracy" not in metrics
    note = lakehouse.read("opinion_model").collect()[0]["note"]
    assert note == "too_few_ratings: 50 rated reviews are needed, there are 0"
    row = opinions(lakehouse)["a"]
    assert (row["sentiment"], row["rating"], row["p_positive"]) == ("positive", None, None)
    before = versions(lakehouse)
    assert judge(lakehouse, MODELS, PORTIONS, CONFIG)[0] == {"analysed": 0, "errors": 0, "fitted": 0}
    assert versions(lakehouse) == before


@pytest.mark.slow
def test_reviews_of_deleted_people_have_no_opinion(lakehouse: Lakehouse) -> None:
    lakehouse.merge("user", rows(lakehouse.spark, "user", {"user_id": "stays"}, {"user_id": "goes"}))
    both = ({"review_id": name, "user_id": name, "text": "I love it"} for name in ("stays", "goes"))
    lakehouse.merge("review", review_rows(lakehouse, *both))
    judge(lakehouse, MODELS, PORTIONS, CONFIG)
    assert set(opinions(lakehouse)) == {"stays", "goes"}
    none = lakehouse.read("user").limit(0)
    lakehouse.merge("user", none, delete_keys=rows(lakehouse.spark, "user", {"user_id": "goes"}))
    judge(lakehouse, MODELS, PORTIONS, CONFIG)
    assert set(opinions(lakehouse)) == {"stays"}
