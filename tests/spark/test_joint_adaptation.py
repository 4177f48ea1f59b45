"""A joint encoder adapted over tables: texts and images that behave alike are found, and each other's."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from pyspark.sql import SparkSession

from jobs.adapt_encoder import JOB
from mmrec_lib.contracts import CONTRACTS
from mmrec_lib.encoders.registry import make_encoder
from mmrec_lib.errors import RecipeError
from mmrec_lib.fine_tuning.adaptation import adapt_encoder, are_releases_there
from mmrec_lib.fine_tuning.material import ranker_blocks
from mmrec_lib.lakehouse.merging import Staged
from mmrec_lib.recipes.adapt_config import AdaptationConfig
from mmrec_lib.tracking.registry import CHAMPION, FINGERPRINT_TAG
from tests.spark.test_fine_tuning import AT, RANKER, TEST_FROM, WEIGHTS, Shop
from tests.unit.encoders.tiny_vision import clip, make_vision_model
from tests.unit.recipes.test_image_adaptation import as_png
from tests.unit.recipes.test_joint_adaptation import PLANTED, shown

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning")]

NUM_ITEMS, NUM_USERS = 200, 80
DAMAGED, WITHOUT = "i200", "i201"
FAST: dict[str, Any] = {
    "encoder": "tiny-joint",
    "fields": ["title"],
    "k": 10,
    "batch_size": 16,
    "learning_rate": 1e-2,
    "temperature": 0.2,
    "ranker_margin": 0.5,
    "valid_share": 0.2,
    "test_share": 0.25,
    **PLANTED,
}


@pytest.fixture(scope="module")
def shop(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    shop = Shop(spark, tmp_path_factory.mktemp("both"))
    make_vision_model(Path(shop.models.root, "tiny-joint"), clip)
    entries = {name: {"kind": "joint", "dtype": "float32"} for name in ("tiny-joint", "store-joint")}
    given = {**shop.models.model_dump(), "encoders": {**shop.models.encoders, **entries}}
    shop.models = type(shop.models).model_validate(given)
    of = shown(NUM_ITEMS, NUM_USERS)
    ids = of.behaviour.item_ids
    files = {ids[n]: as_png(of.images.pixels[n]) for n in of.items if of.images.rows[n] >= 0}
    files[DAMAGED] = next(iter(files.values()))[:90]
    assets, links, texts = [], [], []
    for item, content in files.items():
        asset = hashlib.sha256(content).hexdigest()
        told = {"media_kind": "image", "mime": "image/png", "bytes_len": len(content), "content": content}
        assets.append({"asset_id": asset, **told})
        link = {"owner_kind": "item", "owner_id": item, "field": "images", "position": 0}
        links.append({**link, "asset_id": asset, "media_path": f"{item}.png"})
    for item, text in zip(ids, of.texts, strict=True):
        told = {"owner_kind": "item", "field": "title", "kind": "written", "position": 0}
        texts += [] if text is None else [{**told, "owner_id": item, "text": text, "content_id": item}]
    # Nothing is left of a text of dots.
    texts.append({**told, "owner_id": WITHOUT, "text": "...", "content_id": WITHOUT})
    visits = [(f"u{user}", ids[item], AT) for user, item in zip(*of.behaviour.visits.nonzero(), strict=True)]
    visits += [(f"u{user}", item, AT) for user in range(5) for item in (DAMAGED, WITHOUT)]
    seen = {(user, item) for user, item, _ in visits}
    later = [
        (user, item, TEST_FROM + timedelta(hours=1))
        for user, item in [(f"u{u}", f"i{(7 * u + n) % NUM_ITEMS:03d}") for u in range(NUM_USERS) for n in range(4)]
        if (user, item) not in seen
    ]
    items = [
        {"snapshot_id": "s", "item_id": f"i{n:03d}", "available": True, "updated_at": AT} for n in range(NUM_ITEMS + 2)
    ]
    users = [{"snapshot_id": "s", "user_id": f"u{n}", "is_declared": True, "updated_at": AT} for n in range(NUM_USERS)]
    snapshot = {"as_of_date": AT.date() + timedelta(days=9), "split_source": "time", "valid_from_ts": TEST_FROM}
    snapshot["test_from_ts"] = TEST_FROM + timedelta(days=1)
    numbers = {"num_users": NUM_USERS, "num_items": NUM_ITEMS + 2, "num_interactions": len(visits)}
    words = {"event_ts": AT, "event_type": "search", "query": "red city"}
    events = [
        {"event_id": f"q{user}", "user_id": f"u{user}", **words, "event_ts": AT - timedelta(minutes=1)}
        for user in range(0, 20, 2)
    ]
    for user in range(0, 20, 2):
        item = next(item for one, item, _ in visits if one == f"u{user}")
        view = {"event_ts": AT, "event_type": "view"}
        events.append({"event_id": f"v{user}", "user_id": f"u{user}", "item_id": item, **view})
    lakehouse = shop.lakehouse()
    row = {"snapshot_id": "s", "table_versions": {}, "is_current": True, **snapshot, **numbers}
    for name, rows in (
        ("media_asset", assets),
        ("media_link", links),
        ("owner_text", texts),
        ("event", events),
        ("item", items),
        ("training_item", items),
        ("user", users),
        ("training_user", users),
        ("training_snapshot", [row]),
    ):
        lakehouse.append(name, shop.frame(name, rows))
    lakehouse.append("training_interaction", shop.pairs("train", visits).unionByName(shop.pairs("valid", later)))
    for name in ("training_content", "review"):
        lakehouse.ensure(name)
    return shop


def adapt(shop: Shop, run: str, **changes: Any) -> tuple[dict[str, int], str]:
    config = AdaptationConfig.model_validate({**FAST, **changes})
    return adapt_encoder(shop.view(JOB, run), shop.registry, config, shop.models, WEIGHTS, RANKER)


def test_a_joint_encoder_is_adapted_released_and_read_as_any_other(shop: Shop) -> None:
    counts, message = adapt(shop, "run-1")
    assert "released as `store-joint`" in message and "of held-out images by their text" in message
    told = "1 items whose image cannot be read count by their text alone, if they have one, such as"
    assert f"{told} `{DAMAGED}` (media_truncated" in message
    assert counts["items"] == NUM_ITEMS and counts["users"] == NUM_USERS and counts["released"] == 1
    rows = {row["metric"]: row for row in shop.lakehouse("a").read("encoder_adaptation").collect()}
    assert set(rows) == {"recall", "ndcg", "text_to_image", "image_to_text"} and rows["recall"]["diff_low"] > 0
    assert rows["text_to_image"]["diff_low"] > 0.2 and rows["image_to_text"]["diff_low"] > 0.2
    assert rows["text_to_image"]["k"] == 10 and 30 <= rows["text_to_image"]["num_users"] < 60
    config = AdaptationConfig.model_validate(FAST)
    assert are_releases_there(shop.view(JOB, "run-1b"), config, shop.models)
    own = shop.registry.of_model("mmrec-store-joint")
    champion = own.by_alias(CHAMPION)
    assert champion is not None and champion.tags[FINGERPRINT_TAG] == rows["recall"]["revision"]
    run = mlflow.MlflowClient().get_run(champion.run_id).data.metrics
    assert run["text_to_image_at_10/value"] == rows["text_to_image"]["value"]
    encoder = make_encoder(shop.models.encoders["store-joint"], shop.models)
    encoder.load()
    of = shown(NUM_ITEMS, NUM_USERS)
    texts, files = of.texts[20:24], [as_png(one) for one in of.images.pixels[20:24]]
    given = pd.DataFrame({"text": [*texts, None, "unheard-of"], "image": [*files, None, b"no image"]})
    served = mlflow.pyfunc.load_model(champion.uri)
    found = served.predict(given)
    vectors = encoder.encode([*[str(text) for text in texts], *files]).vectors
    np.testing.assert_allclose(np.stack(found["text_vector"][:4].to_list()), vectors[:4], atol=1e-4)
    np.testing.assert_allclose(np.stack(found["image_vector"][:4].to_list()), vectors[4:], atol=1e-4)
    assert found["text_vector"][4:].isna().all() and found["image_vector"][4:].isna().all()
    assert found["error"][:5].isna().all()
    assert "text: " in found["error"][5] and "image: media_wrong_type" in found["error"][5]
    assert len(served.predict(given[["text"]])["text_vector"][0]) == 12, "a column may be left out"
    assert not list(Path(str(shop.store.out), "mlartifacts").rglob("*.pkl"))


def test_a_gain_that_is_not_beyond_the_asked_is_no_release(shop: Shop) -> None:
    counts, message = adapt(shop, "run-2", name="refused", min_gain=1.0, pairs=["co_visits"])
    assert counts["released"] == 0 and "not released, the gain is not beyond chance" in message
    assert not Path(shop.models.root, "refused").exists()
    with_searches, _ = adapt(
        shop, "run-2b", name="refused", min_gain=1.0, max_epochs=1, pairs=["co_visits", "searches"]
    )
    assert with_searches["pairs"] > counts["pairs"]


def test_the_vectors_stand_for_the_blocks_of_joint_encoders() -> None:
    assert ranker_blocks(AdaptationConfig(fields=("title",)), "joint") == ("joint:title", "joint:images")
    assert ranker_blocks(AdaptationConfig(fields=("title",)), "text") == ("text:title",)


def test_stores_without_texts_or_images_or_items_with_both_are_refused(shop: Shop) -> None:
    with pytest.raises(
        RecipeError, match=r"items with a text are needed \(description: adaptation\.fields\), got none"
    ):
        adapt(shop, "run-3", fields=["description"])
    with pytest.raises(RecipeError, match=r"at least 60 different texts and images .*cross_modal_margin=null"):
        adapt(shop, "run-4", min_users=60, ranker_margin=None)
    # Among so few a list of 40 would hold nearly all, whatever the encoder.
    with pytest.raises(RecipeError, match=r"at least 80 different texts and images .*2 times adaptation\.k"):
        adapt(shop, "run-4b", k=40, ranker_margin=None)
    lakehouse = shop.lakehouse("run-5")
    held = lakehouse.read("media_link")
    rows = lakehouse.stage("left", held.limit(0).select(*CONTRACTS["media_link"].input_schema.names))
    lakehouse.merge("media_link", Staged(rows), delete_keys=held)
    with pytest.raises(RecipeError, match="items with an image are needed, got none"):
        adapt(shop, "run-6")
