"""Adapted encoders and trained recipes in MLflow's registry: registered once, read back without pickles."""

from __future__ import annotations

from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException

from mmrec_lib.encoders.config import ModelsConfig
from mmrec_lib.encoders.registry import make_encoder
from mmrec_lib.fine_tuning.encoder_release import Verdict, log_encoder
from mmrec_lib.fine_tuning.recipe_run import _register_again
from mmrec_lib.recipes.behaviour import Comparison
from mmrec_lib.recipes.epochs import Course
from mmrec_lib.recipes.examples import Example, divide_examples
from mmrec_lib.recipes.fit_recipe import train_recipe
from mmrec_lib.recipes.recipe import load_recipe
from mmrec_lib.tracking.registry import CANDIDATE, CHAMPION, FINGERPRINT_TAG
from tests.registered import open_registry
from tests.unit.encoders.tiny_models import make_text_model
from tests.unit.recipes.test_recipe_training import clicks, recipe

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning")]

TEXTS = ["red boot", "old stone city river", "", "blue"]


def test_an_encoder_is_registered_once_for_a_revision_and_read_back(tmp_path: Path) -> None:
    (tmp_path / "models" / "tiny-store").mkdir(parents=True)
    make_text_model(tmp_path / "models" / "tiny-store")
    registry = open_registry(tmp_path / "out")
    (tmp_path / "out").mkdir()
    compared = {("recall", 20): Comparison(0.1, 0.2, 0.05, 0.15, 40), ("ndcg", 10): Comparison(0.3, 0.3, 0.0, 0.1, 40)}
    courses = {"behaviour": Course([1.0, 0.5], [0.1, 0.2, 0.3], 2)}
    refused = Verdict("tiny-store", "behaviour", ("tiny-text", "b"), "", compared, 10, courses)
    released = Verdict("tiny-store", "behaviour", ("tiny-text", "b"), "r", compared, 10, courses, times_faster=2.0)
    own = registry.of_model("mmrec-tiny-store")
    log_encoder(registry, refused, {}, tmp_path / "models" / "tiny-store")
    assert own.versions() == [] and [row["is_released"] for row in refused.rows()] == [False, False]
    for _ in range(2):
        log_encoder(registry, released, {}, tmp_path / "models" / "tiny-store")
    (version,) = own.versions()
    champion = own.by_alias(CHAMPION)
    assert champion is not None and champion.version == version.version and own.is_intact(version)
    assert version.tags[FINGERPRINT_TAG] == "r" and registry.versions() == [], "the ranker has a registry of its own"
    model = mlflow.pyfunc.load_model(version.uri)
    found = np.stack(model.predict(pd.DataFrame({"text": TEXTS}))["vector"].to_list())
    settings = {"root": str(tmp_path / "models"), "backend": "torch"}
    models = ModelsConfig.model_validate({**settings, "encoders": {"tiny-store": {"kind": "text", "dtype": "float32"}}})
    encoder = make_encoder(models.encoders["tiny-store"], models)
    encoder.load()
    np.testing.assert_allclose(found[:2], encoder.encode(TEXTS[:2]).vectors, atol=1e-5)
    with pytest.raises(MlflowException, match="text"):
        model.predict(pd.DataFrame({"words": TEXTS}))
    runs = mlflow.search_runs(search_all_experiments=True)
    (timed,) = set(runs["metrics.times_faster"].dropna())
    assert timed == 2.0 and set(runs["metrics.recall_at_20/value"]) == {0.2}
    suffixes = {path.suffix for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert ".safetensors" in suffixes and not suffixes & {".pkl", ".pt", ".bin", ".pth"}


def test_a_recipe_that_reads_images_is_read_back_and_registered_again_only_where_it_is_lost(tmp_path: Path) -> None:
    def image(rng: np.random.Generator, is_light: bool) -> np.ndarray:
        return np.clip(rng.normal(180 if is_light else 60, 20, (3, 32, 32)), 0, 255).astype(np.uint8)

    config = recipe("from_nothing", image_px=32, max_epochs=1)
    parts = divide_examples(clicks(image), config)
    made = train_recipe(parts, config, None, checkpoints=tmp_path / "c", identity="x")
    made.model.save(tmp_path / "recipe-r", "x", {})
    (tmp_path / "out").mkdir()
    registry = open_registry(tmp_path / "out")
    for _ in range(2):
        _register_again(registry, config, "x", tmp_path / "recipe-r")
    own = registry.of_model("mmrec-recipe-r")
    (version,) = own.versions()
    candidate = own.by_alias(CANDIDATE)
    assert candidate is not None and candidate.version == version.version
    light, dark = (np.full((3, 32, 32), value, np.uint8) for value in (200, 40))
    examples = [Example("a", "red shoe", image=light), Example("b", "red shoe", image=dark), Example("c", "red shoe")]
    wanted = load_recipe(tmp_path / "recipe-r").predict(examples)
    rows = {"text": ["red shoe"] * 3, "image": [light.reshape(-1).tolist(), dark.reshape(-1).tolist(), None]}
    model = mlflow.pyfunc.load_model(version.uri)
    served = model.predict(pd.DataFrame(rows))
    assert served["label"].tolist() == [one.label for one in wanted]
    np.testing.assert_allclose(served["confidence"], [float(one.confidence or 0) for one in wanted], atol=1e-6)
    assert len(set(served["confidence"].round(6))) == 3, "the image reaches the served model"
    with pytest.raises(Exception, match=r"an image of 3072 numbers is needed, got 2"):
        model.predict(pd.DataFrame({"text": ["red"], "image": [[1.0, 2.0]]}))
