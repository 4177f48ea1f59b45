"""Deletions, repairs and stores without a good ranker, through the jobs from features to scoring.

The tests run in order on one store: each leaves what the next one starts from.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyspark.sql import SparkSession

from mmrec_lib.contracts import CONTRACTS
from mmrec_lib.errors import ModelError, PublishingError, ShowingError
from mmrec_lib.evaluation.config import EvaluationConfig
from mmrec_lib.features.assemble import assemble
from mmrec_lib.features.config import FeaturesConfig
from mmrec_lib.features.load import load_snapshot
from mmrec_lib.ingest.config import DEFAULT_EVENT_TYPES
from mmrec_lib.lakehouse.config import StoreConfig
from mmrec_lib.lakehouse.tables import Lakehouse
from mmrec_lib.models.config import TrainingConfig
from mmrec_lib.reranking.config import RerankingConfig
from mmrec_lib.scoring.checks import ChecksConfig
from mmrec_lib.scoring.config import ListConfig, ScoringConfig
from mmrec_lib.scoring.effects import ListEffects, ListSettings
from mmrec_lib.scoring.score import SLICED, ScoringSettings, score_all
from mmrec_lib.showing.config import ShowingConfig
from mmrec_lib.topk import approximate
from mmrec_lib.tracking.config import TrackingConfig
from mmrec_lib.tracking.registry import CHAMPION, SNAPSHOT_TAG, RegisteredModel, Registry
from mmrec_lib.training import evaluate as evaluating
from mmrec_lib.training import promote as promoting
from mmrec_lib.training.config import PromotionConfig
from mmrec_lib.training.fallback import BASELINE_TAG
from mmrec_lib.training.fits import RANKER, load_fits
from mmrec_lib.training.gate import Decision
from mmrec_lib.training.register import FITS_FOLDER
from mmrec_lib.training.train import train
from tests.compare import table_rows

START = datetime(2025, 3, 1, tzinfo=UTC)
NUM_USERS, NUM_ITEMS, NUM_EVENTS = 30, 20, 450
TRAINING = TrainingConfig(sources=("graph_filter",), dims=(16,), max_groups=4)
EVALUATION = EvaluationConfig(ks=(10,), num_bootstrap=100)
pytestmark = pytest.mark.slow
Row = tuple[str, str, int]


def history() -> list[Row]:
    """(user, item, hours after the start): users like items of their parity."""
    rng = np.random.default_rng(1)
    users, hours = rng.integers(0, NUM_USERS, NUM_EVENTS), np.sort(rng.integers(0, 60 * 24, NUM_EVENTS))
    items = 2 * rng.integers(0, NUM_ITEMS // 2, NUM_EVENTS) + users % 2
    return [(f"u{u:02d}", f"i{i:02d}", int(h)) for u, i, h in zip(users, items, hours, strict=True)]


def score(store: Store, scoring: ScoringConfig, showing: ShowingConfig | None = None) -> dict[str, int]:
    settings = ScoringSettings(scoring, showing or ShowingConfig(), RerankingConfig())
    return score_all(store.lakehouse, store.registry, settings).counts


@dataclass(frozen=True)
class Store:
    """A store whose bronze tables are written straight, without landing files."""

    lakehouse: Lakehouse
    registry: Registry

    def put(self, table: str, rows: list[dict[str, object]]) -> None:
        schema = CONTRACTS[table].input_schema
        full = [{**dict.fromkeys(schema.names), **row} for row in rows]
        self.lakehouse.merge(table, self.lakehouse.spark.createDataFrame(full, schema))

    def delete(self, table: str, *ids: str) -> None:
        key = CONTRACTS[table].key[0]
        gone = self.lakehouse.spark.createDataFrame([(one,) for one in ids], f"{key} string")
        assert self.lakehouse.merge(table, self.lakehouse.read(table).limit(0), delete_keys=gone).deleted == len(ids)

    def fill(self, events: list[Row]) -> None:
        items = [f"i{n:02d}" for n in range(NUM_ITEMS)]
        parity = [{"parity": "odd" if n % 2 else "even"} for n in range(NUM_ITEMS)]
        self.put(
            "item",
            [
                {
                    "item_id": item,
                    "categories": [f"c{n % 4}"],
                    "available": True,
                    "updated_at": START,
                    "attributes": own,
                }
                for n, (item, own) in enumerate(zip(items, parity, strict=True))
            ],
        )
        users = [{"user_id": f"u{n:02d}", "updated_at": START, "is_declared": True} for n in range(NUM_USERS)]
        self.put("user", users)
        self.put_events(events)
        # As extraction leaves it where there are no texts.
        self.lakehouse.ensure("owner_text")

    def put_events(self, events: list[Row]) -> None:
        self.put(
            "event",
            [
                {
                    "event_id": f"{user}-{item}-{hours}-{number}",
                    "user_id": user,
                    "item_id": item,
                    "event_type": "view",
                    "event_ts": START + timedelta(hours=hours),
                }
                for number, (user, item, hours) in enumerate(events)
            ],
        )

    def assemble(self, as_of: date | None = None) -> str:
        """Returns the id of the snapshot."""
        assemble(self.lakehouse, FeaturesConfig(), DEFAULT_EVENT_TYPES, as_of, refit_on_valid=True)
        return load_snapshot(self.lakehouse).snapshot_id

    def decide(self) -> str:
        """Train, evaluate and promote; returns what the gate said."""
        train(self.lakehouse, self.registry, TRAINING)
        promotion = PromotionConfig()
        evaluating.evaluate_candidate(self.lakehouse, self.registry, EVALUATION, promotion)
        return promoting.promote(self.lakehouse, self.registry, promotion)[1]

    def publish(self) -> str:
        """Decide, and score with the champion; returns what the gate said."""
        message = self.decide()
        score(self, ScoringConfig(k=5, num_neighbors=3))
        return message

    def candidate(self) -> RegisteredModel:
        found = self.registry.newest()
        assert found is not None
        return found

    def item_ids_of(self, version: RegisteredModel) -> set[str]:
        with tempfile.TemporaryDirectory() as scratch:
            folder = self.registry.artifact_folder(version, FITS_FOLDER, Path(scratch))
            ranker = load_fits(folder)[1]["fit1"][RANKER]
        return {str(item) for item in ranker.item_ids}

    def ids(self, table: str, column: str) -> set[str]:
        is_dated = table in ("user_topk", "item_neighbor")
        return {row[column] for row in (self.current(table) if is_dated else self.rows(table))}

    def rows(self, table: str) -> list[dict[str, Any]]:
        """Rows of a table, read without Spark: a plan for each look costs more than the look."""
        assert self.lakehouse.store.out is not None
        return table_rows(Path(self.lakehouse.store.out), table).to_pylist()  # type: ignore[no-any-return]

    def current(self, table: str) -> list[dict[str, Any]]:
        """Rows of the slice that readers are led to."""
        as_of, _ = self.slices()[table]
        return [row for row in self.rows(table) if row["as_of_date"] == as_of]

    def slices(self) -> dict[str, tuple[date, str]]:
        rows = self.rows("current_slice")
        return {row["table_name"]: (row["as_of_date"], row["model_version"]) for row in rows}


def new_store(spark: SparkSession, folder: Path) -> Store:
    store = StoreConfig(data=str(folder / "landing"), out=str(folder / "out"))
    house = Lakehouse(spark, store, "run-1", datetime(2026, 1, 1, tzinfo=UTC))
    return Store(house, Registry(TrackingConfig(), store))


@pytest.fixture(scope="module")
def store(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Users x1 and x2 and item gone are deleted, but their events are there, the latest of all among them."""
    made = new_store(spark, tmp_path_factory.mktemp("people"))
    deleted = [("x1", "i03", hours) for hours in range(0, 1600, 20)]
    deleted += [("x2", "gone", 1700), ("u00", "gone", 5), ("u01", "gone", 1800)]
    made.fill(history() + deleted)
    yield made


