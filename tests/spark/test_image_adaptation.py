"""An image encoder adapted over tables: looks that behave alike are found, and what cannot be read is told."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import mlflow
import numpy as np
import pandas as pd
import pytest
from pyspark.sql import SparkSession

from jobs.adapt_encoder import JOB, Config
from mmrec_lib.contracts import CONTRACTS
from mmrec_lib.encoders.registry import encoder_spec, make_encoder
from mmrec_lib.errors import ConfigError, RecipeError
from mmrec_lib.fine_tuning.adaptation import adapt_encoder, are_releases_there
from mmrec_lib.lakehouse.merging import Staged
from mmrec_lib.recipes.adapt_config import AdaptationConfig
from mmrec_lib.runtime.job import Context
from mmrec_lib.tracking.registry import CHAMPION, FINGERPRINT_TAG
from tests.spark.test_fine_tuning import AT, RANKER, TEST_FROM, WEIGHTS, Shop
from tests.unit.encoders.tiny_vision import make_vision_model, resnet
from tests.unit.recipes.test_image_adaptation import as_png, looks

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning")]

NUM_ITEMS, NUM_USERS = 160, 80
DAMAGED, WITHOUT = "i160", "i161"
FAST: dict[str, Any] = {
    "encoder": "tiny-look",
    "k": 5,
    "batch_size": 16,
    "learning_rate": 1e-2,
    "trained_layers": None,
    "temperature": 0.2,
    "max_epochs": 6,
    "patience": 6,
    "ranker_margin": 0.5,
    "valid_share": 0.2,
    "test_share": 0.25,
}


@pytest.fixture(scope="module")
def shop(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    shop = Shop(spark, tmp_path_factory.mktemp("looks"))
    root = Path(shop.models.root)
    make_vision_model(root / "tiny-look", resnet)
    entries = {name: {"kind": "image", "dtype": "float32"} for name in ("tiny-look", "store-image")}
    given = {**shop.models.model_dump(), "encoders": {**shop.models.encoders, **entries}}
    shop.models = type(shop.models).model_validate(given)
    behaviour, images = looks(NUM_ITEMS, NUM_USERS)
    files = [as_png(one) for one in images.pixels]
    assets, links = [], []
    for n, content in enumerate([*files, files[0][:90]]):
        asset = hashlib.sha256(content).hexdigest()
        told = {"media_kind": "image", "mime": "image/png", "bytes_len": len(content), "content": content}
        assets.append({"asset_id": asset, **told})
        link = {"owner_kind": "item", "owner_id": f"i{n:03d}", "field": "images", "position": 0}
        links.append({**link, "asset_id": asset, "media_path": f"{n}.png"})
    visits = [
        (f"u{user}", behaviour.item_ids[item], AT) for user, item in zip(*behaviour.visits.nonzero(), strict=True)
    ]
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
    lakehouse = shop.lakehouse()
    row = {"snapshot_id": "s", "table_versions": {}, "is_current": True, **snapshot, **numbers}
    for name, rows in (
        ("media_asset", assets),
        ("media_link", links),
        ("item", items),
        ("training_item", items),
        ("user", users),
        ("training_user", users),
        ("training_snapshot", [row]),
    ):
        lakehouse.append(name, shop.frame(name, rows))
    lakehouse.append("training_interaction", shop.pairs("train", visits).unionByName(shop.pairs("valid", later)))
    lakehouse.ensure("training_content")
    return shop


def adapt(shop: Shop, run: str, **changes: Any) -> tuple[dict[str, int], str]:
    config = AdaptationConfig.model_validate({**FAST, **changes})
    return adapt_encoder(shop.view(JOB, run), shop.registry, config, shop.models, WEIGHTS, RANKER)


def test_an_image_encoder_is_adapted_released_and_read_as_any_other(shop: Shop) -> None:
    counts, message = adapt(shop, "run-1")
    assert "released as `store-image`" in message
    assert f"1 items whose image cannot be read do not count, such as `{DAMAGED}` (media_truncated" in message
    assert counts["items"] == NUM_ITEMS and counts["users"] == NUM_USERS and counts["released"] == 1
    rows = {row["metric"]: row for row in shop.lakehouse("a").read("encoder_adaptation").collect()}
    assert set(rows) == {"recall", "ndcg"} and rows["recall"]["diff_low"] > 0
    assert rows["recall"]["base_encoder_id"] == "tiny-look" and rows["recall"]["num_pairs"] == counts["pairs"]
    config = AdaptationConfig.model_validate(FAST)
    assert are_releases_there(shop.view(JOB, "run-1b"), config, shop.models)
    whole = Config(adaptation=config, models=shop.models, events={}, training=RANKER)
    revision = encoder_spec(shop.models.encoders["tiny-look"], shop.models).revision
    assert JOB.external_versions(cast(Context, None), whole) == {"encoder": revision}
    own = shop.registry.of_model("mmrec-store-image")
    champion = own.by_alias(CHAMPION)
    assert champion is not None and champion.tags[FINGERPRINT_TAG] == rows["recall"]["revision"]
    encoder = make_encoder(shop.models.encoders["store-image"], shop.models)
    encoder.load()
    _, images = looks(4)
    files = [as_png(one) for one in images.pixels]
    found = mlflow.pyfunc.load_model(champion.uri).predict(pd.DataFrame({"image": [*files, b"no image", None]}))
    np.testing.assert_allclose(np.stack(found["vector"][:4].to_list()), encoder.encode(files).vectors, atol=1e-4)
    assert found["vector"][4] is None and "media_wrong_type" in found["error"][4]
    assert found["vector"][5] is None and found["error"][5] == "bytes of an image are needed, got NoneType"
    assert not list(Path(str(shop.store.out), "mlartifacts").rglob("*.pkl"))


def test_a_gain_that_is_not_beyond_the_asked_is_no_release(shop: Shop) -> None:
    counts, message = adapt(shop, "run-2", name="refused", min_gain=1.0, max_epochs=1)
    assert counts["released"] == 0 and "not released, the gain is not beyond chance" in message
    assert not Path(shop.models.root, "refused").exists()


def test_wrong_kinds_and_stores_without_readable_images_are_refused(shop: Shop) -> None:
    with pytest.raises(
        ConfigError, match=r"adaptation\.encoder: .* kind image or joint or text is needed .*of kind speech"
    ):
        adapt(shop, "run-3", encoder="tiny-speech")
    with pytest.raises(ConfigError, match=r"adaptation\.pairs: .* got reviews"):
        adapt(shop, "run-3", pairs=["reviews"])
    lakehouse = shop.lakehouse("run-4")
    held = lakehouse.read("media_link")
    for run, left, said in (
        ("run-5", held.where(f"owner_id = '{DAMAGED}'"), rf"an image that can be read are needed, got 1 .*`{DAMAGED}`"),
        ("run-6", held.limit(0), "items with an image are needed, got none"),
    ):
        rows = lakehouse.stage("left", left.select(*CONTRACTS["media_link"].input_schema.names))
        lakehouse.merge("media_link", Staged(rows), delete_keys=held)
        with pytest.raises(RecipeError, match=said):
            adapt(shop, run)
