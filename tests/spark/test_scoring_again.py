"""Scoring again only those whom a change concerns: the tables are those of a run that scores everyone.

The tests run in order on one store, whose tables are written straight: a model, a snapshot, profiles.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pytest
from deltalake import DeltaTable, QueryBuilder
from pyspark.sql import Row, SparkSession
from pyspark.sql import functions as F

from mmrec_lib.contracts import CONTRACTS
from mmrec_lib.errors import PublishingError
from mmrec_lib.lakehouse.config import StoreConfig
from mmrec_lib.lakehouse.deletion_vectors import purge_deleted
from mmrec_lib.lakehouse.tables import Lakehouse
from mmrec_lib.models.ranker.fit import fit_ranker
from mmrec_lib.reranking.config import RerankingConfig
from mmrec_lib.scoring.checks import ChecksConfig
from mmrec_lib.scoring.config import ScoringConfig
from mmrec_lib.scoring.score import SLICED, ScoringResult, ScoringSettings, score_all
from mmrec_lib.showing.config import ShowingConfig
from tests.champion import Champion
from tests.unit.models.checkerboard import SETTINGS, checkerboard

pytestmark = pytest.mark.slow
DAY, NOW = date(2026, 1, 1), datetime(2025, 12, 31, tzinfo=UTC)
OF_USERS = ("user_topk", "user_vector", "item_vector")
K = 6
CONFIG = ScoringConfig(k=K, num_neighbors=3, explained_ranks=3)


@dataclass
class Shop:
    """A store with a champion, whose users are changed one by one.

    Attributes:
        lakehouse: Tables.
        registry: Gives the champion.
        item_ids: Items of the champion's fit.
        histories: Items of each user, the latest first.
        showing: Rules.
        reranking: Steps after the search.
    """

    lakehouse: Lakehouse
    registry: Champion
    item_ids: list[str]
    histories: dict[str, list[str]] = field(default_factory=dict)
    showing: dict[str, Any] = field(default_factory=dict)
    reranking: dict[str, Any] = field(default_factory=dict)

    def put(self, table: str, rows: Sequence[Mapping[str, object]]) -> None:
        schema = CONTRACTS[table].input_schema
        full = [{**dict.fromkeys(schema.names), **row} for row in rows]
        self.lakehouse.merge(table, self.lakehouse.spark.createDataFrame(full, schema))

    def delete(self, table: str, key: str, *values: str) -> None:
        gone = self.lakehouse.read(table).where(F.col(key).isin(*values))
        self.lakehouse.merge(table, gone.limit(0), delete_keys=gone)

    def put_items(self, gone: Sequence[str] = ()) -> None:
        self.put(
            "item",
            [
                {"item_id": item, "categories": [f"c{n % 4}"], "available": item not in gone, "updated_at": NOW}
                for n, item in enumerate(self.item_ids)
            ],
        )

    def put_users(self, *users: str, **attributes: str) -> None:
        self.put("user", [{"user_id": user, "updated_at": NOW, "is_declared": True} for user in users])
        self.put(
            "user_profile",
            [
                {
                    "user_id": user,
                    "num_events": len(self.histories[user]),
                    "attributes": attributes,
                    "event_counts": {},
                    "history": [{"item_id": item, "weight": 1.0, "last_ts": NOW} for item in self.histories[user]],
                    "seen_item_ids": sorted(self.histories[user]),
                }
                for user in users
            ],
        )

    def put_control(self, user: str, action: str, kind: str, target: str) -> None:
        control = {"user_id": user, "action": action, "target_kind": kind, "target": target, "updated_at": NOW}
        self.put("user_control", [{"control_id": f"{user}-{target}", **control, "source_line": 1}])

    def score(self, **scoring: Any) -> ScoringResult:
        settings = ScoringSettings(
            CONFIG.model_copy(update=scoring),
            ShowingConfig.model_validate(self.showing),
            RerankingConfig.model_validate(self.reranking),
        )
        return score_all(self.lakehouse, self.registry, settings)

    def versions(self) -> dict[str, int | None]:
        return self.lakehouse.data_versions(SLICED)

    def require_equal_to_a_full_run(self) -> None:
        """A run that scores everyone finds no row to change."""
        before = self.versions()
        result = self.score(only_affected=False)
        assert result.reason == "scoring.only_affected is off"
        assert result.counts["users.scored"] == len(self.histories) and not result.counts["users.kept"]
        after = self.versions()
        assert {name: after[name] for name in OF_USERS} == {name: before[name] for name in OF_USERS}


@pytest.fixture(scope="module")
def shop(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    folder = tmp_path_factory.mktemp("again")
    board = checkerboard()
    ranker = fit_ranker(board.train, SETTINGS)
    lakehouse = Lakehouse(spark, StoreConfig(out=str(folder / "out")), "run-1", datetime(2026, 1, 1, tzinfo=UTC))
    ids = [str(item) for item in ranker.item_ids]
    made = Shop(lakehouse, Champion.of(ranker, folder / "ranker"), ids)
    weights = board.train.interactions.weights
    for row in range(weights.shape[0]):
        made.histories[f"u{row:02d}"] = [ids[column] for column in weights[row].indices]
    made.put_items()
    made.put_users(*made.histories, likes="red")
    made.put("training_item", [{"snapshot_id": "s1", "item_id": item} for item in ids])
    made.put(
        "training_content",
        [
            {"snapshot_id": "s1", "fit": "all", "feature": "graph:made_by", "item_id": item, "tokens": [f"m{n % 8}"]}
            for n, item in enumerate(ids)
        ],
    )
    about = {"snapshot_id": "s1", "as_of_date": DAY, "split_source": "given", "is_current": True}
    counts = {"num_users": len(made.histories), "num_items": len(ids), "num_interactions": weights.nnz}
    made.put("training_snapshot", [{**about, **counts, "table_versions": {}}])
    return made


def test_the_first_run_scores_everyone_and_the_next_nobody(shop: Shop) -> None:
    first = shop.score()
    assert first.reason == "no user_topk was published yet"
    assert first.counts["users"] == first.counts["users.scored"] == len(shop.histories)
    before = shop.versions()
    again = shop.score()
    assert again.reason is None
    assert (again.counts["users.scored"], again.counts["users.kept"]) == (0, len(shop.histories))
    assert {**again.counts, "users.scored": 0, "users.kept": 0} == {
        **first.counts,
        "users.scored": 0,
        "users.kept": 0,
    }, "the other counts are those of all users"
    assert shop.versions() == before
    shop.require_equal_to_a_full_run()


def test_questions_and_paths_are_published_with_the_lists(shop: Shop) -> None:
    asked = shop.lakehouse.read("elicitation_item").orderBy("rank").collect()
    assert [row["rank"] for row in asked] == list(range(1, len(asked) + 1)) and len(asked) > 1
    assert {row["item_id"] for row in asked} <= set(shop.item_ids)
    assert all(row["gain"] > 0 and 0 < row["popularity"] <= 1 for row in asked)
    rows = shop.lakehouse.read("user_topk").select("user_id", "rank", "item_id", "path").collect()
    place = {item: n for n, item in enumerate(shop.item_ids)}
    told = [row for row in rows if row["path"] is not None]
    assert told and all(row["rank"] <= CONFIG.explained_ranks for row in told)
    for row in told:
        assert row["path"]["item_id"] in shop.histories[row["user_id"]]
        assert {place[row["path"]["item_id"]] % 8, place[row["item_id"]] % 8} == {int(row["path"]["node"][1:])}
        assert row["path"]["relation"] == row["path"]["node_relation"] == "made_by"


def put_first_control(shop: Shop) -> None:
    """The first control of all concerns everyone: it lets rules look at categories."""
    shop.put_control("u00", "block", "item", shop.item_ids[0])


def test_the_first_control_of_all_scores_everyone(shop: Shop) -> None:
    put_first_control(shop)
    assert shop.score().reason == "changed: rules"


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.long) for seed in (0, 2))])
def test_random_changes_of_users_score_them_alone_and_equal_a_full_run(shop: Shop, seed: int) -> None:
    rng = np.random.default_rng(seed)
    users = sorted(shop.histories)
    changed = rng.choice(users, 5, replace=False).tolist()
    acting, turned, gone, controlling, renamed = changed
    if seed == 1:
        shop.reranking = {"quotas": [{"by": "category", "at_most": 3}]}
    put_first_control(shop)
    shop.score()
    shop.histories[acting] = rng.choice(shop.item_ids, 25, replace=False).tolist()
    shop.histories[turned] = []
    new = f"new-{seed}"
    shop.histories[new] = rng.choice(shop.item_ids, 3, replace=False).tolist()
    shop.put_users(acting, turned, new, likes="red")
    shop.put_users(renamed, likes="blue")
    shop.delete("user", "user_id", gone)
    del shop.histories[gone]
    shop.put_control(controlling, "block", "item", shop.item_ids[int(rng.integers(len(shop.item_ids)))])
    result = shop.score()
    assert result.reason is None
    expected = {acting, turned, new, controlling, renamed}
    assert result.counts["users.scored"] == len(expected)
    assert result.counts["users.kept"] == len(shop.histories) - len(expected)
    listed = {row["user_id"] for row in shop.lakehouse.read("user_vector").select("user_id").collect()}
    assert listed == set(shop.histories)
    shop.require_equal_to_a_full_run()


def test_what_concerns_everyone_scores_everyone_and_says_why(shop: Shop) -> None:
    shop.put_items(gone=shop.item_ids[:2])
    assert shop.score().reason == "changed: rules"
    shop.showing = {"rules": [{"name": "no c1", "kind": "exclude", "items": {"categories": ["c1"]}}]}
    assert shop.score().reason == "changed: rules"
    assert shop.score(k=K - 1).reason == "changed: settings"
    assert shop.score().reason == "changed: settings"
    assert shop.score().reason is None
    shop.require_equal_to_a_full_run()


def test_a_table_that_another_run_wrote_scores_everyone(shop: Shop) -> None:
    topk = shop.lakehouse.read("user_topk")
    shop.lakehouse.merge("user_topk", topk.limit(0), delete_keys=topk.where("rank = 2"))
    assert shop.score().reason == "user_topk is not as the last run that ended left it"
    assert shop.score().reason is None
    assert shop.lakehouse.read("user_topk").where("rank = 2").count() > 0


def test_checks_look_at_all_lists_where_only_some_are_new(shop: Shop) -> None:
    user = sorted(shop.histories)[0]
    shop.histories[user] = shop.item_ids[:4]
    shop.put_users(user)
    before = shop.versions()
    # All but one or two of the lists are the published ones.
    with pytest.raises(PublishingError, match=r"min_changed_share|max_changed_share allows 0.0%"):
        shop.score(checks=ChecksConfig(max_changed_share=0.0))
    assert shop.versions() == before
    result = shop.score(checks=ChecksConfig(max_changed_share=0.1))
    assert result.counts["users.scored"] == 1


def newest_commit(shop: Shop, table: str) -> Row:
    commits = shop.lakehouse.spark.sql(f"DESCRIBE HISTORY {table} LIMIT 1")
    return commits.select("operation", "operationMetrics").collect()[0]


def test_rows_of_users_are_marked_and_purged_where_deletion_vectors_are_asked_for(shop: Shop) -> None:
    user = sorted(shop.histories)[1]
    shop.histories[user] = shop.item_ids[5:8]
    shop.put_users(user)
    assert shop.score(deletion_vectors=True).counts["users.scored"] == 1
    table = shop.lakehouse.table("user_topk")
    newest = newest_commit(shop, table)
    assert newest["operation"] == "MERGE"
    assert int(newest["operationMetrics"]["numTargetDeletionVectorsAdded"]) > 0
    assert newest["operationMetrics"]["numTargetRowsCopied"] == "0"
    stored = QueryBuilder().register("t", DeltaTable(shop.lakehouse.location("user_topk") or ""))
    read = stored.execute("SELECT count(*) AS num FROM t").read_all()
    num_rows = shop.lakehouse.read("user_topk").count()
    assert read["num"][0].as_py() == num_rows
    shop.require_equal_to_a_full_run()
    purge_deleted(shop.lakehouse.spark, table)
    assert newest_commit(shop, table)["operation"] == "REORG"
    assert shop.lakehouse.read("user_topk").count() == num_rows


def test_a_catalogue_that_shrank_is_refused_before_anybody_is_scored(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("scored before the catalogue was checked")

    monkeypatch.setattr("mmrec_lib.scoring.score.score_profiles", refuse)
    shop.delete("item", "item_id", *shop.item_ids[:20])
    with pytest.raises(PublishingError, match="the catalogue has 20 items, and had 40"):
        shop.score()