@pytest.fixture(scope="module")
def twin(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Where nobody and nothing was ever deleted: compared with the store first, and without a model until the end."""
    made = new_store(spark, tmp_path_factory.mktemp("twin"))
    made.fill(history())
    return made


def test_the_store_is_as_if_the_events_of_deleted_users_and_items_had_never_been(store: Store, twin: Store) -> None:
    assert store.assemble() == twin.assemble()
    profiles = [{row["user_id"]: row["row_hash"] for row in one.rows("user_profile")} for one in (store, twin)]
    assert profiles[0] == profiles[1] and len(profiles[0]) == NUM_USERS


def test_deleted_users_and_items_are_in_nothing_that_is_trained_measured_or_published(store: Store) -> None:
    assert "promoted" in store.publish()
    assert not {"x1", "x2"} & (store.ids("training_interaction", "user_id") | store.ids("user_profile", "user_id"))
    assert store.ids("training_user", "user_id") == {f"u{n:02d}" for n in range(NUM_USERS)}
    assert store.ids("training_item", "item_id") == {f"i{n:02d}" for n in range(NUM_ITEMS)}
    assert "gone" not in store.ids("training_interaction", "item_id")
    assert store.ids("user_topk", "user_id") == {f"u{n:02d}" for n in range(NUM_USERS)}
    assert store.ids("user_vector", "user_id") == store.ids("user_topk", "user_id")
    assert "gone" not in store.ids("user_topk", "item_id") | store.ids("item_neighbor", "neighbor_id")
    evaluated = max(row["num_users"] for row in store.rows("model_metric"))
    assert 0 < evaluated <= NUM_USERS


def test_every_published_table_has_its_current_slice(store: Store) -> None:
    last = max(START + timedelta(hours=hours) for _, _, hours in history()).date() + timedelta(days=1)
    assert store.slices() == dict.fromkeys(SLICED, (last, "1"))


def test_lists_are_measured_as_users_get_them_beside_all_other_metrics(store: Store) -> None:
    def metrics() -> dict[tuple[str, ...], dict[str, Any]]:
        key = ("model", "segment", "metric", "fit", "part")
        return {tuple(row[name] for name in key): row for row in store.rows("model_metric")}

    before = metrics()
    rule = {"name": "out", "kind": "exclude", "items": {"item_ids": ["i00", "i01", "i02"]}}
    no_taste = {"attribute": "taste_segment", "missing": True}
    of_segment = {"name": "first", "kind": "pin", "position": 1, "segment": "no taste", "items": {"item_ids": ["i03"]}}
    quota = {"by": "category", "at_most": 1, "first": 3}
    lists = ListSettings(
        ListConfig(k=5),
        ShowingConfig.model_validate({"rules": [rule, of_segment], "segments": {"no taste": [no_taste]}}),
        RerankingConfig.model_validate({"quotas": [quota]}),
    )
    assert lists.change_lists and not ListSettings(ListConfig(), ShowingConfig(), RerankingConfig()).change_lists
    evaluating.evaluate_candidate(
        store.lakehouse,
        store.registry,
        EVALUATION,
        PromotionConfig(),
        effects=lambda snapshot, scorer: ListEffects(store.lakehouse, snapshot, lists, scorer),
    )
    after = metrics()
    measured = {key: row for key, row in after.items() if key[1] == "lists"}
    assert {key: row["value"] for key, row in after.items() if key not in measured} == {
        key: row["value"] for key, row in before.items()
    }
    assert {key[0] for key in measured} == {"ranker", "with_rules", "reranked"}
    for part in (("fit1", "valid"), ("fit1", "test"), ("fit2", "test")):
        own, whole = after["ranker", "lists", "ndcg", *part], after["ranker", "all", "ndcg", *part]
        assert own["value"] == pytest.approx(whole["value"]) and own["num_users"] == whole["num_users"]
        shown = after["with_rules", "lists", "coverage", *part]["value"]
        assert shown <= (NUM_ITEMS - 3) / NUM_ITEMS, "excluded items are in no list"
        # Of the four categories each user has two, and lists of five show both from their third place on.
        evener = after["reranked", "lists", "miscalibration", *part]
        assert evener["diff"] is not None and evener["num_users"] == own["num_users"]


def test_a_snapshot_older_than_a_deletion_loses_what_was_deleted_and_nothing_else(store: Store) -> None:
    before = load_snapshot(store.lakehouse)
    store.delete("user", "u04")
    store.delete("item", "i06")
    after = load_snapshot(store.lakehouse)
    users, items = (before.user_ids != "u04"), (before.item_ids != "i06")
    assert before.num_gone == 0 and after.num_gone > 0
    assert after.user_ids.tolist() == before.user_ids[users].tolist()
    for part in ("train", "valid", "test"):
        expected = before.parts[part].weights.toarray()[users][:, items]
        assert np.array_equal(after.parts[part].weights.toarray(), expected), part
    for key, content in before.contents.items():
        old, new = content.matrix[items], after.contents[key].matrix
        assert content.tokens == after.contents[key].tokens
        assert np.array_equal(old.toarray(), new.toarray()), key  # type: ignore[union-attr]


def test_scoring_with_an_older_snapshot_and_model_leaves_out_what_was_deleted_since(store: Store) -> None:
    assert "u04" in store.ids("user_profile", "user_id")
    score(store, ScoringConfig(k=50, num_neighbors=50))
    assert store.ids("user_topk", "user_id") == {f"u{n:02d}" for n in range(NUM_USERS) if n != 4}
    assert "u04" not in store.ids("user_vector", "user_id")
    for table, column in (("user_topk", "item_id"), ("item_neighbor", "item_id"), ("item_neighbor", "neighbor_id")):
        assert "i06" not in store.ids(table, column), table
    assert "i06" not in store.ids("item_vector", "item_id")
    seen = {(row["user_id"], item) for row in store.rows("user_profile") for item in row["seen_item_ids"]}
    listed = {(row["user_id"], row["item_id"]) for row in store.current("user_topk")}
    assert not listed & seen
    for row in store.current("user_topk"):
        if row["rank"] <= ScoringConfig().explained_ranks:
            assert sum(dict(row["source_shares"]).values()) == pytest.approx(row["score"], abs=1e-4)
            assert len(row["because_item_ids"]) <= 3
        else:
            assert not row["source_shares"]
            assert row["because_item_ids"] is None


def test_an_index_publishes_the_lists_of_exact_search_and_its_recall_is_counted(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("faiss")

    def lists() -> set[tuple[str, int, str, float]]:
        return {(row["user_id"], row["rank"], row["item_id"], row["score"]) for row in store.current("user_topk")}

    exact = lists()
    indexed = ScoringConfig(k=50, num_neighbors=50, search="ivf")
    with pytest.raises(ModelError, match="at least 256 items"):
        score(store, indexed)
    monkeypatch.setattr(approximate, "MIN_ITEMS", 1)
    assert score(store, indexed)["recall_percent"] == 100
    assert lists() == exact


def test_rules_and_controls_hold_in_published_lists(store: Store) -> None:
    control = {
        "user_id": "u01",
        "target_kind": "item",
        "action": "block",
        "target": "i03",
        "control_id": "c",
        "updated_at": START,
    }
    store.put("user_control", [control])
    rule = {"name": "no i01", "kind": "exclude", "items": {"item_ids": ["i01"]}}
    showing = ShowingConfig.model_validate({"rules": [rule]})
    counts = score(store, ScoringConfig(k=50, num_neighbors=50), showing)
    assert counts["items_kept_out"] == 1
    listed = {(row["user_id"], row["item_id"]) for row in store.current("user_topk")}
    assert not any(item == "i01" for _, item in listed)
    assert ("u01", "i03") not in listed and any(item == "i03" for _, item in listed)
    assert "i01" not in store.ids("item_neighbor", "neighbor_id")


def test_lists_that_break_a_check_leave_the_published_ones(store: Store) -> None:
    def published() -> dict[str, int | None]:
        return {name: store.lakehouse.data_version(name) for name in (*SLICED, "current_slice")}

    before = published()
    bounded = ScoringConfig(k=50, checks=ChecksConfig(max_short_share=0.1))
    with pytest.raises(PublishingError, match="fewer than k = 50 items"):
        score(store, bounded)
    typo = {"name": "gone", "kind": "exclude", "items": {"item_ids": ["i00x"]}}
    with pytest.raises(ShowingError, match="i00x"):
        score(store, ScoringConfig(k=5), ShowingConfig.model_validate({"rules": [typo]}))
    assert published() == before


def test_a_model_that_was_trained_before_a_deletion_is_not_evaluated_or_promoted(store: Store) -> None:
    with pytest.raises(ModelError, match=r"deleted or added.*train_ranker"):
        evaluating.evaluate_candidate(store.lakehouse, store.registry, EVALUATION, PromotionConfig())
    champion = store.candidate().version
    store.registry.remove_alias(CHAMPION)
    with pytest.raises(ModelError, match=r"deleted or added.*train_ranker"):
        promoting.promote(store.lakehouse, store.registry, PromotionConfig())
    store.registry.set_alias(CHAMPION, champion)


def test_a_candidate_that_is_the_champion_is_decided_without_a_look_at_the_data(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("nothing is to be decided, and the snapshot was loaded")

    monkeypatch.setattr(promoting, "load_snapshot", fail)
    counts, message = promoting.promote(store.lakehouse, store.registry, PromotionConfig())
    assert counts == {"promoted": 0} and "is the champion already" in message


def test_with_an_older_snapshot_the_model_is_trained_again_without_what_was_deleted(store: Store) -> None:
    before = store.candidate()
    store.publish()
    after = store.candidate()
    assert after.version != before.version and after.tags[SNAPSHOT_TAG] == before.tags[SNAPSHOT_TAG]
    assert "i06" not in store.item_ids_of(after)
    assert "u04" not in store.ids("user_topk", "user_id")
    counts, message = train(store.lakehouse, store.registry, TRAINING)
    assert counts["gone"] > 0 and "registered for this fit before" in message


def test_an_item_that_nothing_is_known_of_makes_another_fit_of_the_same_snapshot(store: Store) -> None:
    snapshot = store.assemble()
    train(store.lakehouse, store.registry, TRAINING)
    assert "i99" not in store.item_ids_of(store.candidate())
    assert "u04" not in store.ids("training_user", "user_id"), "the deleted have left all snapshots"
    store.put("item", [{"item_id": "i99", "available": True, "updated_at": START}])
    assert "i99" not in load_snapshot(store.lakehouse).item_ids, "the snapshot does not speak of it"
    assert store.assemble() == snapshot
    store.publish()
    assert "i99" in store.item_ids_of(store.candidate()) & store.ids("item_vector", "item_id")


def test_a_repair_with_an_earlier_date_takes_effect_and_so_does_the_way_back(store: Store) -> None:
    if "user_topk" not in store.slices():
        store.assemble()
        store.publish()
    late = store.slices()["user_topk"]
    store.assemble(date(2025, 4, 10))
    store.publish()
    early = store.slices()["user_topk"]
    assert early[0] == date(2025, 4, 10) < late[0]
    dates = {row["as_of_date"] for row in store.rows("user_topk")}
    assert {early[0], late[0]} <= dates
    assert {row["as_of_date"] for row in store.current("user_topk")} == {early[0]}
    store.assemble()
    store.publish()
    assert store.slices()["user_topk"][0] == late[0]


def test_a_refused_first_ranker_gives_way_to_the_best_baseline(twin: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (evaluating, promoting):
        monkeypatch.setattr(module, "decide_first", lambda values, config: Decision(False, "refused: for this test"))
    message = twin.publish()
    assert "version 1: refused: for this test; version 2, the baseline" in message
    champion = twin.registry.by_alias(CHAMPION)
    assert champion is not None and champion.version == "2"
    name = champion.tags[BASELINE_TAG]
    candidate = twin.registry.newest()
    assert candidate is not None and candidate.version == "1"
    valid = {"fit": "fit1", "part": "valid", "segment": "all", "metric": "ndcg"}
    rows = [row for row in twin.rows("model_metric") if valid.items() <= row.items()]
    of_ranker = {row["model"]: row["value"] for row in rows if row["model_version"] == "1" and row["model"] != "ranker"}
    published = next(row["value"] for row in rows if row["model_version"] == "2" and row["model"] == "ranker")
    assert of_ranker[name] == max(of_ranker.values())
    assert published == pytest.approx(of_ranker[name], abs=0.02)
    assert twin.slices()["user_topk"][1] == "2"
    assert twin.ids("user_topk", "user_id") == {f"u{n:02d}" for n in range(NUM_USERS)}
    # Again is harmless, and the ranker may come back when the gate lets it.
    twin.decide()
    assert len(twin.registry.versions()) == 2
    monkeypatch.undo()
    assert "promoted" in twin.decide()
    champion = twin.registry.by_alias(CHAMPION)
    assert champion is not None and champion.version == "1"
