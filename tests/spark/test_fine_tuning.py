"""Training over tables: labels and behaviour become models, figures and predictions; nothing is half-written."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs.adapt_encoder import JOB as ADAPT
from jobs.train_recipe import JOB as TRAIN
from mmrec_lib.contracts import CONTRACTS
from mmrec_lib.encoders.config import ModelsConfig
from mmrec_lib.encoders.registry import make_encoder
from mmrec_lib.encoders.text.config import TextConfig
from mmrec_lib.errors import NoDataError, RecipeError
from mmrec_lib.fine_tuning import adaptation, recipe_run
from mmrec_lib.fine_tuning.adaptation import adapt_encoder, are_releases_there
from mmrec_lib.fine_tuning.contents import histories, with_user_texts
from mmrec_lib.fine_tuning.labelled import labelled_rows
from mmrec_lib.fine_tuning.ranker_gate import RankerCheck
from mmrec_lib.fine_tuning.read_behaviour import items_with_text, read_behaviour
from mmrec_lib.fine_tuning.recipe_run import run_recipe
from mmrec_lib.lakehouse.actions import side_by_side
from mmrec_lib.lakehouse.config import StoreConfig
from mmrec_lib.lakehouse.job_tables import JobTables
from mmrec_lib.lakehouse.tables import Lakehouse
from mmrec_lib.models.config import TrainingConfig
from mmrec_lib.recipes.adapt_config import AdaptationConfig
from mmrec_lib.recipes.behaviour import Behaviour, Comparison
from mmrec_lib.recipes.config import PseudoLabelConfig, RecipeConfig
from mmrec_lib.recipes.examples import Example
from mmrec_lib.recipes.recipe import load_recipe
from mmrec_lib.runtime.job import Job
from mmrec_lib.tracking.config import TrackingConfig
from mmrec_lib.tracking.registry import CANDIDATE, CHAMPION, FINGERPRINT_TAG, Registry
from tests.unit.encoders.tiny_models import WORDS, make_models, make_text_model

pytestmark = pytest.mark.slow

AT = datetime(2026, 3, 1, tzinfo=UTC)
TEST_FROM = AT + timedelta(days=1)
WEIGHTS = {"view": 1.0, "search": 0.0}
NUM_ITEMS, NUM_LABELLED = 160, 120
TAGGER = RecipeConfig.model_validate(
    {
        "name": "colours",
        "kind": "tagger",
        "task": "colours",
        "fields": ["title"],
        "encoder": "tiny-text",
        "max_tokens": 16,
        "trained_layers": None,
        "batch_size": 8,
        "learning_rate": 5e-3,
        "head_learning_rate": 2e-2,
    }
)
RANKER = TrainingConfig(sources=("content_ease",), dims=(16,), second_stage=None, heads=None)
ADAPTATION = AdaptationConfig.model_validate(
    {
        "steps": ["masked_language", "behaviour"],
        "min_gain": -1.0,  # Words alone say little here: whether the gate measures is the question, not the gain.
        "ranker_margin": 0.5,
        "k": 5,
        "encoder": "tiny-text",
        "fields": ["title"],
        "batch_size": 16,
        "max_tokens": 16,
        "learning_rate": 2e-2,
        "max_epochs": 3,
    }
)


def read_texts(lakehouse: Lakehouse, config: AdaptationConfig) -> tuple[Behaviour, list[tuple[str, int]]]:
    items = items_with_text(lakehouse, config)
    known = {row["item_id"]: row["content"] for row in items.collect()}
    return read_behaviour(lakehouse, config.resolved("text"), WEIGHTS, items, known)


class Shop:
    def __init__(self, spark: SparkSession, folder: Path) -> None:
        (folder / "models").mkdir()
        self.models: ModelsConfig = make_models(folder / "models")
        make_text_model(folder / "models" / "tiny-text", with_mask=True)
        self.store = StoreConfig(data=str(folder / "landing"), out=str(folder / "out"))
        self.spark = spark
        self.registry = Registry(TrackingConfig(), self.store)

    def lakehouse(self, run: str = "run-1") -> Lakehouse:
        return Lakehouse(self.spark, self.store, run, AT)

    def view(self, job: Job[Any], run: str) -> JobTables:
        return JobTables(self.lakehouse(run), job.name, reads=job.tables_read, writes=job.tables_written)

    def frame(self, name: str, rows: Iterable[dict[str, Any]]) -> DataFrame:
        schema = CONTRACTS[name].input_schema
        return self.spark.createDataFrame([tuple(row.get(c) for c in schema.names) for row in rows], schema)

    def pairs(self, part: str, visits: Iterable[tuple[str, str, datetime]]) -> DataFrame:
        named = [
            {"user_id": user, "item_id": item, f"{part}_weight": 1.0, f"{part}_ts": at} for user, item, at in visits
        ]
        return self.frame("training_interaction", [{"snapshot_id": "s", **one} for one in named])

    def train(self, run: str, **changes: Any) -> tuple[dict[str, int], str]:
        config = TAGGER.model_copy(update=changes)
        return run_recipe(self.view(TRAIN, run), self.registry, config, self.models)


@pytest.fixture(scope="module")
def shop(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    shop = Shop(spark, tmp_path_factory.mktemp("fine_tuning"))
    rng = np.random.default_rng(0)
    others = [word for word in WORDS if word not in ("red", "blue")]
    colours = [("red", "blue")[n % 2] for n in range(NUM_ITEMS)]
    titles = {f"i{n:03d}": f"{' '.join(rng.choice(others, 3))} {colours[n]} {n}" for n in range(NUM_ITEMS)}
    told = {"owner_kind": "item", "field": "title", "kind": "written", "position": 0}
    texts = [{**told, "owner_id": i, "text": title, "content_id": i} for i, title in titles.items()]
    labels = []
    for n, (item, title) in enumerate(list(titles.items())[:NUM_LABELLED]):
        span = {"start": title.index(colours[n]), "end": title.index(colours[n]) + len(colours[n]), "label": "colour"}
        labels.append({"label_id": item, "task": "colours", "owner_kind": "item", "owner_id": item, "spans": [span]})
    labels.append({**labels[0], "label_id": "gone", "owner_id": "no-such-item"})
    events = list[dict[str, Any]]()
    for user in range(60):
        for place, n in enumerate(rng.choice(np.arange(user % 2, NUM_ITEMS, 2), 20, replace=False)):
            at = AT + timedelta(minutes=place)
            one = {"event_id": f"e{user}-{place}", "user_id": f"u{user}", "event_ts": at, "event_type": "view"}
            is_search = place == 0
            search = {"event_type": "search", "query": f"{colours[n]} city"}
            events.append({**one, **search} if is_search else {**one, "item_id": f"i{n:03d}"})
    users = [{"user_id": f"u{user}", "is_declared": True, "updated_at": AT} for user in range(60)]
    lakehouse = shop.lakehouse()
    side_by_side(
        [
            lambda: lakehouse.append("owner_text", shop.frame("owner_text", texts)),
            lambda: lakehouse.append("label", shop.frame("label", [{**label, "updated_at": AT} for label in labels])),
            lambda: lakehouse.append("event", shop.frame("event", events)),
            lambda: lakehouse.append("user", shop.frame("user", users)),
        ]
    )
    visits = [(one["user_id"], one["item_id"], one["event_ts"]) for one in events if "item_id" in one]
    seen = {(user, item) for user, item, _ in visits}
    # In valid each person turns to two more items of their colour.
    later = [
        (f"u{user}", item, TEST_FROM + timedelta(hours=1))
        for user in range(60)
        for item in [f"i{n:03d}" for n in range(user % 2, NUM_ITEMS, 2) if (f"u{user}", f"i{n:03d}") not in seen][:2]
    ]
    with pytest.raises(NoDataError, match="no training snapshot"):
        read_texts(lakehouse, ADAPTATION)
    snapshot = {"as_of_date": AT.date() + timedelta(days=9), "split_source": "time", "valid_from_ts": TEST_FROM}
    snapshot["test_from_ts"] = TEST_FROM + timedelta(days=1)
    numbers = {"num_users": 60, "num_items": NUM_ITEMS, "num_interactions": len(visits)}
    items = [{"snapshot_id": "s", "item_id": item, "available": True, "updated_at": AT} for item in titles]
    row = {"snapshot_id": "s", "table_versions": {}, "is_current": True, **snapshot, **numbers}
    side_by_side(
        [
            lambda: lakehouse.append("training_snapshot", shop.frame("training_snapshot", [row])),
            lambda: lakehouse.append("training_interaction", shop.pairs("train", visits)),
            lambda: lakehouse.append("item", shop.frame("item", items)),
            lambda: lakehouse.append("training_item", shop.frame("training_item", items)),
            lambda: lakehouse.append(
                "training_user", shop.frame("training_user", [{"snapshot_id": "s", **u} for u in users])
            ),
            lambda: lakehouse.ensure("training_content"),
        ]
    )
    lakehouse.append("training_interaction", shop.pairs("valid", later))
    return shop


def test_a_recipe_fills_its_tables_once_and_finds_what_nobody_labelled(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    directory, checkpoints = (
        Path(shop.models.root, name) for name in ("recipe-colours", ".recipe-colours-checkpoints")
    )
    with monkeypatch.context() as patch:
        patch.setattr(recipe_run, "_log", killed)
        with pytest.raises(KeyboardInterrupt):
            shop.train("run-0")
    assert checkpoints.exists() and not directory.exists(), "what was not logged does not count as made"
    counts, message = shop.train("run-2")
    assert (counts["labels"], counts["unknown_owners"]) == (NUM_LABELLED + 1, 1)
    assert counts["train"] + counts["valid"] + counts["test"] == NUM_LABELLED
    assert "1 labels of owners without such a content do not count" in message
    found = shop.lakehouse("a").read("text_entity").collect()
    right = {row["owner_id"] for row in found if row["text"] in ("red", "blue") and row["label"] == "colour"}
    unlabelled = {f"i{n:03d}" for n in range(NUM_LABELLED, NUM_ITEMS)}
    assert len(right & unlabelled) > 0.9 * len(unlabelled)
    assert {row["revision"] for row in found} == {
        row["revision"] for row in shop.lakehouse("a").read("recipe_metric").collect()
    }
    figures = {
        (r["part"], r["model"], r["metric"], r["label"]): r for r in shop.lakehouse("a").read("recipe_metric").collect()
    }
    assert figures["test", "recipe", "f1", ""]["value"] > figures["test", "majority", "f1", ""]["value"] + 0.5
    assert figures["test", "recipe", "f1", "colour"]["num_examples"] == counts["test"]
    versions = shop.lakehouse("b").data_versions(TRAIN.tables_written)
    assert not checkpoints.exists()
    checkpoints.mkdir()
    again, told = shop.train("run-3")
    assert not checkpoints.exists(), "a run that was killed before it removed them left them"
    assert again == counts and "was trained before on the same" in told
    assert shop.lakehouse("c").data_versions(TRAIN.tables_written) == versions
    skipped, told = shop.train("run-4", task="none")
    assert skipped == {"labels": 0} and "no labels of task `none`, it has colours" in told
    with pytest.raises(RecipeError, match="classes are needed by kind classifier"):
        shop.train("run-5", kind="classifier")
    assert shop.lakehouse("d").data_versions(TRAIN.tables_written) == versions


def adapt(shop: Shop, run: str, **changes: Any) -> tuple[dict[str, int], str]:
    config = AdaptationConfig.model_validate({**ADAPTATION.model_dump(), **changes})
    return adapt_encoder(shop.view(ADAPT, run), shop.registry, config, shop.models, WEIGHTS, RANKER)


def test_an_encoder_is_adapted_and_the_decision_is_told_by_retrieval_and_ranker(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    root = Path(shop.models.root)
    checkpoints = root / ".store-text-checkpoints"
    student = {"num_layers": 1, "max_epochs": 2, "margin": 0.99}
    with monkeypatch.context() as patch:
        patch.setattr(adaptation, "write_verdicts", killed)
        with pytest.raises(KeyboardInterrupt):
            adapt(shop, "run-6", student=student)
    assert {path.name for path in checkpoints.iterdir()} == {"masked_language", "behaviour", "student"}
    assert all(any((checkpoints / name).rglob("progress.json")) for name in ("masked_language", "behaviour", "student"))
    counts, message = adapt(shop, "run-6b", student=student)
    assert not checkpoints.exists()
    rows = {(r["encoder_id"], r["metric"]): r for r in shop.lakehouse("e").read("encoder_adaptation").collect()}
    assert set(rows) == {("store-text", "recall"), ("store-text", "ndcg"), ("store-text-small", "recall")}
    recall, ndcg, small = rows["store-text", "recall"], rows["store-text", "ndcg"], rows["store-text-small", "recall"]
    assert counts["pairs"] == recall["num_pairs"] > 0 and counts["released"] == 2
    assert recall["is_released"] and ndcg["is_released"] and recall["diff_low"] <= recall["diff_high"]
    assert recall["value"] - recall["base_value"] == pytest.approx(
        (recall["diff_low"] + recall["diff_high"]) / 2, abs=0.05
    )
    assert ndcg["k"] == 10 and ndcg["num_users"] == 60 and 0 < ndcg["base_value"] <= 1
    assert (recall["method"], small["method"]) == ("masked_language, behaviour", "distillation")
    assert (small["base_encoder_id"], small["base_revision"]) == ("store-text", recall["revision"])
    # The tiny encoder's vectors lie so close together that rounding decides on recall; `test_student` compares vectors.
    assert small["num_users"] == recall["num_users"] and 0 < small["base_value"] <= 1
    assert "released as `store-text`" in message and "student of `store-text` with 1 layers" in message
    assert json.loads((root / "store-text-small" / "config.json").read_text())["num_hidden_layers"] == 1
    for name, row in (("store-text", recall), ("store-text-small", small)):
        own = shop.registry.of_model(f"mmrec-{name}")
        (version,) = own.versions()
        champion = own.by_alias(CHAMPION)
        assert champion is not None and champion.version == version.version, "the killed run registered it already"
        assert version.tags[FINGERPRINT_TAG] == row["revision"] and own.is_intact(version)
        model = mlflow.pyfunc.load_model(version.uri)
        found = np.stack(model.predict(pd.DataFrame({"text": ["red boot", "old stone city"]}))["vector"].to_list())
        encoder = make_encoder(TextConfig(id=name, dtype="float32"), shop.models)
        encoder.load()
        np.testing.assert_allclose(found, encoder.encode(["red boot", "old stone city"]).vectors, atol=1e-5)
    assert not list(Path(str(shop.store.out), "mlartifacts").rglob("*.pkl"))


def test_a_ranker_that_may_lose_keeps_an_encoder_from_its_release(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    fallen = Comparison(0.5, 0.45, -0.08, -0.02, 60)
    student = {"num_layers": 1, "max_epochs": 1, "margin": 0.99}
    monkeypatch.setattr(RankerCheck, "compare", lambda *_: fallen)
    _, message = adapt(shop, "run-7", name="refused", ranker_margin=0.01, student=student)
    assert "not released, the ranker may lose more than 0.01 (adaptation.ranker_margin)" in message
    assert not Path(shop.models.root, "refused").exists()
    rows = shop.lakehouse("e2").read("encoder_adaptation").where("encoder_id LIKE 'refused%'").collect()
    found = {(r["encoder_id"], r["metric"]): (r["is_released"], r["base_encoder_id"]) for r in rows}
    assert found == {
        ("refused", "recall"): (False, "tiny-text"),
        ("refused", "ndcg"): (False, "tiny-text"),
        ("refused-small", "recall"): (True, "tiny-text"),
    }, "what was refused is no teacher"
    assert shop.registry.of_model("mmrec-refused").versions() == []
    with pytest.raises(RecipeError, match=r"at least 61 users .*valid part.*got 60.*ranker_margin=null"):
        adapt(shop, "run-7b", name="refused", min_users=61)
    adapted, told = adapt(shop, "run-7c", name="refused", ranker_margin=None)
    assert adapted["released"] == 1 and "ndcg" not in told


def test_the_directory_must_hold_what_was_released_last(shop: Shop) -> None:
    assert are_releases_there(shop.view(ADAPT, "run-8"), ADAPTATION, shop.models)
    (row, *_) = shop.lakehouse("e3").read("encoder_adaptation").where("encoder_id = 'store-text'").collect()
    released = {**row.asDict(), "revision": "another", "is_released": True}
    later = Lakehouse(shop.spark, shop.store, "run-8b", AT + timedelta(hours=1))
    later.append("encoder_adaptation", shop.frame("encoder_adaptation", [released]))
    assert not are_releases_there(later, ADAPTATION, shop.models), "it is not what was released last"


def test_what_a_recipe_is_sure_of_joins_train_and_is_marked(shop: Shop) -> None:
    counts, message = shop.train("run-20", name="pseudo", pseudo_labels=PseudoLabelConfig(min_confidence=0.6))
    figures = shop.lakehouse("p").read("recipe_metric").where("recipe = 'pseudo'").collect()
    assert {row["model"] for row in figures} == {"recipe", "majority", "labels_alone", "pseudo_labels"}
    counted = sum(row["value"] for row in figures if (row["part"], row["metric"]) == ("train", "support"))
    assert counted > 0, "the second round"
    assert ("joined train" in message) == (counts["pseudo_labels"] > 0)
    rows = shop.lakehouse("q").read("text_entity").where("recipe = 'pseudo'").collect()
    marked = {row["owner_id"] for row in rows if row["is_pseudo_label"]}
    assert len(marked) == counts["pseudo_labels"]
    labelled = {f"i{n:03d}" for n in range(NUM_LABELLED)}
    assert not marked & labelled, "in train alone, so no labelled owner, of valid and test in particular"
    again, told = shop.train("run-21", name="pseudo", pseudo_labels=PseudoLabelConfig(min_confidence=0.6))
    assert again == counts and "was trained before on the same" in told
    others = shop.lakehouse("r").read("text_entity").where("recipe = 'colours'").collect()
    assert others and not any(row["is_pseudo_label"] for row in others)


def test_a_trained_recipe_is_read_back_from_the_registry(shop: Shop) -> None:
    own = shop.registry.of_model("mmrec-recipe-colours")
    (version,) = own.versions()
    candidate = own.by_alias(CANDIDATE)
    assert candidate is not None and candidate.version == version.version and own.is_intact(version)
    texts = ["old stone city blue 7", "city boot warm red 8", ""]
    served = mlflow.pyfunc.load_model(version.uri).predict(pd.DataFrame({"text": texts}))
    found = [[(one["start"], one["end"], one["label"]) for one in json.loads(spans)] for spans in served["spans"]]
    wanted = load_recipe(Path(shop.models.root, "recipe-colours")).predict([Example(text, text) for text in texts])
    assert found == [[(span.start, span.end, span.label) for span, _ in one.spans] for one in wanted]
    assert (15, 19, "colour") in found[0] and found[2] == []
    other = Registry(TrackingConfig(model_name="another"), shop.store)
    assert other.of_model("mmrec-recipe-colours").versions() == own.versions(), "whatever the ranker is called"
    in_catalogue = Registry(TrackingConfig(model_name="main.shop.mmrec_ranker"), shop.store)
    assert in_catalogue.of_model("mmrec-recipe-colours").model_name == "main.shop.mmrec-recipe-colours"
    files = [path for path in Path(str(shop.store.out), "mlartifacts").rglob("*") if path.is_file()]
    assert files and not {path.suffix for path in files} & {".pkl", ".pt", ".bin", ".pth"}


def test_a_user_s_text_is_the_history_without_the_labelled_item(shop: Shop) -> None:
    spark = shop.spark
    pairs = spark.createDataFrame(
        [("u", "a", 1.0, 1), ("u", "b", 2.0, 3)], "user_id string, item_id string, weight double, at int"
    )
    titles = spark.createDataFrame(
        [("item", i, f"title {i}") for i in "abc"], "owner_kind string, owner_id string, document string"
    )
    labels = spark.createDataFrame(
        [("u", "b", None), ("u", "c", None), ("u", "a", "own words"), ("v", "a", None)],
        "owner_id string, item_id string, text string",
    )
    found = with_user_texts(labels, histories(pairs, titles, 1), titles, 1).collect()
    assert {(row["owner_id"], row["item_id"]): (row["document"], row["other"]) for row in found} == {
        ("u", "b"): ("title a", "title b"),
        ("u", "c"): ("title b", "title c"),
        ("u", "a"): ("own words", "title a"),
        ("v", "a"): (None, "title a"),
    }


def test_what_comes_after_train_changes_neither_the_graph_nor_a_history(shop: Shop) -> None:
    pair = TAGGER.model_copy(update={"kind": "pair"})
    told = [("l", "user", "u0", "i009", None, "5", None, None)]
    names = ["label_id", "owner_kind", "owner_id", "item_id", "text", "label", "spans", "split"]
    labels = shop.spark.createDataFrame(told, ", ".join(f"{name} string" for name in names))

    def known(run: str) -> tuple[Any, ...]:
        lakehouse = shop.lakehouse(run)
        behaviour, ties = read_texts(lakehouse, ADAPTATION)
        (row,) = labelled_rows(lakehouse, labels, pair).collect()
        return behaviour.visits.nonzero()[1].tolist(), sorted(ties), row["document"]

    before = known("run-9")
    assert before[0] and before[1] and before[2]
    lakehouse, at = shop.lakehouse("run-10"), TEST_FROM + timedelta(hours=1)
    old = lakehouse.read("event").where("user_id = 'u0' AND item_id IS NOT NULL").first()
    assert old is not None
    events, reviews = [], []
    for n, item in enumerate(("i001", old["item_id"])):
        one = {"user_id": "u0", "event_ts": at + timedelta(minutes=n)}
        search = {**one, "event_id": f"s{n}", "event_type": "search", "query": "new words"}
        events += [search, {**one, "event_id": f"v{n}", "event_type": "view", "item_id": item}]
        reviews.append({"review_id": f"r{n}", "user_id": "u0", "item_id": item, "text": "soft", "review_ts": at})
    words = {"owner_kind": "review", "field": "text", "kind": "written", "position": 0, "text": "soft"}
    texts = [{**words, "owner_id": f"r{n}", "content_id": f"r{n}"} for n in range(2)]
    side_by_side(
        [
            lambda: lakehouse.append("event", shop.frame("event", events)),
            lambda: lakehouse.append("review", shop.frame("review", reviews)),
            lambda: lakehouse.append("owner_text", shop.frame("owner_text", texts)),
            lambda: lakehouse.append("training_interaction", shop.pairs("test", [("u0", "i001", at)])),
        ]
    )
    assert known("run-11") == before
    asked = labels.unionByName(labels.withColumn("item_id", F.lit("i001")).withColumn("label_id", F.lit("of test")))
    of_train = pair.model_copy(update={"train_part_only": True})
    (row,) = labelled_rows(lakehouse, asked, of_train).collect()
    assert row["label_id"] == "l", "a scorer must not have learned what the ranker is judged by"
